"""Scores of two variants to compare by a bootstrap, and the statistics to compare them by."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppo_course.nb04_details.interquartile_mean import middle

Floats = NDArray[np.float64]


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

    Args:
        seed: draws the numbers; without, they are always the same.
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
