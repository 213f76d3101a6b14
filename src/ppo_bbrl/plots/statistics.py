"""Statistics of several seeds: the interquartile mean and its bootstrap interval.

Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ppo_bbrl.system.console import as_return

Floats = NDArray[np.float64]


class Estimate(NamedTuple):
    """An interquartile mean with its 95 % interval; NaN where nothing was measured.

    Attributes:
        value, low, high: floats, or arrays `[N]` for N points in time.
    """

    value: Floats
    low: Floats
    high: Floats

    def __str__(self) -> str:
        value, low, high = (as_return(float(one)) for one in self)
        return f"{value}, 95 % interval {low} to {high}"

    def short(self) -> str:
        """For the cell of a table, such as "475.2 [431.0, 500.0]"."""
        value, low, high = (as_return(float(one)) for one in self)
        return f"{value} [{low}, {high}]"


def interquartile_mean(scores: ArrayLike, *, resamples: int = 5000) -> Estimate:
    """The mean of the middle half of the seeds, with a percentile bootstrap interval.

    Deterministic. With one seed the interval is that seed's value.

    Args:
        scores: one per seed, `[S]`, or `[S, N]`.
        resamples: how many times S seeds are drawn with replacement.
    """
    from scipy.stats import bootstrap, trim_mean

    rows = np.asarray(scores, dtype=np.float64)

    def iqm(rows: Floats, axis: int = 0) -> Floats:
        trimmed: Floats = np.asarray(trim_mean(rows, 0.25, axis=axis))
        return trimmed

    value = iqm(rows)
    if len(rows) < 2:
        return Estimate(value, value, value)
    found = bootstrap(
        (rows,),
        iqm,
        axis=0,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 10_000_000 // rows.size),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, np.asarray(found.low), np.asarray(found.high))


def improvement(scores: ArrayLike, others: ArrayLike, *, resamples: int = 5000) -> Estimate:
    """How probable it is that a run scores higher than another's, with its bootstrap interval.

    Pairs with equal scores count half: the Mann-Whitney statistic, divided by the number of pairs.

    Args:
        scores: one per seed, `[S]`.
        others: of the runs to compare with, `[R]`.
        resamples: how many times both are drawn with replacement.
    """
    from scipy.stats import bootstrap

    def share(one: Floats, other: Floats, axis: int = -1) -> Floats:  # noqa: ARG001 - scipy's
        pairs = one[..., :, None] - other[..., None, :]
        won: Floats = ((pairs > 0) + 0.5 * (pairs == 0)).mean((-2, -1))
        return won

    one, other = np.asarray(scores, np.float64), np.asarray(others, np.float64)
    value = share(one, other)
    if min(len(one), len(other)) < 2:
        return Estimate(value, value, value)
    found = bootstrap(
        (one, other),
        share,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 10_000_000 // (one.size * other.size)),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, np.asarray(found.low), np.asarray(found.high))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Floats:
    """The fraction of runs that score at least each threshold, `[N]`.

    Args:
        scores: one per seed, `[S]`.
        thresholds: `[N]`.
    """
    reached = np.asarray(scores, np.float64)[:, None] >= np.asarray(thresholds, np.float64)
    shares: Floats = reached.mean(0)
    return shares
