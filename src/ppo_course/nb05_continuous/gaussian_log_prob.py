"""The check of notebook 05's first exercise: the log-probability of a diagonal Gaussian."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import numbers, same
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb05_continuous.gaussians import (
    SCALES,
    WORDS,
    Gaussians,
    arguments,
    cases,
    extreme,
    log_densities,
    one_number_each,
)

LOG_2PI = math.log(2 * math.pi)
LEARNED = ("mean", "log_std")
EXERCISE = Exercise("gaussian_log_prob", ("action", *LEARNED), WORDS)


def _each(squares: Tensor, scales: Tensor, constant: float) -> Tensor:
    return squares + scales + constant


# Of the logarithm of one component's density, [N, D] each: the error, its square, a factor of the
# square, the scale, the constant; and how the components make one number for each action.
PARTS = (
    Part(
        lambda x: x.action - x.mean,
        {
            "mean-missing": lambda x: x.action,
            "action-missing": lambda x: x.mean,
            "mean-added": lambda x: x.action + x.mean,
        },
    ),
    Part(
        lambda e, s: (e / s.exp()) ** 2,
        {
            "divided-by-std": lambda e, s: e**2 / s.exp(),
            "not-divided": lambda e, _s: e**2,
            "divided-by-log-std": lambda e, s: (e / s) ** 2,
            "multiplied": lambda e, s: (e * s.exp()) ** 2,
            "square-missing": lambda e, s: e / s.exp(),
            "divided-by-variance": lambda e, s: (e / (2 * s).exp()) ** 2,
        },
    ),
    Part(-0.5, {"half-missing": -1.0, "square-sign": 0.5}),
    SCALES,
    Part(
        -0.5 * LOG_2PI,
        {
            "constant-missing": 0.0,
            "constant-not-halved": -LOG_2PI,
            "constant-sign": 0.5 * LOG_2PI,
            "constant-no-logarithm": -math.sqrt(2 * math.pi),
        }
        | {
            f"constant-wrong~{factor} {way}": -factor * logarithm
            for factor in (0.5, 1.0)
            for way, logarithm in {
                "log(2) π": math.log(2) * math.pi,
                "log π": math.log(math.pi),
                "log2": math.log2(2 * math.pi),
                "log10": math.log10(2 * math.pi),
            }.items()
        },
    ),
    Part(
        lambda *parts: _each(*parts).sum(-1),
        {
            "mean-over-components": lambda *parts: _each(*parts).mean(-1),
            "constant-once": lambda q, s, c: (q + s).sum(-1) + c,
            "first-component": lambda *parts: _each(*parts)[:, 0],
            "product": lambda *parts: _each(*parts).prod(-1),
            "density": lambda *parts: _each(*parts).sum(-1).exp(),
            "sign": lambda *parts: -_each(*parts).sum(-1),
        },
    ),
)


def formula(case: Gaussians, values: Sequence[Any]) -> Tensor:
    """The log-probabilities that a choice of each part gives, `[N]`."""
    error, square, factor, scale, constant, reduction = values
    squares = factor * square(error(case), case.log_std)
    result: Tensor = reduction(squares, -scale(case.log_std), constant)
    return result


def right(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log π(a|s), `[N]`."""
    return log_densities(action, mean, log_std).sum(-1)


@torch.enable_grad()
@EXERCISE.check
def check_gaussian_log_prob(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `gaussian_log_prob(action, mean, log_std)`.

    It gets N actions of D components and the policy's means, `[N, D]` each, and the logarithms of
    its standard deviations, `[D]`; it returns the log-probabilities of the actions, `[N]`.
    """
    chosen = cases(seed)
    given = [arguments(EXERCISE, case, *LEARNED) for case in chosen]
    results = [
        one_number_each(EXERCISE, EXERCISE.call(function, *each.values()), case)
        for case, each in zip(chosen, given, strict=True)
    ]
    EXERCISE.refuse(not all(result.isfinite().all() for result in results), "not-finite")
    EXERCISE.compare(chosen, results, PARTS, facts=_example, formula=formula)
    _check_far(function)
    for case, each, result in zip(chosen, given, results, strict=True):
        fresh = arguments(EXERCISE, case, *LEARNED)
        found = gradients(result, {name: each[name] for name in LEARNED})
        truth = gradients(right(**fresh), {name: fresh[name] for name in LEARNED})
        check_gradients(EXERCISE, found, truth)


def _check_far(function: StudentCode) -> None:
    """Raise if densities are computed on the way: for a large robot they are too small to keep."""
    d = 60
    log_std = torch.linspace(-1.5, 1.5, d).round(decimals=2)
    error = torch.full((1, d), 1.5)
    error[0, ::10] = 15.0  # in units of σ: even one of these densities is rounded to 0
    mean, zero = torch.zeros(1, d), torch.zeros(d)
    case = Gaussians(error * log_std.exp(), mean, log_std, error, zero, zero)
    result = EXERCISE.call(function, *arguments(EXERCISE, case).values())
    seen = one_number_each(EXERCISE, result, case).detach()
    expected = right(case.action, mean, log_std)
    if not same(seen, expected):
        example = f"one action of {d} components, most of them 1.5 σ from their means, some 15 σ"
        raise EXERCISE.error(
            "far" if seen.isfinite().all() else "density-first",
            facts=[f"  Example: {example}."],
            seen=f"{float(seen[0]):.5g}",
            expected=f"{float(expected[0]):.5g}",
        )
    case = extreme()
    result = EXERCISE.call(function, *arguments(EXERCISE, case).values())
    seen = one_number_each(EXERCISE, result, case).detach()
    expected = right(case.action, case.mean, case.log_std)
    limited = not same(seen, expected)
    EXERCISE.refuse(limited, "std-limited", seen=numbers(seen), expected=numbers(expected))


def _example(case: Gaussians, expected: Tensor, seen: Tensor) -> list[str]:
    """The first action that comes out wrong, in numbers to follow by hand."""
    n = next(i for i in range(len(expected)) if not same(seen[i], expected[i]))

    def vector(tensor: Tensor) -> str:
        return "[" + ", ".join(f"{entry:.3g}" for entry in tensor.tolist()) + "]"

    given = {
        "action": case.action[n],
        "mean": case.mean[n],
        "log_std": case.log_std,
        "(action − mean) / σ": (case.action[n] - case.mean[n]) / case.log_std.exp(),
        "log-density of each component": log_densities(case.action[n], case.mean[n], case.log_std),
    }
    return [
        "  Example:",
        *(f"    {label} = {vector(tensor)}" for label, tensor in given.items()),
        f"  seen      {seen[n].item():.4g}",
        f"  expected  {float(expected[n]):.4g}",
    ]
