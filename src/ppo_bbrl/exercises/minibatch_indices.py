"""The check of notebook 04's first exercise: minibatches that use each transition once."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.exercises.feedback import call, describe, not_right, untouched_randomness

#: (n_transitions, batch_size, generator) → the indices of each minibatch
MinibatchIndices = Callable[[int, int, torch.Generator], Iterable[Tensor]]

NAME = "minibatch_indices"

# One that divides, one with a small rest, one with a large rest, one where all fit into one.
CASES = ((64, 16), (50, 16), (31, 16), (20, 32))


class Question(NamedTuple):
    """What a student's function is asked, and the words for it."""

    n: int
    batch_size: int

    @property
    def needed(self) -> int:
        """How many minibatches there must be at least."""
        return -(-self.n // self.batch_size)

    def __str__(self) -> str:
        return f"  Example: {self.n} transitions, at most {self.batch_size} in a minibatch."


def drawn(seed: int) -> list[Question]:
    """Cases of the same kinds as `CASES`, drawn from a seed."""
    source = random.Random(seed)
    size = source.randint(9, 24)
    count = source.randint(3, 6)
    return [
        Question(count * size, size),
        Question(count * size + source.randint(1, 3), size),
        Question(count * size - source.randint(1, 3), size),
        Question(source.randint(15, 30), 32),
    ]


class _Listed:
    """A student's function whose generator, if it returns one, is run to its end."""

    def __init__(self, function: MinibatchIndices) -> None:
        self._function = function
        self.__name__ = NAME
        self.__code__ = getattr(function, "__code__", None)

    def __call__(self, *args: Any) -> Any:
        result = self._function(*args)
        return list(result) if isinstance(result, Iterator) else result


def check_minibatch_indices(function: MinibatchIndices, *, seed: int | None = None) -> None:
    """Check a student's `minibatch_indices(n_transitions, batch_size, generator)`.

    It returns (or yields) index tensors: each of 0 to n_transitions - 1 in exactly one of them,
    in a random order drawn from the generator; as few minibatches as possible, none larger than
    batch_size, of sizes that differ by one at most.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other sizes from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    cases = [Question(*case) for case in CASES] if seed is None else drawn(seed)
    first = 0 if seed is None else 10 * seed
    with untouched_randomness():
        for case in cases:
            _check_partition(case, _call(function, case, first))
        _check_chance(function, cases[0], first)
    if seed is None:
        print("Well done! Each transition is used once, in minibatches of nearly the same size.")


def _call(function: MinibatchIndices, case: Question, seed: int) -> list[Tensor]:
    """The student's minibatches, `[M]` each, if they are index tensors."""
    generator = torch.Generator().manual_seed(seed)
    result: Any = call(_Listed(function), case.n, case.batch_size, generator, hint=_hint)
    facts = (f"  seen      {_brief(result)}", "  expected  a list of tensors of indices")
    if result is None:
        raise not_right(NAME, "it returns nothing", "the last line: return …", *facts)
    if isinstance(result, Tensor) and result.dim() == 1:
        raise not_right(
            NAME,
            "all indices come in one tensor",
            "cut the shuffled indices into minibatches: tensor_split",
            *facts,
        )
    if not isinstance(result, list | tuple | Tensor):
        raise not_right(NAME, "it does not return minibatches", "the last line", *facts)
    batches = list(result)
    for batch in batches:
        if not isinstance(batch, Tensor) or batch.dim() != 1:
            raise not_right(
                NAME,
                "a minibatch is no tensor of indices",
                "torch.randperm gives a tensor, and its tensor_split gives tensors",
                f"  seen      {describe(batch)}",
                "  expected  a tensor of shape [M]",
            )
        if batch.dtype != torch.int64:
            raise not_right(
                NAME,
                "the indices are no integers",
                "a minibatch says which transitions it has by their numbers, not by a mask or a "
                "share",
                f"  seen      a tensor of {batch.dtype}",
                "  expected  a tensor of torch.int64",
            )
    return batches


def _check_partition(case: Question, batches: Sequence[Tensor]) -> None:
    """Raise unless each index is in one minibatch, and the minibatches have the right sizes."""
    sizes = [len(batch) for batch in batches]
    used = torch.cat([*batches, torch.empty(0, dtype=torch.int64)])
    facts = [str(case), f"  seen      {len(batches)} minibatches of {_sizes(sizes)} transitions"]
    outside = used[(used < 0) | (used >= case.n)]
    if len(outside):
        raise not_right(
            NAME,
            f"there is no transition {int(outside[0])}",
            "the indices go from 0 to n_transitions - 1",
            *facts,
        )
    times = used.bincount(minlength=case.n)
    if (times > 1).any():
        raise not_right(
            NAME,
            f"{int((times > 1).sum())} transitions are used more than once, and "
            f"{int((times == 0).sum())} never",
            "the indices are drawn with replacement, or each minibatch is drawn anew: shuffle all "
            "of them once (torch.randperm), then cut",
            *facts,
        )
    if (times == 0).any():
        raise not_right(
            NAME,
            f"{int((times == 0).sum())} transitions are never used: the rest is dropped",
            f"{case.n} is not always a multiple of batch_size; round the number of minibatches up",
            *facts,
        )
    expected = (
        f"  expected  {case.needed} of "
        f"{_sizes([len(x) for x in torch.arange(case.n).tensor_split(case.needed)])}"
    )
    if max(sizes) > case.batch_size:
        raise not_right(
            NAME,
            "a minibatch is larger than batch_size",
            "the number of minibatches is n_transitions / batch_size, rounded up, not down",
            *facts,
            expected,
        )
    if min(sizes) == 0:
        raise not_right(NAME, "a minibatch is empty", "how the indices are cut", *facts, expected)
    if len(sizes) > case.needed:
        raise not_right(
            NAME,
            "there are more minibatches than needed",
            "their number is n_transitions / batch_size, rounded up",
            *facts,
            expected,
        )
    if max(sizes) - min(sizes) > 1:
        raise not_right(
            NAME,
            "a small rest gets a minibatch, and an optimiser step, of its own",
            "cut into a number of nearly equal parts (tensor_split), not into parts of a size "
            "(split)",
            *facts,
            expected,
        )


def _check_chance(function: MinibatchIndices, case: Question, seed: int) -> None:
    """Raise unless the order is random, and comes from the generator alone."""

    def order(of: int) -> list[int]:
        return torch.cat(_call(function, case, of)).tolist()

    one, again, other = order(seed), order(seed), order(seed + 1)
    facts = (str(case), f"  seen      {', '.join(map(str, one[:8]))}, …")
    if sorted(one) == one:
        raise not_right(NAME, "the indices are not shuffled", "torch.randperm", *facts)
    if one != again:
        raise not_right(
            NAME,
            "two generators with the same seed give different minibatches",
            "draw from the generator of the third argument: torch.randperm(…, generator=generator)",
            *facts,
        )
    if one == other:
        raise not_right(
            NAME,
            "another generator gives the same minibatches: every epoch would be the same",
            "draw from the generator of the third argument, and do not seed it",
            *facts,
        )
    size = case.batch_size
    blocks = [one[i : i + size] for i in range(0, len(one), size)]
    if all(sorted(block) == list(range(min(block), min(block) + len(block))) for block in blocks):
        raise not_right(
            NAME,
            "only the order within or between the minibatches is random; the same neighbours are "
            "always together",
            "shuffle first, then cut",
            *facts,
        )


def _sizes(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes[:8])) + (" + …" if len(sizes) > 8 else "") or "no"


def _brief(result: Any) -> str:
    if isinstance(result, list | tuple) and len(result) > 3:
        return f"{len(result)} values: {describe(result[0])}, …"
    return describe(result)


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(n_transitions, batch_size, generator)"
    if isinstance(error, TypeError) and "generator" in text:
        return "torch.randperm takes the generator by its name: generator=generator"
    return ""
