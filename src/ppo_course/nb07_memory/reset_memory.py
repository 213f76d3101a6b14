"""The check of notebook 07's first exercise: nothing is remembered where an episode begins."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb07_memory.memories import WORDS, cases, check_memory, reset

EXERCISE = Exercise("reset_memory", ("memory", "begins"), WORDS)


class Row(NamedTuple):
    """One call: `memory [B, H]` and `begins [B]`."""

    memory: Tensor
    begins: Tensor


def _first(begins: Tensor) -> Tensor:
    """Of those that are true only the first."""
    return begins & (begins.cumsum(0) == 1)


PARTS = (
    Part(
        lambda row: row.begins,
        {
            "inverted": lambda row: ~row.begins,
            "not-reset": lambda row: torch.zeros_like(row.begins),
            "all-if-any": lambda row: row.begins.any().expand_as(row.begins),
            "all-if-all": lambda row: row.begins.all().expand_as(row.begins),
            "all-reset": lambda row: torch.ones_like(row.begins),
            "first-alone": lambda row: _first(row.begins),
        },
    ),
    Part(
        reset,
        {
            "filled-with-1": lambda memory, begins: memory.masked_fill(begins.unsqueeze(-1), 1.0),
            "others-1": lambda memory, begins: torch.ones_like(memory) * ~begins.unsqueeze(-1),
        },
    ),
)


def formula(case: Row, values: Sequence[Any]) -> Tensor:
    """What a choice of each part gives, `[B, H]`."""
    where, filled = values
    result: Tensor = filled(case.memory, where(case))
    return result


def rows(seed: int | None) -> list[Row]:
    """Rows of rollouts: some environments begin, none, the first two, all."""
    drawn = [Row(case.memory, begins) for case in cases(seed) for begins in case.begins[:3]]
    return [*drawn, Row(drawn[0].memory, torch.ones(len(drawn[0].memory), dtype=torch.bool))]


@torch.enable_grad()
@EXERCISE.check
def check_reset_memory(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `reset_memory(memory, begins)`.

    It gets the memory of B environments, `[B, H]`, and where an episode begins, `[B]` bool; it
    returns the memory with zeros there, `[B, H]`.
    """
    chosen = rows(seed)
    results = [_result(function, row.memory.clone(), row.begins) for row in chosen]
    EXERCISE.compare(
        chosen,
        results,
        PARTS,
        formula=formula,
        facts=_example,
    )
    for row in chosen:
        mine, right = (row.memory.clone().requires_grad_() for _ in range(2))
        check_gradients(
            EXERCISE,
            gradients(_result(function, mine, row.begins), {"memory": mine}),
            gradients(reset(right, row.begins), {"memory": right}),
        )


def _result(function: StudentCode, memory: Tensor, begins: Tensor) -> Tensor:
    n, size = memory.shape
    mistakes = {(n,): "no-envs", (size,): "no-envs", (int((~begins).sum()), size): "left-out"}
    result = EXERCISE.call(function, memory, begins.clone())
    return check_memory(EXERCISE, result, [n, size], mistakes)


def _example(case: Row, expected: Tensor, seen: Tensor) -> list[str]:
    """The first environment that comes out wrong."""
    b = int((~torch.isclose(seen, expected)).any(-1).nonzero()[0])
    return [
        (
            f"  Example: begins = {case.begins.tolist()}; the memory of environment {b} is"
            f" {numbers(case.memory[b])}."
        ),
        f"  seen      {numbers(seen[b])}",
        f"  expected  {numbers(expected[b])}",
    ]
