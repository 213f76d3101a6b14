"""An environment of any observation space and any action space: `Space-v0`.

Importing this module registers it. It refuses actions that are not in its action space, dtype
included. What is rewarded can be learned from any observation, by any action.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

#: by kind, spaces of observations
OBSERVATIONS: dict[str, Space[Any]] = {
    "vector": Box(-2, 2, (3,), np.float32),
    "integers": Box(-5, 5, (2, 3), np.int64),
    "discrete": Discrete(4, start=-1),
    "multi_discrete": MultiDiscrete([3, 2], start=[2, -1]),
    "multi_binary": MultiBinary((2, 2)),
    "dict": Dict(
        near=Box(-1, 1, (2,), np.float64),
        far=Dict(
            place=Discrete(3, start=1), flags=MultiBinary(2), map=Box(0, 255, (6, 5), np.uint8)
        ),
    ),
    "tuple": Tuple((Discrete(2), Tuple((Box(-1, 1, (), np.float32), MultiDiscrete([2, 2]))))),
    "image": Box(0, 255, (12, 10, 3), np.uint8),
}

#: further ones of the same kinds
MORE_OBSERVATIONS: dict[str, Space[Any]] = {
    "number": Box(-1, 1, (), np.float32),
    "float64": Box(-np.inf, np.inf, (2,), np.float64),
    "float16": Box(-1, 1, (2,), np.float16),
    "bool": Box(0, 1, (2, 2), np.bool_),
    "bytes": Box(0, 255, (4,), np.uint8),
    "multi_discrete_2d": MultiDiscrete([[2, 3], [4, 2]]),
    "grey": Box(0, 255, (9, 9), np.uint8),
    "stacked": Box(0, 255, (4, 40, 36), np.uint8),
    "stacked_colours": Box(0, 255, (2, 12, 12, 3), np.uint8),
    "dict_in_tuple": Tuple((Dict(a=Discrete(2), b=MultiBinary(3)), Box(0, 9, (2,), np.int16))),
}

#: by kind, spaces of actions
ACTIONS: dict[str, Space[Any]] = {
    "discrete": Discrete(3, start=2),
    "box": Box(-0.5, 1.5, (2,), np.float32),
    "unbounded": Box(-np.inf, np.inf, (1,), np.float32),
    "multi_discrete": MultiDiscrete([2, 3], start=[0, 5]),
    "multi_binary": MultiBinary(3),
    "dict": Dict(turn=Discrete(2, start=1), push=Box(-1, 1, (2,), np.float64), on=MultiBinary(2)),
    "tuple": Tuple((MultiDiscrete([2, 2]), Dict(a=Discrete(3), b=Box(0, 1, (1,), np.float32)))),
}

#: further ones of the same kinds
MORE_ACTIONS: dict[str, Space[Any]] = {
    "matrix": Box(-1, 1, (2, 2), np.float64),
    "half_bounded": Box(0, np.inf, (2,), np.float32),
    "multi_discrete_2d": MultiDiscrete([[2, 3], [4, 2]]),
    "multi_binary_2d": MultiBinary((2, 2)),
}


class SpaceEnv(gym.Env[Any, Any]):
    """Episodes of a few steps, each in one of two states, which the observation shows.

    Each part of an action that fits the state brings a part of the reward of 1: an index of 0 or
    1, flags of 0 or 1, numbers near -0.5 or 0.5.

    Args:
        observation: a key of OBSERVATIONS or MORE_OBSERVATIONS, or a space.
        action: a key of ACTIONS or MORE_ACTIONS, or a space.
        length: steps of an episode; every second one is truncated there, the others terminate.
        render_mode: rgb_array or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium

    def __init__(
        self,
        observation: str | Space[Any] = "vector",
        action: str | Space[Any] = "discrete",
        length: int = 5,
        render_mode: str | None = None,
    ) -> None:
        known = (OBSERVATIONS | MORE_OBSERVATIONS, ACTIONS | MORE_ACTIONS)
        self.observation_space, self.action_space = (
            kinds[one] if isinstance(one, str) else one
            for kinds, one in zip(known, (observation, action), strict=True)
        )
        self.length, self.render_mode = length, render_mode
        self.episode = self.t = self.state = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        reward = fit(self.action_space, action, self.state)
        self.t += 1
        over, odd = self.t >= self.length, self.episode % 2 == 1
        return self._observe(), reward, over and odd, over and not odd, {}

    def _observe(self) -> Any:
        self.state = int(self.np_random.integers(2))
        seen = shown(self.observation_space, self.state, self.np_random)
        assert self.observation_space.contains(seen)
        return seen

    def render(self) -> Any:
        """Blue in state 0, red in state 1; a white bar for the time."""
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 0 if self.state else 2] = 200
        frame[-8:, : 64 * self.t // self.length] = 255
        return frame


def shown(space: Space[Any], state: int, random: np.random.Generator) -> Any:
    """An observation of a space in which the state, 0 or 1, can be seen."""
    if isinstance(space, Dict):
        return {name: shown(one, state, random) for name, one in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(shown(one, state, random) for one in space.spaces)
    if isinstance(space, Discrete):
        return space.dtype.type(space.start + state)
    if isinstance(space, MultiDiscrete):
        seen = space.start + random.integers(0, space.nvec)
        seen.flat[0] = space.start.flat[0] + state
        return seen.astype(space.dtype)
    if isinstance(space, MultiBinary):
        flags = random.integers(0, 2, space.shape).astype(np.int8)
        flags.flat[0] = state
        return flags
    assert isinstance(space, Box)
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if space.dtype.kind == "f":
        low, high = np.maximum(low, -1), np.minimum(high, 1)
    noise = 0.1 * (high - low) * random.random(space.shape)
    return np.asarray(high - noise if state else low + noise).astype(space.dtype)


def fit(space: Space[Any], action: Any, state: int) -> float:
    """How well an action fits the state, from 0 to 1."""
    if isinstance(space, Dict):
        return _mean([fit(one, action[name], state) for name, one in space.spaces.items()])
    if isinstance(space, Tuple):
        pairs = zip(space.spaces, action, strict=True)
        return _mean([fit(one, part, state) for one, part in pairs])
    if isinstance(space, Box):
        return float(np.exp(-np.abs(np.asarray(action, np.float64) - (state - 0.5))).mean())
    return float(np.mean(np.asarray(action) - getattr(space, "start", 0) == state))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def space_config(
    observation: str, action: str, /, env_args: Mapping[str, Any] | None = None, **algorithm: Any
) -> dict[str, Any]:
    """A small configuration for a pair of kinds: two rollouts, no evaluation but the last."""
    base = {
        "seed": 3,
        "n_envs": 2,
        "n_steps": 8,
        "max_epochs": 2,
        "opt_epochs": 1,
        "batch_size": 8,
        "eval_interval": 10**9,
        "nb_evals": 2,
        "architecture": {"actor_hidden_size": [8], "critic_hidden_size": [8]},
    }
    kinds = {"observation": observation, "action": action}
    return {
        "base_dir": f"{observation}-{action}",
        "gym_env": {"env_name": "Space-v0", "env_args": kinds | dict(env_args or {})},
        "algorithm": base | algorithm,
        "optimizer": {"classname": "torch.optim.Adam", "lr": 1e-3},
        "compute": {"compile": "never"},
    }


gym.register("Space-v0", SpaceEnv, disable_env_checker=True)
