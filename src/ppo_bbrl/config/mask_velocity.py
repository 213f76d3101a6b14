"""A wrapper that hides velocities, so that a policy needs memory."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box

from ppo_bbrl.errors import ConfigError, one_line

#: entries of the observation that are velocities, by task without its version
VELOCITIES = {
    "Acrobot": (4, 5),
    "CartPole": (1, 3),
    "LunarLander": (2, 3, 5),
    "LunarLanderContinuous": (2, 3, 5),
    "MountainCar": (1,),
    "MountainCarContinuous": (1,),
    "Pendulum": (2,),
}


class MaskVelocity(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Sets velocities in observations to 0, after RL Baselines3 Zoo's MaskVelocityWrapper.

    Args:
        env: whose observations are vectors.
        indices: of the entries that are hidden; None: those known to be velocities of the task.

    Raises:
        ConfigError: for a task that is not known, or indices that are not in the observation.
    """

    def __init__(self, env: gym.Env[Any, Any], indices: Sequence[int] | None = None) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, indices=indices)
        gym.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, Box) or len(space.shape) != 1:
            raise ConfigError(f"MaskVelocity takes vectors, not {one_line(space)}")
        name = "" if env.spec is None else env.spec.name
        if indices is None and name not in VELOCITIES:
            raise ConfigError(
                f"MaskVelocity does not know which entries of {one_line(space)} are velocities: "
                "give `indices`, as in {classname: MaskVelocity, indices: [1, 3]}"
            )
        self._hidden = list(VELOCITIES[name] if indices is None else indices)
        if not all(type(index) is int and 0 <= index < space.shape[0] for index in self._hidden):
            raise ConfigError(
                f"indices = {one_line(self._hidden)}: must be integers from 0 to "
                f"{space.shape[0] - 1}"
            )

    def observation(self, observation: Any) -> Any:
        """The observation with zeros where velocities are."""
        masked = np.array(observation)
        masked[self._hidden] = 0
        return masked
