"""Masks of the parts of Dict and Tuple actions, and for models with a shared trunk."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from masked_envs import SEEN
from probe_envs import config
from torch import nn
from torch.distributions import Categorical

import ppo_bbrl
from ppo_bbrl import PPOClip, run, shared_agents
from ppo_bbrl.agents.base import MASK, evaluate_actions
from ppo_bbrl.agents.multi import CompositePolicy
from ppo_bbrl.distributions import masked
from ppo_bbrl.envs.faults import UnfitError
from ppo_bbrl.envs.masks import MaskReader
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError

FORCE = Box(-1, 1, (2,), np.float32)
KINDS = Discrete(4, start=1)
PAIR = MultiDiscrete([2, 3], start=[3, 3])
SPACES = {
    "dict": Dict(force=FORCE, kind=KINDS, pair=PAIR),
    "tuple": Tuple((FORCE, KINDS, Dict(flags=MultiBinary(2), pair=PAIR))),
}


class MaskedParts(gym.Env):
    """Random masks of 4, 2 and 3 values; it refuses forbidden ones. The reward is 1."""

    observation_space = SEEN
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, form="dict", flat=False, kind="mask", render_mode=None):
        self.form, self.flat, self.kind, self.render_mode = form, flat, kind, render_mode
        self.action_space = FORCE if form == "box" else SPACES[form]
        if kind == "method":
            self.action_masks = self._given

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._row()

    def step(self, action):
        assert self.action_space.contains(action)
        if self.form == "dict":
            kind, pair = action["kind"], action["pair"]
        else:
            kind, pair = action[1], action[2]["pair"]
        for mask, one in zip(self.masks, [kind - 1, *(pair - 3)], strict=True):
            assert mask[one], f"{action} is forbidden by {self.masks}"
        self.t += 1
        seen, info = self._row()
        return seen, 1.0, self.t == 4, False, info

    def render(self):
        return np.full((32, 32, 3), 9, np.uint8)

    def _row(self):
        self.masks = [np.zeros(size, np.int8) for size in (4, 2, 3)]
        for mask in self.masks:
            mask[self.np_random.integers(len(mask))] = 1
        info = {"action_mask": self._given()} if self.kind == "mask" else {}
        return np.zeros(2, np.float32), info

    def _given(self):
        kind, *pair = self.masks
        if self.form == "box":
            return [1, 1]
        if self.flat:
            return np.concatenate(self.masks)
        if self.form == "dict":
            return {"kind": kind, "pair": tuple(pair), "force": None}
        return (None, kind, {"pair": np.concatenate(pair)})


gym.register("MaskedParts-v0", MaskedParts, disable_env_checker=True)


def settings(env_args=None, **algorithm):
    cfg = config("MaskedParts-v0", **{"n_steps": 8, "max_epochs": 2, "nb_evals": 2} | algorithm)
    cfg["gym_env"]["env_args"] = env_args or {}
    return cfg


CASES = {
    "a dict": {"form": "dict"},
    "a tuple": {"form": "tuple"},
    "flat": {"form": "dict", "flat": True},
    "a method": {"form": "tuple", "kind": "method"},
}


@pytest.mark.wide(4)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_no_forbidden_part_is_ever_taken(case, memory):
    """In training, evaluation and videos, and by what was saved: the environment would fail."""
    architecture = {"actor_hidden_size": [8], "critic_hidden_size": [8], "memory": memory}
    algo = PPOClip(settings(CASES[case], architecture=architecture, entropy_coef=2.0))
    run(algo)
    assert algo.best_reward == 4
    mask, action = algo._workspace[MASK], algo._workspace["action"]
    assert mask.shape[-1] == 9
    assert mask[~algo._workspace["env/done"]].sum(-1).eq(3).all()
    assert action.isfinite().all()
    assert all(one.isfinite().all() for one in algo.train_policy.parameters())
    algo.record_best(max_steps=3)
    policy = ppo_bbrl.load(algo.base_dir, which="last")
    env = policy.make_env()
    seen, _ = env.reset(seed=2)
    for _ in range(4):
        env.step(policy.predict(seen, action_mask=env.unwrapped._given()))


def test_probabilities_of_parts_by_hand():
    """A part with one allowed value adds nothing to log-probability and entropy."""
    policy = CompositePolicy(2, [8], SPACES["dict"])
    obs = torch.randn(5, 2)
    free, forced = torch.ones(5, 9, dtype=torch.bool), torch.zeros(5, 9, dtype=torch.bool)
    forced[:, [1, 4, 8]] = True
    action = policy.act(obs, mask=forced)
    assert action[:, 2:].tolist() == [[1.0, 0.0, 2.0]] * 5  # force has two numbers
    variables = {"env/env_obs": obs, "action": action, MASK: forced}
    log_prob, entropy = evaluate_actions(policy, variables)
    force = policy.head.heads[0](policy.outputs(obs)[:, :2])
    torch.testing.assert_close((log_prob, entropy), force.evaluate(action[:, :2]))
    without = policy.evaluate_actions(obs, action)
    for one, other in zip(policy.evaluate_actions(obs, action, mask=free), without, strict=True):
        assert torch.equal(one, other)
    assert (without[1] > entropy + 1).all()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"kind": [1] * 4}, r"a dict of \['kind'\]; expected a dict of \['kind', 'pair'\]"),
        ({"kind": [1] * 4, "pair": [1] * 5, "more": 1}, "expected a dict of"),
        ({"kind": [1] * 5, "pair": [1] * 4}, r"expected 4 \+ 2 \+ 3 zeros and ones"),
        ([1] * 8, "zeros and ones"),
        ({"kind": [0] * 4, "pair": [1] * 5}, "forbids all 4 actions of component 0"),
        ({"kind": [1] * 4, "pair": [1, 1, 0, 0, 0]}, "forbids all 3 actions of component 2"),
    ],
)
def test_what_is_no_mask_of_parts(given, told):
    with pytest.raises(UnfitError, match=told):
        MaskReader(SPACES["dict"]).checked(given)


def test_masks_that_no_action_has_are_refused():
    """A method at construction; an info, which nobody knows sooner, in the first reset."""
    with pytest.raises(ConfigError, match=r"action_mask = 'auto': it gives masks .*action_masks"):
        PPOClip(settings({"form": "box", "kind": "method"}))
    algo = PPOClip(settings({"form": "box"}))
    with pytest.raises(EnvironmentFailedError, match="a reset: it gives masks of invalid") as error:
        run(algo)
    assert "\n" not in str(error.value)
    algo.close()


class Trunk(nn.Module):
    """Two heads on one layer."""

    def __init__(self):
        super().__init__()
        self.trunk, self.logits, self.value = nn.Linear(2, 8), nn.Linear(8, 5), nn.Linear(8, 1)

    def forward(self, obs):
        x = self.trunk(obs).tanh()
        return Categorical(logits=self.logits(x)), self.value(x).squeeze(-1)


class MaskedTrunk(Trunk):
    """It looks at masks."""

    def forward(self, obs, mask=None):
        x = self.trunk(obs).tanh()
        return Categorical(logits=masked(self.logits(x), mask)), self.value(x).squeeze(-1)


def trunk_settings():
    return config("Masked-v0", n_steps=8, max_epochs=2, nb_evals=2, entropy_coef=2.0)


def test_a_shared_model_gets_masks():
    """The environment refuses what they forbid; the mask that acted is the one that learns."""
    policy, critic = shared_agents(MaskedTrunk())
    algo = PPOClip(trunk_settings(), train_policy=policy, critic_agent=critic)
    for workspace in algo.iter_partial_episodes(9):
        transitions = algo.record(workspace)
        assert MASK in transitions.variables
        report = algo.update(transitions)
        assert report.metrics["approx_kl"].isfinite()
    assert all(one.isfinite().all() for one in algo.train_policy.parameters())
    algo.evaluate(force=True)
    assert algo.best_reward == 4
    algo.close()


def test_a_shared_model_that_takes_none_is_refused():
    policy, critic = shared_agents(Trunk())
    algo = PPOClip(trunk_settings(), train_policy=policy, critic_agent=critic)
    with pytest.raises(ConfigError, match=r"Trunk takes no mask .* forward\(obs, mask=None\)"):
        run(algo)
    algo.close()


def test_a_shared_trunk_of_the_package_has_masks():
    architecture = {"shared_trunk": True, "actor_hidden_size": [8], "critic_hidden_size": [8]}
    algo = PPOClip(config("Masked-v0", n_steps=8, nb_evals=2, architecture=architecture))
    run(algo)
    assert algo.best_reward == 4
