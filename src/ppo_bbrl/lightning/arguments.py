"""The arguments of Lightning's PPO: checked once, each error one line."""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from ppo_bbrl.errors import UserError
from ppo_bbrl.schedules import Schedule


class _Range(NamedTuple):
    kind: type[Any]
    holds: Callable[[Any], bool]
    allowed: str
    optional: bool = False


def _at_least(least: int) -> _Range:
    return _Range(Integral, lambda value: value >= least, f"an integer ≥ {least}")


_NUMBER = _Range(Real, math.isfinite, "a number")
_FRACTION = _Range(Real, lambda value: 0 <= value <= 1, "a number in [0, 1]")
_SEED = _Range(Integral, lambda value: 0 <= value < 2**63, "an integer in [0, 2^63), or None", True)
_RANGES = {
    "buffer_length": _at_least(1),
    "num_rollouts": _at_least(1),
    "batch_size": _at_least(1),
    "epochs_per_rollout": _at_least(1),
    "num_eval_episodes": _at_least(0),
    "gamma": _FRACTION,
    "gae_lambda": _FRACTION,
    "target_kl": _Range(Real, lambda value: value > 0, "a number > 0, or None", True),
    "value_coef": _Range(Real, lambda value: 0 <= value < math.inf, "a number ≥ 0"),
    "entropy_coef": _NUMBER,
    "sde_sample_freq": _Range(
        Integral, lambda value: value == -1 or value >= 1, "an integer ≥ 1, or -1 (once a rollout)"
    ),
    "verbose": _Range(Integral, lambda value: value in {0, 1, 2}, "0, 1 or 2"),
    "seed": _SEED,
}
ARGUMENTS = tuple(_RANGES)


def check_arguments(**values: Any) -> None:
    """Refuse an impossible value.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    for name, value in values.items():
        allowed = _RANGES[name]
        if value is None and allowed.optional:
            continue
        fits = isinstance(value, allowed.kind) and not isinstance(value, bool)
        if not fits or not allowed.holds(value):
            raise UserError(f"{name} = {value!r}: must be {allowed.allowed}")


def numbers_of_python(value: Any) -> Any:
    """The same with Python's numbers in place of NumPy's; dicts and lists are changed in place."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in list(items):
            value[key] = numbers_of_python(item)
    return tuple(map(numbers_of_python, value)) if type(value) is tuple else value


def clip_value(name: str, value: float | Schedule | None, progress_remaining: float) -> float:
    """A clip range at this moment of training.

    Args:
        name: of the argument.
        value: a number, a function of the remaining progress, or, for clip_range_vf, None.
        progress_remaining: from 1 (start) to 0 (end).

    Returns:
        A number > 0; 0 for None, which means no clipping.

    Raises:
        UserError: if it is not a number > 0.
    """
    if value is None and name == "clip_range_vf":
        return 0.0
    now: Any = value(progress_remaining) if callable(value) else value
    if isinstance(now, bool) or not isinstance(now, Real) or not 0 < float(now) < math.inf:
        moment = f" at a remaining progress of {progress_remaining:g}" if callable(value) else ""
        none = ", or None" if name == "clip_range_vf" else ""
        raise UserError(
            f"{name} = {now!r}{moment}: must be a number > 0, or a function from the remaining "
            f"progress, 1 to 0, to such a number{none}"
        )
    return float(now)
