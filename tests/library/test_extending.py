"""The examples of docs/extending.md do what the page says."""

import re
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env
from probe_envs import config, fresh_log

import ppo_bbrl
from ppo_bbrl import PPOClip, run, seeded
from ppo_bbrl.agents import HeadPolicy
from ppo_bbrl.envs.spaces import check_supported
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.plots import read_metrics

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def examples():
    """Everything that the page's blocks define."""
    names = {"__name__": "extending"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_a_loss_of_ones_own(examples):
    """Its weight decides how far the policy goes, and its metric is logged."""
    distances = []
    for weight in (0.0, 100.0):
        fresh_log()
        cfg = config("Logged", max_epochs=8, opt_epochs=10)
        cfg["optimizer"]["lr"] = 1e-2
        cfg["base_dir"] = f"run{weight:.0f}"
        kind = examples["NearUniform"]
        kind.weight = weight
        algo = kind(cfg)
        run(algo)
        algo.close()
        distances.append(read_metrics(algo.base_dir)["distance_to_uniform"].iloc[-1])
    assert distances[1] < distances[0] / 3


def test_an_intrinsic_reward(examples):
    """Paid once where it was never before, less each time; logged returns are the environment's."""
    fresh_log()
    how = {"discount_factor": 0.0, "gae": 0.0, "recompute_advantage": True}
    algo = examples["Curious"](config("Logged", **how))
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        valid = ~workspace["env/done"][:-1]
        cells = algo.counts.cell(workspace["env/env_obs"][1:])
        bonus = 0.1 / algo.counts.visits[cells].sqrt()
        expected = (workspace["env/reward"][1:] + bonus)[valid]
        torch.testing.assert_close(rollout.returns, expected)
        before = algo.counts.visits.clone()
        algo.update(rollout)
        assert torch.equal(algo.counts.visits, before)
    assert algo.counts.visits.sum() == 3 * 16 * 4
    state = algo.state_dict()
    algo.close()
    again = examples["Curious"](config("Logged", **how))
    again.load_state_dict(state)
    assert torch.equal(again.counts.visits, algo.counts.visits)
    again.close()
    assert issubclass(examples["Curious"], PPOClip)


def test_a_network_of_ones_own(examples):
    """It learns in both agents; the seed decides its weights."""
    cfg, made = config("Logged", max_epochs=2), []
    for _ in range(2):
        with seeded(cfg):
            made.append(examples["residual_agents"](2, 3, width=8))
    first, second = (agents["train_policy"].state_dict() for agents in made)
    assert all(torch.equal(first[name], second[name]) for name in first)
    algo = PPOClip(cfg, **made[0])
    run(algo)
    for name in ("train_policy", "critic_agent"):
        now, before = (getattr(algo, name), made[1][name])
        pairs = zip(now.parameters(), before.parameters(), strict=True)
        assert not any(torch.equal(one, other) for one, other in pairs)


class Budget(gym.Env):
    """A sign says which of three goods is worth something; the reward is its share."""

    observation_space = Discrete(3)
    action_space = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.wanted = 0, int(self.np_random.integers(3))
        return self.wanted, {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t, reward = self.t + 1, float(action[self.wanted])
        self.wanted = int(self.np_random.integers(3))
        return self.wanted, reward, self.t == 8, False, {}


@pytest.fixture
def budget(examples, monkeypatch):
    monkeypatch.setattr(Budget, "action_space", examples["Shares"](3))
    gym.register("Budget-v0", Budget, disable_env_checker=True)
    yield
    del gym.registry["Budget-v0"]


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_an_action_space_of_ones_own(memory):
    """Its actions are in the space, learned, saved and opened again; with memory, too."""
    how = {"max_epochs": 20 if memory == "none" else 1, "nb_evals": 1, "opt_epochs": 8}
    cfg = config("Budget-v0", **how)
    cfg["algorithm"]["architecture"] |= {"memory": memory}
    if memory != "none":
        cfg["algorithm"]["architecture"]["memory_size"] = 8
    cfg["optimizer"]["lr"], cfg["compute"] = 3e-2, {"compile": "never"}
    algo = PPOClip(cfg)
    run(algo)
    assert isinstance(getattr(algo.train_policy, "head", None), torch.nn.Module)
    policy = ppo_bbrl.load(algo.base_dir, which="last")
    for wanted in range(3):
        policy.reset()
        shares = policy.predict(wanted)
        assert policy.action_space.contains(shares)
        assert memory == "gru" or shares[wanted] > 0.45  # at first a third
    assert policy.predict([0, 1, 2, 0]).shape == (4, 3)


@pytest.mark.usefixtures("budget")
def test_what_a_space_of_ones_own_cannot_do(examples):
    """Each in one line, before the run."""
    shares = examples["Shares"](3)
    assert isinstance(
        PPOClip(config("Budget-v0", policy_type="HeadPolicy")).train_policy, HeadPolicy
    )
    for wrong, told in (
        ({"policy_type": "GaussianPolicy"}, "needs HeadPolicy"),
        ({"use_sde": True}, "algorithm.use_sde"),
        ({"squash_actions": True}, "algorithm.squash_actions"),
    ):
        with pytest.raises(ConfigError, match=told) as error:
            PPOClip(config("Budget-v0", **wrong))
        assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match=r"its part a, .* is not supported"):
        check_supported("x", Box(-1, 1, (2,), np.float32), Dict(a=shares))


def test_an_environment_of_ones_own(tmp_path, monkeypatch):
    """In a module of its own, which the name imports, by other processes too."""
    (code,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        if "class Thermostat" in block
    )
    (tmp_path / "thermostat.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    gym.registry.pop("Thermostat-v0", None)  # of the fixture
    cfg = config("thermostat:Thermostat-v0", n_envs=2, nb_evals=2)
    cfg["gym_env"]["vectorization"] = "async"
    algo = PPOClip(cfg)
    run(algo)
    assert algo.nb_steps == 96 - 2 * 2
    algo.visualize_best()
    assert list(Path(algo.base_dir).glob("video/*.mp4"))
    check_env(gym.make("Thermostat-v0").unwrapped, skip_render_check=True)
    del gym.registry["Thermostat-v0"]
