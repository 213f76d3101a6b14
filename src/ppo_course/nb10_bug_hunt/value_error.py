"""The check of notebook 10's second instrument: a critic on probes whose values are known."""

import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import check_numbers

LENGTH = 8  # steps after which TruncatedOnly is cut
PROBES = ("ConstantReward", "Discounting", "TruncatedOnly")
EXERCISE = Exercise("value_error", ("probe", "values", "discount_factor"), read_words(__file__))


class Reading(NamedTuple):
    """What critics said about the first state of a probe."""

    probe: str
    values: tuple[float, ...]
    discount_factor: float

    def arguments(self) -> tuple[str, Tensor, float]:
        """What the function gets; the values are `[N]`."""
        return self.probe, torch.tensor(self.values), self.discount_factor

    def tell(self) -> list[str]:
        """The example in a message."""
        return [
            f"  Example: on {self.probe} with γ = {self.discount_factor:.3g}",
            f"  critics say {numbers(torch.tensor(self.values))}, {self.mean:.4g} on average.",
        ]

    @property
    def mean(self) -> float:
        """Of the values."""
        return sum(self.values) / len(self.values)


def _of_one_discount_factor(probe: str, formula: Callable[[float], float]) -> dict[str, Any]:
    """The right formula, but with a usual γ put into it by hand."""
    return {
        f"one-discount-factor~{probe} is a number for γ = {gamma}": (
            lambda _, at=gamma: formula(at)
        )
        for gamma in (0.9, 0.99)
    }


def _cut(n: int) -> Callable[[float], float]:
    """The series of TruncatedOnly after n rewards."""
    return lambda g: (1 - g**n) / (1 - g)


# The true value of each probe, of the discount factor.
TRUTHS = {
    "ConstantReward": Part(
        lambda _: 1.0,
        {
            "constant-discounted": lambda g: g,
            "constant-endless": lambda g: 1 / (1 - g),
            "constant-0": lambda _: 0.0,
        },
    ),
    "Discounting": Part(
        lambda g: g,
        {
            "not-discounted": lambda _: 1.0,
            "discounted-twice": lambda g: g * g,
            "earns-twice": lambda g: 1 + g,
            "discounting-endless": lambda g: 1 / (1 - g),
            "discounting-0": lambda _: 0.0,
            **_of_one_discount_factor("Discounting", lambda g: g),
        },
    ),
    "TruncatedOnly": Part(
        lambda g: 1 / (1 - g),
        {
            "to-the-limit": _cut(LENGTH),
            "sum-to-the-limit": lambda _: float(LENGTH),
            "first-reward-missing": lambda g: g / (1 - g),
            "one-step": lambda _: 1.0,
            "value-of-discounting": lambda g: g,
            "to-the-limit-discounted": lambda g: g * _cut(LENGTH)(g),
            "truncated-0": lambda _: 0.0,
            **_of_one_discount_factor("TruncatedOnly", lambda g: 1 / (1 - g)),
            **{f"cut~{n}": _cut(n) for n in range(2, 21) if n != LENGTH},
            **{f"cut-late~{n}": _cut(n) for n in range(21, 121)},
        },
    ),
}

# What is made of the values and the true one.
FORMS = Part(
    lambda r, v: r.mean - v,
    {
        "sign": lambda r, v: v - r.mean,
        "no-sign": lambda r, v: abs(r.mean - v),
        "mean-absolute": lambda r, v: sum(abs(x - v) for x in r.values) / len(r.values),
        "mean-square": lambda r, v: sum((x - v) ** 2 for x in r.values) / len(r.values),
        "relative": lambda r, v: (r.mean - v) / v if v else 0.0,
        "truth-itself": lambda _, v: v,
        "sum": lambda r, v: sum(r.values) - v,
        "median": lambda r, v: statistics.median(r.values) - v,
        "one-value~first": lambda r, v: r.values[0] - v,
        "one-value~last": lambda r, v: r.values[-1] - v,
        "one-value~largest": lambda r, v: max(r.values) - v,
        "one-value~smallest": lambda r, v: min(r.values) - v,
    },
)


def formula(reading: Reading, values: Sequence[Any]) -> float:
    """The error that a truth and a form give."""
    truth, form = values
    return float(form(reading, truth(reading.discount_factor)))


def true_value(probe: str, discount_factor: float) -> float:
    """The value of the first state of a probe's episodes."""
    return float(TRUTHS[probe].right(discount_factor))


def right(reading: Reading) -> float:
    """Mean value minus true value."""
    return reading.mean - true_value(reading.probe, reading.discount_factor)


# Too much in the first case of a probe, too little in the second.
CASES = tuple(
    Reading(probe, tuple(round(true_value(probe, gamma) + off, 3) for off in offs), gamma)
    for probe in PROBES
    for gamma, offs in ((0.8, (0.8, 0.1, -0.3)), (0.9, (-0.9, -0.2, 0.4, -0.6)))
)


def drawn(seed: int) -> list[Reading]:
    """Cases of the same kinds as `CASES`, drawn from a seed."""
    source = random.Random(seed)
    cases = []
    for probe in PROBES:
        for sign in (1, -1):
            gamma = source.uniform(0.55, 0.9)
            offs = [sign * source.uniform(0.2, 1.5) for _ in range(source.randint(3, 7))]
            offs.append(-sign * 0.15)
            values = tuple(true_value(probe, gamma) + off for off in offs)
            cases.append(Reading(probe, values, gamma))
    return cases


@EXERCISE.check
def check_value_error(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `value_error(probe, values, discount_factor)`.

    It gets ConstantReward, Discounting or TruncatedOnly, the values `[N]` that a critic gave to
    the first state of its episodes, and γ. It returns their mean minus the true value.
    """
    cases = CASES if seed is None else drawn(seed)
    for probe in PROBES:
        asked = [case for case in cases if case.probe == probe]
        told, formulas = f"the error of a critic on {probe}", TRUTHS[probe]
        check_numbers(
            EXERCISE, function, asked, formulas, returned=told, also=[FORMS], formula=formula
        )
