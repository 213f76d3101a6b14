"""The check of notebook 04's first exercise: minibatches that use each transition once."""

import io
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import call, describe, not_right, untouched_randomness
from ppo_course.nb04_details.minibatch_partition import NAME, Question, check_partition
from ppo_course.student_code import Named

#: (n_transitions, batch_size, generator) → the indices of each minibatch
MinibatchIndices = Callable[[int, int, torch.Generator], Iterable[Tensor]]

# One that divides, one with a small rest, one with a large rest, one where all fit into one.
CASES = ((64, 16), (50, 16), (31, 16), (20, 32))

# Epochs of a small rollout. In each, two given transitions share a minibatch with 3 chances in 11:
# that two of the 66 pairs never do, in 120 epochs, happens to a right answer once in 10^15 times.
SMALL = (12, 4)
EPOCHS = 120


def drawn(seed: int) -> list[Question]:
    """Cases of the same kinds as `CASES`, drawn from a seed."""
    source = random.Random(seed)
    size = source.randint(9, 24)
    count = source.randint(4, 6)
    return [
        Question(count * size, size),
        Question(count * size + source.randint(1, 3), size),
        # torch.chunk leaves two less for the last, a size rounded down at least two more.
        Question(count * size - 2, size),
        Question(source.randint(15, 30), 32),
    ]


def _listed(function: MinibatchIndices) -> Named:
    """A student's function whose generator, if it returns one, is run to its end."""

    def run(*args: Any) -> Any:
        result: Any = function(*args)
        return list(result) if isinstance(result, Iterator) else result

    return Named(NAME, run, function)


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
            generator = torch.Generator().manual_seed(first)
            check_partition(case, _ask(function, case, generator))
        _check_chance(function, cases[0], first + 2)  # none that it has seen before
        _check_company(function, first)
    if seed is None:
        print("Well done! Each transition is used once, in minibatches of nearly the same size.")


def _ask(function: MinibatchIndices, case: Question, generator: torch.Generator) -> list[Tensor]:
    """The student's minibatches, `[M]` each, if they are index tensors."""
    result: Any = call(_listed(function), case.n, case.batch_size, generator, hint=_hint)
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
    if not isinstance(result, list | tuple | Tensor) or (
        isinstance(result, Tensor) and not result.dim()
    ):
        raise not_right(NAME, "it does not return minibatches", "the last line", *facts)
    batches = list(result)
    for batch in batches:
        if not isinstance(batch, Tensor) or batch.dim() != 1:
            raise not_right(
                NAME,
                "a minibatch is no tensor of indices",
                "torch.randperm gives a tensor, and its tensor_split gives tensors",
                f"  seen      {_brief(batch)}",
                "  expected  a tensor of shape [M]",
            )
        if batch.dtype not in (torch.int64, torch.int32):  # others do not index a tensor
            raise not_right(
                NAME,
                "the indices are no integers",
                "a minibatch says which transitions it has by their numbers, not by a mask or a "
                "share",
                f"  seen      a tensor of {batch.dtype}",
                "  expected  a tensor of torch.int64",
            )
    return [batch.long() for batch in batches]


def _check_chance(function: MinibatchIndices, case: Question, seed: int) -> None:
    """Raise unless the order is random, and comes from the generator alone."""

    def order(of: torch.Generator) -> list[int]:
        return torch.cat(_ask(function, case, of)).tolist()

    generator = torch.Generator().manual_seed(seed)
    fresh = generator.get_state()
    one = order(generator)
    drawn_from = not torch.equal(generator.get_state(), fresh)
    next_epoch = order(generator)
    again = order(torch.Generator().manual_seed(seed))
    other = order(torch.Generator().manual_seed(seed + 1))
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
    if one == next_epoch:
        wrong = (
            "the second call with the same generator gives the order of the first again: it was "
            "shuffled once and kept"
        )
        look = "shuffle in each call: an epoch should not repeat the minibatches of the last one"
        if not drawn_from:
            wrong = (
                "it does not draw from the generator itself: one of its own, made of the same "
                "seed, starts anew in each call, and every epoch is the same"
            )
            look = "hand the third argument on: torch.randperm(…, generator=generator)"
        raise not_right(NAME, wrong, look, *facts)


def _check_company(function: MinibatchIndices, seed: int) -> None:
    """Raise if, in many epochs, two transitions are always in one minibatch, or never."""
    case = Question(*SMALL)
    generator = torch.Generator().manual_seed(seed)
    together = torch.zeros(case.n, case.n)
    last: list[list[int]] = []
    with redirect_stdout(io.StringIO()):  # what a student prints was printed before
        for _ in range(EPOCHS):
            batches = _ask(function, case, generator)
            check_partition(case, batches)
            for batch in batches:
                together[batch[:, None], batch] += 1
            last = [batch.tolist() for batch in batches]
    pair = ~torch.eye(case.n, dtype=torch.bool)
    facts = (str(case), f"  seen      {last}")
    look = "shuffle all indices first (torch.randperm), then cut"
    if (together[pair] == EPOCHS).any():
        blocks = all(max(part) - min(part) == len(part) - 1 for part in last)
        raise not_right(
            NAME,
            "only the order within or between the minibatches is random; the same neighbours are "
            "always together"
            if blocks
            else "only the order of the minibatches is random; which transitions share one, such "
            "as every third, never changes",
            look,
            *facts,
        )
    if (together[pair] == 0).any():
        raise not_right(
            NAME,
            "the order is turned or reversed, and no more: what is far apart never meets in a "
            "minibatch",
            look,
            *facts,
        )


def _brief(result: Any) -> str:
    if isinstance(result, list | tuple) and result and isinstance(result[0], int | float):
        return f"a {type(result).__name__} of {len(result)} numbers"
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
