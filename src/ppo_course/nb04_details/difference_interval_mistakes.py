"""Scores of two variants, and what known mistakes make of the interval of their difference.

A bootstrap is random. An interval need not be equal to any number: it is compared with the one of
many resamples, up to a third of the bootstrap's standard deviation, which is five times what chance
makes of the two.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppo_course.nb04_details.interquartile_mean import middle

Floats = NDArray[np.float64]
RESAMPLES = 10_000  # of the check's own bootstraps
ASKED = 2000  # of the student's
TOLERANCE = 0.35  # × the bootstrap's standard deviation; the end of a 95 % interval errs by 0.065


class Case(NamedTuple):
    """Scores of two variants, what is compared, and how sure the interval should be."""

    first: Floats
    second: Floats
    statistic: str
    level: float

    @property
    def sizes(self) -> tuple[int, int]:
        """How many scores each variant has."""
        return len(self.first), len(self.second)

    @property
    def observed(self) -> float:
        """The difference of the scores themselves."""
        statistic = STATISTICS[self.statistic]
        return float(statistic(self.first) - statistic(self.second))

    def tell(self) -> list[str]:
        """The example in a message."""
        return [
            (
                f"  Example: {len(self.first)} scores around {self.first.mean():.0f}, "
                f"{len(self.second)} around {self.second.mean():.0f}; the statistic is the "
                f"{self.statistic}, the level {self.level:g}."
            )
        ]


# Along the last axis, so that the check can do all its resamples at once.
STATISTICS: dict[str, Callable[[Floats], Floats]] = {
    "mean": lambda scores: scores.mean(-1),
    "interquartile mean": lambda scores: middle(scores).mean(-1),
    "mean of the upper half": lambda scores: np.sort(scores)[..., scores.shape[-1] // 2 :].mean(-1),
}


def cases(seed: int | None) -> list[Case]:
    """Three pairs of variants: two of different sizes, one with the scores of a seed alike.

    In each of the two, the difference varies with the scores of one variant above all: with those
    of the long one, then with those of the short one. So a resample of a wrong size is seen.
    """
    source = np.random.default_rng(2024 if seed is None else seed)
    levels = (0.85, 0.95) if seed is None else source.uniform((0.82, 0.9), (0.86, 0.95))

    def of_two_sizes(*spreads: float) -> Case:
        n = 18 if seed is None else int(source.integers(17, 21))
        first, second = (
            spread * _pattern(size, source) for spread, size in zip(spreads, (n, 7), strict=True)
        )
        return Case(first + 300, second + 250, "mean of the upper half", round(levels[0], 3))

    shared = 50 * _pattern(10, source)  # good and bad seeds, the same for both variants
    first, second = (shared + mean + source.normal(0, 5, 10) for mean in (220, 180))
    paired = Case(first, second, "mean", round(levels[1], 3))
    return [of_two_sizes(70, 20), of_two_sizes(20, 70), paired]


def _pattern(size: int, source: np.random.Generator) -> Floats:
    """Scores of mean about 0 and deviation about 1, in a random order."""
    even = np.linspace(-1.6, 1.6, size)
    return source.permutation(even + source.uniform(-0.1, 0.1, size))


class Interval(NamedTuple):
    """Its two ends, and the standard deviation of the differences that it is made of."""

    low: float
    high: float
    deviation: float


Formula = Callable[[Case, np.random.Generator], Interval]


def _interval(
    differences: Floats, case: Case, tail: float | None = None, upper: float | None = None
) -> Interval:
    tail = 50 * (1 - case.level) if tail is None else tail
    low, high = np.percentile(differences, [tail, 100 - tail if upper is None else upper])
    return Interval(float(low), float(high), float(differences.std()))


def differences(
    case: Case, rng: np.random.Generator, sizes: Sequence[int] = (), n: int = RESAMPLES
) -> Floats:
    """Of the statistics of n resamples of both variants, `[n]`; of their sizes, or of these."""
    first, second = (
        STATISTICS[case.statistic](rng.choice(scores, (n, size)))
        for scores, size in zip(case[:2], sizes or case.sizes, strict=True)
    )
    return first - second


def right(case: Case, rng: np.random.Generator, sizes: Sequence[int] = ()) -> Interval:
    """The percentile bootstrap of the difference, each variant resampled on its own."""
    return _interval(differences(case, rng, sizes), case)


def _observed(scores: Floats, case: Case) -> Floats:
    """Their statistic, as scores that do not vary when they are resampled: `[1]`."""
    return np.array([STATISTICS[case.statistic](scores)])


def together(case: Case, rng: np.random.Generator) -> Interval:
    """The same seeds of both variants."""
    statistic = STATISTICS[case.statistic]
    index = rng.integers(min(case.sizes), size=(RESAMPLES, len(case.first)))
    return _interval(statistic(case.first[index]) - statistic(case.second[index]), case)


def _pooled(case: Case, rng: np.random.Generator) -> Interval:
    pool = np.concatenate((case.first, case.second))
    return right(case._replace(first=pool, second=pool), rng, case.sizes)


def _of_two_intervals(case: Case, rng: np.random.Generator, *, widest: bool) -> Interval:
    """Each variant has an interval of its own; their ends are subtracted."""
    zero = np.zeros(1)
    first, second = (
        np.array(right(case._replace(first=scores, second=zero), rng)[:2]) for scores in case[:2]
    )
    low, high = first - (second[::-1] if widest else second)
    return Interval(float(low), float(high), right(case, rng).deviation)


def _reflected(case: Case, rng: np.random.Generator) -> Interval:
    low, high, deviation = right(case, rng)
    return Interval(2 * case.observed - high, 2 * case.observed - low, deviation)


MISTAKES: dict[str, Formula] = {
    "sign": lambda c, rng: right(c._replace(first=c.second, second=c.first), rng),
    "too-narrow": lambda c, rng: _interval(differences(c, rng), c, 100 * (1 - c.level)),
    "absolute": lambda c, rng: _interval(np.abs(differences(c, rng)), c),
    "always-95": lambda c, rng: _interval(differences(c, rng), c, 2.5),
    "always-iqm": lambda c, rng: right(c._replace(statistic="interquartile mean"), rng),
    "always-mean": lambda c, rng: right(c._replace(statistic="mean"), rng),
    "first-alone": lambda c, rng: right(c._replace(second=_observed(c.second, c)), rng),
    "second-alone": lambda c, rng: right(c._replace(first=_observed(c.first, c)), rng),
    "both-from-second~own-size": lambda c, rng: right(c._replace(first=c.second), rng),
    "both-from-second~two-sizes": lambda c, rng: right(c._replace(first=c.second), rng, c.sizes),
    "both-from-first~own-size": lambda c, rng: right(c._replace(second=c.first), rng),
    "both-from-first~two-sizes": lambda c, rng: right(c._replace(second=c.first), rng, c.sizes),
    "pooled": _pooled,
    "of-the-first": lambda c, rng: right(c._replace(second=np.zeros(1)), rng),
    "both-middle": lambda c, rng: _interval(differences(c, rng), c, 50),
    "sizes-of-first": lambda c, rng: right(c, rng, (len(c.first), len(c.first))),
    "sizes-of-second": lambda c, rng: right(c, rng, (len(c.second), len(c.second))),
    "sizes-exchanged": lambda c, rng: right(c, rng, c.sizes[::-1]),
    "end-by-end": lambda c, rng: _of_two_intervals(c, rng, widest=False),
    "worst-and-best": lambda c, rng: _of_two_intervals(c, rng, widest=True),
    "basic": _reflected,
    "single-scores": lambda c, rng: right(c, rng, (1, 1)),
    # Resamples as large as there are resamples.
    "larger-resamples": lambda c, rng: _interval(
        differences(c, rng, (1000, 1000), n=200), c
    )._replace(deviation=right(c, rng).deviation),
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
