"""What an environment did wrong, in one line for who wrote it or chose it."""

import os
import re
import sys
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ppo_bbrl.errors import Terminated, UserError, one_line

RESET = "(observation, info)"
STEP = "(observation, reward, terminated, truncated, info)"
LARGEST = float(np.finfo(np.float32).max)  # in which rewards and observations are kept


class UnfitError(Exception):
    """What an environment returned does not fit; the message says what is expected."""


def reason(error: BaseException) -> str:
    """What went wrong in an environment, in one line.

    Raises:
        Terminated: if that is the error: a signal is no fault of the environment that it met.
    """
    if isinstance(error, Terminated):
        raise error
    try:
        told = one_line(error)
    except Exception:  # noqa: BLE001 - an error of others may not even have a text
        return type(error).__name__
    if isinstance(error, UnfitError | UserError):
        return told
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else error.code})"
    kind = type(error).__name__
    told = kind if told == kind else f"{kind}: {told}"
    if isinstance(error, TypeError | ValueError) and "unpack" in told:
        module, function = _raised_in(error)
        if module == "ppo_bbrl.envs.sync" or module.split(".")[0] == "gymnasium":
            # It could not take apart what the environment returned.
            expected = RESET if function == "reset" else STEP
            return f"{function}() did not return {expected}: {told}"
    if isinstance(error, TypeError) and re.search("argument '(seed|options)'", told):
        return f"{told}; expected is reset(self, *, seed=None, options=None)"
    return told


def name_of(env: gym.Env[Any, Any]) -> str:
    """The registered name of an environment, or its class."""
    spec = env.unwrapped.spec
    return spec.id if spec else type(env.unwrapped).__name__


def unfit_observation(observation: Any, space: gym.Space[Any]) -> UnfitError:
    """The error for an observation that is none of its space."""
    expected = one_line(space)
    if len(expected) > 100:
        expected = f"{type(space).__name__} of shape {list(space.shape or ())}, {space.dtype}"
    return UnfitError(f"its observation is {described(observation)}; expected is {expected}")


def narrowed(array: NDArray[Any], dtype: Any, name: str = "observation has") -> NDArray[Any]:
    """Observations or rewards of a wider type of floats, in a narrower one.

    Raises:
        UnfitError: if there are numbers that it cannot hold: they would become infinite.
    """
    if array.dtype.itemsize <= dtype.itemsize and array.dtype.kind == "f":
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype)
    except FloatingPointError:
        raise UnfitError(f"its {name} numbers beyond those of {dtype}") from None


def check_rows(space: gym.Space[Any], n_envs: int, observation: Any, *reward_and_ends: Any) -> None:
    """Refuse what a vector environment returned if it has other shapes than one of Gymnasium.

    Raises:
        UnfitError: naming the value, its shape and that which is expected.
    """
    names = ("observations", "rewards", "terminated", "truncated")
    shapes = [(n_envs, *(space.shape or ())), *[(n_envs,)] * 3]
    for name, value, shape in zip(names, (observation, *reward_and_ends), shapes, strict=False):
        if np.shape(value) != shape:
            expected = f"expected is the shape {list(shape)}"
            raise UnfitError(f"its {name} are {described(value)}; {expected}")


def described(value: Any) -> str:
    """What a value is, for who wrote the environment that returned it."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} values"
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        told = repr(value)
        return told if len(told) <= 50 else f"a {type(value).__name__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        if not shape and hasattr(value, "item"):
            return repr(value.item())
        kind = "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        return f"{kind} of shape {list(shape)}, {dtype}"
    return f"a {type(value).__name__}"


def _raised_in(error: BaseException) -> tuple[str, str]:
    """The module and the function in which an error was raised; of ours, always `step`."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "", ""
    module = str(frame.tb_frame.f_globals.get("__name__", ""))
    return module, "reset" if "reset" in frame.tb_frame.f_code.co_name else "step"


def mujoco_remedy(error: BaseException) -> str:
    """What to set when MuJoCo cannot draw; empty if the error does not come from MuJoCo.

    It loads what it draws with when it is imported, so that even training fails for want of it.
    """
    frames = traceback.walk_tb(error.__traceback__)
    if not any("mujoco" in frame.f_globals.get("__name__", "") for frame, _ in frames):
        return ""
    chosen = os.environ.get("MUJOCO_GL")
    return (
        f" (MUJOCO_GL is {f'set to {chosen}' if chosen else 'not set'}: without a screen, MuJoCo "
        "draws with MUJOCO_GL=egl, which needs libEGL, or MUJOCO_GL=osmesa, which needs libOSMesa; "
        "on Debian and Ubuntu install libegl1 or libosmesa6)"
    )


def mujoco_warns_as_python_does(entry_point: object) -> None:
    """Let what MuJoCo warns of be a Python warning, if the environment is one of MuJoCo's.

    Left to itself, it prints the same lines for each environment, and leaves a MUJOCO_LOG.TXT in
    the current folder. A handler that the user has set stays.
    """
    if "mujoco" not in str(entry_point) and "mujoco" not in sys.modules:
        return
    with suppress(Exception):  # not there, or of a version that has no handlers: gym.make tells
        mujoco = import_module("mujoco")
        if mujoco.get_mju_user_warning() is None:
            mujoco.set_mju_user_warning(_warn)


def _warn(text: str) -> None:
    with suppress(Warning):  # as an error it would have to pass through MuJoCo's C
        warnings.warn(f"MuJoCo: {text}", stacklevel=2)
