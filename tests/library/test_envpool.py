"""EnvPool behind the agent: with a module that stands for it, and with EnvPool where it is."""

import sys
from collections import namedtuple
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.envpool import EnvPoolVectorEnv, time_limit
from ppo_bbrl.envs.vector import longest_episode
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.ppo import PPOClip, run
from ppo_bbrl.workspace.table import Workspace

# ------------------------------------------------------------------------------- what stands for it

Config = namedtuple("Config", "num_envs seed length max_episode_steps max_num_players")
Config.__new__.__defaults__ = (1, 42, 3, 100, 1)  # of EnvPool's seed too
TASKS = Path("/proc/self/task")  # the threads of this process
LIMITS = {"Counter-v0": 100, "Endless-v0": 2**31 - 1, "OwnLimits-v0": 0}


class FakePool:
    """Shows [seed, episode, step], ends after `length` steps, and resets as EnvPool does."""

    action_space = Discrete(3)

    def __init__(self, config):
        self.config = config._asdict()
        self.n = config.num_envs
        self.episode = np.zeros(self.n)
        self.t = np.zeros(self.n)
        self.ended = np.zeros(self.n, bool)

    @cached_property
    def observation_space(self):
        low = np.full(3, -1.1)  # warns, as EnvPool's own do
        return Box(low, np.full(3, np.inf), (3,), np.float32)

    def reset(self):
        assert self.observation_space is not None  # is made here if it was not before
        self.episode += 1
        self.t[:] = 0
        self.ended[:] = False
        return self.see(), {}

    def step(self, action):
        assert action.dtype == np.int32
        assert action.shape == (self.n,)
        new = self.ended.copy()
        self.episode[new] += 1
        self.t = np.where(new, 0, self.t + 1)
        truncated = ~new & (self.t >= self.config["max_episode_steps"])
        done = ~new & (self.t >= self.config["length"])
        self.ended = done | truncated
        reward = np.where(new, 0, action).astype(np.float32)
        return self.see(), reward, done & ~truncated, truncated, {}

    def see(self):
        seeds = self.config["seed"] + np.arange(self.n)
        return np.stack((seeds, self.episode, self.t), 1).astype(np.float32)


@pytest.fixture
def fake(monkeypatch):
    """Puts the module in EnvPool's place; lists the pools that it made."""

    def configured(task_id, **kwargs):
        return Config(**{"max_episode_steps": LIMITS[task_id], **kwargs})

    def make(task_id, *, env_type, **kwargs):
        assert env_type == "gymnasium"
        made.append(configured(task_id, **kwargs))
        return FakePool(made[-1])

    def make_spec(task_id, **kwargs):
        return SimpleNamespace(config=configured(task_id, **kwargs))

    made = []
    module = SimpleNamespace(make=make, make_spec=make_spec, list_all_envs=lambda: list(LIMITS))
    monkeypatch.setitem(sys.modules, "envpool", module)
    return made


@pytest.fixture
def real():
    """EnvPool itself."""
    reason = "EnvPool is not installed: pip install 'ppo-bbrl[envpool]'"
    return pytest.importorskip("envpool", reason=reason, exc_type=ImportError)


@pytest.fixture
def make():
    """Makes agents that are closed in the end."""
    made = []

    def make(name="Counter-v0", n=2, **kwargs):
        made.append(EnvAgent(name, n, vectorization="envpool", **kwargs))
        return made[-1]

    yield make
    for env in made:
        env.close()


def play(env, actions):
    """Run an agent on given actions, `[T, B]`; the variables without env/."""
    workspace = Workspace()
    env(workspace, t=0)
    for t, row in enumerate(actions):
        workspace.set("action", t, row)
        env(workspace, t=t + 1)
    names = [name for name in workspace.keys() if name != "action"]  # noqa: SIM118
    return {name.removeprefix("env/"): workspace[name] for name in names}


def ones(steps, n=2):
    return [torch.ones(n, dtype=torch.int64)] * steps


def config(name, **algorithm):
    algorithm = {"n_envs": 4, "n_steps": 16, "max_epochs": 3, "nb_evals": 3, **algorithm}
    return {
        "gym_env": {"env_name": name, "vectorization": "envpool"},
        "algorithm": {"eval_interval": 64, **algorithm},
        "compute": {"compile": "never", "threads": 1},
    }


def one_line(action):
    with pytest.raises(ConfigError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


# --------------------------------------------------------------------------------- its rows (fake)


@pytest.mark.usefixtures("fake")
def test_rows_at_the_end_of_an_episode(make):
    """The final observation has its row, the reset one the next, and that earns nothing."""
    rows = play(make(), ones(9))
    assert (
        rows["env_obs"][:, 1, 1:].tolist()
        == [[episode, t] for episode in (1, 2, 3) for t in range(4)][:10]
    )
    assert rows["terminated"][:, 0].int().tolist() == [0, 0, 0, 1] * 2 + [0, 0]
    assert not rows["truncated"].any()
    assert rows["reward"][:, 0].tolist() == [0, 1, 1, 1] * 2 + [0, 1]
    assert rows["timestep"][:, 0].tolist() == [0, 1, 2, 3] * 2 + [0, 1]
    assert rows["cumulated_reward"][:, 0].tolist() == [0, 1, 2, 3] * 2 + [0, 1]


@pytest.mark.usefixtures("fake")
def test_a_time_limit_truncates(make):
    rows = play(make(env_args={"max_episode_steps": 2}), ones(5))
    assert rows["truncated"][:, 0].int().tolist() == [0, 0, 1, 0, 0, 1]
    assert not rows["terminated"].any()


@pytest.mark.usefixtures("fake")
def test_without_autoreset_the_last_row_is_repeated(make):
    env = make(autoreset=False)
    rows = play(env, ones(6))
    assert rows["env_obs"][:, 0, 1:].tolist() == [[1, min(t, 3)] for t in range(7)]
    assert rows["reward"][:, 0].tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert rows["terminated"][:, 0].int().tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert env.all_done()


@pytest.mark.usefixtures("fake")
def test_types_and_spaces():
    envs = EnvPoolVectorEnv("Counter-v0", 4, {})
    assert isinstance(envs, VectorEnv)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    assert envs.single_observation_space.shape == (3,)
    assert envs.observation_space.shape == (4, 3)
    assert envs.action_space.shape == (4,)
    envs.reset(seed=0)
    _, _, terminated, truncated, _ = envs.step(np.ones(4, np.int64))
    assert terminated.dtype == truncated.dtype == bool
    envs.close()
    envs.close()  # twice does no harm


def test_a_seeded_reset_makes_the_pool_anew(fake):
    """EnvPool takes a seed when it is made, and no other way."""
    envs = EnvPoolVectorEnv("Counter-v0", 2, {"length": 5})
    for _ in range(2):
        observation, _ = envs.reset(seed=7)
        assert observation.tolist() == [[7, 1, 0], [8, 1, 0]]
    assert envs.reset()[0].tolist() == [[7, 2, 0], [8, 2, 0]]
    assert [(made.num_envs, made.length) for made in fake] == [(2, 5)] * 3


def test_without_a_seed_chance_decides(fake):
    """EnvPool's own default is always the same."""
    for _ in range(3):
        EnvPoolVectorEnv("Counter-v0", 2, {})
    assert len({made.seed for made in fake}) == 3


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**31 - 2])
def test_every_environment_has_a_seed_of_32_bits(fake, seed):
    EnvPoolVectorEnv("Counter-v0", 1000, {}).reset(seed=seed)
    assert 0 <= fake[-1].seed <= 2**31 - 1 - 1000


@pytest.mark.parametrize(
    ("name", "limit", "expected"),
    [
        ("Counter-v0", None, 100),
        ("Counter-v0", 7, 7),
        ("Counter-v0", -1, None),  # for EnvPool, every step would be too late
        ("Endless-v0", None, None),
        ("OwnLimits-v0", None, None),
    ],
)
def test_time_limits(fake, name, limit, expected):
    env_args = {} if limit is None else {"max_episode_steps": limit}
    assert time_limit(name, env_args) == expected
    cfg = config(name)
    cfg["gym_env"]["env_args"] = env_args
    assert longest_episode(load_config(cfg)) == (expected or 10_000)
    EnvPoolVectorEnv(name, 1, env_args)
    assert fake[-1].max_episode_steps == (LIMITS[name] if limit is None else expected or 2**31 - 1)


@pytest.mark.usefixtures("fake")
def test_it_trains():
    """A task that Gymnasium does not know."""
    assert "Counter-v0" not in gym.registry
    algo = PPOClip(config("Counter-v0"))
    run(algo)
    assert algo.nb_steps > 0
    assert 0 <= algo.best_reward <= 6
    algo.close()


# ------------------------------------------------------------------------- what it refuses (fake)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)  # as if it was not there
    told = one_line(lambda: EnvAgent("CartPole-v1", 2, vectorization="envpool"))
    assert told == (
        "gym_env.vectorization = envpool: EnvPool is not installed "
        "(pip install 'ppo-bbrl[envpool]')"
    )
    assert one_line(lambda: PPOClip(config("CartPole-v1"))) == told


def test_a_package_that_does_not_import(monkeypatch, tmp_path):
    """One that was built for another NumPy."""
    (tmp_path / "envpool.py").write_text("raise AttributeError('`np.bool8`\\nwas removed')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "envpool", raising=False)
    told = one_line(lambda: EnvAgent("CartPole-v1", 2, vectorization="envpool"))
    assert told.endswith("EnvPool cannot be imported: `np.bool8` was removed")


@pytest.mark.usefixtures("fake")
def test_a_task_that_it_does_not_have():
    told = one_line(lambda: EnvAgent("CartPole-v1", 2, vectorization="envpool"))
    assert told == "gym_env.env_name = 'CartPole-v1': EnvPool has no such task"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", ["seed", "num_envs", "batch_size"])
def test_arguments_that_are_not_the_tasks(name):
    told = one_line(lambda: EnvPoolVectorEnv("Counter-v0", 2, {name: 1}))
    assert told.startswith(f"gym_env.env_args.{name}: ")


@pytest.mark.usefixtures("fake")
def test_arguments_that_the_task_refuses():
    for action in (EnvPoolVectorEnv, lambda name, _, args: time_limit(name, args)):
        told = one_line(lambda action=action: action("Counter-v0", 2, {"colour": "blue"}))
        assert "with gym_env.env_args = {'colour': 'blue'} cannot be made by EnvPool: " in told


@pytest.mark.usefixtures("fake")
def test_games_of_several_players(monkeypatch):
    monkeypatch.setattr(Config.__new__, "__defaults__", (1, 42, 3, 100, 2))
    told = one_line(lambda: EnvPoolVectorEnv("Counter-v0", 2, {}))
    assert told.endswith("has 2 players; must be a task for one")


@pytest.mark.usefixtures("fake")
def test_wrappers():
    """Gymnasium's are for one environment, of which there is none in Python."""
    make = {"vectorization": "envpool", "wrappers": [gym.wrappers.NormalizeReward]}
    assert "take no wrappers" in one_line(lambda: EnvAgent("Counter-v0", 2, **make))


# ---------------------------------------------------------------------------------- EnvPool itself


@pytest.mark.usefixtures("real")
def test_its_rows_at_the_end_of_an_episode(make):
    """By a fall and by the time limit."""
    env = make("CartPole-v1", env_args={"max_episode_steps": 12}).seed(3)
    rows = play(env, [torch.tensor([1, t % 2]) for t in range(30)])
    end = int(rows["done"][:, 0].int().argmax())
    assert 5 < end < 12
    assert rows["terminated"][end, 0]
    assert not rows["truncated"][end, 0]
    assert rows["truncated"][12, 1]
    assert not rows["terminated"][12, 1]
    for b, last in enumerate((end, 12)):
        assert rows["cumulated_reward"][last, b] == last
        assert rows["env_obs"][last + 1, b].abs().max() <= 0.05  # where episodes start
        assert not rows["done"][last + 1, b]
        assert rows["reward"][last : last + 3, b].tolist() == [1, 0, 1]
        assert rows["timestep"][last + 1 : last + 3, b].tolist() == [0, 1]


@pytest.mark.usefixtures("real")
def test_its_seeds(make):
    """The same rows for the same seed, others for another, and no start twice."""
    one, two, other = (make("CartPole-v1", 3).seed(seed) for seed in (0, 0, 1))
    starts = []
    for _ in range(3):
        expected = play(one, ones(25, 3))["env_obs"]
        assert torch.equal(play(two, ones(25, 3))["env_obs"], expected)
        starts.append(expected[0])
    assert len(torch.cat(starts).unique(dim=0)) == 9
    assert not torch.equal(play(other, ones(25, 3))["env_obs"], expected)
    one.seed(0)
    assert torch.equal(play(one, ones(1, 3))["env_obs"][0], starts[0])


@pytest.mark.usefixtures("real")
def test_its_rows_are_in_order():
    """Whichever thread is first: row i is the environment of seed + i."""
    envs = EnvPoolVectorEnv("CartPole-v1", 8, {"num_threads": 2})
    alone = [EnvPoolVectorEnv("CartPole-v1", 1, {}) for _ in range(8)]
    observation, _ = envs.reset(seed=5)
    singles = [env.reset(seed=5 + i)[0] for i, env in enumerate(alone)]
    assert (observation == np.concatenate(singles)).all()
    for _ in range(30):
        observation = envs.step(np.ones(8, np.int64))[0]
        singles = [env.step(np.ones(1, np.int64))[0] for env in alone]
        assert (observation == np.concatenate(singles)).all()


@pytest.mark.usefixtures("real")
def test_its_rows_are_copies():
    envs = EnvPoolVectorEnv("CartPole-v1", 2, {})
    before, _ = envs.reset(seed=0)
    kept = before.copy()
    for _ in range(5):
        envs.step(np.ones(2, np.int64))
    assert (before == kept).all()


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize(
    ("name", "observation", "actions"),
    [
        ("Pendulum-v1", torch.float32, torch.full((2, 1), 9.0)),
        ("FrozenLake-v1", torch.int64, torch.ones(2, dtype=torch.int64)),
    ],
)
def test_its_kinds_of_spaces(make, name, observation, actions):
    rows = play(make(name).seed(0), [actions] * 5)
    assert rows["env_obs"].dtype == observation
    assert rows["terminated"].dtype == rows["truncated"].dtype == torch.bool
    assert rows["reward"].isfinite().all()


@pytest.mark.usefixtures("real")
def test_it_knows_the_rules_of_cartpole(make):
    """Without autoreset, beside Gymnasium's: pushed to one side, the pole falls alike."""
    theirs = EnvAgent("CartPole-v1", 50, autoreset=False).seed(0)
    ends = []
    for env in (theirs, make("CartPole-v1", 50, autoreset=False).seed(0)):
        rows = play(env, ones(15, 50))
        assert env.all_done()
        ends.append(rows["cumulated_reward"][-1].mean())
    theirs.close()
    assert abs(ends[0] - ends[1]) < 0.6
    assert 8 < ends[1] < 11


@pytest.mark.usefixtures("real")
def test_it_says_what_is_wrong():
    told = one_line(lambda: EnvPoolVectorEnv("CartPole-v1", 2, {"colour": "blue"}))
    assert "colour" in told
    told = one_line(lambda: EnvPoolVectorEnv("CartPole-v1", 2, {"reward_threshold": "high"}))
    assert len(told) < 500
    assert "no such task" in one_line(lambda: EnvPoolVectorEnv("CartPole-v9", 2, {}))


@pytest.mark.usefixtures("real")
@pytest.mark.skipif(not TASKS.is_dir(), reason="counts threads as Linux does")
def test_its_threads_end_with_it():
    before = len(list(TASKS.iterdir()))
    envs = EnvPoolVectorEnv("CartPole-v1", 2, {"num_threads": 2})
    for seed in range(3):
        envs.reset(seed=seed)
    assert len(list(TASKS.iterdir())) > before
    envs.close()
    assert len(list(TASKS.iterdir())) <= before


@pytest.mark.usefixtures("real")
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_ppo_trains_on_it(name):
    """Twice alike."""
    results = []
    for _ in range(2):
        algo = PPOClip(config(name, max_epochs=4))
        run(algo)
        weights = torch.cat([p.flatten() for p in algo.train_policy.parameters()])
        results.append((algo.best_reward, weights))
        algo.close()
    assert results[0][0] == results[1][0] > -2000
    assert torch.equal(results[0][1], results[1][1])
