"""The check of notebook 01's second exercise: what is in the workspace, row after row.

The student predicts the rows that one environment writes. A wrong prediction is compared with
those that follow from well-known misunderstandings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ppo_course.feedback import (
    all_not_right,
    call,
    describe,
    not_right,
    untouched_randomness,
)
from ppo_course.nb01_workspace.predict_rows_mistakes import Case, cases, explanations, rows

NAME = "predict_rows"
FIELDS = ("level", "reward", "terminated", "truncated", "timestep")


#: (actions, height, time_limit) → a row for each action
PredictRows = Callable[[list[int], int, int], Sequence[Sequence[Any]]]


def check_predict_rows(function: PredictRows, *, seed: int | None = None) -> None:
    """Compare a student's prediction with what the staircase does.

    Args:
        function: from actions (T times 0 or 1), height and time limit to T rows of level,
            reward, terminated, truncated and timestep.
        seed: draws the cases; without it they are fixed, and success is printed.

    Raises:
        ExerciseError: if it is not right; the message says what to look at.
    """
    with untouched_randomness():
        chosen = cases(seed)
        predictions = []
        for case in chosen:
            given = list(case.actions)
            prediction = call(function, given, case.height, case.time_limit, hint=_hint)
            if given != case.actions:
                look = "read from `actions`, and keep what you need in variables of your own"
                raise not_right(NAME, "it changes the list `actions`", look)
            predictions.append(_checked(prediction, case))
        for case, prediction in zip(chosen, predictions, strict=True):
            if prediction != rows(case):
                raise all_not_right(
                    NAME, _mistakes(chosen, predictions), *_first_wrong_row(case, prediction)
                )
    if seed is None:
        print("Well done! Rewards, both kinds of end, the row after them: all as in the workspace.")


def _mistakes(
    chosen: Sequence[Case], predictions: Sequence[list[tuple[Any, ...]]]
) -> list[tuple[str, str]]:
    """What would lead to these predictions, in words."""
    for mistakes in explanations():
        names = [mistake.name for mistake in mistakes]
        if all(rows(case, names) == seen for case, seen in zip(chosen, predictions, strict=True)):
            return [(mistake.wrong, mistake.look) for mistake in mistakes]
    return [
        (
            "a row is not as predicted",
            "the row before, its action, and the rules of the staircase, one field after the other",
        )
    ]


def _checked(prediction: Any, case: Case) -> list[tuple[Any, ...]]:
    """The prediction as T tuples, if it has that form."""
    expected = f"  expected  {len(case.actions)} rows ({', '.join(FIELDS)}), one for each action"
    if prediction is None:
        look = "the last line: return rows"
        raise not_right(NAME, "it returns nothing", look, "  seen      None", expected)
    if isinstance(prediction, np.ndarray | Tensor) and prediction.ndim == 2:
        prediction = prediction.tolist()
    if not isinstance(prediction, list | tuple):
        seen = f"  seen      {describe(prediction)}"
        raise not_right(NAME, "it returns no list of rows", "the last line", seen, expected)
    if len(prediction) != len(case.actions):
        raise not_right(
            NAME,
            "the number of rows is wrong",
            "row 0 is there before any step; then each of actions[0], …, actions[T-2] leads to a "
            "row. The last action leads to no row any more",
            f"  seen      {len(prediction)} rows",
            expected,
        )
    for t, row in enumerate(prediction):
        if not isinstance(row, list | tuple) or len(row) != len(FIELDS):
            seen = f"  seen      row {t}: {row!r}"
            look = f"rows.append(({', '.join(FIELDS)}))"
            raise not_right(NAME, "a row has not the five fields", look, seen, expected)
        for name, entry in zip(FIELDS, row, strict=True):
            if not isinstance(entry, int | float | np.generic | Tensor):
                seen = f"  seen      row {t}: {name} is {describe(entry)}"
                look = "numbers and truth values, as in row 0"
                raise not_right(NAME, "a field is no number", look, seen)
    # As numbers of Python, whatever kind of number they were.
    return [tuple(float(entry) for entry in row) for row in prediction]


def _first_wrong_row(case: Case, prediction: Sequence[tuple[Any, ...]]) -> list[str]:
    expected = rows(case)
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


def _hint(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "the last row needs actions[t-1], so that actions[t] or actions[t+1] may be too far"
    if isinstance(error, UnboundLocalError):
        return "give every variable its value of row 0 before the loop"
    if isinstance(error, TypeError) and "argument" in str(error):
        return "it is called as predict_rows(actions, height, time_limit)"
    return ""
