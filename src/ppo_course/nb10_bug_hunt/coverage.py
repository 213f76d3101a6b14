"""The check of notebook 10's third instrument: what share of the transitions an epoch uses."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.by_cases import check_by_cases
from ppo_course.guesses import Guess

#: (minibatches, n_transitions) → a share
Coverage = Callable[[Sequence[Tensor], int], Any]

NAME = "coverage"


class Epoch(NamedTuple):
    """The indices of each minibatch, and how many transitions there are."""

    minibatches: tuple[tuple[int, ...], ...]
    n: int

    def arguments(self) -> tuple[list[Tensor], int]:
        """What the function gets: tensors, `[M]` each, and the number of transitions."""
        return [torch.tensor(minibatch) for minibatch in self.minibatches], self.n

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


_UNIQUE = "put the minibatches together (torch.cat), and count the different indices (.unique())"

MISTAKES = (
    Guess(
        lambda e: len(e.drawn) / e.n,
        "an index that comes twice is counted twice",
        f"{_UNIQUE}; a set of tensors does not help, as two tensors are never the same to it",
    ),
    Guess(
        lambda e: sum(e.drawn.count(i) == 1 for i in range(e.n)) / e.n,
        "only what is used exactly once is counted",
        "who is used twice is used, too",
    ),
    Guess(
        lambda e: 1 - right(e),
        "it is the share that is missed",
        "the share that is used: one minus this",
    ),
    Guess(
        lambda e: float(len(set(e.drawn))),
        "it is a number of transitions, and not a share",
        "divide by n_transitions",
    ),
    Guess(
        lambda e: 100 * right(e),
        "it is a percentage",
        "a number between 0 and 1 is expected: no factor of 100",
    ),
    Guess(
        lambda e: sum(set(e.drawn)) / e.n,
        "the different indices are added up, and not counted",
        "how many there are is the length of the tensor: len(x), not x.sum()",
    ),
    Guess(
        lambda e: float(len(set(e.drawn)) // e.n),
        "it is rounded down to a whole number",
        "// divides without a remainder, and / gives the share",
    ),
    Guess(
        lambda e: len(set(e.drawn)) / len(e.drawn),
        "the number of different indices is divided by the number of those drawn",
        "divide by n_transitions, which may be more: what was never drawn is missed as well",
    ),
    Guess(
        lambda e: sum(len(set(minibatch)) for minibatch in e.minibatches) / e.n,
        "an index that comes in two minibatches is counted twice",
        _UNIQUE,
    ),
    Guess(
        lambda e: (
            sum(len(set(minibatch)) / e.n for minibatch in e.minibatches) / len(e.minibatches)
        ),
        "it is the mean over the minibatches, and not what all of them use together",
        _UNIQUE,
    ),
    Guess(
        lambda e: len(set(e.minibatches[0])) / e.n,
        "it looks at the first minibatch alone",
        "all minibatches of the epoch together",
    ),
    Guess(
        lambda e: len(set(e.minibatches[-1])) / e.n,
        "it looks at the last minibatch alone",
        "all minibatches of the epoch together",
    ),
    Guess(
        lambda e: len({i for minibatch in e.minibatches[:-1] for i in minibatch}) / e.n,
        "the last minibatch is left out",
        "all minibatches of the epoch together",
    ),
    Guess(
        lambda e: len(e.minibatches) * len(e.minibatches[0]) / e.n,
        "all minibatches are taken to be as long as the first, and to repeat nothing",
        _UNIQUE,
    ),
    Guess(
        lambda e: len(e.minibatches) / e.n,
        "the minibatches are counted, and not the different indices in them",
        _UNIQUE,
    ),
    Guess(
        lambda e: sum(len(set(m)) / len(m) for m in e.minibatches) / len(e.minibatches),
        "it says how much of a minibatch is different indices, in the mean over the minibatches",
        f"{_UNIQUE}; then divide by n_transitions",
    ),
    Guess(
        lambda e: len(list(itertools.groupby(e.drawn))) / e.n,
        "only an index that comes twice in a row is counted once",
        "unique_consecutive compares neighbours alone: .unique() finds all",
    ),
    Guess(
        lambda e: len(set(e.drawn)) / (e.n - 1),
        "it divides by n_transitions - 1",
        "n_transitions is how many there are, and not the largest index",
    ),
    Guess(
        lambda e: (max(e.drawn) - min(e.drawn) + 1) / e.n,
        "it looks at the smallest and the largest index alone",
        _UNIQUE,
    ),
    Guess(
        lambda e: (max(e.drawn) + 1) / e.n,
        "it looks at the largest index alone",
        _UNIQUE,
    ),
    Guess(
        lambda e: len(set(e.drawn)) / (max(e.drawn) + 1),
        "it divides by the largest index + 1, so that missed transitions at the end do not count",
        "divide by n_transitions",
    ),
)


def check_coverage(function: Coverage, *, seed: int | None = None) -> None:
    """Check a student's `coverage(minibatches, n_transitions)`.

    It gets a list of index tensors, `[M]` each, and returns which share of the transitions 0 to
    n_transitions - 1 is in at least one of them.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other indices from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    check_by_cases(
        function,
        CASES if seed is None else drawn(seed),
        name=NAME,
        arguments=Epoch.arguments,
        given="minibatches",
        returned="a share",
        right=right,
        mistakes=MISTAKES,
        tell=_tell,
        hint=_hint,
    )
    if seed is None:
        print("Well done! Neither repetitions nor a dropped rest deceive this instrument.")


def _tell(epoch: Epoch) -> list[str]:
    lists = ", ".join(str(list(minibatch)) for minibatch in epoch.minibatches)
    return [f"  Example: {epoch.n} transitions, the minibatches are {lists}."]


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(minibatches, n_transitions)"
    if (isinstance(error, AttributeError) and "'list'" in text) or any(
        said in text for said in ("not list", "converted to an index", "inhomogeneous")
    ):
        return "minibatches is a list of tensors: torch.cat(minibatches) makes one of them"
    if isinstance(error, RuntimeError) and "equal size" in text:
        return (
            "minibatches may differ in length: torch.stack wants tensors of one size, and "
            "torch.cat does not"
        )
    return ""
