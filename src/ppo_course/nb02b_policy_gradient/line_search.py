"""The check of notebook 02b's last exercise: the largest step that keeps its promise."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ppo_course.drawing import integer, source_of
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS
from ppo_course.one_number import as_number, compare_numbers

EXERCISE = Exercise("line_search", ("try_step", "max_kl"), WORDS)
TRIES = 10


class Direction(NamedTuple):
    """What comes of a step: its gain is right up to `good`; KL = curvature × step².

    Attributes:
        good: larger steps make things worse.
        bad_below: smaller ones do, too.
        curvature: of the divergence.
        max_kl: what is allowed.
        beyond: the gain of a step of 1 that is too large or too small.
        power: of the size, in the gain; with a negative one, small steps gain more.
    """

    good: float
    bad_below: float
    curvature: float
    max_kl: float
    beyond: float = -1.0
    power: float = 1.0

    def step(self, size: float) -> tuple[float, float]:
        """Gain and KL."""
        good = self.bad_below < size <= self.good
        gain = 3 * size**self.power if good else self.beyond * size
        return gain, self.curvature * size * size

    def tell(self) -> list[str]:
        """The example in a message."""
        lines = [f"  Example: max_kl = {self.max_kl:.4g}; steps, their gain and KL:"]
        for k in range(TRIES):
            gain, kl = self.step(0.5**k)
            if k < 6 or 0.5**k > self.bad_below:
                lines.append(f"    {0.5**k:<12.4g}{gain:>10.3g}{kl:>12.3g}")
        return lines


#: the limit is met by the KL, by the gain, by none, at the very first and the very last try;
#: the KL may be exactly what is allowed, the gain exactly 0, small steps the better ones
CASES = (
    Direction(2.0, 0.0, 1.0, 0.07),
    Direction(0.3, 0.0, 0.5, 0.4),
    Direction(2.0, 0.0, 0.5, 0.6),
    Direction(2.0, 0.3, 4.0, 0.2),
    Direction(2.0, 0.0, 1.0, 0.5**18),
    Direction(2.0, 0.0, 1.0, 0.9 * 0.5**18),
    Direction(2.0, 0.0, 1.0, 0.5**24),
    Direction(2.0, 0.0, 1.0, 0.25),
    Direction(0.3, 0.0, 0.5, 0.4, beyond=0.0),
    Direction(2.0, 0.02, 0.5, 0.1, power=-1.0),
    Direction(2.0, 0.0, 1.0, 0.0),
)


def drawn(seed: int) -> list[Direction]:
    """The same kinds with other numbers."""
    source = source_of(seed)
    chosen = []
    for case in CASES:
        scale = 2.0 ** integer(source, -2, 3)
        change = {"curvature": case.curvature * scale, "max_kl": case.max_kl * scale}
        chosen.append(case._replace(**change))
    order = integer(source, 0, len(chosen))
    return [*chosen[order:], *chosen[:order]]


Rule = Callable[[float, float, float], bool]


def _search(
    rule: Rule,
    tries: int = TRIES,
    factor: float = 0.5,
    first: float = 1.0,
    none: Callable[[float], float] = lambda _last: 0.0,
) -> Callable[[Direction], float]:
    def search(case: Direction) -> float:
        size = first
        for _ in range(tries):
            if rule(*case.step(size), case.max_kl):
                return size
            size *= factor
        return none(size)

    return search


def _right(gain: float, kl: float, limit: float) -> bool:
    return gain > 0 and kl <= limit


def _is_good(case: Direction, size: float) -> bool:
    gain, kl = case.step(size)
    return _right(gain, kl, case.max_kl)


def _best(case: Direction) -> float:
    sizes = [0.5**k for k in range(TRIES) if _is_good(case, 0.5**k)]
    return max(sizes, key=lambda size: case.step(size)[0], default=0.0)


def _smallest(case: Direction) -> float:
    sizes = [0.5**k for k in range(TRIES)]
    return next((size for size in reversed(sizes) if _is_good(case, size)), 0.0)


RULES = Part(
    _search(_right),
    {
        "gain-ignored": _search(lambda _gain, kl, limit: kl <= limit),
        "kl-ignored": _search(lambda gain, _kl, _limit: gain > 0),
        "either": _search(lambda gain, kl, limit: gain > 0 or kl <= limit),
        "kl-below-limit": _search(lambda gain, kl, limit: gain > 0 and kl < limit),
        "kl-above-limit": _search(lambda gain, kl, limit: gain > 0 and kl > limit),
        "gain-negative": _search(lambda gain, kl, limit: gain < 0 and kl <= limit),
        "no-zero": _search(_right, none=lambda last: last),
        "no-zero~last-tried": _search(_right, none=lambda last: 2 * last),
        "no-zero~one": _search(_right, none=lambda _last: 1.0),
        "one-try-less": _search(_right, tries=TRIES - 1),
        "one-try-more": _search(_right, tries=TRIES + 1),
        "never-gives-up": _search(_right, tries=40),
        "begins-at-half": _search(_right, first=0.5),
        "begins-at-half~tries": _search(_right, first=0.5, tries=TRIES - 1),
        "quartered": _search(_right, factor=0.25),
        "smallest": _smallest,
        "best-gain": _best,
        "gain-of-0": _search(lambda gain, kl, limit: gain >= 0 and kl <= limit),
        "zero-is-no-limit": _search(lambda gain, kl, limit: gain > 0 and kl <= (limit or math.inf)),
        "always-1": lambda _case: 1.0,
        "one-too-small": lambda case: _search(_right)(case) / 2,
        "one-too-large": lambda case: _search(_right)(case) * 2,
        "returns-gain": lambda case: case.step(_search(_right)(case))[0],
        "returns-kl": lambda case: case.step(_search(_right)(case))[1],
        "linear": lambda case: next(
            (1 - k / TRIES for k in range(TRIES) if _is_good(case, 1 - k / TRIES)),
            0.0,
        ),
    },
)


@EXERCISE.check
def check_line_search(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `line_search(try_step, max_kl)`.

    `try_step(size)` returns the gain and the KL of a step. The function tries 1, 1/2, 1/4, …, ten
    sizes at most, and returns the first with gain > 0 and KL ≤ max_kl, or 0.
    """
    examples: Sequence[Direction] = CASES if seed is None else drawn(seed)
    seen = [
        as_number(EXERCISE, EXERCISE.call(function, case.step, case.max_kl), "the size of the step")
        for case in examples
    ]
    compare_numbers(EXERCISE, examples, seen, RULES)
