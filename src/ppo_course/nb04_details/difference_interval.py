"""The check of notebook 04's exercise on a bootstrap interval of a difference."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppo_course.feedback import (
    ExerciseError,
    call,
    describe,
    not_right,
    untouched_randomness,
)
from ppo_course.nb04_details.difference_interval_cases import STATISTICS, Case, Floats, cases
from ppo_course.nb04_details.difference_interval_mistakes import (
    ASKED,
    MISTAKES,
    TOGETHER,
    Guess,
    Interval,
    agree,
    differences,
    extreme,
    right,
)

Statistic = Callable[[Floats], float]
#: (first [S], second [S'], statistic, level, rng, n_resamples) → low, high
DifferenceInterval = Callable[
    [Floats, Floats, Statistic, float, np.random.Generator, int], tuple[float, float]
]

NAME = "difference_interval"
FEW = 60  # resamples, where only the generator matters
MORE = 20  # calls of the statistic than resamples need, such as those of the scores themselves
SINGLE = "not a single score"


class Answer(NamedTuple):
    """What a student's function returned, and how often it called the statistic."""

    ends: tuple[float, float]
    calls: int


def check_difference_interval(function: DifferenceInterval, *, seed: int | None = None) -> None:
    """Check a student's `difference_interval`.

    It gets first, second, statistic, level, rng, n_resamples. It returns the two ends of the
    percentile bootstrap interval of statistic(first) - statistic(second), each resampled from its
    own scores, `[S]` and `[S']`.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other scores from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    first = 0 if seed is None else seed
    with untouched_randomness():
        asked = cases(seed)
        answers = [_call(function, case, first, ASKED) for case in asked]
        one = _call(function, asked[0], first, FEW).ends
        again = _call(function, asked[0], first, FEW).ends
        other = _call(function, asked[0], first + 1, FEW).ends
    seen = [answer.ends for answer in answers]
    expected = [right(case, np.random.default_rng(first)) for case in asked]
    for case, ends, truth in zip(asked, seen, expected, strict=True):
        if not agree(ends, truth):
            calls = answers[0].calls
            error = _explain(case, ends, truth, asked, seen, seed=first, calls=calls)
            raise error or _unknown(case, ends, truth, calls)
    for answer in answers:
        if not _enough(answer.calls):
            raise _wrong_number(answer.calls)
    if again != one:
        raise not_right(
            NAME,
            "two generators with the same seed give different intervals",
            "draw from rng, the fifth argument: rng.choice(…), not np.random.choice(…)",
        )
    if other == one:
        raise not_right(
            NAME,
            "another generator gives exactly the same interval",
            "draw from rng, the fifth argument, and seed nothing yourself",
        )
    if seed is None:
        print("Well done! Each variant is resampled from its own scores, as often as it has them.")


def _enough(calls: int) -> bool:
    """Whether the statistic was called once for each resample of each variant."""
    return 2 * ASKED <= calls <= 2 * ASKED + MORE


def _wrong_number(calls: int) -> ExerciseError:
    return not_right(
        NAME,
        "n_resamples plays no part, or not the right one",
        "the last argument says how often to draw: for _ in range(n_resamples)",
        f"  Example: n_resamples = {ASKED}, of each of the two variants.",
        f"  seen      the statistic is called {calls} times",
        f"  expected  {2 * ASKED} times",
    )


def _call(function: DifferenceInterval, case: Case, seed: int, n_resamples: int) -> Answer:
    """The student's interval."""
    calls = 0

    def statistic(scores: Floats) -> float:
        nonlocal calls
        calls += 1
        if not np.ndim(scores):
            raise ValueError(f"the statistic takes a row of scores, [S], {SINGLE}")
        if np.ndim(scores) != 1 or not len(scores):
            raise ValueError(
                f"the statistic takes a row of scores, [S], not an array of {np.shape(scores)}"
            )
        return float(STATISTICS[case.statistic](np.asarray(scores, float)))

    given = case.first.copy(), case.second.copy()
    rng = np.random.default_rng(seed)
    result: Any = call(function, *given, statistic, case.level, rng, n_resamples, hint=_hint)
    if not np.array_equal(given[0], case.first) or not np.array_equal(given[1], case.second):
        raise not_right(
            NAME,
            "it changes the scores that it was given",
            "rng.choice makes new arrays; rng.shuffle and -= do not",
        )
    facts = (f"  seen      {describe(result)}", "  expected  2 values: low, high")
    if result is None:
        raise not_right(NAME, "it returns nothing", "the last line: return low, high", *facts)
    if _is_all(result, n_resamples):
        raise not_right(
            NAME,
            "it returns all the differences, not the ends of their interval",
            "np.percentile gives the two ends; the last line: return low, high",
            *facts,
        )
    try:
        low, high = (float(end) for end in result)
    except (TypeError, ValueError):
        raise not_right(
            NAME, "it does not return two numbers", "the last line: return low, high", *facts
        ) from None
    return Answer((low, high), calls)


def _is_all(result: Any, n_resamples: int) -> bool:
    """Whether it has a difference for each resample."""
    if isinstance(result, np.ndarray):
        return bool(result.shape == (n_resamples,))
    return isinstance(result, list | tuple) and len(result) == n_resamples


def _explain(
    case: Case,
    one: tuple[float, float],
    truth: Interval,
    asked: Sequence[Case],
    seen: Sequence[tuple[float, float]],
    *,
    seed: int,
    calls: int,
) -> ExerciseError | None:
    """The error about the first wrong interval, `one`; None if its mistake is not known."""
    facts = _facts(case, one, truth)
    if not np.isfinite(one).all():
        return not_right(NAME, "its ends are no numbers", "means of nothing", *facts)
    if one[0] == one[1] and np.isclose(one[0], _observed(case)):
        return not_right(
            NAME,
            "the interval has no width: every resample is the sample itself",
            "draw with replacement: rng.choice does, rng.permutation and replace=False do not",
            *facts,
        )
    if one[0] == one[1] and 0 < calls <= MORE:
        return not_right(
            NAME,
            "it is made of a single resample of each variant, and so has no width",
            "`return` stands inside the loop and ends it in its first round, or what is appended "
            "is computed outside of it",
            *facts,
            f"  The statistic is called {calls} times; in {ASKED} rounds, it is {2 * ASKED} times.",
        )
    if agree(one[::-1], truth):
        return not_right(NAME, "its ends are exchanged", "the lower end comes first", *facts)
    rng = np.random.default_rng(seed)
    tail = 0.5 * (1 - case.level)
    ends = np.percentile(differences(case, rng), [tail, 1 - tail])
    if all(abs(end - at) <= truth.deviation for end, at in zip(one, ends, strict=True)):
        return not_right(
            NAME,
            "both ends are at the lower end of the differences",
            "np.percentile counts from 0 to 100; np.quantile counts from 0 to 1",
            *facts,
        )
    guess = _nearest(asked, seen, rng)
    if guess is not None:
        return not_right(NAME, guess.wrong, guess.look, *facts)
    if one[0] == one[1]:
        return not_right(
            NAME,
            "only one of the differences is kept, and so it has no width",
            "the list is made once, before the loop; each round appends to it",
            *facts,
        )
    reaches = extreme(asked, seen, rng)
    if reaches is not None:
        return not_right(NAME, *reaches, *facts)
    same_size = [(c, s) for c, s in zip(asked, seen, strict=True) if len(c.first) == len(c.second)]
    if all(agree(s, TOGETHER.formula(c, rng)) for c, s in same_size):
        return not_right(NAME, TOGETHER.wrong, TOGETHER.look, *facts)
    return None


def _nearest(
    asked: Sequence[Case], seen: Sequence[tuple[float, float]], rng: np.random.Generator
) -> Guess | None:
    """The known mistake that gives these intervals, up to chance; of several, the nearest one."""
    # Few atoms make the ends of a narrow interval jump: as much is allowed as for a right one.
    least = [right(case, rng).deviation for case in asked]
    found: list[tuple[float, Guess]] = []
    for guess in MISTAKES:
        wrong = [guess.formula(case, rng) for case in asked]
        if all(
            agree(of_student, of_guess._replace(deviation=max(of_guess.deviation, deviation)))
            for of_student, of_guess, deviation in zip(seen, wrong, least, strict=True)
        ):
            distance = np.abs(np.subtract(seen, [of_guess[:2] for of_guess in wrong])).sum()
            found.append((float(distance), guess))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def _unknown(case: Case, one: tuple[float, float], truth: Interval, calls: int) -> ExerciseError:
    """The error about an interval that no known mistake gives."""
    facts = _facts(case, one, truth)
    if not calls:
        return not_right(
            NAME,
            "the statistic that it was given is never called",
            "the third argument is a function: statistic(scores)",
            *facts,
        )
    if not _enough(calls):
        return _wrong_number(calls)
    return not_right(
        NAME,
        "the interval is another one, in a way that this check does not know",
        "for n_resamples rounds: resample first, resample second, keep the difference of their "
        "statistics; then the percentiles of the differences",
        *facts,
    )


def _observed(case: Case) -> float:
    """The difference of the scores themselves."""
    statistic = STATISTICS[case.statistic]
    return float(statistic(case.first) - statistic(case.second))


def _facts(case: Case, one: tuple[float, float], truth: Interval) -> list[str]:
    return [
        *case.tell(),
        f"  seen      [{one[0]:.1f}, {one[1]:.1f}]",
        f"  expected  about [{truth.low:.1f}, {truth.high:.1f}]",
    ]


def _hint(error: Exception) -> str:
    text = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return (
            f"the function is called as {NAME}(first, second, statistic, level, rng, n_resamples)"
        )
    if isinstance(error, IndexError) and "out of bounds" in text:
        return "the two variants need not have the same number of scores: draw for each anew"
    if SINGLE in text:
        return "rng.choice(first) draws a single score; with a size, len(first), it draws a row"
    if "takes a row of scores" in text:
        return "call it for one resample at a time"
    if "Percentiles must be in the range" in text:
        return "100 × (1 − level) / 2 and 100 minus this"
    return ""
