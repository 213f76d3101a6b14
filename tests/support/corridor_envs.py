"""A long corridor without any reward on the way: `LongCorridor-v0`; importing this registers it."""

from typing import Any

import gymnasium as gym
from gymnasium.spaces import Discrete


class Corridor(gym.Env[Any, Any]):
    """Begin at the left end; the last cell pays 1. Steps left and right."""

    def __init__(self, length: int = 40, limit: int = 60) -> None:
        self.observation_space, self.action_space = Discrete(length), Discrete(2)
        self.length, self.limit = length, limit

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.t = 0
        return self.place, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place = max(0, self.place + (1 if action else -1))
        self.t += 1
        there = self.place == self.length - 1
        return self.place, float(there), there, self.t >= self.limit, {}


gym.register("LongCorridor-v0", Corridor, disable_env_checker=True)
