"""The check of notebook 12's first exercise: the page, an environment in which time is the text."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.agents.base import Agent
from ppo_course.drawing import integer, source_of
from ppo_course.feedback import Named, describe
from ppo_course.formulas import first_fit
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb12_language_model.texts import WORDS
from ppo_course.workspaces import RecordingWorkspace

EXERCISE = Exercise("Page", ("prompts", "end"), WORDS)
OBS, DONE = "env/env_obs", "env/done"


class Case(NamedTuple):
    """Prompts, `[B, W]`, and what is written after them, `[T, B]`; `end` ends a text."""

    prompts: Tensor
    action: Tensor
    end: int


class Rows(NamedTuple):
    """What a page writes: windows, `[T, B, W]`, and whether the text has ended, `[T, B]`."""

    obs: Tensor
    done: Tensor


def cases(seed: int | None) -> list[Case]:
    """Two; prompts are padded on the left with the character that ends a text."""
    source, chosen = source_of(seed), []
    for _ in range(2):
        n_rows, n_texts, window = integer(source, 5, 8), integer(source, 4, 7), 4
        end = integer(source, 2, 9)
        prompts = torch.randint(10, 20, (n_texts, window), generator=source)
        prompts[:, 0] = end
        prompts[0] = end  # an empty prompt
        action = torch.randint(10, 20, (n_rows, n_texts), generator=source)
        action[0, 1] = action[2, 2] = action[1, 3] = end
        action[3, 3] = end  # after the end: another one
        action[n_rows - 2, 0] = end
        chosen.append(Case(prompts, action, end))
    return chosen


Following = Callable[[Tensor, Tensor], Tensor]
WINDOWS: dict[str, Following] = {
    "window-not-moved": lambda obs, _action: obs,
    "last-replaced": lambda obs, action: torch.cat((obs[:, :-1], action[:, None]), 1),
    "in-front": lambda obs, action: torch.cat((action[:, None], obs[:, :-1]), 1),
    "without-new": lambda obs, _action: obs.roll(-1, 1),
    "in-front-not-moved": lambda obs, action: torch.cat((action[:, None], obs[:, 1:]), 1),
    "first-dropped-in-front": lambda obs, action: torch.cat((obs[:, 1:], action[:, None]), 1).roll(
        1, 1
    ),
}


def _windows(case: Case, following: Following) -> Tensor:
    rows = [case.prompts]
    for action in case.action[:-1]:
        rows.append(following(rows[-1], action))
    return torch.stack(rows)


def right(case: Case) -> Rows:
    """What a page should write."""
    obs = _windows(case, lambda obs, action: torch.cat((obs[:, 1:], action[:, None]), 1))
    ended = (case.action == case.end).cumsum(0) > 0
    return Rows(obs, torch.cat((torch.zeros_like(ended[:1]), ended[:-1])))


def wrong_ends(case: Case, truth: Rows) -> dict[str, Tensor]:
    """Known mistakes of `env/done`, `[T, B]`."""
    ends = case.action == case.end
    before = torch.cat((torch.zeros_like(ends[:1]), ends[:-1]))
    nothing = torch.zeros_like(ends[:1])
    in_window = truth.obs == case.end
    return {
        "done-not-kept": before,
        "done-late": torch.cat((nothing, truth.done[:-1])),
        "done-of-window": in_window.any(-1),
        "done-of-window~after": torch.cat((nothing, in_window.any(-1)[1:])),
        "done-of-last-character": in_window[..., -1],
        "done-of-last-character~kept": in_window[..., -1].cumsum(0) > 0,
        "done-of-window~kept": in_window.any(-1).cumsum(0) > 0,
        "done-inverted": ~truth.done,
        "done-inverted~again": _inverted_again(before),
        "done-never": torch.zeros_like(ends),
        "done-toggles": before.cumsum(0) % 2 == 1,
        "done-of-row-before": torch.cat((nothing, nothing, truth.done[1:-1])),
    }


def _inverted_again(before: Tensor) -> Tensor:
    """Every row is the inverse of what it should be after the row above, which is inverted, too."""
    rows = [torch.ones_like(before[0])]
    for ended in before[1:]:
        rows.append(~(rows[-1] | ended))
    return torch.stack(rows)


@EXERCISE.check
def check_page(page_class: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's agent `Page(prompts, end)`.

    In row t its `forward(t)` writes `env/env_obs`, the last W characters, `[B, W]`, and `env/done`,
    whether the text had ended before, `[B]`.
    """
    asked = cases(seed)

    def see(*names: str) -> None:
        for case in asked:
            rows = _written(page_class, case, names)
            if OBS in names:
                _check_windows(case, right(case), rows)
            if DONE in names:
                _check_ends(case, right(case), rows)

    with EXERCISE.partly(the_windows=lambda: see(OBS), the_ends=lambda: see(DONE)):
        see(OBS, DONE)
        for case in asked:
            alike = _same(_written(page_class, case, another=True), right(case))
            EXERCISE.refuse(not alike, "shared")


def _check_windows(case: Case, truth: Rows, seen: Rows) -> None:
    counts = ~truth.done
    if not torch.equal(seen.obs[counts], truth.obs[counts]):
        known = {key: _windows(case, way) for key, way in WINDOWS.items()}
        same = partial(_same_where, counts, seen.obs)
        key = first_fit(known, same, "other-windows")
        if not torch.equal(seen.obs[0], truth.obs[0]):
            key = "prompt-missing"
        raise EXERCISE.error(key, facts=_window_facts(case, truth, seen))


def _check_ends(case: Case, truth: Rows, seen: Rows) -> None:
    if not torch.equal(seen.done, truth.done):
        key = first_fit(wrong_ends(case, truth), partial(torch.equal, seen.done), "other-ends")
        b = int((seen.done != truth.done).any(0).nonzero()[0])
        facts = [
            f"  One text; {case.end} is the character that ends it:",
            f"    written   {case.action[:, b].tolist()}",
            f"    seen      {_truths(seen.done[:, b])}",
            f"    expected  {_truths(truth.done[:, b])}",
        ]
        raise EXERCISE.error(key, facts=facts)


def _same(one: Rows, other: Rows) -> bool:
    counts = ~other.done
    return torch.equal(one.done, other.done) and torch.equal(one.obs[counts], other.obs[counts])


def _truths(column: Tensor) -> str:
    return "[" + ", ".join("yes" if entry else "no" for entry in column.tolist()) + "]"


def _same_where(counts: Tensor, seen: Tensor, known: Tensor) -> bool:
    return torch.equal(seen[counts], known[counts])


def _window_facts(case: Case, truth: Rows, seen: Rows) -> list[str]:
    wrong = (truth.obs != seen.obs).any(-1) & ~truth.done
    t, b = (int(index) for index in wrong.nonzero()[0])
    facts = [f"  A text whose prompt is {case.prompts[b].tolist()}, row {t}:"]
    if t:
        facts = [
            f"  A text, row {t}. The row before has the window {truth.obs[t - 1, b].tolist()},",
            f"  and the character {case.action[t - 1, b]} was written there.",
        ]
    return [
        *facts,
        f"  seen      {seen.obs[t, b].tolist()}",
        f"  expected  {truth.obs[t, b].tolist()}",
    ]


def _written(
    page_class: Any, case: Case, names: Sequence[str] = (OBS, DONE), *, another: bool = False
) -> Rows:
    """What the student's page writes while characters are written on it, row by row.

    With another, a page of other prompts is made after it, and it has been written on before. Only
    the variables with these names have to be right.
    """
    init = getattr(page_class, "__init__", None)
    make = Named("Page.__init__", page_class, init)
    page = EXERCISE.call(make, case.prompts.clone(), case.end)
    EXERCISE.refuse(not isinstance(page, Agent), "no-agent", seen=describe(page))
    if another:
        EXERCISE.call(make, case.prompts + 1, case.end + 1)
    rows = _write(page, page_class, case, names)
    if another:
        again = _write(page, page_class, case, names)
        EXERCISE.refuse(_same(rows, right(case)) and not _same(again, rows), "written-on-before")
    return rows


def _write(page: Any, page_class: Any, case: Case, names: Sequence[str]) -> Rows:
    """What a page writes into a new workspace."""
    workspace = RecordingWorkspace({})
    forward = getattr(page_class, "forward", None)
    for t, action in enumerate(case.action):
        before = len(workspace.written)
        EXERCISE.call(Named("Page.forward", lambda t=t: page(workspace, t=t), forward))
        written = workspace.written[before:]
        for name in names:
            rows = [row for variable, row in written if variable == name]
            EXERCISE.refuse(not rows, "not-written-there", variable=name)
            EXERCISE.refuse(rows != [t], "wrong-row", variable=name, seen=rows, expected=t)
        others = [name for name, _ in written if name not in (OBS, DONE)]
        EXERCISE.refuse(others, "writes-more", variable=", ".join(others))
        for name in names:
            _check_form(name, workspace.get(name, t), case)
        workspace.set("action", t, action)
    return Rows(*(workspace.get_full(name) for name in (OBS, DONE)))


def _check_form(name: str, row: Tensor, case: Case) -> None:
    seen, shape = list(row.shape), list(case.prompts.shape)
    if name == OBS:
        EXERCISE.refuse(seen != shape, "window-shape", seen=seen, expected=shape)
        EXERCISE.refuse(row.dtype != torch.int64, "window-no-integers", seen=row.dtype)
    else:
        EXERCISE.refuse(seen != shape[:1], "done-shape", seen=seen, expected=shape[:1])
        EXERCISE.refuse(row.dtype != torch.bool, "done-no-bool", seen=row.dtype)
