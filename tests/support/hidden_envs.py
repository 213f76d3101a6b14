"""An environment whose observation has a part that only a simulator knows: `Hidden-v0`.

Importing this module registers it.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Tuple


class Hidden(gym.Env[Any, Any]):
    """Push a hidden number, which the policy sees with noise, towards 0; five steps.

    Args:
        render_mode: rgb_array or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium
    action_space: Any = Discrete(3)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        number = Box(-9, 9, (1,), np.float32)
        self.observation_space: Any = Dict(
            sensors=Dict(noisy=number, steps=Discrete(6)),
            simulator=Tuple((Box(-9, 9, (2,), np.float32), Discrete(6))),
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.x = 0, float(self.np_random.normal())
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        self.x = float(np.clip(self.x + (action - 1) / 2, -3, 3))
        return self._observe(), -abs(self.x), self.t == 5, False, {}

    def _observe(self) -> Any:
        noise = float(self.np_random.normal())
        return {
            "sensors": {"noisy": np.array([self.x + noise], np.float32), "steps": self.t},
            "simulator": (np.array([self.x, noise], np.float32), self.t),
        }

    def render(self) -> Any:
        """Grey."""
        return np.full((32, 32, 3), 128, np.uint8)


gym.register("Hidden-v0", Hidden, disable_env_checker=True)
