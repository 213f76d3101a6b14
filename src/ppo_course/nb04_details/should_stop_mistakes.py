"""Policies that have moved, and what known mistakes make of the estimate of how far."""

import random
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.losses import clipped_surrogate
from ppo_course.feedback import numbers
from ppo_course.guesses import Guess

TOLERANCE = 1.5  # × the target: above it an update is stopped


class Case(NamedTuple):
    """Log-probabilities of the same actions under two policies, `[N]` each, as lists."""

    log_prob: list[float]
    old_log_prob: list[float]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Both as tensors, `[N]`, in double precision."""
        return torch.tensor(self.log_prob).double(), torch.tensor(self.old_log_prob).double()

    def tell(self) -> list[str]:
        """The example in a message."""
        new, old = self.tensors
        return [
            "  Example: the actions now have the probabilities",
            f"    {numbers(new.exp()[:6])}{' …' if len(new) > 6 else ''}",
            "  and had, when the data were collected,",
            f"    {numbers(old.exp()[:6])}{' …' if len(old) > 6 else ''}",
        ]


def _case(new: list[float], old: list[float]) -> Case:
    return Case(torch.tensor(new).log().tolist(), torch.tensor(old).log().tolist())


CASES = (
    _case([0.6, 0.3, 0.5], [0.5, 0.4, 0.5]),
    _case([0.9, 0.2], [0.4, 0.7]),
)


def drawn(seed: int) -> list[Case]:
    """Pairs of policies drawn from a seed: far enough apart that no two estimates agree."""
    source = random.Random(seed)
    cases = []
    for size in (source.randint(3, 9), source.randint(10, 20)):
        old = [source.uniform(0.3, 0.7) for _ in range(size)]
        new = [p * source.uniform(1.2, 1.4) if i % 3 else p * 0.5 for i, p in enumerate(old)]
        cases.append(_case(new, old))
    return cases


def right(case: Case) -> float:
    """The estimate k3 of KL(old ‖ new)."""
    log_prob, old_log_prob = case.tensors
    _, facts = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=old_log_prob,
        advantage=torch.zeros_like(log_prob),
        clip_range=0.2,
    )
    return float(facts["approx_kl"])


def _of(formula: Callable[[Tensor], Tensor]) -> Callable[[Case], float]:
    """A number of the logarithms of the ratios, `[N]`."""

    def value(case: Case) -> float:
        log_prob, old_log_prob = case.tensors
        return float(formula(log_prob - old_log_prob))

    return value


_FORMULA = "the estimate is the mean of (r − 1) − log r, with r = exp(log_prob − old_log_prob)"

MISTAKES = (
    Guess(
        _of(lambda d: (-d).mean()),
        "it is the plain estimate, the mean of −log r, which can be negative",
        "add r − 1, whose mean is 0 under the old policy: " + _FORMULA,
    ),
    Guess(
        _of(lambda d: d.mean()),
        "it is the mean of log r, which can be negative",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: 0.5 * d.square().mean()),
        "it is the estimate k2, half of the mean squared logarithm, which is biased",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: (-d).expm1().mean() + d.mean()),
        "the ratio is turned round: old over new",
        "r = exp(log_prob − old_log_prob): what is new comes first",
    ),
    Guess(
        _of(lambda d: (d.expm1() + d).mean()),
        "log r is added, not subtracted",
        _FORMULA,
    ),
    Guess(
        lambda c: float((c.tensors[0] - c.tensors[1]).expm1().sub(c.tensors[0]).mean()),
        "what is subtracted is log_prob alone, not the logarithm of the ratio",
        "log r = log_prob − old_log_prob",
    ),
    Guess(
        _of(lambda d: (d - 1 - d).mean()),
        "exp is missing: r is the logarithm of the ratio, and all that is left is −1",
        "r = exp(log_prob − old_log_prob)",
    ),
    Guess(
        _of(lambda d: (d - d.expm1()).mean()),
        "the sign is wrong: the estimate is never positive",
        "(r − 1) − log r, not log r − (r − 1)",
    ),
    Guess(
        _of(lambda d: (d.expm1() - d).sum()),
        "it is the sum over the transitions",
        "a larger minibatch would stop earlier: take the mean",
    ),
    Guess(
        _of(lambda d: (d.expm1() - d).max()),
        "it is the largest term alone",
        "take the mean over the transitions",
    ),
    Guess(
        _of(lambda d: d.expm1().mean()),
        "− log r is missing: it is the mean of r − 1",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: (d.exp() - d).mean()),
        "the 1 is missing: equal policies would have a divergence of 1",
        "(r − 1) − log r is 0 where r = 1",
    ),
    Guess(
        _of(lambda d: d.abs().mean()),
        "it is the mean of |log r|, which is no estimate of the divergence",
        _FORMULA,
    ),
    Guess(
        _of(lambda d: d.mean().expm1() - d.mean()),
        "the mean is taken too early: of log r, and r is made of this mean",
        "first (r − 1) − log r for each action, then the mean of all",
    ),
    Guess(
        _of(lambda d: d.expm1().mean() - d.exp().mean().log()),
        "the mean is taken too early: of r, and the logarithm is that of this mean",
        "first (r − 1) − log r for each action, then the mean of all",
    ),
    Guess(
        _of(lambda d: (d.expm1() - d).median()),
        "it is the median of the terms",
        "take the mean over the transitions",
    ),
    Guess(
        _of(lambda d: TOLERANCE * (d.expm1() - d).mean()),
        "the estimate has the factor 1.5 in it",
        "the factor belongs to target_kl, in the comparison",
    ),
    Guess(
        lambda c: float((c.tensors[1].exp() * (c.tensors[1] - c.tensors[0])).sum()),
        "the terms are weighted with the probabilities, as in the sum over all actions",
        "we have a sample of the actions, and the likely ones are in it more often already: "
        + _FORMULA,
    ),
    Guess(
        lambda c: float(
            (c.tensors[0] / c.tensors[1] - 1 - (c.tensors[0] / c.tensors[1]).log()).mean()
        ),
        "the ratio is that of the logarithms",
        "both arguments are logarithms: r = exp(log_prob − old_log_prob)",
    ),
)

# What else than the estimate may be compared with the target, besides the numbers above.
COMPARED = (
    Guess(
        _of(lambda d: (d.expm1() - d).max()),
        "it stops as soon as the term of any one action is too large",
        "the mean of the terms is compared, not each of them",
    ),
    Guess(
        _of(lambda d: (d.expm1() - d).min()),
        "it stops only where the terms of all actions are too large",
        "the mean of the terms is compared, not each of them",
    ),
    *(
        Guess(
            guess.formula,
            f"the estimate is right, but another number is compared with the target: {guess.wrong}",
            "stop = kl > 1.5 * target_kl, with the kl that is returned",
        )
        for guess in MISTAKES
    ),
)
