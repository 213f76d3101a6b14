"""The check of notebook 04's exercise on the interquartile mean."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppo_course.feedback import call, not_right, untouched_randomness
from ppo_course.guesses import Guess, as_number, explain

Floats = NDArray[np.float64]
#: scores [S] → their interquartile mean
InterquartileMean = Callable[[Floats], float]

NAME = "interquartile_mean"

# Not in order, with an outlier; a quarter of them is whole, or is not. Then five and three scores,
# and some that are equal, as those of solved tasks are.
CASES: Sequence[Sequence[float]] = (
    (30, 500, 230, 190, 9, 220, 150, 310),
    (100, 20, 480, 150, 110, 90),
    (140, 230, 10, 190, 480, 160, 155),
    (300, 420, 20, 310, 500, 290, 400, 15, 330),
    (150, 500, 20, 180, 130),
    (210, 480, 160),
    (500, 120, 500, 60, 500, 500, 90),
    (160, 500, 100, 40, 220, 10, 310, 390, 130, 250),
)


def middle(scores: Floats) -> Floats:
    """The scores in order, without the lowest and the highest quarter (rounded down)."""
    quarter = scores.shape[-1] // 4
    ordered: Floats = np.sort(scores, axis=-1)
    return ordered[..., quarter : scores.shape[-1] - quarter]


def right(scores: Floats) -> float:
    """The mean of the middle half."""
    return float(middle(scores).mean())


def drawn(seed: int) -> list[Floats]:
    """Scores with outliers, drawn from a seed."""
    source = np.random.default_rng(seed)
    cases = []
    for size in (8, 9, 7, 10, 5, 3, int(source.integers(11, 16))):
        scores = source.uniform(150, 250, size)
        scores[0], scores[1], scores[-1] = source.uniform(450, 500), 400, source.uniform(5, 20)
        cases.append(source.permutation(scores))
    ties = np.array([500.0] * 4 + source.uniform(20, 200, 3).tolist())
    return [*cases, source.permutation(ties)]


def _quarter(scores: Floats) -> int:
    return len(scores) // 4


def _cut(scores: Floats, count: int) -> float:
    """The mean without so many scores at each end."""
    return float(np.sort(scores)[count : len(scores) - count].mean())


_EMPTY = (
    "the mean of nothing is nan: is there anything left in the middle? len(scores) // 4 are left "
    "out at each end, not len(scores) // 2"
)
_HALF = "sort the scores, leave out len(scores) // 4 of them at each end, take the mean of the rest"

MISTAKES = (
    Guess(
        lambda s: s.mean(),
        "it is the mean of all scores: a single lucky or failed run moves it",
        _HALF,
    ),
    Guess(
        lambda s: float(np.median(s)),
        "it is the median, which looks at one or two scores alone",
        _HALF,
    ),
    Guess(
        lambda s: s[_quarter(s) : len(s) - _quarter(s)].mean(),
        "the scores are not sorted before their ends are cut off",
        "np.sort gives them in order",
    ),
    Guess(
        lambda s: np.sort(s)[_quarter(s) :].mean(),
        "only the lowest scores are left out",
        "len(scores) // 4 of them are left out at each end",
    ),
    Guess(
        lambda s: np.sort(s)[: len(s) - _quarter(s)].mean(),
        "only the highest scores are left out",
        "len(scores) // 4 of them are left out at each end",
    ),
    Guess(
        lambda s: float(np.subtract(*np.percentile(s, [75, 25]))),
        "it is the interquartile range, how wide the middle half is",
        "we want the mean of the middle half",
    ),
    Guess(
        lambda s: np.percentile(s, [25, 75]).mean(),
        "it is the middle of the two quartiles",
        "the mean of all scores that lie between them",
    ),
    Guess(
        lambda s: np.sort(s)[math.ceil(len(s) / 4) : len(s) - math.ceil(len(s) / 4)].mean(),
        "a quarter is rounded up, so that more than half of the scores may be lost",
        "len(scores) // 4 rounds down",
    ),
    Guess(
        lambda s: _cut(s, round(len(s) / 4)),
        "a quarter is rounded to the nearest whole number, and so up at times",
        "len(scores) // 4 rounds down, round(…) does not",
    ),
    Guess(
        lambda s: _cut(s, int(len(s) / 4 + 0.5)),
        "a quarter is rounded to the nearest whole number, and half of a score up",
        "len(scores) // 4 rounds down",
    ),
    Guess(
        lambda s: _cut(np.unique(s), len(np.unique(s)) // 4),
        "scores that are equal count only once",
        "a set, or np.unique, drops equal ones: two runs may well have the same score",
    ),
    Guess(
        lambda s: np.sort(s)[_quarter(s) : max(3 * _quarter(s), 1)].mean(),
        "too much is left out at the upper end: the slice ends at 3 × quarter, where quarter was "
        "rounded down",
        "[quarter : len(scores) - quarter]",
    ),
    Guess(
        lambda s: np.sort(s)[_quarter(s) : 3 * len(s) // 4].mean(),
        "more is left out at the upper end than at the lower one: the slice ends at three quarters "
        "of len(scores), rounded down",
        "as many at each end: [quarter : len(scores) - quarter]",
    ),
    Guess(
        lambda s: np.sort(s)[1:-1].mean(),
        "one score is left out at each end, however many there are",
        "it is len(scores) // 4: one of 6 scores, two of 8",
    ),
    Guess(
        lambda s: np.sort(s)[len(s) // 2 :].mean(),
        "it is the mean of the upper half",
        _HALF,
    ),
    Guess(
        lambda s: np.sort(s)[_quarter(s) + 1 : len(s) - _quarter(s)].mean(),
        "one score too many is left out at the lower end",
        "a slice begins with its first number, and indices count from 0: "
        "[quarter : len(scores) - quarter]",
    ),
    Guess(
        lambda s: np.sort(s)[_quarter(s) : len(s) - _quarter(s) + 1].mean(),
        "one score too few is left out at the upper end",
        "a slice ends before its second number: [quarter : len(scores) - quarter]",
    ),
    Guess(
        lambda s: np.clip(s, middle(s)[0], middle(s)[-1]).mean(),
        "the lowest and the highest scores are moved to the others, not left out",
        _HALF,
    ),
    Guess(
        lambda s: np.clip(s, *np.percentile(s, [25, 75])).mean(),
        "what lies below the first quartile and above the third is moved to them, not left out",
        _HALF,
    ),
    Guess(
        lambda s: s[(s >= np.percentile(s, 25)) & (s <= np.percentile(s, 75))].mean(),
        "left out is what lies outside of the quartiles, which np.percentile interpolates: more "
        "than a quarter at each end where the number of scores is no multiple of 4",
        _HALF,
    ),
    Guess(
        lambda s: s[(s > np.percentile(s, 25)) & (s < np.percentile(s, 75))].mean(),
        "left out are the quartiles themselves, too, and with them whole scores where the number "
        "of scores is not a multiple of 4",
        _HALF,
    ),
    Guess(
        lambda s: middle(s).sum() / len(s),
        "the sum of the middle half is divided by the number of all scores",
        "the mean of what is left: .mean()",
    ),
    Guess(
        lambda s: middle(s).sum(),
        "it is the sum of the middle half",
        "the mean of what is left: .mean()",
    ),
    Guess(
        lambda s: np.sort(s)[_quarter(s) : -_quarter(s) - 1].mean(),
        "one score too many is left out at the upper end",
        "a slice ends before its second number: [quarter : len(scores) - quarter]",
    ),
)


def check_interquartile_mean(function: InterquartileMean, *, seed: int | None = None) -> None:
    """Check a student's `interquartile_mean(scores)`.

    It gets an array `[S]`, and returns the mean of the scores that are left when S // 4 are taken
    away at each end: none where S < 4.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other scores from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    cases = [np.array(case, float) for case in CASES] if seed is None else drawn(seed)
    seen = []
    with untouched_randomness():
        for case in cases:
            given = case.copy()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # the mean of an empty slice
                result: Any = call(function, given, hint=_hint)
            if not np.array_equal(given, case):
                raise not_right(
                    NAME,
                    "it changes the scores that it was given: afterwards nobody knows whose is "
                    "which",
                    "scores.sort() sorts in place, np.sort(scores) makes a new array",
                )
            if len(case) < 4 and np.size(result) == 1 and _is_nan(result):
                raise not_right(
                    NAME,
                    f"of {len(case)} scores it leaves none",
                    "a quarter of them is 0 here, and a slice that ends at -quarter or at 3 * "
                    "quarter is empty; [quarter : len(scores) - quarter] is not",
                    f"  seen      {result}",
                    f"  expected  {right(case):.5g}, the mean of all {len(case)}",
                )
            seen.append(as_number(NAME, result, "the interquartile mean", look=_EMPTY))
    error = explain(NAME, MISTAKES, cases, seen, right=right, tell=_tell)
    if error is not None:
        raise error
    if seed is None:
        print("Well done! One failed run or one lucky run no longer decides.")


def _is_nan(result: Any) -> bool:
    try:
        return math.isnan(result)
    except (TypeError, ValueError):
        return False


def _tell(scores: Floats) -> list[str]:
    def row(some: Floats) -> str:
        return ", ".join(f"{score:.4g}" for score in some)

    return [
        f"  Example: the scores are {row(scores)};",
        f"  the middle half is      {row(middle(scores))}.",
    ]


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(scores)"
    if isinstance(error, TypeError) and ("slice indices" in text or "integer" in text):
        return "len(scores) / 4 is no integer; // divides and rounds down"
    if isinstance(error, AttributeError) and "ndarray" in text:
        return "scores is a NumPy array: np.sort(scores), scores.mean()"
    return ""
