"""The check of notebook 05's first exercise: the log-probability of a diagonal Gaussian."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import not_right, same, untouched_randomness
from ppo_course.nb05_continuous.gaussians import (
    Choice,
    Gaussians,
    cases,
    check_gradient,
    compare,
    log_densities,
    one_number_each,
    run,
)

NAME = "gaussian_log_prob"
ARGUMENTS = ("action", "mean", "log_std")
LOG_2PI = math.log(2 * math.pi)

#: (action [N, D], mean [N, D], log_std [D]) → log-probabilities [N]
GaussianLogProb = Callable[[Tensor, Tensor, Tensor], Tensor]

TOTAL = "the log-probability"
SINGLE = (
    "it returns a single number for all actions together",
    "x.sum() sums over everything, the N actions, too; x.sum(-1) over the components alone",
)

NOT_HALF_LOG_2PI = (
    "the constant is not ½ log 2π ≈ 0.9189",
    "0.5 * math.log(2 * math.pi): the natural logarithm of the whole product",
)

# Parts of the logarithm of one component's density, [N, D] each; the right one comes first.

ERRORS = (
    Choice(lambda x: x.action - x.mean),
    Choice(
        lambda x: x.action,
        "the mean is not subtracted from the action",
        "the error is action − mean",
    ),
    Choice(
        lambda x: x.mean,
        "the action plays no part in the square",
        "the error is action − mean",
    ),
    Choice(
        lambda x: x.action + x.mean,
        "the mean is added to the action, not subtracted",
        "the error is action − mean",
    ),
)
SQUARES = (
    Choice(lambda e, s: (e / s.exp()) ** 2),
    Choice(
        lambda e, s: e**2 / s.exp(),
        "the squared error is divided by σ, not by σ²",
        "divide the error by σ first, then square",
    ),
    Choice(
        lambda e, _s: e**2,
        "the error is not divided by σ",
        "the square is that of (a − μ) / σ",
    ),
    Choice(
        lambda e, s: (e / s) ** 2,
        "the error is divided by log_std, which is the logarithm of σ",
        "σ is log_std.exp()",
    ),
    Choice(
        lambda e, s: (e * s.exp()) ** 2,
        "the error is multiplied by σ instead of divided",
        "the square is that of (a − μ) / σ",
    ),
    Choice(
        lambda e, s: e / s.exp(),
        "the square is missing",
        "((action - mean) / std) ** 2",
    ),
    Choice(
        lambda e, s: (e / (2 * s).exp()) ** 2,
        "the error is divided by σ² before it is squared",
        "divide the error by σ, then square",
    ),
)
FACTORS = (
    Choice(-0.5),
    Choice(-1.0, "the factor ½ before the square is missing", "−½ ((a − μ) / σ)²"),
    Choice(
        0.5,
        "the square has the wrong sign: far from the mean the density would grow",
        "a minus stands before it",
    ),
)
SCALES = (
    Choice(lambda s: -s),
    Choice(
        torch.zeros_like,
        "log σ is missing",
        "a wide density is a low one: subtract log_std",
    ),
    Choice(lambda s: s, "log σ has the wrong sign", "a wide density is a low one: − log σ"),
    Choice(
        lambda s: -s.exp(),
        "σ is subtracted, not its logarithm",
        "log_std is log σ already",
    ),
    Choice(
        lambda s: -s / 2,
        "half of log σ is subtracted: that would be right for the logarithm of the variance",
        "− log σ, without a factor",
    ),
    Choice(
        lambda s: -2 * s,
        "log σ is subtracted twice",
        "− log σ, without a factor",
    ),
)
CONSTANTS = (
    Choice(-0.5 * LOG_2PI),
    Choice(
        0.0,
        "the constant ½ log 2π is missing",
        "without it the density of each component would not have the integral 1",
    ),
    Choice(-LOG_2PI, "log 2π is subtracted without its factor ½", "− ½ log 2π, as √(2π) has it"),
    Choice(0.5 * LOG_2PI, "½ log 2π has the wrong sign", "− ½ log 2π"),
    Choice(
        -math.sqrt(2 * math.pi),
        "√(2π) is subtracted, not its logarithm",
        "the logarithm of √(2π) is ½ log 2π",
    ),
    *(
        Choice(-factor * logarithm, *NOT_HALF_LOG_2PI)
        for factor in (0.5, 1.0)
        for logarithm in (
            math.log(2) * math.pi,
            math.log(math.pi),
            math.log2(2 * math.pi),
            math.log10(2 * math.pi),
        )
    ),
)


def _each(squares: Tensor, scales: Tensor, constant: float) -> Tensor:
    return squares + scales + constant


# From the three parts of each component to one number for each action.
REDUCTIONS = (
    Choice(lambda *parts: _each(*parts).sum(-1)),
    Choice(
        lambda *parts: _each(*parts).mean(-1),
        "the mean over the components is taken, not their sum",
        "a product of densities has the sum of their logarithms",
    ),
    Choice(
        lambda q, s, c: (q + s).sum(-1) + c,
        "the constant is there once, and not once for each component",
        "each component has its own ½ log 2π: add it before the sum",
    ),
    Choice(
        lambda *parts: _each(*parts)[:, 0],
        "only the first component counts",
        "sum over the last dimension",
    ),
    Choice(
        lambda *parts: _each(*parts).prod(-1),
        "the logarithms of the components are multiplied",
        "the densities are multiplied, so their logarithms are added",
    ),
    Choice(
        lambda *parts: _each(*parts).sum(-1).exp(),
        "this is the density, not its logarithm",
        "leave the exponential out: densities are too small or too large to keep",
    ),
    Choice(
        lambda *parts: -_each(*parts).sum(-1),
        "the sign is wrong: this is −log π",
        "the log-probability itself is wanted, no loss",
    ),
)
PARTS = (ERRORS, SQUARES, FACTORS, SCALES, CONSTANTS, REDUCTIONS)


def formula(case: Gaussians, values: Sequence[Any]) -> Tensor:
    """The log-probabilities that a choice of each part gives, `[N]`."""
    error, square, factor, scale, constant, reduction = values
    squares = factor * square(error(case), case.log_std)
    result: Tensor = reduction(squares, scale(case.log_std), constant)
    return result


def right(action: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log π(a|s), `[N]`."""
    return log_densities(action, mean, log_std).sum(-1)


def check_gaussian_log_prob(function: GaussianLogProb, *, seed: int | None = None) -> None:
    """Check a student's `gaussian_log_prob(action, mean, log_std)`.

    It gets N actions of D components and the policy's means, `[N, D]` each, and the logarithms of
    its standard deviations, `[D]`; it returns the log-probabilities of the actions, `[N]`.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other numbers from it than the few that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    learned = ARGUMENTS[1:]
    with untouched_randomness(), torch.enable_grad():
        chosen = cases(seed)
        results, arguments = [], []
        for case in chosen:
            result, given = run(function, NAME, case, ARGUMENTS, differentiable=learned)
            results.append(one_number_each(NAME, result, case, TOTAL, single=SINGLE))
            arguments.append(given)
        for result in results:
            if not result.isfinite().all():
                raise not_right(
                    NAME,
                    "some of its numbers are inf or NaN",
                    "log_std is log σ already, and may be negative: it has no logarithm of its own",
                )
        compare(NAME, chosen, results, PARTS, formula=formula, example=_example)
        _check_far(function)
        for result, given in zip(results, arguments, strict=True):
            fresh = {key: tensor.detach().clone() for key, tensor in given.items()}
            for key in learned:
                fresh[key].requires_grad_()
            check_gradient(
                NAME,
                result,
                right(**fresh),
                {key: given[key] for key in learned},
                {key: fresh[key] for key in learned},
            )
    if seed is None:
        print("Well done! Squares, scales and constants add up, and the gradient gets through.")


def _check_far(function: GaussianLogProb) -> None:
    """Raise if densities are computed on the way: for a large robot they are too small to keep."""
    d = 60
    log_std = torch.linspace(-1.5, 1.5, d).round(decimals=2)
    error = torch.full((1, d), 1.5)
    error[0, ::10] = 8.0  # in units of σ
    mean, zero = torch.zeros(1, d), torch.zeros(d)
    case = Gaussians(error * log_std.exp(), mean, log_std, error, zero, zero)
    result, _ = run(function, NAME, case, ARGUMENTS)
    seen = one_number_each(NAME, result, case, TOTAL, single=SINGLE).detach()
    expected = right(case.action, mean, log_std)
    if same(seen, expected):
        return
    facts = (
        f"  Example: one action of {d} components, most of them 1.5 σ from their means, some 8 σ.",
        f"  seen      {float(seen[0]):.5g}",
        f"  expected  {float(expected[0]):.5g}",
    )
    if not seen.isfinite().all():
        raise not_right(
            NAME,
            "it computes the density, here too small for a float32, and then its logarithm",
            "the logarithm turns the product into a sum: sum the three terms of the formula, and "
            "leave exp and log of densities out",
            *facts,
        )
    raise not_right(
        NAME,
        "far from the mean its numbers are wrong",
        "no small number within the logarithm, no clamp: the formula is right as it stands",
        *facts,
    )


def _example(case: Gaussians, expected: Tensor, seen: Tensor) -> list[str]:
    """The first action that comes out wrong, in numbers to follow by hand."""
    n = next(i for i in range(len(expected)) if not same(seen[i], expected[i]))

    def vector(tensor: Tensor) -> str:
        return "[" + ", ".join(f"{entry:.3g}" for entry in tensor.tolist()) + "]"

    std = case.log_std.exp()
    each = log_densities(case.action[n], case.mean[n], case.log_std)
    given = (
        ("action", case.action[n]),
        ("mean", case.mean[n]),
        ("log_std", case.log_std),
        ("(action − mean) / σ", (case.action[n] - case.mean[n]) / std),
        ("log-density of each component", each),
    )
    return [
        "  Example:",
        *(f"    {label} = {vector(tensor)}" for label, tensor in given),
        f"  seen      {float(seen[n]):.4g}",
        f"  expected  {float(expected[n]):.4g}",
    ]
