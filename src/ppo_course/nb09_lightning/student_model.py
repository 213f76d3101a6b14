"""What the checks of a student's class have in common: it is made, and its methods are called.

Nothing here imports Lightning: the student's class brings it along.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from ppo_course.feedback import Named, describe
from ppo_course.mistakes import Exercise, read_words

WORDS = read_words(__file__)
#: about the making of an object


class InertEnv(gym.Env[Any, Any]):
    """An environment with D inputs and K actions in which nothing happens: no check steps it."""

    def __init__(self, n_inputs: int, n_actions: int) -> None:
        self.observation_space = Box(-np.inf, np.inf, (n_inputs,), np.float32)
        self.action_space = Discrete(n_actions)


def made(exercise: Exercise, model_class: Any, **kwargs: Any) -> Any:
    """An object of a student's class, of the exercise's name, if it is one of Lightning's PPO."""
    if not isinstance(model_class, type) or not hasattr(model_class, "configure_optimizers"):
        raise exercise.error("no-class", seen=describe(model_class))
    init = vars(model_class).get("__init__")
    return exercise.call(Named(exercise.name, lambda: model_class(**kwargs), init))


def call_method(exercise: Exercise, model_class: type[Any], model: Any, *args: Any) -> Any:
    """Call the method of the exercise's name; the class's file has the line of an error."""
    written_in = getattr(model_class, exercise.name, None)
    run = getattr(model, exercise.name)
    return exercise.call(Named(exercise.name, run, written_in), *args)
