"""A whole run of PPOClip: what it counts, logs, keeps, and what may be configured."""

import copy
import math
import multiprocessing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from probe_envs import config, fresh_log

from ppo_bbrl import (
    ConfigError,
    DiscretePolicy,
    GaussianPolicy,
    PPOClip,
    VAgent,
    iter_partial_episodes,
    run,
)
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.ppo import TrainingFailedError
from ppo_bbrl.runs.best_policy import load_policy, restore
from ppo_bbrl.runs.metrics import METRICS


@pytest.fixture(autouse=True)
def log():
    return fresh_log()


def trained(cfg, **options):
    algo = PPOClip(cfg, **options)
    run(algo)
    algo.close()
    return algo


# --------------------------------------------------------------------------------- the loop


def test_n_steps_means_transitions():
    """A rollout of `run` is n_steps transitions of each environment, as in SB3 and CleanRL.

    In an environment whose episodes never end, nb_steps is exactly the product.
    """
    cfg = config("Logged", n_envs=4, n_steps=16, max_epochs=5)
    cfg["gym_env"]["env_args"] = {"ends": False}
    cfg["algorithm"]["max_eval_steps"] = 10
    with pytest.warns(UserWarning, match="still running"):
        assert trained(cfg).nb_steps == 4 * 16 * 5


def test_run_evaluates_once_in_each_iteration():
    """After the update, and whether it is due is for `evaluate` to decide."""
    calls = []

    class Counting(PPOClip):
        def evaluate(self, force=False):
            calls.append((self.epoch, self.nb_steps))
            return super().evaluate(force)

    algo = Counting(config("Chance", max_epochs=5))
    run(algo)
    assert [epoch for epoch, _ in calls] == [0, 1, 2, 3, 4]
    assert calls[-1][1] == algo.nb_steps
    assert len(algo.eval_rewards) == 1, "with a huge eval_interval only the end is evaluated"
    algo.close()


def test_evaluations_come_after_more_than_eval_interval_steps():
    """As in bbrl: 64 steps in a rollout, an interval of 100 is over after each second one."""
    cfg = config("Logged", max_epochs=6, eval_interval=100)
    cfg["gym_env"]["env_args"] = {"ends": False}
    cfg["algorithm"]["max_eval_steps"] = 5
    with pytest.warns(UserWarning, match="still running"):
        algo = trained(cfg)
    assert len(algo.eval_rewards) == 3
    assert list(read_metrics(algo.base_dir).dropna(subset="reward/mean")["steps"]) == [
        128,
        256,
        384,
    ]


def test_the_best_policy_is_kept_as_it_was():
    """A copy of the weights at its evaluation, not the policy that goes on learning."""
    algo = PPOClip(config("ActionDecides", max_epochs=4))
    for workspace in iter_partial_episodes(algo, 17):
        algo.update(algo.record(workspace))
        if algo.epoch == 1:
            assert algo.evaluate(force=True)
            then = copy.deepcopy(algo.train_policy.state_dict())
    kept, now = algo.best_policy.state_dict(), algo.train_policy.state_dict()
    for name, weight in then.items():
        (key,) = [key for key in kept if key.endswith(name)]
        assert torch.equal(kept[key], weight)
        assert not torch.equal(now[name], weight)
    algo.close()


def test_the_best_is_replaced_by_its_equals_and_betters():
    """Of equals the latest has learned from more."""
    algo = PPOClip(config("ActionDecides"))
    assert algo.register_evaluation(torch.tensor([1.0, 3.0]))
    best = algo.best_policy
    assert not algo.register_evaluation(torch.tensor([1.9, 2.0]))
    assert algo.best_policy is best
    assert algo.best_reward == 2
    for returns in ([2.0, 2.0], [2.1]):
        assert algo.register_evaluation(torch.tensor(returns))
        assert algo.best_policy is not best
        best = algo.best_policy
    assert algo.best_reward == pytest.approx(2.1)
    algo.close()


@pytest.mark.parametrize("save_best", [False, True])
def test_save_best(save_best):
    """Written at each better evaluation or at the end; and it acts like what was kept."""
    cfg = config("ActionAndObservationDecide", eval_interval=10, max_epochs=4)
    cfg["save_best"] = save_best
    algo = PPOClip(cfg)
    algo.evaluate(force=True)
    assert algo.folder.best.exists() == save_best
    run(algo)
    algo.close()
    saved = load_policy(algo.folder.best)
    assert saved.reward == algo.best_reward
    other = PPOClip(saved.cfg)
    other.eval_policy = copy.deepcopy(other.eval_policy)
    restore(other.eval_policy, saved)
    obs = torch.tensor([[-1.0], [1.0]])
    expected = algo.best_policy.wrapped.dist(obs).probs
    assert torch.equal(other.eval_policy.wrapped.dist(obs).probs, expected)
    other.close()


def test_a_second_run_goes_on_from_the_first():
    """Calling `run` twice is training twice as long, not an error."""
    algo = PPOClip(config("Chance"))
    run(algo)
    weights, steps = copy.deepcopy(algo.train_policy.state_dict()), algo.nb_steps
    run(algo)
    assert algo.nb_steps > steps
    assert not all(torch.equal(weights[k], v) for k, v in algo.train_policy.state_dict().items())
    algo.close()


def test_the_loop_can_be_left_and_written_anew():
    """The parts of `run` are public: record, update, log, evaluate."""
    algo = PPOClip(config("Chance", max_epochs=50))
    for workspace in algo.iter_partial_episodes(17):
        report = algo.update(algo.record(workspace))
        algo.log(workspace, report, seconds=1.0, steps=64)
        if algo.nb_steps > 300:
            break
    assert algo.epoch < 10
    algo.close()
    assert len(read_metrics(algo.base_dir)) == algo.epoch + 1


def test_files_of_a_run():
    """All of one run lies together; the configuration there is complete and can be run again."""
    algo = trained(config("Chance", eval_interval=10))
    assert algo.base_dir == Path("outputs/run").absolute()
    names = ["best", "checkpoints", "config.yaml", "last", "metrics.csv"]
    assert sorted(path.name for path in algo.base_dir.iterdir()) == names
    saved = OmegaConf.load(algo.base_dir / "config.yaml")
    assert saved == algo.cfg
    assert load_config(algo.base_dir / "config.yaml") == algo.cfg


# ---------------------------------------------------------------------------------- metrics


# Of shared trunks, schedules and a KL target, of curiosity alone, of environments replaced.
ELSEWHERE = (
    "grad_norm/shared", "entropy_coef", "kl_penalty", "kl_divergence", "curiosity_loss",
    "curiosity_value_loss", "env_restarts",
)  # fmt: skip


def test_every_iteration_logs_every_metric():
    """And nothing that docs/metrics.md does not describe; steps are counted after collecting."""
    algo = trained(config("Chance", eval_interval=10, max_epochs=4))
    table = read_metrics(algo.base_dir)
    assert [*table.columns] == ["steps", *(name for name in METRICS if name not in ELSEWHERE)]
    assert len(table) == 4
    assert table["steps"].iloc[-1] == algo.nb_steps
    assert not table.isna().any().any()
    assert (table["critic_loss"] > 0).all()
    assert table["entropy_loss"].between(0, math.log(2) + 1e-6).all()
    assert (table["approx_kl"] >= -1e-7).all()
    assert table["clip_fraction"].between(0, 1).all()
    assert (table["explained_variance"] <= 1).all()
    assert (table["learning_rate"] == 1e-3).all()
    assert table["clip_range"].tolist() == pytest.approx([0.2] * 4)
    assert (table["episode/length"] == 4).all()


def test_metrics_of_some_runs_are_columns_of_these():
    """From the first row on, in the place that they have in the documents."""
    how = {"curiosity": "rnd", "kl_penalty": 0.1, "entropy_schedule": "linear", "entropy_coef": 0.1}
    table = read_metrics(trained(config("Chance", max_epochs=2, **how)).base_dir)
    assert [*table.columns] == [
        "steps",
        *(one for one in METRICS if one not in {"grad_norm/shared", "env_restarts"}),
    ]
    more = ["entropy_coef", "kl_penalty", "kl_divergence", "curiosity_loss"]
    assert not table[more].isna().any().any()


def test_episode_metrics_are_those_of_the_environments(log):
    """Each ended episode counts once: not again when its last row is carried over."""
    algo = trained(config("Logged", n_envs=3, n_steps=9, max_epochs=8))
    table = read_metrics(algo.base_dir).dropna(subset="episode/return")
    seen, at = [], 0
    assert len(log.returns) > 20
    fresh_log()
    again = PPOClip(config("Logged", n_envs=3, n_steps=9, max_epochs=8))
    for workspace in iter_partial_episodes(again, 10):
        ended = log.returns[at:]
        at = len(log.returns)
        if ended:
            seen.append(np.mean(ended))
        again.update(again.record(workspace))
    again.close()
    assert table["episode/return"].tolist() == pytest.approx(seen, abs=1e-5)


def test_a_rollout_without_an_ended_episode_has_no_episode_metrics():
    """An empty cell, and no NaN in TensorBoard."""
    cfg = config("Logged")
    cfg["gym_env"]["env_args"] = {"ends": False}
    cfg["algorithm"]["max_eval_steps"] = 10
    with pytest.warns(UserWarning, match="still running"):
        algo = trained(cfg)
    lines = (algo.base_dir / "metrics.csv").read_text().splitlines()
    assert "nan" not in "".join(lines).lower()
    assert read_metrics(algo.base_dir)["episode/return"].isna().all()


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [(1 + math.cos(math.pi * x)) / 2 for x in (0, 0.25, 0.5, 0.75)]),
    ],
)
def test_schedules(schedule, factors):
    """Of the learning rate and of the clip ranges, over the whole run, as logged and as used."""
    rates = []

    class Watching(PPOClip):
        def update(self, rollout):
            report = super().update(rollout)
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in self._both()])
            return report

        def _both(self):
            return self.policy_optimizer, self.critic_optimizer

    algo = Watching(
        config(
            "Chance", max_epochs=4, learning_rate_schedule=schedule, clip_range_schedule=schedule
        )
    )
    run(algo)
    algo.close()
    table = read_metrics(algo.base_dir)
    assert table["learning_rate"].tolist() == pytest.approx([1e-3 * f for f in factors])
    assert table["clip_range"].tolist() == pytest.approx([0.2 * f for f in factors])
    for both, factor in zip(rates, factors, strict=True):
        assert both == pytest.approx([1e-3 * factor] * 2)


def test_the_clip_range_schedule_reaches_the_loss():
    """With a range of nearly 0 at the end, nearly every changed ratio is clipped there."""
    fractions = {}
    for schedule in ("constant", "linear"):
        cfg = config(
            "Chance", max_epochs=20, clip_range=0.05, opt_epochs=5, clip_range_schedule=schedule
        )
        cfg["base_dir"] = schedule
        table = read_metrics(trained(cfg).base_dir)
        fractions[schedule] = table["clip_fraction"].iloc[-1]
    assert fractions["linear"] > fractions["constant"]


# --------------------------------------------------------------------- environments and agents


@pytest.mark.parametrize(
    ("env_name", "policy", "sizes"),
    [
        ("CartPole-v1", DiscretePolicy, (4, 2)),
        ("Pendulum-v1", GaussianPolicy, (3, 1)),
        ("FrozenLake-v1", DiscretePolicy, (16, 4)),
        ("Pixels", DiscretePolicy, ((3, 8, 8), 2)),
        ("LoggedBox", GaussianPolicy, (2, 2)),
    ],
)
def test_observations_and_actions(env_name, policy, sizes):
    """Box of any shape, bytes, Discrete; and the policy that fits the actions."""
    algo = PPOClip(config(env_name, eval_interval=100, nb_evals=1))
    assert algo.train_env.get_obs_and_actions_sizes() == sizes
    assert type(algo.train_policy) is policy
    weights = copy.deepcopy(algo.train_policy.state_dict())
    run(algo)
    for name, weight in algo.train_policy.state_dict().items():
        assert weight.isfinite().all()
        assert not torch.equal(weight, weights[name]), name
    algo.close()


def test_the_policy_type_may_be_given():
    algo = PPOClip(config("Chance", policy_type="DiscretePolicy"))
    assert type(algo.train_policy) is DiscretePolicy
    algo.close()


def test_wrappers():
    """Applied in order to training, evaluation and replay alike."""

    class Double(gym.RewardWrapper):
        def reward(self, reward):
            return 2 * reward

    class PlusOne(gym.RewardWrapper):
        def reward(self, reward):
            return reward + 1

    algo = PPOClip(config("ConstantReward"), env_wrappers=[Double, PlusOne])
    workspace = next(algo.iter_partial_episodes(2))
    assert (workspace["env/reward"][1] == 3).all()
    algo.evaluate(force=True)
    assert algo.best_reward == 3
    algo.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_vectorization_changes_nothing(vectorization):
    """The same seeds, the same run; async in processes, of which none is left after close()."""
    reference = trained(config("Chance", eval_interval=100))
    cfg = config("Chance", eval_interval=100)
    cfg["gym_env"]["vectorization"] = vectorization
    algo = PPOClip(cfg)
    run(algo)
    workers = multiprocessing.active_children()
    assert bool(workers) == (vectorization == "async")
    algo.close()
    assert not multiprocessing.active_children()
    assert not any(worker.is_alive() for worker in workers)
    assert algo.best_reward == reference.best_reward
    for weight, other in zip(
        algo.train_policy.parameters(), reference.train_policy.parameters(), strict=True
    ):
        assert torch.equal(weight, other)


def test_cartpole_uses_gymnasiums_own_vectorised_environment():
    """Unless another way is chosen; the speed of the course notebook's task depends on it."""
    algo = PPOClip(config("CartPole-v1"))
    assert not isinstance(algo.train_env.envs, gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv)
    algo.close()
    cfg = config("CartPole-v1")
    cfg["gym_env"]["vectorization"] = "sync"
    algo = PPOClip(cfg)
    assert isinstance(algo.train_env.envs, gym.vector.SyncVectorEnv)
    algo.close()


def test_an_environment_of_an_own_module():
    """`module:Name-v0` imports the module first, as in Gymnasium."""
    Path("my_envs.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('Mine-v0', CartPoleEnv, max_episode_steps=7)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path.cwd())
        algo = PPOClip(config("my_envs:Mine-v0"))
        algo.evaluate(force=True)
        assert algo.best_reward == 7
        algo.close()


@pytest.mark.parametrize(
    "optimizer",
    [
        {"classname": "torch.optim.SGD", "lr": 0.1},
        {"classname": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9},
        {"classname": "torch.optim.Adam"},
        {"classname": "torch.optim.RMSprop", "lr": 1e-3, "alpha": 0.9},
    ],
)
def test_another_optimizer(optimizer):
    """It takes its own arguments, and its own defaults for what is left out."""
    cfg = config("Chance")
    cfg["optimizer"] = optimizer
    algo = trained(cfg)
    kind = optimizer["classname"].rpartition(".")[2]
    expected = getattr(torch.optim, kind)([torch.zeros(1, requires_grad=True)]).defaults
    expected |= {key: value for key, value in optimizer.items() if key != "classname"}
    for made in (algo.policy_optimizer, algo.critic_optimizer):
        assert type(made).__name__ == kind
        actual = made.param_groups[0]
        for key, value in expected.items():
            if key != "fused":
                assert actual[key] == value, key


def test_an_own_agent_keeps_its_prefix():
    """One that has none gets the package's."""
    policy = DiscretePolicy(3, [8], 2).with_prefix("mine/")
    algo = PPOClip(config("Chance"), train_policy=policy, critic_agent=VAgent(3, [8]))
    workspace = next(algo.iter_partial_episodes())
    algo.record(workspace)
    assert algo.train_policy is policy
    assert {"mine/logprob", "critic/v_values"} < set(workspace.variables)
    algo.close()


# ------------------------------------------------------------------------------ really learning


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cartpole_is_learned_in_100_000_steps(seed):
    """With the course notebook's parameters: a greedy mean of at least 475 over 20 new episodes."""
    algo = PPOClip(
        {
            "algorithm": {
                "seed": seed,
                "max_grad_norm": 0.5,
                "n_envs": 8,
                "n_steps": 32,
                "eval_interval": 1000,
                "nb_evals": 10,
                "gae": 0.8,
                "discount_factor": 0.98,
                "max_epochs": 390,
                "opt_epochs": 10,
                "batch_size": 256,
                "clip_range": 0.2,
                "entropy_coef": 2e-7,
                "architecture": {"actor_hidden_size": [64, 64], "critic_hidden_size": [64, 64]},
            },
            "gym_env": {"env_name": "CartPole-v1"},
            "optimizer": {"classname": "torch.optim.AdamW", "lr": 1e-3, "eps": 1e-5},
        }
    )
    run(algo)
    assert algo.nb_steps <= 100_000
    assert algo.evaluate_policy(algo.best_policy, 20).mean >= 475
    algo.close()


def test_an_agent_with_memory_is_refused():
    """The loss shows each decision as a single row, so that a memory would be lost in silence."""

    class Remembers(DiscretePolicy):
        has_memory = True

    with pytest.raises(ConfigError, match="Remembers has memory"):
        PPOClip(config("Logged"), train_policy=Remembers(1, [4], 2))


def test_observations_that_are_not_numbers_end_the_training():
    """One line that names the environment; the weights would be ruined without a word."""
    algo = PPOClip(config("Logged"))
    rollout = algo.record(next(algo.iter_partial_episodes(9)))
    rollout.variables["env/env_obs"][0] = torch.nan
    with pytest.raises(TrainingFailedError, match="Logged-v0"):
        algo.update(rollout)
    algo.close()


def test_the_constructor_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    PPOClip(config("Logged")).close()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_schedule_without_a_learning_rate_scales_the_default():
    cfg = config("Logged", learning_rate_schedule="linear", max_epochs=2)
    algo = PPOClip({**cfg, "optimizer": {"classname": "torch.optim.Adam"}})
    run(algo)
    assert algo.policy_optimizer.param_groups[0]["lr"] == pytest.approx(0.5e-3)
    algo.close()


def test_the_critic_gets_the_activation_and_the_clip_range_its_schedule():
    cfg = config("Logged", architecture={"activation": "tanh"})
    algo = PPOClip(cfg)
    assert algo.critic_agent.model.activation == "tanh"
    algo.close()


def test_the_two_networks_have_sizes_of_their_own():
    sizes = {"actor_hidden_size": [5, 7], "critic_hidden_size": [3]}
    algo = PPOClip(config("Chance", architecture=sizes))
    layers = [
        [layer.out_features for layer in agent.model if isinstance(layer, torch.nn.Linear)]
        for agent in (algo.train_policy, algo.critic_agent)
    ]
    assert layers == [[5, 7, 2], [3, 1]]
    algo.close()


def test_weights_do_not_move_the_stream_of_the_actions():
    """A larger network draws more weights; the noise of the actions stays the same."""
    noises = []
    for size in (4, 32):
        algo = PPOClip(config("Chance", architecture={"actor_hidden_size": [size]}))
        with algo.seeds.actions.active():
            noises.append(torch.rand(4))
        algo.close()
    assert torch.equal(*noises)


def test_the_greedy_policy_is_the_one_of_evaluations():
    """Its actions are the most likely ones, and it writes nothing else."""
    algo = PPOClip(config("LoggedBox"))
    workspace = next(algo.iter_partial_episodes(3))
    algo.eval_policy(workspace, t=1, stochastic=True, predict_proba=True, compute_entropy=True)
    mean = algo.train_policy.mean(workspace["env/env_obs"][1])
    assert torch.equal(workspace["action"][1], mean)
    assert "current_policy/entropy" not in workspace.variables
    algo.close()
