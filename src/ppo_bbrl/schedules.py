"""Schedules: factors in [0, 1] for the learning rate and the clip range during training.

A schedule is a function of the *remaining progress*, which falls from 1 (start) to 0 (end), as
in Stable-Baselines3.
"""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def constant(progress_remaining: float) -> float:
    """Always 1."""
    del progress_remaining
    return 1.0


def linear(progress_remaining: float) -> float:
    """From 1 down to 0 in a straight line (docs/ppo.md#detail-4 and #detail-a1)."""
    return progress_remaining


def cosine(progress_remaining: float) -> float:
    """From 1 down to 0 along half a cosine (Loshchilov and Hutter, 2017, without restarts)."""
    return 0.5 * (1.0 - math.cos(math.pi * progress_remaining))


SCHEDULES: dict[str, Schedule] = {"constant": constant, "linear": linear, "cosine": cosine}
