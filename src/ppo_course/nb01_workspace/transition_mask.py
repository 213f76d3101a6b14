"""The check of notebook 01's third exercise: which steps between two rows are transitions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.drawing import integer
from ppo_course.feedback import describe
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words


def right(done: Tensor) -> Tensor:
    """What is right: a step is a transition unless it begins where an episode has ended."""
    return ~done[:-1]


MASKS = Part(
    right,
    {
        "upside-down": lambda done: done[:-1],
        "by-end-of-step": lambda done: ~done[1:],
        "upside-down-by-end": lambda done: done[1:],
        "two-steps": lambda done: ~(done[:-1] | done[1:]),
        "all": lambda done: torch.ones_like(done[:-1]),
        "none": lambda done: torch.zeros_like(done[:-1]),
        "first-episode-alone": lambda done: done[:-1].int().cumsum(0) == 0,
        "any-environment": lambda done: (~done[:-1]).all(1, keepdim=True).expand(-1, done.shape[1]),
    },
)

EXERCISE = Exercise("transition_mask", ("done",), read_words(__file__))


@EXERCISE.check
def check_transition_mask(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `transition_mask(done)`: from `[T, B]` bool to `[T-1, B]` bool."""
    for done in cases(seed):
        mask: Any = EXERCISE.call(function, done.clone())
        n_rows, n_envs = done.shape
        seen = describe(mask)
        if isinstance(mask, Tensor) and mask.dtype != torch.bool:
            seen += f", {mask.dtype}"
        EXERCISE.expect(
            mask,
            _malformed(mask, done),
            f"a bool tensor of shape [{n_rows - 1}, {n_envs}]",
            seen=seen,
            n_rows=n_rows,
            n_envs=n_envs,
        )
        EXERCISE.compare([done], [mask], [MASKS], facts=_table)


def cases(seed: int | None) -> list[Tensor]:
    """Tables of ends, `[T, B]`; on the first one every known mistake gives another mask.

    An episode has at least one step, so that no two rows of an environment in turn are ends. The
    first row can be one: it was the last of the rollout before.
    """
    if seed is None:
        ends = [(0, 1), (2, 0), (4, 1), (4, 2)]
        first = torch.zeros(6, 3, dtype=torch.bool)
        for t, b in ends:
            first[t, b] = True
        return [first, torch.tensor([[False], [True], [False], [True]])]
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Tensor] = []
    while len(drawn) < 3:
        n_rows = integer(generator, 7, 13)
        n_envs = integer(generator, 2, 5)
        done = torch.rand(n_rows, n_envs, generator=generator) < 0.2
        for t in range(1, n_rows):
            done[t] &= ~done[t - 1]
        masks = [right(done), *(formula(done) for formula in MASKS.wrong.values())]
        if len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks):
            drawn.append(done)
    return drawn


def _malformed(mask: Any, done: Tensor) -> str | None:
    """What is wrong with the form of a mask, if anything is."""
    n_rows, n_envs = done.shape
    if not isinstance(mask, Tensor):
        return "no-tensor"
    if list(mask.shape) == [n_rows, n_envs]:
        return "row-each"
    if list(mask.shape) == [n_rows, n_envs - 1]:
        return "environment-cut"
    if list(mask.shape) != [n_rows - 1, n_envs]:
        return "shape"
    return None if mask.dtype == torch.bool else f"dtype~{mask.dtype}"


def _table(done: Tensor, expected: Tensor, mask: Tensor) -> list[str]:
    """One environment in which something is wrong, row by row."""
    b = int((mask != expected).any(0).nonzero()[0])

    def line(name: str, values: Sequence[bool]) -> str:
        return f"  {name:<36}" + " ".join("1" if value else "0" for value in values)

    return [
        line(f"environment {b}, done in rows 0 to {len(done) - 1}", done[:, b].tolist()),
        line("seen,     steps 0→1, 1→2, …", mask[:, b].tolist()),
        line("expected, steps 0→1, 1→2, …", expected[:, b].tolist()),
    ]
