"""The check of notebook 07's third exercise: minibatches of whole environments."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import Named, describe
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb07_memory.memories import WORDS

EXERCISE = Exercise(
    "column_minibatches",
    ("rows", "order", "batch_size"),
    WORDS,
)

# T, B and the batch size: two with a rest, one too small for an environment, one that is large
# enough for all.
CASES = ((8, 7, 17), (7, 5, 17), (9, 6, 5), (6, 3, 64))


class Case(NamedTuple):
    """One call.

    Attributes:
        rows: `[T, B]`, numbers that say where they come from: 10 b + t.
        order: a permutation of the environments, `[B]`, that does not leave them in order.
        batch_size: in steps.
    """

    rows: Tensor
    order: Tensor
    batch_size: int

    @property
    def n_at_once(self) -> int:
        """How many environments fit into a minibatch."""
        return max(1, self.batch_size // len(self.rows))


def cases(seed: int | None) -> list[Case]:
    """Four rollouts; without a seed always the same."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    drawn = []
    for n_steps, n_envs, batch_size in CASES:
        steps = n_steps
        if seed is not None and batch_size != CASES[2][2]:
            batch_size += int(torch.randint(3, (), generator=generator))  # noqa: PLW2901
        elif seed is not None:
            steps += int(torch.randint(3, (), generator=generator))
        order = torch.randperm(n_envs, generator=generator)
        # Neither in order nor its own inverse.
        while torch.equal(order[order], torch.arange(n_envs)):
            order = torch.randperm(n_envs, generator=generator)
        rows = 10.0 * torch.arange(n_envs) + torch.arange(steps).unsqueeze(-1)
        drawn.append(Case(rows, order, batch_size))
    return drawn


# How many environments are in a minibatch, in which order they come, what is taken of them, and
# what becomes of the rest.
PARTS = (
    Part(
        lambda case: case.n_at_once,
        {
            "counts-environments": lambda case: case.batch_size,
            "rounded-up": lambda case: -(-case.batch_size // len(case.rows)),
            "one-each": lambda _case: 1,
            "all-at-once": lambda case: len(case.order),
            "divided-by-envs": lambda case: max(1, case.batch_size // len(case.order)),
        },
    ),
    Part(
        lambda order: order,
        {
            "order-ignored": lambda order: torch.arange(len(order)),
            "order-backwards": lambda order: order.flip(0),
            "order-inverted": lambda order: order.argsort(),
        },
    ),
    Part(
        lambda rows, index: rows[:, index],
        {
            "flattened": lambda rows, index: rows[:, index].flatten(),
            "transposed": lambda rows, index: rows[:, index].T,
            "rows": lambda rows, index: rows[index],
            "indices": lambda _rows, index: index.float(),
        },
    ),
    Part(
        lambda batches, _size: batches,
        {
            "rest-dropped": lambda batches, size: [b for b in batches if b.shape[-1] == size],
            "first-alone": lambda batches, _size: batches[:1],
        },
    ),
)


def formula(case: Case, values: Sequence[Any]) -> list[Tensor]:
    """The minibatches that a choice of each part gives, `[T, M]` each."""
    size, order, select, kept = values
    at_once = size(case)
    batches = [select(case.rows, index) for index in order(case.order).split(at_once)]
    result: list[Tensor] = kept(batches, at_once)
    return result


def agree(_case: Case, one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Whether two lists of minibatches are the same."""
    same_number = len(one) == len(other)
    return same_number and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@EXERCISE.check
def check_column_minibatches(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `column_minibatches(rows, order, batch_size)`.

    It gets what B environments gave in T rows, `[T, B, …]`, a random order of the environments,
    `[B]`, and the number of steps in a minibatch. It returns (or yields) the minibatches,
    `[T, M, …]` each: of each environment all rows, in the order of time.
    """
    chosen = cases(seed)
    results = [_ask(function, case) for case in chosen]
    EXERCISE.compare(chosen, results, PARTS, formula=formula, agree=agree, facts=_example)
    for case in chosen:  # of whole numbers, as actions are
        asked = _ask(function, case._replace(rows=case.rows.long()))
        EXERCISE.refuse(any(batch.is_floating_point() for batch in asked), "other-dtype")
    # With a dimension more, as observations have it.
    for case in chosen:
        wide = case.rows.unsqueeze(-1) + torch.tensor([0.25, 0.5])
        expected = formula(case._replace(rows=wide), [part.right for part in PARTS])
        if not agree(case, expected, _ask(function, case._replace(rows=wide))):
            raise EXERCISE.error(
                "more-dimensions", expected="minibatches [T, M, F] of rows [T, B, F]"
            )


def _listed(function: StudentCode) -> Named:
    """A student's function whose generator, if it returns one, is run to its end."""

    def run(*args: Any) -> Any:
        result: Any = function(*args)
        return list(result) if isinstance(result, Iterator) else result

    return Named(EXERCISE.name, run, function)


def _ask(function: StudentCode, case: Case) -> list[Tensor]:
    result = EXERCISE.call(
        _listed(function), case.rows.clone(), case.order.clone(), case.batch_size
    )
    listed = isinstance(result, list | tuple)
    expected = "a list of tensors"
    EXERCISE.expect(result, None if listed else "no-minibatches", expected)
    tensors = all(isinstance(batch, Tensor) for batch in result)
    EXERCISE.expect(result, None if tensors else "no-tensors", expected)
    return list(result)


def _example(case: Case, expected: Sequence[Tensor], seen: Sequence[Tensor]) -> list[str]:
    n_steps, n_envs = case.rows.shape
    return [
        (
            f"  Example: T = {n_steps}, B = {n_envs}, batch_size = {case.batch_size},"
            f" order = {case.order.tolist()}."
        ),
        f"  seen      {_told(seen)}",
        f"  expected  {_told(expected)}",
    ]


def _told(batches: Sequence[Tensor]) -> str:
    if not batches:
        return "no minibatches"
    shapes = ", ".join(str(list(batch.shape)) for batch in batches[:4])
    more = ", …" if len(batches) > 4 else ""
    first = batches[0]
    if first.dim() != 2:
        return f"{len(batches)} of the shapes {shapes}{more}; {describe(first)}"
    return f"{len(batches)} of the shapes {shapes}{more}; first row [{_numbers(first[0])}]"


def _numbers(row: Tensor) -> str:
    return ", ".join(f"{entry:g}" for entry in row.tolist())
