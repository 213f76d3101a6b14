"""Environments that take actions of every kind, and nothing that is no member of their space.

Importing this module registers `Takes-v0`, whose argument `kind` is a key of `ACTIONS`.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

ACTIONS: dict[str, Any] = {
    "Discrete": Discrete(3),
    "Discrete from 5": Discrete(3, start=5),
    "Box": Box(-0.5, 1.5, (2,), np.float32),
    "Box of one number": Box(-1, 1, (), np.float32),
    "Box of float64": Box(-0.1, 0.1, (2, 3), np.float64),
    "Box of float16": Box(-0.1, 0.1, (2,), np.float16),
    "Box without bounds": Box(-np.inf, np.inf, (2,), np.float32),
    "MultiDiscrete": MultiDiscrete([3, 2, 4]),
    "MultiDiscrete of two axes": MultiDiscrete([[2, 3], [4, 1]]),
    "MultiDiscrete from 1": MultiDiscrete([2, 3], start=[1, -7], dtype=np.int32),
    "MultiDiscrete of bytes": MultiDiscrete([2, 3], dtype=np.uint8),
    "MultiBinary": MultiBinary(4),
    "MultiBinary of two axes": MultiBinary([2, 3]),
    "Dict": Dict(turn=Discrete(3, start=-1), push=Box(-1, 2, (2,), np.float64)),
    "Tuple": Tuple((MultiBinary(2), MultiDiscrete([[2], [3]]), Box(-1, 1, (), np.float32))),
    "nested": Dict(
        arm=Tuple((Discrete(4), Box(-1, 1, (2, 2), np.float32))),
        hand=Dict(fingers=MultiBinary([2, 2]), grip=Discrete(2, start=1)),
    ),
}


def dtypes(space: Any, action: Any) -> list[Any]:
    """Of an action's parts, each beside the one of its space."""
    if isinstance(space, Dict):
        return [dtypes(space[name], action[name]) for name in space.spaces]
    if isinstance(space, Tuple):
        return [dtypes(part, own) for part, own in zip(space, action, strict=True)]
    return [action.dtype == space.dtype]


def check(space: Any, action: Any) -> None:
    """See that an action is a member of a space, of its type."""
    assert space.contains(action), f"{action!r} is not in {space}"
    assert "False" not in str(dtypes(space, action)), f"{action!r} has another type"


def numbers(action: Any) -> list[float]:
    """An action's numbers in the order of its space."""
    if isinstance(action, dict):
        return [number for part in action.values() for number in numbers(part)]
    if isinstance(action, tuple):
        return [number for part in action for number in numbers(part)]
    return [float(number) for number in np.ravel(action)]


class Takes(gym.Env[Any, Any]):
    """Five steps; the reward says how near an action is to a target of the space."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium

    def __init__(self, kind: str, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.action_space = ACTIONS[kind]
        self.observation_space = Box(-1, 1, (3,), np.float32)
        self.target = target(kind)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        check(self.action_space, action)
        self.t += 1
        error = np.abs(np.subtract(numbers(action), self.target))
        return self._seen(), -float(np.minimum(error, 1).mean()), self.t == 5, False, {}

    def render(self) -> Any:
        return np.full((32, 48, 3), self.t, np.uint8)

    def _seen(self) -> Any:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)


def target(kind: str) -> list[float]:
    """An action that is never the first one of its space, as numbers."""
    space = ACTIONS[kind]
    space.seed(4)
    return numbers(space.sample())


class TakesVector(VectorEnv[Any, Any, Any]):
    """The same task, vectorised."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - as in Gymnasium

    def __init__(self, kind: str, num_envs: int = 1) -> None:
        self.num_envs, self.single_action_space = num_envs, ACTIONS[kind]
        self.single_observation_space = Box(-1, 1, (3,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.t = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.t = 0
        return np.zeros((self.num_envs, 3), np.float32), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        assert self.action_space.contains(actions), f"{actions!r} is not in {self.action_space}"
        check_types = dtypes(self.single_action_space, actions)
        assert "False" not in str(check_types), f"{actions!r} has another type"
        self.t += 1
        ended = np.full(self.num_envs, self.t % 6 == 5)
        no = np.zeros(self.num_envs, np.bool_)
        return np.zeros((self.num_envs, 3), np.float32), np.ones(self.num_envs), ended, no, {}


gym.register(
    "Takes-v0",
    Takes,
    vector_entry_point=TakesVector,
    disable_env_checker=True,
    order_enforce=False,
)
