"""What known mistakes make of a bootstrap interval of a difference.

A bootstrap is random. An interval need not be equal to any number: it is compared with the one of
many resamples, up to a third of the bootstrap's standard deviation, which is five times what chance
makes of the two.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ppo_course.nb04_details.difference_interval_cases import STATISTICS, Case, Floats

RESAMPLES = 10_000  # of the check's own bootstraps
ASKED = 2000  # of the student's
TOLERANCE = 0.35  # × the bootstrap's standard deviation; the end of a 95 % interval errs by 0.065


class Interval(NamedTuple):
    """Its two ends, and the standard deviation of the differences that it is made of."""

    low: float
    high: float
    deviation: float


Formula = Callable[[Case, np.random.Generator], Interval]


class Guess(NamedTuple):
    """A way to make the interval; wrong ones say what is wrong, and where to look."""

    formula: Formula
    wrong: str
    look: str


def _drawn(scores: Floats, rng: np.random.Generator, size: int | None = None) -> Floats:
    """Resamples of the scores, `[RESAMPLES, size]`."""
    return rng.choice(scores, (RESAMPLES, size or len(scores)))


def _interval(
    differences: Floats, case: Case, tail: float | None = None, upper: float | None = None
) -> Interval:
    tail = 50 * (1 - case.level) if tail is None else tail
    low, high = np.percentile(differences, [tail, 100 - tail if upper is None else upper])
    return Interval(float(low), float(high), float(differences.std()))


def right(case: Case, rng: np.random.Generator) -> Interval:
    """The percentile bootstrap of the difference, each variant resampled on its own."""
    return _interval(differences(case, rng), case)


def differences(case: Case, rng: np.random.Generator) -> Floats:
    """Of the statistics of RESAMPLES resamples of both variants, `[RESAMPLES]`."""
    statistic = STATISTICS[case.statistic]
    return statistic(_drawn(case.first, rng)) - statistic(_drawn(case.second, rng))


def _of_one(case: Case, rng: np.random.Generator, *, first: bool) -> Interval:
    """Only one of the two is resampled."""
    statistic = STATISTICS[case.statistic]
    if first:
        return _interval(statistic(_drawn(case.first, rng)) - statistic(case.second), case)
    return _interval(statistic(case.first) - statistic(_drawn(case.second, rng)), case)


def _pooled(case: Case, rng: np.random.Generator) -> Interval:
    statistic, pool = STATISTICS[case.statistic], np.concatenate((case.first, case.second))
    return _interval(
        statistic(_drawn(pool, rng, len(case.first)))
        - statistic(_drawn(pool, rng, len(case.second))),
        case,
    )


def _together(case: Case, rng: np.random.Generator) -> Interval:
    """The same seeds of both variants."""
    statistic = STATISTICS[case.statistic]
    index = rng.integers(min(len(case.first), len(case.second)), size=(RESAMPLES, len(case.first)))
    return _interval(statistic(case.first[index]) - statistic(case.second[index]), case)


def _swapped(case: Case) -> Case:
    return case._replace(first=case.second, second=case.first)


def _of_sizes(case: Case, rng: np.random.Generator, first: int, second: int) -> Interval:
    """Resamples of these sizes."""
    statistic = STATISTICS[case.statistic]
    return _interval(
        statistic(_drawn(case.first, rng, first)) - statistic(_drawn(case.second, rng, second)),
        case,
    )


def _of_two_intervals(case: Case, rng: np.random.Generator, *, widest: bool) -> Interval:
    """Each variant has an interval of its own; their ends are subtracted."""
    statistic, tail = STATISTICS[case.statistic], 50 * (1 - case.level)
    first, second = (
        np.percentile(statistic(_drawn(scores, rng)), [tail, 100 - tail])
        for scores in (case.first, case.second)
    )
    low, high = first - (second[::-1] if widest else second)
    return Interval(float(low), float(high), right(case, rng).deviation)


def _single_scores(case: Case, rng: np.random.Generator) -> Interval:
    return _interval(_drawn(case.first, rng, 1)[:, 0] - _drawn(case.second, rng, 1)[:, 0], case)


def _many(case: Case, rng: np.random.Generator) -> Interval:
    """Resamples as large as there are resamples."""
    statistic = STATISTICS[case.statistic]
    first, second = (rng.choice(scores, (200, 1000)) for scores in (case.first, case.second))
    low, high, _ = _interval(statistic(first) - statistic(second), case)
    return Interval(low, high, right(case, rng).deviation)


def _reflected(case: Case, rng: np.random.Generator) -> Interval:
    statistic = STATISTICS[case.statistic]
    middle_one = float(statistic(case.first) - statistic(case.second))
    low, high, deviation = right(case, rng)
    return Interval(2 * middle_one - high, 2 * middle_one - low, deviation)


def _with_either_size(both: Callable[[Case], Case]) -> tuple[Formula, Formula]:
    """Of cases with one variant in the place of both: with its own size, and with those of both."""
    return (
        lambda c, rng: right(both(c), rng),
        lambda c, rng: _of_sizes(both(c), rng, len(c.first), len(c.second)),
    )


_OWN = "one is of first, the other of second: rng.choice(first, …), rng.choice(second, …)"

MISTAKES = (
    Guess(
        lambda c, rng: right(_swapped(c), rng),
        "the sign is wrong: it is the second minus the first",
        "statistic(first) − statistic(second)",
    ),
    Guess(
        lambda c, rng: _interval(differences(c, rng), c, 100 * (1 - c.level)),
        "it is too narrow: as much is left out at each end as may be left out in all",
        "with a level of 0.95, 2.5 % are left out at each end: 100 × (1 − level) / 2",
    ),
    Guess(
        lambda c, rng: _interval(np.abs(differences(c, rng)), c),
        "the differences have lost their signs, so that it never reaches below 0",
        "statistic(first) − statistic(second), without abs: the second may be the better one",
    ),
    Guess(
        lambda c, rng: _interval(differences(c, rng), c, 2.5),
        "it is always an interval of 95 %, whatever the level",
        "the fourth argument, level",
    ),
    Guess(
        lambda c, rng: right(c._replace(statistic="interquartile mean"), rng),
        "it compares interquartile means, whatever statistic is asked for",
        "the third argument is a function: statistic(scores), and not interquartile_mean(scores)",
    ),
    Guess(
        lambda c, rng: right(c._replace(statistic="mean"), rng),
        "it compares means; the statistic that was given plays no part",
        "the third argument is a function: statistic(scores)",
    ),
    Guess(
        lambda c, rng: _of_one(c, rng, first=True),
        "only the first variant is resampled: chance in the second counts for nothing",
        "resample both, in each round of the loop",
    ),
    Guess(
        lambda c, rng: _of_one(c, rng, first=False),
        "only the second variant is resampled: chance in the first counts for nothing",
        "resample both, in each round of the loop",
    ),
    *(
        Guess(formula, f"both resamples are drawn from {one}, and none from {other}", _OWN)
        for one, other, both in (
            ("second", "first", lambda c: c._replace(first=c.second)),
            ("first", "second", lambda c: c._replace(second=c.first)),
        )
        for formula in _with_either_size(both)
    ),
    Guess(
        _pooled,
        "the scores of both variants are thrown together before they are drawn, so that the "
        "difference is around 0",
        "each variant is resampled from its own scores: this is what stratified means",
    ),
    Guess(
        lambda c, rng: _interval(STATISTICS[c.statistic](_drawn(c.first, rng)), c),
        "it is the interval of the first variant, not of the difference",
        "statistic(first) − statistic(second)",
    ),
    Guess(
        lambda c, rng: _interval(differences(c, rng), c, 50),
        "both of its ends are the middle of the differences",
        "with a level of 0.95, 2.5 % are left out at each end: 100 × (1 − level) / 2",
    ),
    Guess(
        lambda c, rng: _of_sizes(c, rng, len(c.first), len(c.first)),
        "the second variant is resampled with as many scores as the first has",
        "each resample has as many scores as its variant: rng.choice(second, len(second))",
    ),
    Guess(
        lambda c, rng: _of_sizes(c, rng, len(c.second), len(c.second)),
        "the first variant is resampled with as few scores as the second has",
        "each resample has as many scores as its variant: rng.choice(first, len(first))",
    ),
    Guess(
        lambda c, rng: _of_sizes(c, rng, len(c.second), len(c.first)),
        "the two sizes are exchanged: each variant is resampled with as many scores as the other "
        "has",
        "rng.choice(first, len(first)), and rng.choice(second, len(second))",
    ),
    Guess(
        lambda c, rng: _of_two_intervals(c, rng, widest=False),
        "it is the interval of the first minus the interval of the second, end by end",
        "subtract in each round, then take the percentiles of the differences",
    ),
    Guess(
        lambda c, rng: _of_two_intervals(c, rng, widest=True),
        "it is too wide: the worst of one variant's interval is compared with the best of the "
        "other's",
        "subtract in each round, then take the percentiles of the differences",
    ),
    Guess(
        _reflected,
        "it is the basic interval, the percentiles reflected at the observed difference",
        "we want the percentiles of the differences as they are",
    ),
    Guess(
        _single_scores,
        "it compares single scores, one drawn from each variant",
        "each resample has as many scores as the variant has, and the statistic makes one number "
        "of them",
    ),
    Guess(
        _many,
        "it is far too narrow: resamples are larger than the samples, as if there were more seeds",
        "each resample has as many scores as the variant has: rng.choice(first, len(first))",
    ),
    Guess(
        lambda c, rng: _interval(differences(c, rng), c, upper=100 * c.level),
        "too much is left out at its upper end: all that may be left out at both ends",
        "the percentiles 100 × (1 − level) / 2 and 100 minus this, not 100 × level",
    ),
)

TOGETHER = Guess(
    _together,
    "both variants are resampled by the same indices, as if a seed were luck for both",
    "draw for each variant anew; with different seeds there are no pairs",
)


def extreme(
    cases: Sequence[Case], seen: Sequence[Sequence[float]], rng: np.random.Generator
) -> tuple[str, str] | None:
    """What is wrong with intervals that reach to an extreme difference, and where to look."""
    beyond, above = [], []
    for case, (low, high) in zip(cases, seen, strict=True):
        found = differences(case, rng)
        least, end, most = np.percentile(found, [0.3, 100 * case.level, 99.7])
        beyond.append(low < least and high > most)
        above.append(low < least and abs(high - end) <= TOLERANCE * found.std())
    half = "half of what is left out is below: the percentiles 100 × (1 − level) / 2 and 100 minus "
    if all(beyond):
        return "it goes from the least to the largest difference, whatever the level", half + "this"
    if all(above):
        return "all that is left out is left out at the upper end", half + "this"
    return None


def agree(seen: Sequence[float], truth: Interval) -> bool:
    """Whether an interval is the other one, up to what chance makes of 1000 resamples."""
    return all(
        abs(end - of_truth) <= TOLERANCE * truth.deviation
        for end, of_truth in zip(seen, truth[:2], strict=True)
    )
