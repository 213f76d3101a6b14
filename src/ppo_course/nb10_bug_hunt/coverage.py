"""The check of notebook 10's third instrument: what share of the transitions an epoch uses."""

import itertools
import random
from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import check_numbers

EXERCISE = Exercise("coverage", ("minibatches", "n_transitions"), read_words(__file__))


class Epoch(NamedTuple):
    """The indices of each minibatch, and how many transitions there are."""

    minibatches: tuple[tuple[int, ...], ...]
    n: int

    def arguments(self) -> tuple[list[Tensor], int]:
        """What the function gets: tensors, `[M]` each, and the number of transitions."""
        return [torch.tensor(minibatch) for minibatch in self.minibatches], self.n

    def tell(self) -> list[str]:
        """The example in a message."""
        lists = ", ".join(str(list(minibatch)) for minibatch in self.minibatches)
        return [f"  Example: {self.n} transitions, the minibatches are {lists}."]

    @property
    def drawn(self) -> list[int]:
        """All indices, one after the other."""
        return [index for minibatch in self.minibatches for index in minibatch]


# Repeated within a minibatch, and one is shorter; between two; a rest that is dropped; each once.
CASES = (
    Epoch(((0, 2, 2), (4,)), 6),
    Epoch(((3, 1), (1, 4), (3, 6)), 8),
    Epoch(((4, 0, 2), (1, 3, 5)), 8),
    Epoch(((2, 0), (3, 1)), 4),
)


def drawn(seed: int) -> list[Epoch]:
    """Cases of the same kinds as `CASES`, drawn from a seed."""
    source = random.Random(seed)

    def cut(indices: list[int], size: int) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(indices[i : i + size]) for i in range(0, len(indices), size))

    cases = []
    for kind in ("within", "between", "dropped", "once"):
        size = source.randint(3, 6)
        n = size * source.randint(3, 5) + source.randint(1, size - 1)  # the last one is shorter
        indices = source.sample(range(n), n)
        if kind == "within":
            indices[1] = indices[0]
        if kind in ("within", "between"):
            indices[-1] = indices[0]
            indices[size] = indices[2]
        if kind == "dropped":  # the largest and the smallest index are among those that are missed
            indices = source.sample(range(1, n - 1), n - size)
        cases.append(Epoch(cut(indices, size), n))
    return cases


def right(epoch: Epoch) -> float:
    """The share of the transitions that is used at least once."""
    return len(set(epoch.drawn)) / epoch.n


FORMULAS = Part(
    right,
    {
        "repeated-counted": lambda e: len(e.drawn) / e.n,
        "used-once": lambda e: sum(e.drawn.count(i) == 1 for i in range(e.n)) / e.n,
        "missed-share": lambda e: 1 - right(e),
        "count": lambda e: float(len(set(e.drawn))),
        "percentage": lambda e: 100 * right(e),
        "indices-added": lambda e: sum(set(e.drawn)) / e.n,
        "floored": lambda e: float(len(set(e.drawn)) // e.n),
        "of-drawn": lambda e: len(set(e.drawn)) / len(e.drawn),
        "repeated-between": lambda e: sum(len(set(minibatch)) for minibatch in e.minibatches) / e.n,
        "mean-of-minibatches": lambda e: (
            sum(len(set(minibatch)) / e.n for minibatch in e.minibatches) / len(e.minibatches)
        ),
        "first-minibatch": lambda e: len(set(e.minibatches[0])) / e.n,
        "last-minibatch": lambda e: len(set(e.minibatches[-1])) / e.n,
        "last-left-out": lambda e: (
            len({i for minibatch in e.minibatches[:-1] for i in minibatch}) / e.n
        ),
        "equal-lengths": lambda e: len(e.minibatches) * len(e.minibatches[0]) / e.n,
        "minibatches-counted": lambda e: len(e.minibatches) / e.n,
        "share-of-minibatch": lambda e: (
            sum(len(set(m)) / len(m) for m in e.minibatches) / len(e.minibatches)
        ),
        "neighbours-only": lambda e: len(list(itertools.groupby(e.drawn))) / e.n,
        "n-minus-1": lambda e: len(set(e.drawn)) / (e.n - 1),
        "span": lambda e: (max(e.drawn) - min(e.drawn) + 1) / e.n,
        "largest": lambda e: (max(e.drawn) + 1) / e.n,
        "of-largest": lambda e: len(set(e.drawn)) / (max(e.drawn) + 1),
    },
)


@EXERCISE.check
def check_coverage(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `coverage(minibatches, n_transitions)`.

    It gets a list of index tensors, `[M]` each, and returns which share of the transitions 0 to
    n_transitions - 1 is in at least one of them.
    """
    cases = CASES if seed is None else drawn(seed)
    check_numbers(EXERCISE, function, cases, FORMULAS, returned="a share")
