"""The true values of the probes for the check of `value_error`, and what is mistaken for them."""

from collections.abc import Callable
from typing import NamedTuple

LENGTH = 8  # steps after which TruncatedOnly is cut


class Truth(NamedTuple):
    """A true value, or what is mistaken for it."""

    formula: Callable[[float], float]  # of the discount factor
    wrong: str = ""
    look: str = ""


def _of_one_discount_factor(probe: str, formula: Callable[[float], float]) -> tuple[Truth, ...]:
    """The right formula, but with a usual γ put into it by hand."""
    return tuple(
        Truth(
            # mypy does not infer the type of such an argument: it keeps this turn's gamma.
            lambda _, at=gamma: formula(at),  # type: ignore[misc]
            f"the value of {probe} is a number for γ = {gamma}",
            "γ is an argument and may be another one: use discount_factor",
        )
        for gamma in (0.9, 0.99)
    )


def _nothing(probe: str, look: str) -> Truth:
    return Truth(
        lambda _: 0.0,
        f"nothing is subtracted from the mean, as if the true value of {probe} were 0",
        f"mean of the values, minus the true one: {look}",
    )


def _cut(n: int) -> Truth:
    """The series of TruncatedOnly after n rewards."""
    after = f"after {n} rewards" if n <= 20 else "too early"
    return Truth(
        lambda g: (1 - g**n) / (1 - g),
        f"the value of TruncatedOnly is a series that is cut {after}",
        "the rewards would have gone on for ever: solve V = 1 + γV, or add far more terms",
    )


_ELSE = "; if your code has this already, a later else overwrites it: use elif"

# The first one of each is right.
TRUTHS = {
    "ConstantReward": (
        Truth(lambda _: 1.0),
        Truth(
            lambda g: g,
            "the value of ConstantReward is discounted",
            f"the reward comes with the very next row: V = r + γ·0, and r = 1{_ELSE}",
        ),
        Truth(
            lambda g: 1 / (1 - g),
            "ConstantReward is taken for a task without an end",
            f"its episodes are terminated after one step, V = r = 1{_ELSE}",
        ),
        _nothing("ConstantReward", "V = r = 1"),
    ),
    "Discounting": (
        Truth(lambda g: g),
        Truth(
            lambda _: 1.0,
            "the value of Discounting is not discounted",
            "the reward of 1 comes with the second step: V(0) = 0 + γ V(1), and V(1) = 1" + _ELSE,
        ),
        Truth(
            lambda g: g * g,
            "the value of Discounting is discounted once too often",
            "V(1) = 1, as the reward comes with the very next row; V(0) = 0 + γ V(1)",
        ),
        Truth(
            lambda g: 1 + g,
            "Discounting is taken to earn 1 with both of its steps",
            "the first step earns 0: V(0) = 0 + γ V(1)",
        ),
        Truth(
            lambda g: 1 / (1 - g),
            "Discounting is taken for a task without an end",
            f"its episodes are terminated after two steps, V(0) = 0 + γ·1{_ELSE}",
        ),
        _nothing("Discounting", "V(0) = 0 + γ V(1)"),
        *_of_one_discount_factor("Discounting", lambda g: g),
    ),
    "TruncatedOnly": (
        Truth(lambda g: 1 / (1 - g)),
        Truth(
            lambda g: (1 - g**LENGTH) / (1 - g),
            "the value of TruncatedOnly counts the steps up to the time limit alone",
            "where we stop watching, nothing has ended: the rewards would have gone on for ever",
        ),
        Truth(
            lambda _: float(LENGTH),
            "the value of TruncatedOnly is the sum of the rewards up to the time limit",
            "where we stop watching, nothing has ended, and later rewards are discounted: solve "
            "V = 1 + γV",
        ),
        Truth(
            lambda g: g / (1 - g),
            "the value of TruncatedOnly lacks its first reward",
            "the next reward is not discounted: solve V = 1 + γV",
        ),
        Truth(
            lambda _: 1.0,
            "TruncatedOnly is taken to end after a step",
            f"reward 1 at every step, and no terminal state: solve V = 1 + γV{_ELSE}",
        ),
        Truth(
            lambda g: g,
            "TruncatedOnly gets the value of Discounting",
            f"reward 1 at every step, and no terminal state: solve V = 1 + γV{_ELSE}",
        ),
        Truth(
            lambda g: g * (1 - g**LENGTH) / (1 - g),
            "the value of TruncatedOnly counts the steps up to the time limit alone, and discounts "
            "the first reward",
            "the next reward is not discounted, and those after the limit count: solve V = 1 + γV",
        ),
        _nothing("TruncatedOnly", "solve V = 1 + γV"),
        *_of_one_discount_factor("TruncatedOnly", lambda g: 1 / (1 - g)),
        *(_cut(n) for n in range(2, 121) if n != LENGTH),
    ),
}


def true_value(probe: str, discount_factor: float) -> float:
    """The value of the first state of a probe's episodes."""
    return TRUTHS[probe][0].formula(discount_factor)
