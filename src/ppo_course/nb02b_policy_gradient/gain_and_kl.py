"""The check of notebook 02b's sixth exercise: what a new policy promises, and how far it is."""

from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS
from ppo_course.one_number import agree, as_number, compare_numbers

EXERCISE = Exercise("gain_and_kl", ("old", "new", "visits", "advantage"), WORDS)


class Policies(NamedTuple):
    """Two policies in S states, `[S, A]` each.

    Attributes:
        old: probabilities of the one that collected the data.
        new: of the other one.
        visits: the share of the time that the old one spends in each state, `[S]`.
        advantage: of the old one's actions, `[S, A]`; its mean under the old one is 0.
    """

    old: Tensor
    new: Tensor
    visits: Tensor
    advantage: Tensor

    @property
    def kl(self) -> Tensor:
        """KL(old ‖ new) in each state, `[S]`."""
        return (self.old * (self.old / self.new).log()).sum(-1)

    def tell(self) -> list[str]:
        """The example in a message."""
        return [
            f"  Example: {len(self.visits)} states, visited {numbers(self.visits)}; in the first,",
            f"    old {numbers(self.old[0])}, new {numbers(self.new[0])},",
            f"    advantages {numbers(self.advantage[0])}",
        ]


def _made(old: Tensor, new: Tensor, visits: Tensor, raw: Tensor) -> Policies:
    return Policies(old, new, visits, raw - (old * raw).sum(-1, keepdim=True))


def cases(seed: int | None) -> list[Policies]:
    """Two, with different numbers of states and actions."""
    if seed is None:
        return [
            _made(
                torch.tensor([[0.5, 0.5], [0.8, 0.2], [0.25, 0.75]]),
                torch.tensor([[0.75, 0.25], [0.6, 0.4], [0.5, 0.5]]),
                torch.tensor([0.5, 0.3, 0.2]),
                torch.tensor([[2.0, 0.0], [1.0, 3.0], [4.0, -1.0]]),
            ),
            _made(
                torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]),
                torch.tensor([[0.2, 0.3, 0.5], [0.3, 0.4, 0.3]]),
                torch.tensor([0.9, 0.1]),
                torch.tensor([[1.0, 2.0, 5.0], [3.0, -2.0, 1.0]]),
            ),
        ]
    source, chosen = source_of(seed), []
    for _ in range(2):
        s, a = integer(source, 2, 5), integer(source, 2, 5)
        old, new = torch.randn(2, s, a, generator=source).softmax(-1).clamp(min=0.05).unbind(0)
        old, new = (each / each.sum(-1, keepdim=True) for each in (old, new))
        visits = 0.1 + torch.rand(s, generator=source)
        raw = 3 * torch.randn(s, a, generator=source)
        chosen.append(_made(old, new, visits / visits.sum(), raw))
    return chosen


def _by_state(x: Policies) -> Tensor:
    return (x.new * x.advantage).sum(-1)


GAINS = Part(
    lambda x: float((x.visits * _by_state(x)).sum()),
    {
        "gain-of-old": lambda x: float((x.visits * (x.old * x.advantage).sum(-1)).sum()),
        "gain-not-by-visits": lambda x: float(_by_state(x).mean()),
        "gain-states-summed": lambda x: float(_by_state(x).sum()),
        "gain-sign": lambda x: -float((x.visits * _by_state(x)).sum()),
        "gain-divided": lambda x: float((x.visits * _by_state(x)).mean()),
        "gain-of-ratios": lambda x: float((x.visits * (x.new / x.old * x.advantage).sum(-1)).sum()),
        "gain-over-actions": lambda x: float(
            (x.visits[:, None] * x.new * x.advantage).mean(-1).sum()
        ),
        "gain-no-policy": lambda x: float((x.visits * x.advantage.sum(-1)).sum()),
    },
)
DISTANCES = Part(
    lambda x: float((x.visits * x.kl).sum()),
    {
        "kl-upside-down": lambda x: float(
            (x.visits * (x.new * (x.new / x.old).log()).sum(-1)).sum()
        ),
        "kl-not-by-visits": lambda x: float(x.kl.mean()),
        "kl-states-summed": lambda x: float(x.kl.sum()),
        "kl-largest": lambda x: float(x.kl.max()),
        "kl-sign": lambda x: -float((x.visits * x.kl).sum()),
        "kl-weighted-by-new": lambda x: float(
            (x.visits * (x.new * (x.old / x.new).log()).sum(-1)).sum()
        ),
        "kl-no-probabilities": lambda x: float((x.visits * (x.old / x.new).log().sum(-1)).sum()),
        "kl-divided": lambda x: float((x.visits * x.kl).mean()),
        "kl-no-log": lambda x: float((x.visits * (x.old * x.old / x.new).sum(-1)).sum()),
        "kl-total-variation": lambda x: float((x.visits * (x.old - x.new).abs().sum(-1)).sum() / 2),
        "kl-over-actions": lambda x: float(
            (x.visits[:, None] * x.old * (x.old / x.new).log()).mean(-1).sum()
        ),
    },
)


@torch.enable_grad()
@EXERCISE.check
def check_gain_and_kl(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `gain_and_kl(old, new, visits, advantage)`.

    It gets probabilities and advantages, `[S, A]`, and the share of the visits of each state,
    `[S]`; it returns the expected advantage of the new policy's actions in the old one's states,
    and the mean KL(old ‖ new) there.
    """
    examples, seen = cases(seed), []
    for x in examples:
        result = EXERCISE.call(function, *(tensor.clone() for tensor in x))
        pair = EXERCISE.several(result, 2, "not-two", "2 numbers: gain, kl")
        seen.append([as_number(EXERCISE, each, "two numbers") for each in pair])
    swapped = all(
        agree(x, one, DISTANCES.right(x)) and agree(x, other, GAINS.right(x))
        for x, (one, other) in zip(examples, seen, strict=True)
    )
    EXERCISE.refuse(swapped, "swapped")

    def see(place: int) -> None:
        numbers = [pair[place] for pair in seen]
        compare_numbers(EXERCISE, examples, numbers, (GAINS, DISTANCES)[place])

    with EXERCISE.partly(the_gain=lambda: see(0), the_divergence=lambda: see(1)):
        see(0)
        see(1)
