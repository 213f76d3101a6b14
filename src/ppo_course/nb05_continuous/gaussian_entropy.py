"""The check of notebook 05's third exercise: the entropy of a diagonal Gaussian."""

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
    entropies,
    one_number_each,
    run,
)

NAME = "gaussian_entropy"
ARGUMENTS = ("mean", "log_std")
LOG_2PI = math.log(2 * math.pi)

#: (mean [N, D], log_std [D]) → entropies [N]
GaussianEntropy = Callable[[Tensor, Tensor], Tensor]

SINGLE = (
    "it returns a single number, not one for each state",
    "the sum over the components is one state's: x.expand(len(mean)) repeats it for each of them",
)
OF_COMPONENTS = (
    "sum over the components, then repeat the sum for each of the N states: x.expand(len(mean))"
)

# Parts of the entropy of one component, [D]; the right one comes first.

SCALES = (
    Choice(lambda s: s),
    Choice(
        torch.zeros_like,
        "log σ is missing: the entropy would always be the same",
        "a wide density is uncertain: + log_std",
    ),
    Choice(lambda s: -s, "log σ has the wrong sign", "a wide density is uncertain: + log σ"),
    Choice(lambda s: s.exp(), "σ is added, not its logarithm", "log_std is log σ already"),
    Choice(
        lambda s: s / 2,
        "half of log σ is added: that would be right for the logarithm of the variance",
        "½ log(2πe σ²) = log σ + ½ log(2πe)",
    ),
    Choice(
        lambda s: 2 * s,
        "log σ is added twice: the factor ½ stands before the logarithm of σ²",
        "½ log(2πe σ²) = log σ + ½ log(2πe)",
    ),
)
CONSTANTS = (
    Choice(0.5 + 0.5 * LOG_2PI),
    Choice(
        0.5 * LOG_2PI,
        "the ½ is missing that comes from the mean of the square, the e in 2πe",
        "½ log(2πe) = ½ + ½ log 2π",
    ),
    Choice(
        1 + 0.5 * LOG_2PI,
        "1 is added where ½ belongs, the logarithm of √e",
        "½ log(2πe) = ½ + ½ log 2π",
    ),
    Choice(0.5, "½ log 2π is missing", "½ log(2πe) = ½ + ½ log 2π"),
    Choice(0.0, "the constant ½ log(2πe) is missing", "add it to the log σ of each component"),
    Choice(1 + LOG_2PI, "log(2πe) is added without its factor ½", "½ log(2πe)"),
    Choice(
        0.5 * LOG_2PI - 0.5,
        "the ½ of the mean square has the wrong sign",
        "the entropy is −E[log π]: both signs turn round",
    ),
)
REDUCTIONS = (
    Choice(lambda s, c: (s + c).sum(-1)),
    Choice(
        lambda s, c: (s + c).mean(-1),
        "the mean over the components is taken, not their sum",
        "independent components: their entropies add",
    ),
    Choice(
        lambda s, c: s.sum(-1) + c,
        "the constant is there once, and not once for each component",
        "add ½ log(2πe) before the sum",
    ),
    Choice(
        lambda s, c: (s + c)[0],
        "only the first component counts",
        "sum over the components",
    ),
    Choice(
        lambda s, c: -(s + c).sum(-1),
        "the sign is wrong",
        "the entropy grows with σ",
    ),
    Choice(
        lambda s, c: (s + c).prod(-1),
        "the entropies of the components are multiplied",
        "independent components: their entropies add",
    ),
)
PARTS = (SCALES, CONSTANTS, REDUCTIONS)


def formula(case: Gaussians, values: Sequence[Any]) -> Tensor:
    """The entropies that a choice of each part gives, `[N]`."""
    scale, constant, reduction = values
    one: Tensor = reduction(scale(case.log_std), constant)
    return one.expand(len(case.mean))


def right(mean: Tensor, log_std: Tensor) -> Tensor:
    """The entropy of π(·|s), `[N]`."""
    return entropies(mean, log_std).sum(-1)


def check_gaussian_entropy(function: GaussianEntropy, *, seed: int | None = None) -> None:
    """Check a student's `gaussian_entropy(mean, log_std)`.

    It gets the means of N states, `[N, D]`, and the logarithms of the standard deviations, `[D]`;
    it returns the entropies of the policy in these states, `[N]`.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other numbers from it than the few that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        chosen = cases(seed)
        results, arguments = [], []
        for case in chosen:
            result, given = run(function, NAME, case, ARGUMENTS, differentiable=ARGUMENTS)
            results.append(
                one_number_each(
                    NAME, result, case, "the entropy", single=SINGLE, of_components=OF_COMPONENTS
                )
            )
            arguments.append(given)
        for result in results:
            if not result.isfinite().all():
                raise not_right(
                    NAME,
                    "some of its numbers are inf or NaN",
                    "log_std is log σ already, and may be negative: it has no logarithm of its own",
                )
        _check_mean(chosen, results)
        compare(NAME, chosen, results, PARTS, formula=formula, example=_example)
        for result, given in zip(results, arguments, strict=True):
            fresh = {key: tensor.detach().clone().requires_grad_() for key, tensor in given.items()}
            check_gradient(NAME, result, right(**fresh), given, fresh)
    if seed is None:
        print("Well done! The entropies of the components add up; the mean plays no part in them.")


def _check_mean(chosen: Sequence[Gaussians], results: Sequence[Tensor]) -> None:
    for case, result in zip(chosen, results, strict=True):
        if not same(result, result[:1].expand(len(result))):
            raise not_right(
                NAME,
                "it depends on the mean, or differs from state to state",
                "shifting a density changes nothing of its width: of the mean only the shape counts"
                ", and σ is the same in every state",
                f"  seen      {', '.join(f'{entry:.4g}' for entry in result.tolist())}",
                f"  expected  {len(case.mean)} times the same number",
            )


def _example(case: Gaussians, expected: Tensor, seen: Tensor) -> list[str]:
    log_stds = ", ".join(f"{entry:.3g}" for entry in case.log_std.tolist())
    terms = ", ".join(f"{entry + 0.5 + 0.5 * LOG_2PI:.4g}" for entry in case.log_std.tolist())
    return [
        f"  Example: log_std [{log_stds}]; the components alone have the entropies [{terms}].",
        f"  seen      {float(seen[0]):.4g} in each of {len(seen)} states",
        f"  expected  {float(expected[0]):.4g}",
    ]
