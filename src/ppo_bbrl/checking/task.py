"""The environment that is checked, and actions for it as PPO might take them."""

import traceback
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from numpy.typing import NDArray

from ppo_bbrl.envs.masks import Mask, MaskReader, sizes_of

Env = gym.Env[Any, Any]


class Actor:
    """Random actions, allowed by the mask; those of a Box are at its bounds half of the time.

    A Gaussian policy is clipped to the bounds, so it acts there often.

    Args:
        space: of actions.
        seed: the same seed gives the same actions.
    """

    def __init__(self, space: Space[Any], seed: int) -> None:
        # A copy: an environment may draw from its own.
        self._space, self._random = deepcopy(space), np.random.default_rng(seed)

    def __call__(self, mask: Mask | None = None) -> Any:
        """An action.

        Args:
            mask: which actions are allowed, `[A]`, or None.
        """
        if mask is None or not sizes_of(self._space):
            return self._sample(self._space)
        ends = np.cumsum(sizes_of(self._space))[:-1]
        chosen = [self._random.choice(np.flatnonzero(part)) for part in np.split(mask, ends)]
        if isinstance(self._space, Discrete):
            return np.int64(chosen[0] + self._space.start)
        assert isinstance(self._space, MultiDiscrete)
        return (np.reshape(chosen, self._space.shape) + self._space.start).astype(self._space.dtype)

    def _sample(self, space: Space[Any]) -> Any:
        if isinstance(space, Dict):
            return {name: self._sample(part) for name, part in space.spaces.items()}
        if isinstance(space, Tuple):
            return tuple(self._sample(part) for part in space.spaces)
        space.seed(int(self._random.integers(2**31)))
        action = space.sample()
        if isinstance(space, Box) and self._random.random() < 0.5:
            bound = np.where(self._random.random(space.shape) < 0.5, space.low, space.high)
            action = np.where(np.isfinite(bound), bound, action).astype(space.dtype)
        return action


class Masks:
    """The masks of one environment, as training would read them."""

    def __init__(self, env: Env, wanted: bool) -> None:
        self._env, self._reader = env, MaskReader(env.action_space if wanted else None)
        self.source = ""

    def after_reset(self, info: Any) -> Mask | None:
        """The mask after a reset, or None.

        Raises:
            UnfitError: if it has another form, or forbids everything.
        """
        self.source = self._reader.found(self._env, info)
        return self._read(info, over=False)

    def after_step(self, info: Any, over: bool) -> Mask | None:
        """The mask after a step, or None; raises as `after_reset` does."""
        return self._read(info, over)

    def _read(self, info: Any, over: bool) -> Mask | None:
        return self._reader.read(self.source, self._env, info, over) if self.source else None


def arrays_in(value: Any) -> list[NDArray[Any]]:
    """The arrays in an observation, in the order of its parts."""
    if isinstance(value, np.ndarray):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | tuple | list):
        return [array for part in parts for array in arrays_in(part)]
    return []


def place_of(error: BaseException) -> str:
    """Where an environment raised an error, as in ` (walker.py, line 40, in step)`."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        if not {"ppo_bbrl", "gymnasium"} & {*parts}:
            return f" ({parts[-1]}, line {frame.lineno}, in {frame.name})"
    return ""
