"""The check of notebook 04's first exercise: minibatches that use each transition once."""

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import Named, describe
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, StudentCode, read_words

# One that divides, one with a small rest, one with a rest of one, one with a large rest, one where
# all fit into one; one transition each.
CASES = ((64, 16), (50, 16), (49, 16), (31, 16), (20, 32), (5, 1))

# Epochs of a small rollout. In each, two given transitions share a minibatch with 3 chances in 11:
# that two of the 66 pairs never do, in 120 epochs, happens to a right answer once in 10^15 times.
SMALL = (12, 4)
EPOCHS = 120


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
    count = source.randint(4, 6)
    return [
        Question(count * size, size),
        Question(count * size + source.randint(1, 3), size),
        Question(count * size + 1, size),
        # torch.chunk leaves two less for the last, a size rounded down at least two more.
        Question(count * size - 2, size),
        Question(source.randint(15, 30), 32),
        Question(source.randint(3, 6), 1),
    ]


EXERCISE = Exercise(
    "minibatch_indices",
    ("n_transitions", "batch_size", "generator"),
    read_words(__file__),
    [
        Hint(
            "by-name",
            "generator",
            error=TypeError,
            when=lambda error: "positional argument" not in str(error),
        )
    ],
)


@EXERCISE.check
def check_minibatch_indices(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `minibatch_indices(n_transitions, batch_size, generator)`.

    It returns (or yields) index tensors: each of 0 to n_transitions - 1 in exactly one of them,
    in a random order drawn from the generator; as few minibatches as possible, none larger than
    batch_size, of sizes that differ by one at most.
    """
    cases = [Question(*case) for case in CASES] if seed is None else drawn(seed)
    first = 0 if seed is None else 10 * seed
    for case in cases:
        generator = torch.Generator().manual_seed(first)
        _check_partition(case, _ask(function, case, generator))
    _check_chance(function, cases[0], first + 2)  # none that it has seen before
    _check_company(function, first)


def _ask(function: StudentCode, case: Question, generator: torch.Generator) -> list[Tensor]:
    """The student's minibatches, `[M]` each, if they are index tensors."""

    def listed(*args: Any) -> Any:
        result: Any = function(*args)
        return list(result) if isinstance(result, Iterator) else result

    run = Named(EXERCISE.name, listed, function)  # a generator is run to its end
    result: Any = EXERCISE.call(run, case.n, case.batch_size, generator)
    mistake = None
    if isinstance(result, Tensor) and result.dim() == 1:
        mistake = "one-tensor"
    elif not isinstance(result, list | tuple) and not (isinstance(result, Tensor) and result.dim()):
        mistake = "no-minibatches"
    EXERCISE.expect(result, mistake, "a list of tensors of indices", seen=_brief(result))
    batches = list(result)
    for batch in batches:
        if not isinstance(batch, Tensor) or batch.dim() != 1:
            seen, expected = _brief(batch), "a tensor of shape [M]"
            raise EXERCISE.error("no-index-tensor", seen=seen, expected=expected)
        if batch.dtype not in (torch.int64, torch.int32):  # others do not index a tensor
            seen, expected = f"a tensor of {batch.dtype}", "a tensor of torch.int64"
            raise EXERCISE.error("no-integers", seen=seen, expected=expected)
    return [batch.long() for batch in batches]


def _check_partition(case: Question, batches: Sequence[Tensor]) -> None:
    """Raise unless each index is in one minibatch, and the minibatches have the right sizes."""
    sizes = [len(batch) for batch in batches]
    used = torch.cat([*batches, torch.empty(0, dtype=torch.int64)])
    facts = [str(case), f"  seen      {len(batches)} minibatches of {_sizes(sizes)} transitions"]
    outside = used[(used < 0) | (used >= case.n)]
    if len(outside):
        raise EXERCISE.error("no-such", facts=facts, number=int(outside[0]))
    times = used.bincount(minlength=case.n)
    repeated, missing = int((times > 1).sum()), int((times == 0).sum())
    if repeated:
        raise EXERCISE.error("repeated", facts=facts, are=_are(repeated), missing=missing)
    short = case.n // case.needed
    if missing:
        key = "rest-dropped"
        if len(sizes) >= case.needed:
            key = "rounded-down" if {*sizes} == {short} else "some-in-none"
        raise EXERCISE.error(key, facts=facts, are=_are(missing), needed=case.needed)
    parts = torch.arange(case.n)
    wanted = [len(part) for part in parts.tensor_split(case.needed)]
    chunks = [len(part) for part in parts.chunk(case.needed)]
    if mistake := _wrong_sizes(case, sizes, chunks):
        facts.append(f"  expected  {case.needed} of {_sizes(wanted)}")
        raise EXERCISE.error(mistake, facts=facts, needed=case.needed)


def _wrong_sizes(case: Question, sizes: list[int], chunks: list[int]) -> str | None:
    """What is wrong with the sizes of minibatches that have each index once, if anything is."""
    short = case.n // case.needed
    if len(sizes) == case.needed and sizes[-1] > short + 1 and {*sizes[:-1]} == {short}:
        return "rest-in-last"
    if max(sizes) > case.batch_size:
        return "too-large"
    if min(sizes) == 0:
        return "empty"
    if len(sizes) > case.needed:
        return "too-many"
    if max(sizes) - min(sizes) > 1:
        return "last-too-small" if sizes == chunks else "rest-alone"
    return None


def _check_chance(function: StudentCode, case: Question, seed: int) -> None:
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
    mistake = None
    if sorted(one) == one:
        mistake = "not-shuffled"
    elif one != again:
        mistake = "own-randomness"
    elif one == other:
        mistake = "generator-ignored"
    elif one == next_epoch:
        mistake = "shuffled-once" if drawn_from else "own-generator"
    if mistake:
        facts = (str(case), f"  seen      {', '.join(map(str, one[:8]))}, …")
        raise EXERCISE.error(mistake, facts=facts)


def _check_company(function: StudentCode, seed: int) -> None:
    """Raise if, in many epochs, two transitions are always in one minibatch, or never."""
    case = Question(*SMALL)
    generator = torch.Generator().manual_seed(seed)
    together = torch.zeros(case.n, case.n)
    last: list[list[int]] = []
    with redirect_stdout(io.StringIO()):  # what a student prints was printed before
        for _ in range(EPOCHS):
            batches = _ask(function, case, generator)
            _check_partition(case, batches)
            for batch in batches:
                together[batch[:, None], batch] += 1
            last = [batch.tolist() for batch in batches]
    pair = ~torch.eye(case.n, dtype=torch.bool)
    mistake = None
    if (together[pair] == EPOCHS).any():
        blocks = all(max(part) - min(part) == len(part) - 1 for part in last)
        mistake = "neighbours-together" if blocks else "order-of-minibatches"
    elif (together[pair] == 0).any():
        mistake = "turned"
    if mistake:
        raise EXERCISE.error(mistake, facts=(str(case), f"  seen      {last}"))


def _brief(result: Any) -> str:
    if isinstance(result, list | tuple) and result and isinstance(result[0], int | float):
        return f"a {type(result).__name__} of {len(result)} numbers"
    if isinstance(result, list | tuple) and len(result) > 3:
        return f"{len(result)} values: {describe(result[0])}, …"
    return describe(result)


def _are(count: int) -> str:
    return f"{count} transition{' is' if count == 1 else 's are'}"


def _sizes(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes[:8])) + (" + …" if len(sizes) > 8 else "") or "no"
