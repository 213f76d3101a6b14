"""The check of notebook 06's third exercise: the mask and the actions in a workspace."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import describe
from ppo_course.formulas import Part
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, read_words
from ppo_course.workspaces import RecordingWorkspace

EXERCISE = Exercise(
    "was_allowed",
    ("workspace", "sizes"),
    read_words(__file__),
    (
        Hint("names", "in the workspace", "no variable", error=KeyError),
        Hint("gather-type", "int64", "Index tensor must have", "tensors used as indices"),
        Hint("unequal-parts", "stack expects", "Sizes of tensors must match"),
        Hint("no-offset", "out of bounds", "out of range"),
        Hint("split-sizes", "split_with_sizes", "split expects"),
        Hint("shapes", "must match the size", "shape mismatch"),
    ),
)

#: (workspace, sizes) → were all components of the actions allowed? [T, B] bool
WasAllowed = Callable[[Any, list[int]], Tensor]


class Case(NamedTuple):
    """What is in a workspace.

    Attributes:
        mask: `[T, B, sum(sizes)]` bool.
        action: `[T, B, k]` int64.
        sizes: k numbers.
    """

    mask: Tensor
    action: Tensor
    sizes: list[int]


def cases(seed: int | None) -> list[Case]:
    """Two and three components, of each many actions, allowed or not; then one environment."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)
    result = []
    for rows, sizes in ((8, [4, 3]), (9, [2, 3, 4])):
        n_envs = 3
        if seed is not None:
            rows += int(torch.randint(4, (), generator=generator))  # noqa: PLW2901
            n_envs += int(torch.randint(3, (), generator=generator))
        shape = rows, n_envs
        mask = torch.rand(*shape, sum(sizes), generator=generator) < 0.7
        drawn = [torch.randint(size, shape, generator=generator) for size in sizes]
        result.append(Case(mask, torch.stack(drawn, -1), sizes))
    one = result[0]
    return [*result, one._replace(mask=one.mask[:, :1], action=one.action[:, :1])]


def each_allowed(x: Case, offsets: Sequence[int]) -> Tensor:
    """Of each component, `[T, B, k]`, from where its values begin in the mask."""
    return x.mask.gather(-1, x.action + torch.tensor(offsets))


def _offsets(x: Case) -> list[int]:
    return [sum(x.sizes[:i]) for i in range(len(x.sizes))]


PARTS = (
    Part(
        lambda x: x,
        {
            "row-after": lambda x: x._replace(mask=x.mask.roll(-1, 0)),
            "row-before": lambda x: x._replace(mask=x.mask.roll(1, 0)),
        },
    ),
    Part(
        lambda x: each_allowed(x, _offsets(x)),
        {
            "no-offset": lambda x: each_allowed(x, [0] * len(x.sizes)),
            "from-the-end": lambda x: each_allowed(
                x, [sum(x.sizes) - sum(x.sizes[: i + 1]) for i in range(len(x.sizes))]
            ),
        },
    ),
    Part(
        lambda each: each.all(-1),
        {
            "any-component": lambda each: each.any(-1),
            "first-component": lambda each: each[..., 0],
            "last-component": lambda each: each[..., -1],
            "inverted": lambda each: ~each.all(-1),
            "inverted~each": lambda each: (~each).all(-1),
            "everything": lambda each: torch.ones_like(each[..., 0]),
            "all-environments": lambda each: (
                each.all(-1).all(1, keepdim=True).expand(-1, each.shape[1])
            ),
        },
    ),
)


def formula(case: Case, values: Sequence[Any]) -> Tensor:
    """What a choice of each part gives, `[T, B]` bool."""
    row, each, joined = values
    result: Tensor = joined(each(row(case)))
    return result


@EXERCISE.check
def check_was_allowed(function: WasAllowed, *, seed: int | None = None) -> None:
    """Check a student's `was_allowed(workspace, sizes)`.

    It reads `env/action_mask`, `[T, B, sum(sizes)]`, and `action`, `[T, B, k]`, and returns in
    which rows all components of an action were allowed, `[T, B]` bool.
    """
    chosen = cases(seed)
    results = [_answer(function, case) for case in chosen]
    EXERCISE.compare(chosen, results, PARTS, formula=formula, agree=_agree, facts=_example)


def _answer(function: WasAllowed, case: Case) -> Tensor:
    workspace = RecordingWorkspace({"env/action_mask": case.mask, "action": case.action})
    result: Any = EXERCISE.call(function, workspace, list(case.sizes))
    if workspace.written:
        raise EXERCISE.error("writes", variable=workspace.written[0][0])
    shape = list(case.action.shape[:2])
    mistake, seen = None, describe(result)
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    elif list(result.shape) != shape:
        each = list(result.shape) == list(case.action.shape)
        mistake = "each-component" if each else "wrong-shape"
    elif result.dtype != torch.bool:
        mistake, seen = "no-bool", f"{seen}, {result.dtype}"
    EXERCISE.expect(result, mistake, f"a bool tensor of shape {shape}", seen=seen)
    tensor: Tensor = result
    return tensor


def _agree(_case: Case, one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other)


def _example(case: Case, expected: Tensor, seen: Tensor) -> list[str]:
    """The first action that comes out wrong."""
    t, n = (seen != expected).nonzero()[0].tolist()
    parts: Any = case.mask[t, n].int()
    shown = " | ".join(str(part.tolist()) for part in parts.split(case.sizes))
    return [
        f"  Example: row {t}, environment {n}: action {case.action[t, n].tolist()},",
        f"    sizes {case.sizes}, mask {shown}  (1: allowed)",
        f"  seen      {bool(seen[t, n])}",
        f"  expected  {bool(expected[t, n])}",
    ]
