"""Policies over a few actions, and samples of them, on which the checks of notebook 02b run."""

from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.mistakes import read_words

WORDS = read_words(__file__)


class Samples(NamedTuple):
    """N actions of a softmax policy.

    Attributes:
        logits: its scores, `[K]`.
        action: what was drawn, `[N]`.
        reward: what came of it, `[N]`.
        baseline: a number.
    """

    logits: Tensor
    action: Tensor
    reward: Tensor
    baseline: float

    @property
    def score(self) -> Tensor:
        """The gradient of log π(a) with respect to the logits, `[N, K]`."""
        one_hot = torch.nn.functional.one_hot(self.action, len(self.logits))
        return one_hot - self.logits.softmax(-1)

    def tell(self) -> list[str]:
        """The example in a message."""
        shown = self.action[:6].tolist()
        more = ", …" if len(self.action) > len(shown) else ""
        return [
            f"  Example: π = {_list(self.logits.softmax(-1))}, {len(self.action)} samples,",
            f"    actions {', '.join(map(str, shown))}{more}, rewards {_list(self.reward[:6])},",
        ]


def _list(numbers: Tensor) -> str:
    return "[" + ", ".join(f"{number:.3g}" for number in numbers.tolist()) + "]"


def cases(seed: int | None) -> list[Samples]:
    """Two, with different numbers of actions; the samples are what they are, drawn or not."""
    if seed is None:
        return [
            Samples(
                torch.tensor([0.5, 0.25, 0.25]).log() + 1,
                torch.tensor([0, 1, 0, 2]),
                torch.tensor([1.0, 3.0, 2.0, 4.0]),
                2.0,
            ),
            Samples(
                torch.tensor([0.1, 0.2, 0.3, 0.4]).log() - 2,
                torch.tensor([3, 3, 1, 0, 2]),
                torch.tensor([5.0, 1.0, -2.0, 7.0, 2.5]),
                1.5,
            ),
        ]
    source, chosen = source_of(seed), []
    for k in (3, integer(source, 4, 7)):
        n = integer(source, 8, 12)
        action = torch.randint(k, (n,), generator=source)
        action[:k] = torch.arange(k)  # each at least once
        reward = (3 + 2 * torch.randn(n, generator=source)).round(decimals=2)
        logits = torch.randn(k, generator=source) + 0.5
        chosen.append(Samples(logits, action, reward, integer(source, 2, 9) / 2 + 0.25))
    return chosen
