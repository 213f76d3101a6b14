"""Environments with masks of invalid actions, which refuse any action that a mask forbids.

Importing this module registers `Masked-v0`: its `source` is info, method, observation or none.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

SEEN = Box(-1, 1, (2,), np.float32)


class Masked(gym.Env[Any, Any]):
    """Random masks; the observation begins with the mask's first entry, the reward is 1.

    Args:
        source: where the mask is given.
        nvec: number of actions, or those of each component.
        form: flat, or tuple of one array for each component.
        length: steps of an episode; after the last one everything is forbidden.
        forbidden_at: a step after which the mask forbids everything.
        lost_at: a step after which there is no mask any more.
        key: of the mask in an observation.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium

    def __init__(
        self,
        source: str = "info",
        nvec: Any = 5,
        form: str = "flat",
        length: int = 4,
        forbidden_at: int = -1,
        lost_at: int = -1,
        key: str = "action_mask",
        render_mode: str | None = None,
    ) -> None:
        self.render_mode, self.source, self.form, self.length = render_mode, source, form, length
        self.forbidden_at, self.lost_at = forbidden_at, lost_at
        self.key, several = key, not isinstance(nvec, int)
        self.action_space = (
            MultiDiscrete(nvec, start=[3] * len(nvec)) if several else Discrete(nvec)
        )
        self.sizes = list(nvec) if several else [nvec]
        self.start = 3 if several else 0
        in_observation = Dict({"seen": SEEN, key: MultiBinary(sum(self.sizes))})
        self.observation_space = in_observation if source == "observation" else SEEN
        if source == "method":
            self.action_masks = self._given

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._row()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        for mask, one in zip(self.masks, np.ravel(action) - self.start, strict=True):
            assert mask[one], f"action {action} is forbidden by {self.masks}"
        self.t += 1
        return *self._row()[:1], 1.0, self.t == self.length, False, self._info

    def render(self) -> Any:
        return np.full((32, 48, 3), self.t, np.uint8)

    def _row(self) -> tuple[Any, dict[str, Any]]:
        self.masks = [self.np_random.random(size) < 0.3 for size in self.sizes]
        for mask in self.masks:
            mask[self.np_random.integers(len(mask))] = True
        if self.t in (self.length, self.forbidden_at):
            self.masks = [np.zeros(size, bool) for size in self.sizes]
        self._info = {"action_mask": self._given()} if self.source == "info" else {}
        if self.t == self.lost_at:
            self._info = {}
        seen = np.array([self.masks[0][0], 0.5], np.float32)
        if self.source == "observation":
            return {"seen": seen, self.key: self._given()}, self._info
        return seen, self._info

    def _given(self) -> Any:
        as_bytes = [mask.astype(np.int8) for mask in self.masks]
        return tuple(as_bytes) if self.form == "tuple" else np.concatenate(as_bytes)


gym.register("Masked-v0", Masked, disable_env_checker=True)
