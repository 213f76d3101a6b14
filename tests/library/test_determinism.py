"""The same configuration is the same run, to the last bit, whatever else happens beside it."""

import copy
import random
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from probe_envs import Chance, config

from ppo_bbrl import EpisodicAlgo, PPOClip, Workspace, run
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.system.compute import available_cores


def train(env_name="Chance", between=None, eval_policy=None, **algorithm):
    """Weights, metrics and algorithm after a short run; `between` is called in each iteration."""

    class Disturbed(PPOClip):
        def update(self, rollout):
            if between is not None:
                between(self)
            return super().update(rollout)

    algo = Disturbed(config(env_name, **({"max_epochs": 5} | algorithm)))
    if eval_policy == "stochastic":
        algo.eval_policy = algo.train_policy
    run(algo)
    algo.close()
    weights = [
        copy.deepcopy(agent.state_dict()) for agent in (algo.train_policy, algo.critic_agent)
    ]
    table = read_metrics(algo.base_dir).drop(columns="steps_per_second")
    return weights, table, algo


def assert_same(first, second, metrics=True):
    for agent, other in zip(first[0], second[0], strict=True):
        assert agent.keys() == other.keys()
        assert all(torch.equal(agent[name], other[name]) for name in agent)
    if metrics:
        assert first[1].equals(second[1])


def training_metrics(result):
    return result[0], result[1][[name for name in result[1] if not name.startswith("reward/")]]


@pytest.mark.wide(3)
@pytest.mark.parametrize(
    "env_name", ["Chance", "Sampling", "CartPole-v1", "Pendulum-v1", "FrozenLake-v1"]
)
def test_the_same_configuration_twice(env_name):
    """Weights and metrics.csv, evaluations included. Upstream seeds torch alone."""
    first, second = (train(env_name, eval_interval=100, seed=7) for _ in range(2))
    assert_same(first, second)
    assert first[2].best_reward == second[2].best_reward
    assert first[2].nb_steps == second[2].nb_steps


def test_the_same_configuration_in_another_process():
    """Nothing hangs on the order of sets, the time, or what ran before."""
    script = (
        "import sys, torch; torch.set_num_threads(1); sys.path.insert(0, sys.argv[1])\n"
        "from test_determinism import train\n"
        "weights, table, _ = train(eval_interval=100, seed=7)\n"
        "torch.save(weights, 'weights.pt'); table.to_csv('table.csv', index=False)\n"
    )
    Path("other").mkdir()
    subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[1] / "support")],
        cwd="other",
        check=True,
        capture_output=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    here = train(eval_interval=100, seed=7)
    assert_same(here, (torch.load("other/weights.pt", weights_only=True),), metrics=False)
    here[1].to_csv("table.csv", index=False)
    assert Path("table.csv").read_bytes() == Path("other/table.csv").read_bytes()


def test_another_seed_is_another_run():
    first, second = train(seed=1), train(seed=2)
    assert not any(
        torch.equal(weight, second[0][0][name])
        for name, weight in first[0][0].items()
        if "weight" in name
    )


@pytest.mark.wide(4)
@pytest.mark.parametrize("eval_policy", ["greedy", "stochastic"])
@pytest.mark.parametrize("eval_interval", [0, 100])
@pytest.mark.parametrize("env_name", ["Chance", "Sampling", "CartPole-v1"])
def test_evaluations_change_nothing_in_training(env_name, eval_interval, eval_policy):
    """None, some, many, with and without chance: training is the same to the bit."""
    without = train(env_name)
    with_them = train(env_name, eval_interval=eval_interval, eval_policy=eval_policy, nb_evals=3)
    assert with_them[2].eval_rewards
    assert_same(training_metrics(without), training_metrics(with_them))


def use_global_streams(_algo):
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002 - the global stream is what this is about
    random.random()


def reseed_global_streams(_algo):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


def act_and_evaluate(algo):
    algo.evaluate_policy(algo.train_policy, 2)
    workspace = Workspace()
    workspace.set("env/env_obs", 0, torch.zeros(1, 3))
    algo.train_policy(workspace, t=0, stochastic=True)


@pytest.mark.parametrize("between", [use_global_streams, reseed_global_streams, act_and_evaluate])
def test_other_users_of_chance_change_nothing(between):
    """torch's, NumPy's and Python's global streams belong to everybody, hence not to training."""
    # Of further evaluations each has a stream of its own, so that later ones see other episodes.
    assert_same(training_metrics(train()), training_metrics(train(between=between)))


def test_training_leaves_the_global_streams_alone():
    """After the constructor, which seeds torch for agents that students build, as upstream does."""
    algo = PPOClip(config("Chance", eval_interval=10))
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    run(algo)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    assert random.getstate() == state[2]
    algo.close()


def test_agents_that_students_build_are_seeded():
    """After `EpisodicAlgo.__init__`, as upstream: the same weights each time."""
    weights = []
    for _ in range(2):
        EpisodicAlgo(config("Chance"))
        weights.append(torch.nn.Linear(3, 3).weight)
    assert torch.equal(*weights)


def test_two_algorithms_side_by_side_do_not_disturb_each_other():
    """Their iterations interleaved give what each gives alone."""
    alone = train()
    algos = [PPOClip(config("Chance", max_epochs=5)) for _ in range(2)]
    for rows in zip(*(algo.iter_partial_episodes(17) for algo in algos), strict=True):
        for algo, workspace in zip(algos, rows, strict=True):
            algo.update(algo.record(workspace))
    for algo in algos:
        assert_same(
            alone, ([algo.train_policy.state_dict(), algo.critic_agent.state_dict()],), False
        )
        algo.close()


class Shared(Chance):
    """Draws from the generators that everything in a process shares."""

    def observe(self):
        drawn = [random.random(), np.random.rand(), float(torch.rand(()))]  # noqa: NPY002 - the one that is shared
        return np.array(drawn, np.float32)


@pytest.fixture
def shared():
    gym.register("Shared-v0", Shared)
    yield "Shared-v0"
    del gym.registry["Shared-v0"]


def test_draws_that_no_seed_reaches_are_told_of_once(shared):
    algo = PPOClip(config("Chance") | {"gym_env": {"env_name": shared}})
    told = "Shared-v0 draws from np.random and Python's random, which no seed of the run reaches"
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        run(algo)
    found = [str(one.message) for one in heard if told in str(one.message)]
    assert len(found) <= 4  # a first reset and a first step, in training and in evaluation
    assert found
    algo.close()


def test_processes_of_environments_seed_what_only_they_share(shared):
    """Forked from one process, they would all draw the same, and something else in each run."""
    rows = []
    for _ in range(2):
        env = EnvAgent(shared, 2 * available_cores(), vectorization="async").seed(3)
        workspace = Workspace()
        env(workspace, t=0)
        rows.append(workspace.get("env/env_obs", 0))
        env.close()
    assert torch.equal(*rows)
    assert all(len(column.unique()) == len(column) for column in rows[0].T)
