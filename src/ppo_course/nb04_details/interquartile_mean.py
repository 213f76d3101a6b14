"""The check of notebook 04's exercise on the interquartile mean."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import as_number, compare_numbers

Floats = NDArray[np.float64]

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
    (-160, -1500, 100, -40, -220, -10, -310, 390),
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
    return [*cases, source.permutation(ties), cases[0] - 220]


def _cut(scores: Floats, low: int, high: int) -> float:
    """The mean without so many of the lowest and so many of the highest scores."""
    return float(np.sort(scores)[low : len(scores) - high].mean())


def _between_quartiles(scores: Floats, inside: Callable[[Any, Any], Any]) -> float:
    """The mean of the scores on the inner side of both quartiles, by a comparison."""
    low, high = np.percentile(scores, [25, 75])
    return float(scores[inside(low, scores) & inside(scores, high)].mean())


FORMULAS = Part(
    right,
    {
        "mean": np.mean,
        "median": np.median,
        "not-sorted": lambda s: s[len(s) // 4 : len(s) - len(s) // 4].mean(),
        "lowest-alone": lambda s: _cut(s, len(s) // 4, 0),
        "highest-alone": lambda s: _cut(s, 0, len(s) // 4),
        "range": lambda s: np.subtract(*np.percentile(s, [75, 25])),
        "of-quartiles": lambda s: np.percentile(s, [25, 75]).mean(),
        "rounded-up": lambda s: _cut(s, -(-len(s) // 4), -(-len(s) // 4)),
        "rounded-nearest": lambda s: _cut(s, round(len(s) / 4), round(len(s) / 4)),
        "rounded-half-up": lambda s: _cut(s, int(len(s) / 4 + 0.5), int(len(s) / 4 + 0.5)),
        "ties-once": lambda s: right(np.unique(s)),
        "upper-three-quarters": lambda s: np.sort(s)[
            len(s) // 4 : max(3 * (len(s) // 4), 1)
        ].mean(),
        "upper-three-quarters-of-all": lambda s: np.sort(s)[len(s) // 4 : 3 * len(s) // 4].mean(),
        "one-each": lambda s: _cut(s, 1, 1),
        "upper-half": lambda s: _cut(s, len(s) // 2, 0),
        "one-more-below": lambda s: _cut(s, len(s) // 4 + 1, len(s) // 4),
        "one-less-above": lambda s: _cut(s, len(s) // 4, len(s) // 4 - 1),
        "clipped": lambda s: np.clip(s, middle(s)[0], middle(s)[-1]).mean(),
        "clipped-at-quartiles": lambda s: np.clip(s, *np.percentile(s, [25, 75])).mean(),
        "outside-quartiles": lambda s: _between_quartiles(s, np.less_equal),
        "quartiles-too": lambda s: _between_quartiles(s, np.less),
        "divided-by-all": lambda s: middle(s).sum() / len(s),
        "sum": lambda s: middle(s).sum(),
        "one-more-above": lambda s: np.sort(s)[len(s) // 4 : -(len(s) // 4) - 1].mean(),
    },
)

EXERCISE = Exercise("interquartile_mean", ("scores",), read_words(__file__))


@EXERCISE.check
def check_interquartile_mean(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `interquartile_mean(scores)`.

    It gets an array `[S]`, and returns the mean of the scores that are left when S // 4 are taken
    away at each end: none where S < 4.
    """
    cases = [np.array(case, float) for case in CASES] if seed is None else drawn(seed)
    seen = []
    for case in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of an empty slice
            result: Any = EXERCISE.call(function, case.copy())
        is_number = isinstance(result, float | np.floating | np.ndarray) and np.size(result) == 1
        if len(case) < 4 and is_number and np.isnan(result):
            expected = f"{right(case):.5g}, the mean of all {len(case)}"
            EXERCISE.expect(result, "none-left", expected, seen=f"{result}", n_scores=len(case))
        seen.append(as_number(EXERCISE, result, "the interquartile mean"))
    compare_numbers(EXERCISE, cases, seen, FORMULAS, tell=_tell)


def _tell(scores: Floats) -> list[str]:
    def row(some: Floats) -> str:
        return ", ".join(f"{score:.4g}" for score in some)

    return [
        f"  Example: the scores are {row(scores)};",
        f"  the middle half is      {row(middle(scores))}.",
    ]
