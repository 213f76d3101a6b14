"""The check of notebook 04's exercise on a linear schedule."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from ppo_bbrl.schedules import linear
from ppo_course.feedback import call, untouched_randomness
from ppo_course.guesses import Guess, as_number, explain

#: (initial, update, n_updates) → the value in this update
Scheduled = Callable[[float, int, int], float]

NAME = "scheduled"


class Case(NamedTuple):
    """One call."""

    initial: float
    update: int
    n_updates: int

    def tell(self) -> list[str]:
        """The example in a message."""
        return [f"  Example: {NAME}({self.initial:g}, {self.update}, {self.n_updates})"]


CASES = (
    Case(0.003, 0, 4),
    Case(0.003, 1, 4),
    Case(0.003, 3, 4),
    Case(0.2, 5, 10),
    Case(0.0003, 99, 100),  # so small that a floor would be seen
)


def drawn(seed: int) -> list[Case]:
    """The first, some middle and the last update of runs drawn from a seed."""
    source = random.Random(seed)
    cases = []
    for initial in (source.uniform(1e-4, 1e-2), source.uniform(0.1, 0.4)):
        n = source.randint(5, 40)
        cases += [Case(initial, k, n) for k in (0, source.randint(1, n - 2), n - 1)]
    return [*cases, Case(source.uniform(1e-4, 4e-4), n - 1, n)]


def right(case: Case) -> float:
    """From the initial value in update 0 down in a straight line that would reach 0 in update n."""
    return case.initial * linear(1 - case.update / case.n_updates)


MISTAKES = (
    Guess(
        lambda c: c.initial * (1 - (c.update + 1) / c.n_updates),
        "it is one update ahead: the first already has less than the initial value, the last has 0",
        "updates are counted from 0: in update 0 nothing of the run is over yet",
    ),
    Guess(
        lambda c: c.initial * (1 - (c.update - 1) / c.n_updates),
        "it is one update behind: the first has more than the initial value",
        "updates are counted from 0: n_updates − update of them are left, this one among them",
    ),
    Guess(
        lambda c: c.initial * (1 - c.update / (c.n_updates + 1)),
        "the line reaches 0 one update too late",
        "it reaches 0 in update n_updates: divide by n_updates",
    ),
    Guess(
        lambda c: c.initial * (1 - c.update / c.n_updates) ** 2,
        "what is left of the run is squared: no straight line",
        "initial × (1 − update / n_updates)",
    ),
    Guess(
        lambda c: c.initial * (1 - c.update / (c.n_updates - 1)),
        "the last update has the value 0, and so learns nothing",
        "the line reaches 0 after the last update, in update n_updates: divide by n_updates",
    ),
    Guess(
        lambda c: c.initial * c.update / c.n_updates,
        "it grows from 0 instead of falling",
        "multiply by what is left of the run, 1 − update / n_updates",
    ),
    Guess(
        lambda c: c.initial * (c.update + 1) / c.n_updates,
        "it grows to the initial value instead of falling from it",
        "multiply by what is left of the run, 1 − update / n_updates",
    ),
    Guess(
        lambda c: 1 - c.update / c.n_updates,
        "it is the factor alone, the initial value plays no part",
        "multiply it by initial",
    ),
    Guess(
        lambda c: c.initial * (1 - c.update // c.n_updates),
        "it never falls: update plays no part, or // divides without a remainder, and so gives 0 "
        "during the whole run",
        "initial × (1 − update / n_updates), divided by /",
    ),
    Guess(
        lambda c: c.initial * (c.n_updates - c.update),
        "what is left of the run is counted in updates: in update 0 it is n_updates, not 1",
        "divide by n_updates: initial × (n_updates − update) / n_updates",
    ),
    Guess(
        lambda c: max(right(c), 1e-4),
        "it stops falling at 0.0001",
        "there is no smallest value: the last update has initial / n_updates",
    ),
    Guess(
        lambda c: c.initial - c.update / c.n_updates,
        "the part of the run that is over is subtracted from the initial value",
        "it is a factor: initial × (1 − update / n_updates); mind the brackets",
    ),
    Guess(
        lambda c: c.initial * (1 - c.update) / c.n_updates,
        "brackets: 1 − update is divided as a whole",
        "division before subtraction: 1 − update / n_updates",
    ),
)


def check_scheduled(function: Scheduled, *, seed: int | None = None) -> None:
    """Check a student's `scheduled(initial, update, n_updates)`.

    It returns the value in an update, counted from 0, of a line that falls from `initial` and
    would reach 0 in update n_updates, which is no more part of the run.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        function: the student's.
        seed: draw other runs from it than those that one can follow by hand; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    cases = list(CASES) if seed is None else drawn(seed)
    with untouched_randomness():
        seen = [as_number(NAME, call(function, *case, hint=_hint), "the value") for case in cases]
    error = explain(NAME, MISTAKES, cases, seen, right=right, tell=Case.tell)
    if error is not None:
        raise error
    if seed is None:
        print("Well done! The first update has the whole value, and the last one still learns.")


def _hint(error: Exception) -> str:
    text: Any = str(error)
    if isinstance(error, TypeError) and "positional argument" in text:
        return f"the function is called as {NAME}(initial, update, n_updates)"
    if isinstance(error, ZeroDivisionError):
        return "updates are counted from 0, and there is at least one: divide by n_updates"
    return ""
