"""The check of notebook 10's first instrument: how far the ratios of a minibatch are from 1."""

import random
from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import check_numbers

EXERCISE = Exercise("ratio_error", ("log_prob", "old_log_prob"), read_words(__file__))


class Minibatch(NamedTuple):
    """Probabilities of the actions of N transitions, under both policies."""

    new: tuple[float, ...]
    old: tuple[float, ...]

    def log_probs(self) -> tuple[Tensor, Tensor]:
        """`[N]` each: of the policy that learns, and of the one that acted."""
        return torch.tensor(self.new).log(), torch.tensor(self.old).log()

    def tell(self) -> list[str]:
        """The example in a message."""
        return [
            f"  Example: π_θ(a|s) = {numbers(torch.tensor(self.new))},",
            f"           π_old(a|s) = {numbers(torch.tensor(self.old))}.",
            f"  The ratios are {numbers(self.ratio())}.",
        ]

    def ratio(self) -> Tensor:
        """`[N]`."""
        return torch.tensor(self.new) / torch.tensor(self.old)


# The furthest ratio is below 1 in the first case; above it, and the last one, in the second; the
# third has nothing, and the fourth hardly anything.
CASES = (
    Minibatch((0.5, 0.2, 0.1, 0.6), (0.4, 0.25, 0.5, 0.6)),
    Minibatch((0.3, 0.2, 0.9), (0.2, 0.25, 0.3)),
    Minibatch((0.5, 0.25), (0.5, 0.25)),
    Minibatch((0.2, 0.501, 0.3, 0.4, 0.7), (0.2, 0.5, 0.3, 0.4, 0.7)),
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
    nearly = tuple(p * (1 + source.uniform(-0.004, 0.004)) for p in same)
    return [
        minibatch(source.uniform(0.2, 0.5), last=False),
        minibatch(source.uniform(1.8, 2.6), last=True),
        Minibatch(same, same),
        Minibatch(nearly, same),
    ]


def right(case: Minibatch) -> float:
    """The largest |ratio - 1|."""
    return float((case.ratio() - 1).abs().max())


FORMULAS = Part(
    right,
    {
        "mean-distance": lambda c: float((c.ratio() - 1).abs().mean()),
        "mean-of-ratios": lambda c: abs(float((c.ratio() - 1).mean())),
        "mean-difference": lambda c: float((c.ratio() - 1).mean()),
        "below-not-counted": lambda c: float((c.ratio() - 1).max()),
        "above-not-counted": lambda c: float((1 - c.ratio()).max()),
        "inverted": lambda c: float((1 / c.ratio() - 1).abs().max()),
        "logarithms": lambda c: float(c.ratio().log().abs().max()),
        "of-log-probs": lambda c: float((c.log_probs()[0] / c.log_probs()[1] - 1).abs().max()),
        "difference": lambda c: float((torch.tensor(c.new) - torch.tensor(c.old)).abs().max()),
        "largest-ratio": lambda c: float(c.ratio().max()),
        "smallest-ratio": lambda c: float(c.ratio().min()),
        "smallest-distance": lambda c: float((c.ratio() - 1).abs().min()),
        "place": lambda c: float((c.ratio() - 1).abs().argmax()),
        "square": lambda c: float((c.ratio() - 1).square().max()),
        "mean-square": lambda c: float((c.ratio() - 1).square().mean()),
        "half-a-ratio": lambda c: float((torch.tensor(c.new) / c.log_probs()[1] - 1).abs().max()),
        "first-alone": lambda c: float((c.ratio() - 1).abs()[0]),
        "last-left-out": lambda c: float((c.ratio() - 1).abs()[:-1].max()),
        "sum": lambda c: float((c.ratio() - 1).abs().sum()),
    },
)


@EXERCISE.check
def check_ratio_error(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `ratio_error(log_prob, old_log_prob)`.

    It gets log-probabilities `[N]` of the same actions under two policies, and returns the
    largest |ratio - 1|.
    """
    cases = CASES if seed is None else drawn(seed)
    told, arguments = "the largest distance from 1", Minibatch.log_probs
    check_numbers(EXERCISE, function, cases, FORMULAS, returned=told, arguments=arguments)
