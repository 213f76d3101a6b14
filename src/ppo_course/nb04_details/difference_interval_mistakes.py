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


def together(case: Case, rng: np.random.Generator) -> Interval:
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


def _twice_first(case: Case) -> Case:
    return case._replace(second=case.first)


def _twice_second(case: Case) -> Case:
    return case._replace(first=case.second)


MISTAKES: dict[str, Formula] = {
    "sign": lambda c, rng: right(_swapped(c), rng),
    "too-narrow": lambda c, rng: _interval(differences(c, rng), c, 100 * (1 - c.level)),
    "absolute": lambda c, rng: _interval(np.abs(differences(c, rng)), c),
    "always-95": lambda c, rng: _interval(differences(c, rng), c, 2.5),
    "always-iqm": lambda c, rng: right(c._replace(statistic="interquartile mean"), rng),
    "always-mean": lambda c, rng: right(c._replace(statistic="mean"), rng),
    "first-alone": lambda c, rng: _of_one(c, rng, first=True),
    "second-alone": lambda c, rng: _of_one(c, rng, first=False),
    "both-from-second~own-size": lambda c, rng: right(_twice_second(c), rng),
    "both-from-second~two-sizes": lambda c, rng: _of_sizes(
        _twice_second(c), rng, len(c.first), len(c.second)
    ),
    "both-from-first~own-size": lambda c, rng: right(_twice_first(c), rng),
    "both-from-first~two-sizes": lambda c, rng: _of_sizes(
        _twice_first(c), rng, len(c.first), len(c.second)
    ),
    "pooled": _pooled,
    "of-the-first": lambda c, rng: _interval(STATISTICS[c.statistic](_drawn(c.first, rng)), c),
    "both-middle": lambda c, rng: _interval(differences(c, rng), c, 50),
    "sizes-of-first": lambda c, rng: _of_sizes(c, rng, len(c.first), len(c.first)),
    "sizes-of-second": lambda c, rng: _of_sizes(c, rng, len(c.second), len(c.second)),
    "sizes-exchanged": lambda c, rng: _of_sizes(c, rng, len(c.second), len(c.first)),
    "end-by-end": lambda c, rng: _of_two_intervals(c, rng, widest=False),
    "worst-and-best": lambda c, rng: _of_two_intervals(c, rng, widest=True),
    "basic": _reflected,
    "single-scores": _single_scores,
    "larger-resamples": _many,
    "too-much-above": lambda c, rng: _interval(differences(c, rng), c, upper=100 * c.level),
}


def extreme(
    cases: Sequence[Case], seen: Sequence[Sequence[float]], rng: np.random.Generator
) -> str | None:
    """What is wrong with intervals that reach to an extreme difference, if they do."""
    beyond, above = [], []
    for case, (low, high) in zip(cases, seen, strict=True):
        found = differences(case, rng)
        least, end, most = np.percentile(found, [0.3, 100 * case.level, 99.7])
        beyond.append(low < least and high > most)
        above.append(low < least and abs(high - end) <= TOLERANCE * found.std())
    if all(beyond):
        return "least-to-largest"
    return "all-above" if all(above) else None


def agree(seen: Sequence[float], truth: Interval) -> bool:
    """Whether an interval is the other one, up to what chance makes of 1000 resamples."""
    return all(
        abs(end - of_truth) <= TOLERANCE * truth.deviation
        for end, of_truth in zip(seen, truth[:2], strict=True)
    )
