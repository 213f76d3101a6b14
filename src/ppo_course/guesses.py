"""Known mistakes in a function that returns a number: what each gives, and the words for it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ppo_course.feedback import ExerciseError, describe, not_right


class Guess(NamedTuple):
    """A way to compute the number of a case; wrong ones say what is wrong, and where to look."""

    formula: Callable[[Any], float]
    wrong: str
    look: str


def agree(one: float, other: float) -> bool:
    """Whether two numbers are the same up to rounding."""
    return bool(np.isclose(one, other, rtol=1e-4, atol=1e-6))


def as_number(
    name: str,
    result: Any,
    what: str,
    *,
    look: str = "logarithms of 0, divisions by 0, means of nothing",
) -> float:
    """A number that a student's function returned, however it is wrapped.

    Args:
        name: of the student's function.
        result: what it returned.
        what: the number in words.
        look: where to look if it is not finite.

    Raises:
        ExerciseError: if it is something else, or not finite.
    """
    facts = (f"  seen      {describe(result)}", f"  expected  {what}, a number")
    if result is None:
        raise not_right(name, "it returns nothing", "the last line: return …", *facts)
    try:
        size = result.numel() if isinstance(result, Tensor) else np.size(result)
        number = float(result) if size == 1 else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise not_right(name, f"it does not return {what}", "a single number is expected", *facts)
    if not np.isfinite(number):
        raise not_right(
            name,
            f"its result is {number}",
            look,
            f"  seen      {number}",
            facts[1],
        )
    return number


def explain(
    name: str,
    guesses: Sequence[Guess],
    cases: Sequence[Any],
    seen: Sequence[float],
    *,
    right: Callable[[Any], float],
    tell: Callable[[Any], list[str]],
) -> ExerciseError | None:
    """The error about the first wrong number; None if all are right.

    Args:
        name: of the student's function.
        guesses: known mistakes, the likeliest first.
        cases: what the function was asked.
        seen: what it answered, number by number.
        right: the right answer to a case.
        tell: the lines that describe a case.
    """
    for case, number in zip(cases, seen, strict=True):
        if agree(number, right(case)):
            continue
        facts = [
            *tell(case),
            f"  seen      {number:.5g}",
            f"  expected  {right(case):.5g}",
        ]
        for guess in guesses:
            if all(agree(guess.formula(c), s) for c, s in zip(cases, seen, strict=True)):
                return not_right(name, guess.wrong, guess.look, *facts)
        return not_right(
            name,
            "a number is wrong, in a way that this check does not know",
            "follow the example through your function",
            *facts,
        )
    return None
