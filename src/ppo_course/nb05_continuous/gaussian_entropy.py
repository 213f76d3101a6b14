"""The check of notebook 05's third exercise: the entropy of a diagonal Gaussian."""

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
    entropies,
    extreme,
    one_number_each,
)

LOG_2PI = math.log(2 * math.pi)
EXERCISE = Exercise("gaussian_entropy", ("mean", "log_std"), WORDS)


# Of the entropy of one component, [D]: the scale, the constant; and how the components add up.
PARTS = (
    SCALES,
    Part(
        0.5 + 0.5 * LOG_2PI,
        {
            "half-missing": 0.5 * LOG_2PI,
            "one-for-half": 1 + 0.5 * LOG_2PI,
            "log-2pi-missing": 0.5,
            "constant-missing": 0.0,
            "constant-not-halved": 1 + LOG_2PI,
            "half-sign": 0.5 * LOG_2PI - 0.5,
        },
    ),
    Part(
        lambda s, c: (s + c).sum(-1),
        {
            "mean-over-components": lambda s, c: (s + c).mean(-1),
            "constant-once": lambda s, c: s.sum(-1) + c,
            "first-component": lambda s, c: (s + c)[0],
            "sign": lambda s, c: -(s + c).sum(-1),
            "product": lambda s, c: (s + c).prod(-1),
        },
    ),
)


def formula(case: Gaussians, values: Sequence[Any]) -> Tensor:
    """The entropies that a choice of each part gives, `[N]`."""
    scale, constant, reduction = values
    one: Tensor = reduction(scale(case.log_std), constant)
    return one.expand(len(case.mean))


def right(mean: Tensor, log_std: Tensor) -> Tensor:
    """The entropy of π(·|s), `[N]`."""
    return entropies(mean, log_std).sum(-1)


@torch.enable_grad()
@EXERCISE.check
def check_gaussian_entropy(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `gaussian_entropy(mean, log_std)`.

    It gets the means of N states, `[N, D]`, and the logarithms of the standard deviations, `[D]`;
    it returns the entropies of the policy in these states, `[N]`.
    """
    chosen = cases(seed)
    one = chosen[0]  # a single state, and deviations so small that the entropy is negative
    chosen.append(one._replace(mean=one.mean[:1], log_std=one.log_std - 3))
    given = [arguments(EXERCISE, case, *EXERCISE.arguments) for case in chosen]
    results = [
        one_number_each(EXERCISE, EXERCISE.call(function, *each.values()), case)
        for case, each in zip(chosen, given, strict=True)
    ]
    EXERCISE.refuse(not all(result.isfinite().all() for result in results), "not-finite")
    for result in results:
        if not same(result, result[:1].expand(len(result))):
            seen = ", ".join(f"{entry:.4g}" for entry in result.tolist())
            expected = f"{len(result)} times the same number"
            raise EXERCISE.error("depends-on-mean", seen=seen, expected=expected)
    EXERCISE.compare(chosen, results, PARTS, facts=_example, formula=formula)
    far = extreme()
    seen = EXERCISE.call(function, far.mean, far.log_std)
    truth = right(far.mean, far.log_std)
    limited = not same(one_number_each(EXERCISE, seen, far), truth)
    EXERCISE.refuse(limited, "std-limited", seen=numbers(seen), expected=numbers(truth))
    for case, each, result in zip(chosen, given, results, strict=True):
        fresh = arguments(EXERCISE, case, *EXERCISE.arguments)
        check_gradients(EXERCISE, gradients(result, each), gradients(right(**fresh), fresh))


def _example(case: Gaussians, expected: Tensor, seen: Tensor) -> list[str]:
    log_stds = ", ".join(f"{entry:.3g}" for entry in case.log_std.tolist())
    terms = ", ".join(f"{entry + 0.5 + 0.5 * LOG_2PI:.4g}" for entry in case.log_std.tolist())
    return [
        f"  Example: log_std [{log_stds}]; the components alone have the entropies [{terms}].",
        f"  seen      {seen[0].item():.4g} in each of {len(seen)} states",
        f"  expected  {float(expected[0]):.4g}",
    ]
