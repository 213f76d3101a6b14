"""The check of notebook 01's second exercise: what is in the workspace, row after row.

The student predicts the rows that one environment writes. A wrong prediction is compared with
those that follow from well-known misunderstandings.
"""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ppo_course.feedback import describe
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words

FIELDS = ("level", "reward", "terminated", "truncated", "timestep")


class Row(NamedTuple):
    """What the staircase writes into one row."""

    level: int
    reward: float
    terminated: bool
    truncated: bool
    timestep: int


class Case(NamedTuple):
    """The arguments of one call."""

    actions: list[int]
    height: int
    time_limit: int


MISTAKES = (
    "action-of-the-same-row",
    "reward-beside-its-action",
    "no-reset",
    "no-reset-after-truncation",
    "no-reset-after-termination",
    "reset-in-the-same-row",
    "action-after-the-reset",
    "reward-stays",
    "flags-stay",
    "timestep-goes-on",
    "timestep-begins-with-1",
    "flags-exchanged",
    "limit-counts-rows",
    "limit-is-one-late",
    "limit-is-one-early",
    "never-truncated",
    "either-or",
    "terminated-is-done",
    "truncated-is-done",
    "reward-for-staying",
    "reward-of-one",
    "reward-before-the-step",
    "reward-adds-up",
    "timestep-is-the-row",
    "height-fixed",
    "limit-fixed",
)

ALONE = ((), *((key,) for key in MISTAKES))
FIRST = Case([1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 1, 1], 3, 5)  # whose numbers one may know by heart
START = Row(0, 0.0, False, False, 0)


def rows(case: Case, mistakes: Sequence[str] = ()) -> list[Row]:
    """The rows that the environment writes; with `mistakes`, those that somebody might expect."""
    if "reward-beside-its-action" in mistakes:
        others = [name for name in mistakes if name != "reward-beside-its-action"]
        further = rows(case._replace(actions=[*case.actions, 0]), others)
        return [row._replace(reward=following.reward) for row, following in pairwise(further)]
    made = [START]
    for t in range(1, len(case.actions)):
        row, action = made[-1], case.actions[t if "action-of-the-same-row" in mistakes else t - 1]
        if _begins_anew(row, mistakes):
            following = _first(row, mistakes)
            if "action-after-the-reset" in mistakes:
                following = _step(following, action, t, case, mistakes)
        else:
            following = _step(row, action, t, case, mistakes)
        made.append(following)
    if "flags-exchanged" in mistakes:
        return [row._replace(terminated=row.truncated, truncated=row.terminated) for row in made]
    return made


def _begins_anew(row: Row, mistakes: Sequence[str]) -> bool:
    if "no-reset" in mistakes or "reset-in-the-same-row" in mistakes:
        return False
    terminated = row.terminated and "no-reset-after-termination" not in mistakes
    return terminated or (row.truncated and "no-reset-after-truncation" not in mistakes)


def _first(row: Row, mistakes: Sequence[str]) -> Row:
    first = START
    if "reward-stays" in mistakes:
        first = first._replace(reward=row.reward)
    if "flags-stay" in mistakes:
        first = first._replace(terminated=row.terminated, truncated=row.truncated)
    if "timestep-goes-on" in mistakes:
        first = first._replace(timestep=row.timestep + 1)
    if "timestep-begins-with-1" in mistakes:
        first = first._replace(timestep=1)
    return first


def _step(row: Row, action: int, t: int, case: Case, mistakes: Sequence[str]) -> Row:
    level, timestep = row.level + action, row.timestep + 1
    reward = float(level) if action or "reward-for-staying" in mistakes else 0.0
    if "reward-of-one" in mistakes:
        reward = float(action)
    if "reward-before-the-step" in mistakes:
        reward = float(row.level) if action else 0.0
    if "reward-adds-up" in mistakes:
        reward += row.reward
    if "timestep-is-the-row" in mistakes:
        timestep = t
    height = FIRST.height if "height-fixed" in mistakes else case.height
    limit = FIRST.time_limit if "limit-fixed" in mistakes else case.time_limit
    late = ("limit-is-one-late" in mistakes) - ("limit-is-one-early" in mistakes)
    counted = t if "limit-counts-rows" in mistakes else timestep
    terminated = level == height
    truncated = counted == limit + late and "never-truncated" not in mistakes
    done = terminated or truncated
    if "either-or" in mistakes:
        truncated = truncated and not terminated
    if "reset-in-the-same-row" in mistakes and done:
        level = timestep = 0
    if "terminated-is-done" in mistakes:
        terminated = done
    if "truncated-is-done" in mistakes:
        truncated = done
    return Row(level, reward, terminated, truncated, timestep)


def cases(seed: int | None) -> list[Case]:
    """Three calls, in which every known mistake shows somewhere and looks like no other."""
    if seed is None:
        return [
            FIRST,
            Case([0, 1, 1, 1, 0, 0, 0, 0, 1], 2, 3),
            Case([0, 0, 0, 0, 1, 1, 0, 1], 2, 6),
        ]
    generator = random.Random(seed)
    while True:
        drawn = []
        for _ in range(3):
            length, climbs = generator.randint(14, 22), generator.uniform(0.4, 0.8)
            actions = [int(generator.random() < climbs) for _ in range(length)]
            height = generator.randint(2, 4)
            drawn.append(Case(actions, height, height + generator.randint(0, 2)))
        seen = {str([rows(case, mistakes) for case in drawn]) for mistakes in ALONE}
        if len(seen) == len(ALONE):
            return drawn


EXERCISE = Exercise("predict_rows", ("actions", "height", "time_limit"), read_words(__file__))


@EXERCISE.check
def check_predict_rows(function: StudentCode, *, seed: int | None = None) -> None:
    """Compare a student's prediction with what the staircase does.

    From actions (T times 0 or 1), height and time limit the function predicts T rows of level,
    reward, terminated, truncated and timestep.
    """
    chosen = cases(seed)
    predictions = [
        _checked(EXERCISE.call(function, list(case.actions), case.height, case.time_limit), case)
        for case in chosen
    ]

    def see(*fields: str) -> None:
        columns = [FIELDS.index(field) for field in fields]
        for case, seen in zip(chosen, predictions, strict=True):
            pairs = zip(rows(case), seen, strict=True)
            wrong = any(right[k] != row[k] for right, row in pairs for k in columns)
            EXERCISE.refuse(wrong, "unknown")

    with EXERCISE.partly(
        level_and_timestep=lambda: see("level", "timestep"),
        reward=lambda: see("reward"),
        terminated_and_truncated=lambda: see("terminated", "truncated"),
    ):
        EXERCISE.compare(
            chosen,
            predictions,
            [Part("", {mistake: mistake}) for mistake in MISTAKES],
            formula=lambda case, mistakes: rows(case, [each for each in mistakes if each]),
            agree=lambda _case, one, other: bool(one == other),
            facts=_first_wrong_row,
        )


def _checked(prediction: Any, case: Case) -> list[tuple[Any, ...]]:
    """The prediction as T tuples, if it has that form."""
    if isinstance(prediction, np.ndarray | Tensor) and prediction.ndim == 2:
        prediction = prediction.tolist()
    expected = f"{len(case.actions)} rows ({', '.join(FIELDS)}), one for each action"
    EXERCISE.expect(
        prediction, None if isinstance(prediction, list | tuple) else "no-list", expected
    )
    if len(prediction) != len(case.actions):
        EXERCISE.expect(prediction, "number-of-rows", expected, seen=f"{len(prediction)} rows")
    for t, row in enumerate(prediction):
        if not isinstance(row, list | tuple) or len(row) != len(FIELDS):
            EXERCISE.expect(prediction, "not-five-fields", expected, seen=f"row {t}: {row!r}")
        for name, entry in zip(FIELDS, row, strict=True):
            if not isinstance(entry, int | float | np.generic | Tensor):
                seen = f"row {t}: {name} is {describe(entry)}"
                EXERCISE.expect(prediction, "no-number", "numbers and truth values", seen=seen)
    # As numbers of Python, whatever kind of number they were.
    return [tuple(float(entry) for entry in row) for row in prediction]


def _first_wrong_row(
    case: Case, expected: Sequence[Sequence[float]], prediction: Sequence[Sequence[float]]
) -> list[str]:
    t = next(t for t, row in enumerate(prediction) if row != expected[t])
    lines = [f"  Example: height {case.height}, time_limit {case.time_limit}."]
    if t:
        before = f"  row {t - 1:<2}    {_told(expected[t - 1])}; action {case.actions[t - 1]}"
        lines.append(before + " (right)")
    return [
        *lines,
        f"  row {t:<2}    {_told(prediction[t])} (seen)",
        f"  row {t:<2}    {_told(expected[t])} (expected)",
    ]


def _told(row: Sequence[float]) -> str:
    """level 3, reward 3, terminated, timestep 5."""
    level, reward, terminated, truncated, timestep = row
    flags = ["terminated"] * (terminated != 0) + ["truncated"] * (truncated != 0)
    numbers = (f"level {level:g}", f"reward {reward:g}", *flags, f"timestep {timestep:g}")
    return ", ".join(numbers)
