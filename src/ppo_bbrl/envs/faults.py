"""One-line descriptions of what an environment did wrong, for its author or its user."""

import math
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
LARGEST = float(np.finfo(np.float32).max)  # rewards and observations are stored as float32


class StalledError(BaseException):
    """An environment takes too long. Its own `except Exception` shall not stop this."""


class UnfitError(Exception):
    """An environment returned a value that does not fit; the message says what is expected."""


def reason(error: BaseException) -> str:
    """What went wrong in an environment, in one line.

    Raises:
        Terminated: if that is the error: a signal is not the fault of the environment it hit.
    """
    if isinstance(error, Terminated):
        raise error
    try:
        text = one_line(error)
    except Exception:  # noqa: BLE001 - a foreign exception may fail even in its __str__
        return type(error).__name__
    if isinstance(error, UnfitError | UserError | StalledError):
        return text
    if isinstance(error, SystemExit):
        return f"it called sys.exit({'' if error.code is None else error.code})"
    kind = type(error).__name__
    text = kind if text == kind else f"{kind}: {text}"
    if isinstance(error, TypeError | ValueError) and "unpack" in text:
        module, function = _raised_in(error)
        if module == "ppo_bbrl.envs.sync" or module.split(".")[0] == "gymnasium":
            # Unpacking what the environment returned failed.
            expected = RESET if function == "reset" else STEP
            return f"{function}() did not return {expected}: {text}"
    if isinstance(error, TypeError) and re.search("argument '(seed|options)'", text):
        return f"{text}; expected the signature reset(self, *, seed=None, options=None)"
    return text


def name_of(env: gym.Env[Any, Any]) -> str:
    """The registered name of an environment, or its class."""
    spec = env.unwrapped.spec
    return spec.id if spec else type(env.unwrapped).__name__


def unfit_observation(observation: Any, space: gym.Space[Any]) -> UnfitError:
    """The error for an observation that does not belong to its space."""
    expected = one_line(space)
    if len(expected) > 100:
        expected = f"{type(space).__name__} of shape {list(space.shape or ())}, {space.dtype}"
    return UnfitError(f"its observation is {described(observation)}; expected {expected}")


def narrowed(
    array: NDArray[Any], dtype: Any, name: str = "observation has", *, rows: bool = False
) -> NDArray[Any]:
    """Convert observations or rewards to a narrower float type.

    Args:
        array: the numbers.
        dtype: of the result.
        name: what they are, in messages.
        rows: whether each row comes from another environment.

    Raises:
        UnfitError: if some numbers are too large for it, so that they would become infinite.
    """
    if array.dtype.itemsize <= dtype.itemsize and array.dtype.kind == "f":
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(dtype)
    except FloatingPointError:
        which = ""
        if rows:
            too_large = abs(array.reshape(len(array), -1)).max(1) > np.finfo(dtype).max
            which = f" (environment {int(too_large.argmax())} of {len(array)})"
        raise UnfitError(f"its {name} numbers too large for {dtype}{which}") from None


def check_rows(n_envs: int, **values: tuple[Any, tuple[int, ...]]) -> None:
    """Check that a vector environment's values have the shapes that Gymnasium prescribes.

    Args:
        n_envs: B.
        values: by name, what was returned and the shape that it has for one environment.

    Raises:
        UnfitError: naming the value, its shape and the expected one.
    """
    for name, (value, shape) in values.items():
        if np.shape(value) != (n_envs, *shape):
            expected = f"expected shape {[n_envs, *shape]}"
            raise UnfitError(f"its {name} are {described(value)}; {expected}")


def described(value: Any) -> str:
    """A short description of a value, for the author of the environment that returned it."""
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} values"
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        text = repr(value)
        return text if len(text) <= 50 else f"a {type(value).__name__}"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        if not shape and hasattr(value, "item"):
            return repr(value.item())
        kind = "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        return f"{kind} of shape {list(shape)}, {dtype}"
    return f"a {type(value).__name__}"


def _raised_in(error: BaseException) -> tuple[str, str]:
    """The module in which an error was raised, and `reset` or `step`, depending on the function."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return "", ""
    module = str(frame.tb_frame.f_globals.get("__name__", ""))
    return module, "reset" if "reset" in frame.tb_frame.f_code.co_name else "step"


def mujoco_remedy(error: BaseException) -> str:
    """What to set when MuJoCo cannot draw; empty if the error does not come from MuJoCo.

    MuJoCo loads its graphics library on import, so even training fails where that is missing.
    """
    frames = traceback.walk_tb(error.__traceback__)
    if not any("mujoco" in frame.f_globals.get("__name__", "") for frame, _ in frames):
        return ""
    chosen = os.environ.get("MUJOCO_GL")
    return (
        f" (MUJOCO_GL is {f'set to {chosen}' if chosen else 'not set'}: without a screen, MuJoCo "
        "needs MUJOCO_GL=egl with libEGL, or MUJOCO_GL=osmesa with libOSMesa; "
        "on Debian and Ubuntu install libegl1 or libosmesa6)"
    )


def mujoco_warns_as_python_does(entry_point: object) -> None:
    """Turn MuJoCo's warnings into Python warnings, if the environment uses MuJoCo.

    By default MuJoCo prints the same lines for each environment and leaves a MUJOCO_LOG.TXT in
    the current folder. A handler that the user has set stays in place.
    """
    if "mujoco" not in str(entry_point) and "mujoco" not in sys.modules:
        return
    with suppress(Exception):  # missing, or a version without handlers: gym.make reports it
        mujoco = import_module("mujoco")
        if mujoco.get_mju_user_warning() is None:
            mujoco.set_mju_user_warning(_warn)


def _warn(text: str) -> None:
    with suppress(Warning):  # raised as an error, it could not pass through MuJoCo's C code
        warnings.warn(f"MuJoCo: {text}", stacklevel=2)


def number_of(value: Any, name: str) -> float:
    """The number that a value holds.

    Raises:
        UnfitError: if it does not hold exactly one, or a reward is too large for float32.
    """
    number = _as_float(value)
    if name == "reward":
        if number is not None and not LARGEST < abs(number) < math.inf:
            return number
        expected = f"one number between -{LARGEST:.1e} and {LARGEST:.1e}"
    else:
        if number is not None and not math.isnan(number):
            return number
        expected = "true or false"
    raise UnfitError(f"its {name} is {described(value)}; expected {expected}")


def _as_float(value: Any) -> float | None:
    if isinstance(value, float | int | np.floating | np.integer | np.bool_):
        return float(value)
    with suppress(Exception):
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)  # torch
        if array.size == 1 and array.dtype.kind in "biuf":
            return float(array.reshape(())[()])
        if array.dtype == object and array.ndim == 0 and hasattr(value, "__float__"):
            return float(value)  # such as a Fraction or a Decimal
    return None
