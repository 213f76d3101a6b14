"""The check of notebook 04's exercise on a bootstrap interval of a difference."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ppo_course.feedback import ExerciseError
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.nb04_details import difference_interval_mistakes as known
from ppo_course.nb04_details.difference_interval_mistakes import ASKED, Case, Floats

FEW = 60  # resamples, where only the generator matters
MORE = 20  # calls of the statistic than resamples need, such as those of the scores themselves
SINGLE = "not a single score"

EXERCISE = Exercise(
    "difference_interval",
    ("first", "second", "statistic", "level", "rng", "n_resamples"),
    read_words(__file__),
)


class Answer(NamedTuple):
    """What a student's function returned, and how often it called the statistic."""

    ends: tuple[float, float]
    calls: int

    @property
    def enough(self) -> bool:
        """Whether the statistic was called once for each resample of each variant."""
        return 2 * ASKED <= self.calls <= 2 * ASKED + MORE


@EXERCISE.check
def check_difference_interval(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `difference_interval`.

    It gets first, second, statistic, level, rng, n_resamples. It returns the two ends of the
    percentile bootstrap interval of statistic(first) - statistic(second), each resampled from its
    own scores, `[S]` and `[S']`.
    """
    first = 0 if seed is None else seed
    asked = known.cases(seed)
    answers = [_call(function, case, first, ASKED) for case in asked]
    one, again, other = (
        _call(function, asked[0], seed_, FEW).ends for seed_ in (first, first, first + 1)
    )
    seen = [answer.ends for answer in answers]
    calls = answers[0].calls
    for case, ends in zip(asked, seen, strict=True):
        truth = known.right(case, np.random.default_rng(first))
        if not known.agree(ends, truth):
            key = _mistake(case, ends, truth, asked, answers, seed=first)
            if key == "n-resamples":
                raise _wrong_number(calls)
            facts = case.tell()
            if key == "single-resample":
                called = f"called {calls} times; in {ASKED} rounds, it is {2 * ASKED} times"
                facts.append(f"  The statistic is {called}.")
            raise EXERCISE.error(
                key,
                facts=facts,
                seen=f"[{ends[0]:.1f}, {ends[1]:.1f}]",
                expected=f"about [{truth.low:.1f}, {truth.high:.1f}]",
            )
    for answer in answers:
        if not answer.enough:
            raise _wrong_number(answer.calls)
    EXERCISE.refuse(again != one, "own-randomness")
    EXERCISE.refuse(other == one, "generator-ignored")


def _wrong_number(calls: int) -> ExerciseError:
    return EXERCISE.error(
        "n-resamples",
        facts=[f"  Example: n_resamples = {ASKED}, of each of the two variants."],
        seen=f"the statistic is called {calls} times",
        expected=f"{2 * ASKED} times",
    )


def _call(function: StudentCode, case: Case, seed: int, n_resamples: int) -> Answer:
    """The student's interval."""
    calls = 0

    def statistic(scores: Floats) -> float:
        nonlocal calls
        calls += 1
        if np.ndim(scores) != 1 or not len(scores):
            got = f"not an array of {np.shape(scores)}" if np.ndim(scores) else SINGLE
            raise ValueError(f"the statistic takes a row of scores, [S], {got}")
        return float(known.STATISTICS[case.statistic](np.asarray(scores, float)))

    rng = np.random.default_rng(seed)
    scores = case.first.copy(), case.second.copy()
    result: Any = EXERCISE.call(function, *scores, statistic, case.level, rng, n_resamples)
    ends, mistake = (np.nan, np.nan), "not-two"
    if _is_all(result, n_resamples):
        mistake = "all-differences"
    else:
        with contextlib.suppress(TypeError, ValueError):
            low, high = (float(end) for end in result)
            ends, mistake = (low, high), ""
    EXERCISE.expect(result, mistake, "2 values: low, high")
    return Answer(ends, calls)


def _is_all(result: Any, n_resamples: int) -> bool:
    """Whether it has a difference for each resample."""
    if isinstance(result, np.ndarray):
        return bool(result.shape == (n_resamples,))
    return isinstance(result, list | tuple) and len(result) == n_resamples


def _mistake(
    case: Case,
    one: tuple[float, float],
    truth: known.Interval,
    asked: Sequence[Case],
    answers: Sequence[Answer],
    *,
    seed: int,
) -> str:
    """The likely mistake in the first wrong interval, `one`."""
    seen, calls = [answer.ends for answer in answers], answers[0].calls
    no_width = one[0] == one[1]
    rng = np.random.default_rng(seed)
    tail = 0.5 * (1 - case.level)
    if not np.isfinite(one).all():
        return "no-numbers"
    if no_width and np.isclose(one[0], case.observed):
        return "no-replacement"
    if no_width and 0 < calls <= MORE:
        return "single-resample"
    if known.agree(one[::-1], truth):
        return "exchanged"
    ends = np.percentile(known.differences(case, rng), [tail, 1 - tail])
    if (np.abs(np.subtract(one, ends)) <= truth.deviation).all():
        return "by-quantile"
    nearest = _nearest(asked, seen, rng)
    if nearest or no_width:
        return nearest or "one-kept"
    if reaches := known.extreme(asked, seen, rng):
        return reaches
    same_size = [(c, s) for c, s in zip(asked, seen, strict=True) if len({*c.sizes}) == 1]
    if all(known.agree(s, known.together(c, rng)) for c, s in same_size):
        return "same-indices"
    if not calls:
        return "statistic-not-called"
    return "unknown" if answers[0].enough else "n-resamples"


def _nearest(
    asked: Sequence[Case], seen: Sequence[tuple[float, float]], rng: np.random.Generator
) -> str | None:
    """The known mistake that gives these intervals, up to chance; of several, the nearest one."""
    # Few atoms make the ends of a narrow interval jump: as much is allowed as for a right one.
    least = [known.right(case, rng).deviation for case in asked]
    found: list[tuple[float, str]] = []
    for key, formula in known.MISTAKES.items():
        wrong = [formula(case, rng) for case in asked]
        if all(
            known.agree(
                of_student, of_mistake._replace(deviation=max(of_mistake.deviation, deviation))
            )
            for of_student, of_mistake, deviation in zip(seen, wrong, least, strict=True)
        ):
            distance = np.abs(np.subtract(seen, [of_mistake[:2] for of_mistake in wrong])).sum()
            found.append((float(distance), key))
    return min(found, key=lambda pair: pair[0])[1] if found else None
