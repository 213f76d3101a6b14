"""A student's code under the name that messages use: functions, classes and their methods.

Nothing here imports Lightning: the student's class brings it along.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from ppo_course.feedback import call, describe, not_right


class InertEnv(gym.Env[Any, Any]):
    """An environment of any size in which nothing happens; a check never steps it.

    Args:
        n_inputs: D, the length of an observation.
        n_actions: K, how many actions there are.
    """

    def __init__(self, n_inputs: int, n_actions: int) -> None:
        self.observation_space = Box(-np.inf, np.inf, (n_inputs,), np.float32)
        self.action_space = Discrete(n_actions)


class Named:
    """A call of a student's code, as a function of the name that messages use.

    Args:
        name: in messages.
        run: what is called.
        written_in: the student's function, in whose file the line of an error is looked for.
    """

    def __init__(self, name: str, run: Callable[..., Any], written_in: Any) -> None:
        self.__name__, self.__code__ = name, getattr(written_in, "__code__", None)
        self._run = run

    def __call__(self, *args: Any) -> Any:
        """What the student's code returns."""
        return self._run(*args)


def call_method(
    model: Any, method: str, *args: Any, hint: Callable[[Exception], str], check_in: type[Any]
) -> Any:
    """Call a method of a student's class; what it raises becomes an `ExerciseError`.

    Args:
        model: an object of the class.
        method: its name.
        args: its arguments.
        hint: what to say about an exception.
        check_in: the student's class, in whose file an error's line is looked for.
    """
    student = getattr(check_in, method, None)
    return call(Named(method, getattr(model, method), student), *args, hint=hint)


def made(model_class: Any, name: str, **kwargs: Any) -> Any:
    """An object of a student's class.

    Raises:
        ExerciseError: if it is no class of Lightning's PPO, or cannot be made.
    """
    if not isinstance(model_class, type) or not hasattr(model_class, "configure_optimizers"):
        raise not_right(
            name,
            "it is no class that is made from PPO",
            f"the first line of the cell: class {name}(PPO):",
            f"  seen      {describe(model_class)}",
        )
    init = vars(model_class).get("__init__")
    return call(Named(name, lambda: model_class(**kwargs), init), hint=_hint)


def _hint(error: Exception) -> str:
    text = str(error)
    if "before Module.__init__() call" in text or "has no attribute '_modules'" in text:
        return "super().__init__(**kwargs) comes first, before any network"
    return "__init__ is given: leave it as it is"
