"""Keys that do nothing as the others are, or that the action space does not allow."""

import warnings

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from space_envs import ACTIONS, space_config

from ppo_bbrl import ConfigError, PPOClip

IDLE = {
    "sde_sample_freq": ({"sde_sample_freq": 4}, {"use_sde": True}),
    "architecture.shared_memory": (
        {"architecture": {"shared_memory": True}},
        {"architecture": {"shared_memory": True, "memory": "gru"}},
    ),
    "global_grad_norm": (
        {"global_grad_norm": True, "max_grad_norm": None},
        {"max_grad_norm": 0.5},
    ),
}


@pytest.mark.parametrize("key", IDLE)
def test_a_key_without_effect_is_told_of(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone, used = IDLE[key]
    with pytest.warns(UserWarning, match=rf"algorithm\.{key} has no effect, since algorithm\."):
        PPOClip(space_config("vector", "box", **alone)).close()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "algorithm.*has no effect")
        PPOClip(space_config("vector", "box", **alone | used)).close()


WITHOUT_BOUNDS = {
    "both": Box(-np.inf, np.inf, (2,), np.float32),
    "one": Box(0, np.inf, (1,), np.float32),
    "part": Dict(d=Discrete(2), b=Box(-np.inf, np.inf, (2,), np.float32)),
}


@pytest.mark.parametrize("kind", WITHOUT_BOUNDS)
def test_actions_without_bounds_are_not_squashed(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ACTIONS, kind, WITHOUT_BOUNDS[kind])
    with pytest.raises(ConfigError, match=r"algorithm\.squash_actions = true: must be false"):
        PPOClip(space_config("vector", kind, squash_actions=True))


def test_weights_of_nothing_are_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing = {"policy_coef": 0, "critic_coef": 0, "entropy_coef": 0}
    with pytest.warns(UserWarning, match="nothing is learned but by losses of your own"):
        PPOClip(space_config("vector", "box", **nothing)).close()
