"""The check of notebook 07's second exercise: a cell led through the rows of a rollout."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.formulas import Part
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb07_memory.memories import WORDS, Case, cases, check_memory, reset

EXERCISE = Exercise("unroll", ("cell", "features", "memory", "begins"), WORDS)


def _next(begins: Tensor, t: int) -> Tensor:
    return begins[min(t + 1, len(begins) - 1)]


def _behind(memory: Tensor, _begins: Tensor, _t: int) -> Tensor:
    """The cell gets the memory as it is; what it gives is reset."""
    return memory


# Where the memory starts, what of it the cell gets in row t, which features, what the next row
# starts from, and what is returned of row t.
PARTS = (
    Part(lambda memory: memory, {"starts-from-0": torch.zeros_like}),
    Part(
        lambda memory, begins, t: reset(memory, begins[t]),
        {
            "never-reset": lambda memory, _begins, _t: memory,
            "reset-one-row-late": lambda memory, begins, t: (
                reset(memory, begins[t - 1]) if t else memory
            ),
            "reset-one-row-early": lambda memory, begins, t: reset(memory, _next(begins, t)),
            "reset-inverted": lambda memory, begins, t: reset(memory, ~begins[t]),
            "reset-all": lambda memory, begins, t: (
                torch.zeros_like(memory) if begins[t].any() else memory
            ),
            "reset-by-row-0": lambda memory, begins, _t: reset(memory, begins[0]),
            "reset-in-row-0-alone": lambda memory, begins, t: (
                memory if t else reset(memory, begins[0])
            ),
            "reset-behind": _behind,
            "reset-always": lambda memory, _begins, _t: torch.zeros_like(memory),
        },
    ),
    Part(
        lambda features, t: features[t],
        {
            "features-of-row-0": lambda features, _t: features[0],
            "backwards": lambda features, t: features[len(features) - 1 - t],
        },
    ),
    Part(lambda after, _start: after, {"not-carried": lambda _after, start: start}),
    Part(
        lambda _came, _before, after, _begins: after,
        {
            "memory-before": lambda _came, before, _after, _begins: before,
            "memory-before-reset": lambda came, _before, _after, _begins: came,
            "result-reset": lambda _came, _before, after, begins: reset(after, begins),
        },
    ),
)


def formula(case: Case, values: Sequence[Any], **given: Any) -> Tensor:
    """The memories that a choice of each part gives, `[T, B, H]`.

    Args:
        case: the question.
        values: of the parts.
        given: the cell, the features and the memory, if they are to be those of the caller.
    """
    first, resets, row, carried, kept = values
    cell = given.get("cell") or case.cell()
    features, memory = given.get("features", case.features), given.get("memory", case.memory)
    start = came = first(memory)
    rows = []
    for t, begins in enumerate(case.begins):
        before = resets(came, case.begins, t)
        after = cell(row(features, t), before)
        after = reset(after, begins) if resets is _behind else after
        rows.append(kept(came, before, after, begins))
        came = carried(after, start)
    return torch.stack(rows)


@torch.enable_grad()
@EXERCISE.check
def check_unroll(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `unroll(cell, features, memory, begins)`.

    It leads a GRU cell through T rows of B environments. It gets the features of the rows,
    `[T, B, F]`, the memory before row 0, `[B, H]`, and where an episode begins, `[T, B]` bool; it
    returns the memory after each row, `[T, B, H]`.
    """
    chosen = cases(seed)
    results = []
    for case in chosen:
        args = (case.features.clone(), case.memory.clone(), case.begins.clone())
        results.append(_result(function, case, case.cell(), *args))
    EXERCISE.compare(
        chosen,
        results,
        PARTS,
        formula=formula,
        facts=_example,
    )
    for case in chosen:
        mine, right = _learned(case), _learned(case)
        result = _result(
            function, case, mine["cell"], mine["features"], mine["memory"], case.begins
        )
        truth = formula(case, [part.right for part in PARTS], **right)
        check_gradients(
            EXERCISE, gradients(result, _leaves(mine)), gradients(truth, _leaves(right))
        )


def _learned(case: Case) -> dict[str, Any]:
    return {
        "cell": case.cell(),
        "features": case.features.clone().requires_grad_(),
        "memory": case.memory.clone().requires_grad_(),
    }


def _leaves(given: dict[str, Any]) -> dict[str, Tensor]:
    """What gradients must reach, as messages call it."""
    named = {"features": given["features"], "memory": given["memory"]}
    return {**named, "the weights of the cell": given["cell"].weight_hh}


def _result(function: StudentCode, case: Case, *args: Any) -> Tensor:
    (n_steps, n_envs), size = case.begins.shape, case.memory.shape[-1]
    mistakes = {
        (n_envs, size): "last-row",
        (n_steps * n_envs, size): "flattened",
        (n_envs, n_steps, size): "wrong-order",
        (n_steps + 1, n_envs, size): "one-row-more",
        (n_steps - 1, n_envs, size): "one-row-less",
    }
    result = EXERCISE.call(function, *args)
    return check_memory(EXERCISE, result, [n_steps, n_envs, size], mistakes)


def _example(case: Case, expected: Tensor, seen: Tensor) -> list[str]:
    """The first row and environment that come out wrong."""
    t, b = (~torch.isclose(seen, expected, rtol=1e-4, atol=1e-5)).any(-1).nonzero()[0].tolist()
    rows = [row for row, begins in enumerate(case.begins[:, b].tolist()) if begins]
    where = f"begins in row {' and '.join(map(str, rows))}" if rows else "goes on all the time"
    return [
        f"  Example: row {t} of environment {b}, where an episode {where}.",
        f"  seen      {numbers(seen[t, b])}",
        f"  expected  {numbers(expected[t, b])}",
    ]
