"""The check of notebook 10's second instrument: a critic on probes whose values are known."""

import random
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.by_cases import check_by_cases
from ppo_course.feedback import numbers
from ppo_course.guesses import Guess
from ppo_course.nb10_bug_hunt.value_error_truths import TRUTHS, Truth, true_value

#: (name of the probe, values [N], discount factor) → a number
ValueErrorOf = Callable[[str, Tensor, float], Any]

NAME = "value_error"


class Reading(NamedTuple):
    """What critics said about the first state of a probe."""

    probe: str
    values: tuple[float, ...]
    discount_factor: float

    def arguments(self) -> tuple[str, Tensor, float]:
        """What the function gets; the values are `[N]`."""
        return self.probe, torch.tensor(self.values), self.discount_factor

    @property
    def mean(self) -> float:
        """Of the values."""
        return sum(self.values) / len(self.values)


_SIGN = "the difference has a sign: what the critic says, minus what is true"
_FORMS: tuple[tuple[Callable[[Reading, float], float], str, str], ...] = (
    (lambda r, v: r.mean - v, "", ""),
    (
        lambda r, v: v - r.mean,
        "the sign is wrong: a critic that says too much would get a negative error",
        _SIGN,
    ),
    (
        lambda r, v: abs(r.mean - v),
        "its result has no sign, and too much looks like too little",
        f"{_SIGN}; no .abs()",
    ),
    (
        lambda r, v: sum(abs(x - v) for x in r.values) / len(r.values),
        "it is the mean of the absolute errors, in which noise does not average out",
        f"{_SIGN}; no .abs()",
    ),
    (
        lambda r, v: sum((x - v) ** 2 for x in r.values) / len(r.values),
        "it is the mean square error, which has no sign",
        _SIGN,
    ),
    (
        lambda r, v: (r.mean - v) / v if v else 0.0,
        "it is the relative error",
        "the difference itself, in the units of the rewards",
    ),
    (lambda _, v: v, "it is the true value itself", "mean of the values, minus the true one"),
    (
        lambda r, v: sum(r.values) - v,
        "the values are summed up, and not averaged",
        "the mean of the N values",
    ),
    (
        lambda r, v: statistics.median(r.values) - v,
        "it is the median of the values that is compared",
        "the mean of the N values: values.mean()",
    ),
    (
        lambda r, v: r.values[0] - v,
        "it looks at the first of the N values alone",
        "the mean of the N values",
    ),
    (
        lambda r, v: r.values[-1] - v,
        "it looks at the last of the N values alone",
        "the mean of the N values",
    ),
    (
        lambda r, v: max(r.values) - v,
        "it looks at the largest of the N values alone",
        "the mean of the N values: values.mean()",
    ),
    (
        lambda r, v: min(r.values) - v,
        "it looks at the smallest of the N values alone",
        "the mean of the N values: values.mean()",
    ),
)


def right(reading: Reading) -> float:
    """Mean value minus true value."""
    return reading.mean - true_value(reading.probe, reading.discount_factor)


def mistakes(probe: str) -> list[Guess]:
    """Single mistakes first, then a wrong truth in a wrong form."""

    def guess(form: Any, truth: Truth) -> Guess:
        function, wrong, look = form
        both = [part for part in (truth.wrong, wrong) if part]
        looks = [part for part in (truth.look, look) if part]
        return Guess(
            lambda r: function(r, truth.formula(r.discount_factor)),
            "; and ".join(both),
            ". And: ".join(looks),
        )

    pairs = [(form, truth) for form in _FORMS for truth in TRUTHS[probe]][1:]
    pairs.sort(key=lambda pair: bool(pair[0][1]) + bool(pair[1].wrong))
    return [guess(*pair) for pair in pairs]


# Too much in the first case of a probe, too little in the second.
CASES = tuple(
    Reading(probe, tuple(round(true_value(probe, gamma) + off, 3) for off in offs), gamma)
    for probe in TRUTHS
    for gamma, offs in ((0.8, (0.8, 0.1, -0.3)), (0.9, (-0.9, -0.2, 0.4, -0.6)))
)


def drawn(seed: int) -> list[Reading]:
    """Cases of the same kinds as `CASES`, drawn from a seed."""
    source = random.Random(seed)
    cases = []
    for probe in TRUTHS:
        for sign in (1, -1):
            gamma = source.uniform(0.55, 0.9)
            offs = [sign * source.uniform(0.2, 1.5) for _ in range(source.randint(3, 7))]
            offs.append(-sign * 0.15)
            values = tuple(true_value(probe, gamma) + off for off in offs)
            cases.append(Reading(probe, values, gamma))
    return cases


def check_value_error(function: ValueErrorOf, *, seed: int | None = None) -> None:
    """Check a student's `value_error(probe, values, discount_factor)`.

    It gets ConstantReward, Discounting or TruncatedOnly, the values `[N]` that a critic gave to
    the first state of its episodes, and γ. It returns their mean minus the true value.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other values from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    cases = CASES if seed is None else drawn(seed)
    for probe in TRUTHS:
        check_by_cases(
            function,
            [case for case in cases if case.probe == probe],
            name=NAME,
            arguments=Reading.arguments,
            given="values",
            returned=f"the error of a critic on {probe}",
            right=right,
            mistakes=mistakes(probe),
            tell=_tell,
            hint=_hint,
        )
    if seed is None:
        print("Well done! On these three probes you know the truth, and a critic can be measured.")


def _tell(case: Reading) -> list[str]:
    return [
        f"  Example: on {case.probe} with γ = {case.discount_factor:.3g}",
        f"  critics say {numbers(torch.tensor(case.values))}, {case.mean:.4g} in the mean.",
    ]


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(probe, values, discount_factor)"
    if isinstance(error, TypeError) and "unexpected keyword argument" in text:
        return "values is a tensor, which has methods of its own: values.mean()"
    if isinstance(error, KeyError | UnboundLocalError):
        return f"the probe is one of {', '.join(TRUTHS)}"
    return ""
