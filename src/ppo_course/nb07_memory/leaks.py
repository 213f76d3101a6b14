"""The check of notebook 07's fourth exercise: memories that leak into the next episode."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb07_memory.memories import WORDS, check_tensor

EXERCISE = Exercise("leaks", ("memory", "timestep"), WORDS)


class Case(NamedTuple):
    """Variables of a workspace: `memory [T, B, H]`, `timestep [T, B]`."""

    memory: Tensor
    timestep: Tensor


PARTS = (
    Part(
        lambda timestep: timestep == 0,
        {
            "row-after": lambda timestep: timestep == 1,
            "row-before": lambda timestep: (timestep == 0).roll(-1, 0),
            "goes-on": lambda timestep: timestep != 0,
            "everywhere": lambda timestep: torch.ones_like(timestep, dtype=torch.bool),
            "row-0-missing": lambda timestep: (
                (timestep == 0) & (torch.arange(len(timestep)) > 0).unsqueeze(-1)
            ),
        },
    ),
    Part(
        lambda memory: (memory != 0).any(-1),
        {
            "every-number": lambda memory: (memory != 0).all(-1),
            "sum": lambda memory: memory.sum(-1) != 0,
            "positive": lambda memory: (memory > 0).any(-1),
            "sum-positive": lambda memory: memory.sum(-1) > 0,
            "first-number": lambda memory: memory[..., 0] != 0,
            "zero-instead": lambda memory: (memory == 0).all(-1),
            "any-zero": lambda memory: (memory == 0).any(-1),
            "memory-unused": lambda memory: torch.ones(memory.shape[:2], dtype=torch.bool),
        },
    ),
    Part(
        lambda begins, remembers: begins & remembers,
        {"or": lambda begins, remembers: begins | remembers},
    ),
)


def formula(case: Case, values: Sequence[Any]) -> Tensor:
    """The leaks that a choice of each part finds, `[T, B]`."""
    begins, remembers, both = values
    result: Tensor = both(begins(case.timestep), remembers(case.memory))
    return result


def cases(seed: int | None) -> list[Case]:
    """A rollout where each kind of row occurs: that of one who forgets to reset now and then.

    Args:
        seed: where other numbers, and another number of rows, are drawn from.
    """
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    drawn = []
    for n_envs in (3, 4):
        n_steps = 9 if seed is None else 10 + int(torch.randint(4, (), generator=generator))
        timestep = torch.arange(n_steps).unsqueeze(-1).repeat(1, n_envs) + 5
        timestep[:, 0] = torch.arange(n_steps) % 3  # begins in rows 0, 3, 6, …
        timestep[1:4, 1] = torch.arange(3)
        timestep[4:, 1] = torch.arange(n_steps - 4)
        timestep[2:, 2] = torch.arange(n_steps - 2)
        memory = 0.1 + 0.9 * torch.rand(n_steps, n_envs, 2, generator=generator)
        memory = (100 * memory).round() / 100
        memory[0, 0] *= torch.tensor([1.0, -1.0])
        memory[3, 0] = 0.0
        memory[6, 0, 1] = -memory[6, 0, 0]  # whose sum is 0
        memory[4, 1] *= -1.0
        memory[2, 2, 0] = 0.0  # remembers by the second number
        memory[1, 1, 1] = 0.0  # by the first
        memory[5, 2] = 0.0  # where nothing begins
        memory[7, 0] *= -1.0
        drawn.append(Case(memory, timestep))
    return drawn


@EXERCISE.check
def check_leaks(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `leaks(memory, timestep)`.

    It gets two variables of a workspace: `memory`, `[T, B, H]`, what an agent knew when it came to
    row t, and `timestep`, `[T, B]`, which is 0 where an episode begins. It returns where an
    episode begins and something is remembered, `[T, B]` bool.
    """
    chosen = cases(seed)
    results = [_result(function, case) for case in chosen]
    EXERCISE.compare(
        chosen,
        results,
        PARTS,
        formula=formula,
        agree=lambda _case, one, other: torch.equal(one, other),
        facts=_example,
    )


def _result(function: StudentCode, case: Case) -> Tensor:
    n_steps, n_envs, size = case.memory.shape
    result = EXERCISE.call(function, case.memory.clone(), case.timestep.clone())
    mistakes = {
        (n_steps, n_envs, size): "each-number",
        (): "single-number",
        (n_steps,): "no-envs",
        (n_envs,): "no-rows",
    }
    if isinstance(result, Tensor) and result.dim() == 2 and result.dtype == torch.int64:
        mistakes[tuple(result.shape)] = "indices"
    tensor = check_tensor(EXERCISE, result, [n_steps, n_envs], mistakes)
    if tensor.dtype != torch.bool:
        raise EXERCISE.error("no-mask", seen=f"numbers of {tensor.dtype}", expected="torch.bool")
    return tensor


def _example(case: Case, expected: Tensor, seen: Tensor) -> list[str]:
    """The first row and environment that come out wrong."""
    t, b = (seen != expected).nonzero()[0].tolist()
    return [
        (
            f"  Example: row {t} of environment {b}, with timestep {int(case.timestep[t, b])} and"
            f" the memory {numbers(case.memory[t, b])}."
        ),
        f"  seen      {bool(seen[t, b])}",
        f"  expected  {bool(expected[t, b])}",
    ]
