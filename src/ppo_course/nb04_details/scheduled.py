"""The check of notebook 04's exercise on a linear schedule."""

import random
from typing import NamedTuple

from ppo_bbrl.schedules import linear
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.one_number import check_numbers


class Case(NamedTuple):
    """One call."""

    initial: float
    update: int
    n_updates: int

    def tell(self) -> list[str]:
        """The example in a message."""
        return [f"  Example: scheduled({self.initial:g}, {self.update}, {self.n_updates})"]


CASES = (
    Case(0.003, 0, 4),
    Case(0.003, 1, 4),
    Case(0.003, 3, 4),
    Case(0.2, 5, 10),
    Case(2.5, 2, 5),
    Case(0.0003, 99, 100),  # so small that a floor would be seen, whatever it is
    Case(0.0003, 9999, 10000),
    Case(3.0, 999, 1000),
)


def drawn(seed: int) -> list[Case]:
    """The first, some middle and the last update of runs drawn from a seed."""
    source = random.Random(seed)
    cases = []
    for initial in (source.uniform(1e-4, 1e-2), source.uniform(0.1, 0.4), source.uniform(2, 9)):
        n = source.randint(5, 40)
        cases += [Case(initial, k, n) for k in (0, source.randint(1, n - 2), n - 1)]
    last = [Case(source.uniform(1e-4, 4e-4), k - 1, k) for k in (n, 10000)]
    return [*cases, *last, Case(source.uniform(2, 9), 999, 1000)]


def right(case: Case) -> float:
    """From the initial value in update 0 down in a straight line that would reach 0 in update n."""
    return case.initial * linear(1 - case.update / case.n_updates)


FORMULAS = Part(
    right,
    {
        "ahead": lambda c: c.initial * (1 - (c.update + 1) / c.n_updates),
        "behind": lambda c: c.initial * (1 - (c.update - 1) / c.n_updates),
        "one-update-late": lambda c: c.initial * (1 - c.update / (c.n_updates + 1)),
        "squared": lambda c: c.initial * (1 - c.update / c.n_updates) ** 2,
        "last-is-0": lambda c: c.initial * (1 - c.update / (c.n_updates - 1)),
        "grows": lambda c: c.initial * c.update / c.n_updates,
        "grows-to-initial": lambda c: c.initial * (c.update + 1) / c.n_updates,
        "factor-alone": lambda c: 1 - c.update / c.n_updates,
        "never-falls": lambda c: c.initial * (1 - c.update // c.n_updates),
        "counted-in-updates": lambda c: c.initial * (c.n_updates - c.update),
        "floor~0.0001": lambda c: max(right(c), 1e-4),
        "floor~0.00001": lambda c: max(right(c), 1e-5),
        "floor~a tenth of it": lambda c: max(right(c), c.initial / 10),
        "floor~a hundredth of it": lambda c: max(right(c), c.initial / 100),
        "subtracted": lambda c: c.initial - c.update / c.n_updates,
        "brackets": lambda c: c.initial * (1 - c.update) / c.n_updates,
    },
)

EXERCISE = Exercise("scheduled", ("initial", "update", "n_updates"), read_words(__file__))


@EXERCISE.check
def check_scheduled(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `scheduled(initial, update, n_updates)`.

    It returns the value in an update, counted from 0, of a line that falls from `initial` and
    would reach 0 in update n_updates, which is no more part of the run.
    """
    cases = list(CASES) if seed is None else drawn(seed)
    check_numbers(EXERCISE, function, cases, FORMULAS, returned="the value", arguments=tuple)
