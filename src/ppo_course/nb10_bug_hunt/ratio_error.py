"""The check of notebook 10's first instrument: how far the ratios of a minibatch are from 1."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.by_cases import check_by_cases
from ppo_course.feedback import numbers
from ppo_course.guesses import Guess

#: (log_prob, old_log_prob), both [N] → a number
RatioError = Callable[[Tensor, Tensor], Any]

NAME = "ratio_error"


class Minibatch(NamedTuple):
    """Probabilities of the actions of N transitions, under both policies."""

    new: tuple[float, ...]
    old: tuple[float, ...]

    def log_probs(self) -> tuple[Tensor, Tensor]:
        """`[N]` each: of the policy that learns, and of the one that acted."""
        return torch.tensor(self.new).log(), torch.tensor(self.old).log()

    def ratio(self) -> Tensor:
        """`[N]`."""
        return torch.tensor(self.new) / torch.tensor(self.old)


# The furthest ratio is below 1 in the first case; above it, and the last one, in the second; the
# third has nothing.
CASES = (
    Minibatch((0.5, 0.2, 0.1, 0.6), (0.4, 0.25, 0.5, 0.6)),
    Minibatch((0.3, 0.2, 0.9), (0.2, 0.25, 0.3)),
    Minibatch((0.5, 0.25), (0.5, 0.25)),
)


def drawn(seed: int) -> list[Minibatch]:
    """Cases of the same kinds as `CASES`, drawn from a seed."""
    source = random.Random(seed)

    def minibatch(furthest: float, *, last: bool) -> Minibatch:
        ratios = [source.uniform(0.85, 1.15) for _ in range(source.randint(3, 8))]
        ratios.insert(source.randint(1, len(ratios)), 1 / (1 + 0.4 * (furthest - 1)))
        ratios.insert(len(ratios) if last else source.randint(1, len(ratios) - 1), furthest)
        old = [source.uniform(0.2, 0.35) for _ in ratios]
        return Minibatch(tuple(r * p for r, p in zip(ratios, old, strict=True)), tuple(old))

    same = tuple(source.uniform(0.1, 0.9) for _ in range(source.randint(2, 6)))
    return [
        minibatch(source.uniform(0.2, 0.5), last=False),
        minibatch(source.uniform(1.8, 2.6), last=True),
        Minibatch(same, same),
    ]


def right(case: Minibatch) -> float:
    """The largest |ratio - 1|."""
    return float((case.ratio() - 1).abs().max())


_RATIO = "the ratio is (log_prob - old_log_prob).exp()"
_FURTHEST = "the distance of each ratio from 1 (.abs()), then the largest of them (.max())"

MISTAKES = (
    Guess(
        lambda c: float((c.ratio() - 1).abs().mean()),
        "it is the mean distance, in which one bad transition among thousands drowns",
        _FURTHEST,
    ),
    Guess(
        lambda c: abs(float((c.ratio() - 1).mean())),
        "it is the mean of the ratios that is compared with 1: those above and below it cancel",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).mean()),
        "it is the mean of ratio - 1: ratios above and below 1 cancel",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).max()),
        "ratios below 1 are not counted, however far away they are",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((1 - c.ratio()).max()),
        "ratios above 1 are not counted, however far away they are",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((1 / c.ratio() - 1).abs().max()),
        "the ratio is upside down: old over new",
        _RATIO,
    ),
    Guess(
        lambda c: float(c.ratio().log().abs().max()),
        "it compares the logarithms, and not the ratio itself",
        _RATIO,
    ),
    Guess(
        lambda c: float((c.log_probs()[0] / c.log_probs()[1] - 1).abs().max()),
        "it is the ratio of the log-probabilities, and not that of the probabilities",
        _RATIO,
    ),
    Guess(
        lambda c: float((torch.tensor(c.new) - torch.tensor(c.old)).abs().max()),
        "it is the difference of the probabilities, and not their ratio",
        _RATIO,
    ),
    Guess(
        lambda c: float(c.ratio().max()),
        "it is the largest ratio, and not its distance from 1",
        _FURTHEST,
    ),
    Guess(
        lambda c: float(c.ratio().min()),
        "it is the smallest ratio, and not a distance from 1",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).abs().min()),
        "it is the smallest distance, and not the largest",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).abs().argmax()),
        "it is the place of the furthest ratio, and not its distance from 1",
        ".argmax() says where the largest is, and .max() how large it is",
    ),
    Guess(
        lambda c: float((c.ratio() - 1).square().max()),
        "it is the square of the largest distance",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).square().mean()),
        "it is the mean of the squared distances",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((torch.tensor(c.new) / c.log_probs()[1] - 1).abs().max()),
        "a probability is divided by a log-probability: .exp() is taken of log_prob alone",
        _RATIO,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).abs()[0]),
        "it looks at the first transition alone",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).abs()[:-1].max()),
        "the last transition is left out",
        _FURTHEST,
    ),
    Guess(
        lambda c: float((c.ratio() - 1).abs().sum()),
        "it is the sum of the distances, which grows with the minibatch",
        _FURTHEST,
    ),
)


def check_ratio_error(function: RatioError, *, seed: int | None = None) -> None:
    """Check a student's `ratio_error(log_prob, old_log_prob)`.

    It gets log-probabilities `[N]` of the same actions under two policies, and returns the
    largest |ratio - 1|.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other probabilities from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    check_by_cases(
        function,
        CASES if seed is None else drawn(seed),
        name=NAME,
        arguments=Minibatch.log_probs,
        given="log-probabilities",
        returned="the largest distance from 1",
        right=right,
        mistakes=MISTAKES,
        tell=_tell,
        hint=_hint,
    )
    if seed is None:
        print("Well done! One wrong transition is enough for this instrument, on either side of 1.")


def _tell(case: Minibatch) -> list[str]:
    return [
        f"  Example: π_θ(a|s) = {numbers(torch.tensor(case.new))},",
        f"           π_old(a|s) = {numbers(torch.tensor(case.old))}.",
        f"  The ratios are {numbers(case.ratio())}.",
    ]


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(log_prob, old_log_prob)"
    if isinstance(error, TypeError) and "must be Tensor" in text:
        return "tensors have methods of their own: x.exp(), x.abs(), x.max()"
    if "converted to" in text and isinstance(error, ValueError | RuntimeError | TypeError):
        return (
            "math.exp() and float() take one number, and a tensor here has N of them: x.exp() "
            "takes them all"
        )
    return ""
