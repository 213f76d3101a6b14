"""The check of notebook 01's third exercise: which steps between two rows are transitions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import (
    call,
    describe,
    not_right,
    untouched_randomness,
)

NAME = "transition_mask"

#: done [T, B] → is it a transition? [T-1, B]
TransitionMask = Callable[[Tensor], Tensor]


class Mistake(NamedTuple):
    """What a wrong mask is made of, and what to say about it."""

    formula: TransitionMask
    wrong: str
    look: str


MISTAKES = (
    Mistake(
        lambda done: done[:-1],
        "it is upside down: True where the step is no transition",
        "`~` turns every entry of a bool tensor round",
    ),
    Mistake(
        lambda done: ~done[1:],
        "it leaves out the step that leads *into* the last row of an episode",
        "this step is a transition, the one that earns the last reward. The step that leads away "
        "from a `done` row is none: look at `done` in the row where the step begins",
    ),
    Mistake(
        lambda done: done[1:],
        "it is upside down, and looks at the row where the step ends",
        "True means a transition; and it is `done` in the row where the step begins that counts",
    ),
    Mistake(
        lambda done: ~(done[:-1] | done[1:]),
        "it leaves out two steps for every end: the one into the last row, too",
        "the step into a `done` row is a transition and earns the last reward",
    ),
    Mistake(
        lambda done: torch.ones_like(done[:-1]),
        "every step is called a transition",
        "the row after a `done` row belongs to another episode: no action led there",
    ),
    Mistake(
        lambda done: torch.zeros_like(done[:-1]),
        "no step is called a transition",
        "most steps are: all those that begin in a row that is not `done`",
    ),
    Mistake(
        lambda done: done[:-1].int().cumsum(0) == 0,
        "everything after the first end is left out",
        "after the end a new episode begins in the next row, and its steps are transitions again",
    ),
    Mistake(
        lambda done: (~done[:-1]).all(1, keepdim=True).expand(-1, done.shape[1]),
        "an end in one environment leaves out the steps of all environments",
        "each entry [t, b] depends on environment b alone: no .any() or .all()",
    ),
)


def right(done: Tensor) -> Tensor:
    """What is right: a step is a transition unless it begins where an episode has ended."""
    return ~done[:-1]


def check_transition_mask(function: TransitionMask, *, seed: int | None = None) -> None:
    """Try a student's `transition_mask` on a few tables of ends.

    Args:
        function: from done, `[T, B]` bool, to `[T-1, B]` bool.
        seed: draws the tables; without it they are small and fixed, and success is printed.

    Raises:
        ExerciseError: if it is not right; the message says what to look at.
    """
    with untouched_randomness():
        for done in cases(seed):
            _check(function, done)
    if seed is None:
        print(
            "Well done! Only the step away from a done row is left out, in its environment alone."
        )


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
        n_rows = int(torch.randint(7, 13, (), generator=generator))
        n_envs = int(torch.randint(2, 5, (), generator=generator))
        done = torch.rand(n_rows, n_envs, generator=generator) < 0.2
        for t in range(1, n_rows):
            done[t] &= ~done[t - 1]
        masks = [right(done), *(mistake.formula(done) for mistake in MISTAKES)]
        if len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks):
            drawn.append(done)
    return drawn


def _check(function: TransitionMask, done: Tensor) -> None:
    given = done.clone()
    mask = call(function, given, hint=_hint)
    if not torch.equal(given, done):
        raise not_right(
            NAME,
            "it changes `done` itself, which others still need",
            "make a new tensor, or change a .clone()",
        )
    mask = _checked(mask, done)
    expected = right(done)
    if torch.equal(mask, expected):
        return
    facts = _table(done, mask, expected)
    for mistake in MISTAKES:
        if torch.equal(mask, mistake.formula(done)):
            raise not_right(NAME, mistake.wrong, mistake.look, *facts)
    raise not_right(
        NAME,
        "some steps are judged wrong, in a way that this check does not know",
        "the table, row by row: a step is a transition unless it begins in a `done` row",
        *facts,
    )


def _checked(mask: Any, done: Tensor) -> Tensor:
    """The mask, if it is one: its type and shape."""
    n_rows, n_envs = done.shape
    expected = f"  expected  a bool tensor of shape [{n_rows - 1}, {n_envs}]"
    seen = f"  seen      {describe(mask)}"
    if mask is None:
        raise not_right(NAME, "it returns nothing", "the last line: return …", seen, expected)
    if not isinstance(mask, Tensor):
        look = "`~done` and slices such as `done[1:]` are tensors already"
        raise not_right(NAME, "it returns no tensor", look, seen, expected)
    if list(mask.shape) == [n_rows, n_envs]:
        raise not_right(
            NAME,
            "it has an entry for each row, but there is one step less than rows",
            "leave out the row in which no step begins: the last one",
            seen,
            expected,
        )
    if list(mask.shape) == [n_rows, n_envs - 1]:
        look = "the first dimension is time, the second the environments"
        raise not_right(NAME, "an environment is cut off, not a row", look, seen, expected)
    if list(mask.shape) != [n_rows - 1, n_envs]:
        look = f"the input is [T, B] = [{n_rows}, {n_envs}], the result [T-1, B]"
        raise not_right(NAME, "the mask has the wrong shape", look, seen, expected)
    if mask.dtype != torch.bool:
        raise not_right(
            NAME,
            f"the mask is {mask.dtype}, not bool",
            "numbers would select entries 0 and 1 instead of those that are True; "
            "`~` of a bool tensor is bool",
            f"  seen      {describe(mask)}, {mask.dtype}",
            expected,
        )
    return mask


def _table(done: Tensor, mask: Tensor, expected: Tensor) -> list[str]:
    """One environment in which something is wrong, row by row."""
    b = int((mask != expected).any(0).nonzero()[0])

    def line(name: str, values: Sequence[bool]) -> str:
        return f"  {name:<36}" + " ".join("1" if value else "0" for value in values)

    return [
        line(f"environment {b}, done in rows 0 to {len(done) - 1}", done[:, b].tolist()),
        line("seen,     steps 0→1, 1→2, …", mask[:, b].tolist()),
        line("expected, steps 0→1, 1→2, …", expected[:, b].tolist()),
    ]


def _hint(error: Exception) -> str:
    text = str(error)
    if "ambiguous" in text:
        return "`not` and `if` want a single truth value; `~done` turns every entry round"
    if "bool tensor is not supported" in text or "bad operand type" in text:
        return "`~done` turns every entry of a bool tensor round"
    if isinstance(error, TypeError) and "argument" in text:
        return "it is called as transition_mask(done)"
    return ""
