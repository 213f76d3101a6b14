"""The check of notebook 01's second exercise: what is in the workspace, row after row.

The student predicts the rows that one environment writes. A wrong prediction is compared with
those that follow from well-known misunderstandings.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ppo_course.feedback import describe
from ppo_course.mistakes import Exercise, Hint, Part, read_words
from ppo_course.nb01_workspace.predict_rows_cases import MISTAKES, Case, cases, rows

FIELDS = ("level", "reward", "terminated", "truncated", "timestep")


#: (actions, height, time_limit) → a row for each action
PredictRows = Callable[[list[int], int, int], Sequence[Sequence[Any]]]


EXERCISE = Exercise(
    "predict_rows",
    ("actions", "height", "time_limit"),
    read_words(__file__),
    [Hint("too-far", error=IndexError), Hint("no-value", error=UnboundLocalError)],
)
PARTS = [Part("", {mistake: mistake}) for mistake in MISTAKES]


@EXERCISE.check
def check_predict_rows(function: PredictRows, *, seed: int | None = None) -> None:
    """Compare a student's prediction with what the staircase does.

    From actions (T times 0 or 1), height and time limit the function predicts T rows of level,
    reward, terminated, truncated and timestep.
    """
    chosen = cases(seed)
    predictions = [
        _checked(EXERCISE.call(function, list(case.actions), case.height, case.time_limit), case)
        for case in chosen
    ]
    EXERCISE.compare(
        chosen,
        predictions,
        PARTS,
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
