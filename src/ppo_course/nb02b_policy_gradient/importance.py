"""The check of notebook 02b's fourth exercise: importance weights, and what they cost."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS
from ppo_course.one_number import agree, as_number, compare_numbers

EXERCISE = Exercise("importance", ("log_prob", "old_log_prob", "reward"), WORDS)


class Weighted(NamedTuple):
    """N samples of the old policy, `[N]` each."""

    log_prob: Tensor
    old_log_prob: Tensor
    reward: Tensor

    @property
    def weight(self) -> Tensor:
        """π_new / π_old."""
        return (self.log_prob - self.old_log_prob).exp()

    def tell(self) -> list[str]:
        """The example in a message."""
        return [
            f"  Example: {len(self.reward)} samples; of the first ones,",
            f"    π_new = {numbers(self.log_prob.exp()[:5])}",
            f"    π_old = {numbers(self.old_log_prob.exp()[:5])}",
            f"    reward  {numbers(self.reward[:5])}",
        ]


def cases(seed: int | None) -> list[Weighted]:
    """Two, in which policies have moved far, and one with a very large ratio."""
    rare = Weighted(
        torch.tensor([0.9, 0.5, 0.2]).log(),
        torch.tensor([0.005, 0.4, 0.3]).log(),
        torch.tensor([2.0, 1.0, 3.0]),
    )
    if seed is None:
        return [
            Weighted(
                torch.tensor([0.6, 0.2, 0.2]).log(),
                torch.tensor([0.3, 0.4, 0.4]).log(),
                torch.tensor([1.0, 2.0, 5.0]),
            ),
            Weighted(
                torch.tensor([0.9, 0.1, 0.3, 0.2]).log(),
                torch.tensor([0.3, 0.5, 0.2, 0.25]).log(),
                torch.tensor([4.0, -1.0, 3.0, 2.0]),
            ),
            rare,
        ]
    source, chosen = source_of(seed), []
    for _ in range(2):
        n = integer(source, 5, 10)
        old = 0.2 + 0.5 * torch.rand(n, generator=source)
        new = (old * (0.3 + 1.7 * torch.rand(n, generator=source))).clamp(max=0.95)
        reward = 2 + 2 * torch.randn(n, generator=source)
        chosen.append(Weighted(new.log(), old.log(), reward))
    return [*chosen, rare]


def _of(weight: Callable[[Weighted], Tensor]) -> Callable[[Weighted], float]:
    return lambda x: float((weight(x) * x.reward).mean())


MEANS = Part(
    _of(lambda x: x.weight),
    {
        "upside-down": _of(lambda x: 1 / x.weight),
        "no-weights": _of(lambda x: torch.ones_like(x.reward)),
        "no-exp": _of(lambda x: x.weight.log()),
        "new-probability": _of(lambda x: x.log_prob.exp()),
        "logs-divided": _of(lambda x: x.log_prob / x.old_log_prob),
        "self-normalised": lambda x: float((x.weight * x.reward).sum() / x.weight.sum()),
        "summed": lambda x: float((x.weight * x.reward).sum()),
        "means-multiplied": lambda x: float(x.weight.mean() * x.reward.mean()),
        "weights-added": lambda x: float((x.weight + x.reward).mean()),
    },
)


def _size(weight: Tensor) -> float:
    return float(weight.sum().square() / weight.square().sum())


SIZES = Part(
    lambda x: _size(x.weight),
    {
        "size-is-n": lambda x: float(len(x.reward)),
        "size-as-share": lambda x: _size(x.weight) / len(x.reward),
        "size-inverted": lambda x: 1 / _size(x.weight),
        "size-inverted~share": lambda x: len(x.reward) / _size(x.weight),
        "size-of-upside-down": lambda x: _size(1 / x.weight),
        "size-not-squared": lambda x: float(x.weight.sum() / x.weight.square().sum()),
        "size-of-weighted-rewards": lambda x: _size(x.weight * x.reward),
        "size-is-sum": lambda x: float(x.weight.sum()),
        "size-squares-twice": lambda x: float(
            x.weight.square().sum().square() / x.weight.square().sum()
        ),
        "size-of-means": lambda x: float(x.weight.mean().square() / x.weight.square().sum()),
        "size-one-over-squares": lambda x: float(1 / x.weight.square().sum()),
        "size-of-logs": lambda x: _size(x.weight.log()),
    },
)


@torch.enable_grad()
@EXERCISE.check
def check_importance(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `importance(log_prob, old_log_prob, reward)`.

    It gets samples of the old policy, `[N]` each, and returns the estimate of the new policy's mean
    reward, and the effective sample size.
    """
    samples, seen = cases(seed), []
    for x in samples:
        result = EXERCISE.call(function, *(tensor.clone() for tensor in x))
        expected = "2 numbers: the estimate, the effective sample size"
        pair = EXERCISE.several(result, 2, "not-two", expected)
        seen.append([as_number(EXERCISE, each, "two numbers") for each in pair])
    swapped = all(
        agree(x, one, SIZES.right(x)) and agree(x, other, MEANS.right(x))
        for x, (one, other) in zip(samples, seen, strict=True)
    )
    EXERCISE.refuse(swapped, "swapped")

    def see(place: int) -> None:
        numbers = [pair[place] for pair in seen]
        compare_numbers(EXERCISE, samples, numbers, (MEANS, SIZES)[place])

    with EXERCISE.partly(the_estimate=lambda: see(0), the_effective_sample_size=lambda: see(1)):
        see(0)
        see(1)
