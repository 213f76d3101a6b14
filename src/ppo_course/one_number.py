"""A function that returns one number: it is read, and compared with what known mistakes give."""

import contextlib
from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import Any

import numpy as np
from torch import Tensor

from ppo_course.formulas import Part, alone
from ppo_course.mistakes import Exercise, StudentCode


def agree(_case: Any, one: float, other: float) -> bool:
    """Whether two numbers are the same up to rounding."""
    return bool(np.isclose(one, other, rtol=1e-4, atol=1e-6))


def as_number(exercise: Exercise, result: Any, what: str) -> float:
    """A number that a student's function returned, however it is wrapped; `what` says it in words.

    Raises:
        ExerciseError: if it is something else, or not finite.
    """
    number, mistake, seen = float("nan"), "not-one-number", ""
    if isinstance(result, str):  # float() would read it, and later cells compute with it
        mistake, seen = "text", f"{result!r:.60}"
    elif (result.numel() if isinstance(result, Tensor) else np.size(result)) == 1:
        with contextlib.suppress(TypeError, ValueError):
            number, mistake = float(result), "number-not-finite"
            seen = f"{number}"
    if not np.isfinite(number):
        expected = f"{what}, a number"
        exercise.expect(result, mistake, expected, seen=seen, what=what, number=number)
    return number


def compare_numbers(
    exercise: Exercise,
    cases: Sequence[Any],
    seen: Sequence[float],
    part: Part,
    *,
    tell: Callable[[Any], list[str]] = methodcaller("tell"),
    also: Sequence[Part] = (),
    formula: Callable[[Any, Sequence[Any]], Any] = alone,
) -> None:
    """Compare numbers, one for each case, with the right ones; as in `check_numbers`."""

    def facts(case: Any, right: float, number: float) -> list[str]:
        return [*tell(case), f"  seen      {number:.5g}", f"  expected  {right:.5g}"]

    def number(case: Any, values: Sequence[Any]) -> float:
        return float(formula(case, values))

    exercise.compare(cases, seen, [part, *also], facts=facts, formula=number, agree=agree)


def check_numbers(
    exercise: Exercise,
    function: StudentCode,
    cases: Sequence[Any],
    part: Part,
    *,
    returned: str,
    arguments: Callable[[Any], tuple[Any, ...]] = methodcaller("arguments"),
    tell: Callable[[Any], list[str]] = methodcaller("tell"),
    also: Sequence[Part] = (),
    formula: Callable[[Any, Sequence[Any]], Any] = alone,
) -> None:
    """Ask a student's function about some cases, and name its mistake.

    Args:
        exercise: the student's.
        function: that is asked.
        cases: one call for each.
        part: the formula, of a case; and wrong ones, the likeliest first.
        returned: the number in words.
        arguments: what the function gets of a case; by default, what the case's method says.
        tell: the lines that describe a case; likewise.
        also: further parts of the formula.
        formula: the number of a case, from a value of each part.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    answers = [exercise.call(function, *arguments(case)) for case in cases]
    seen = [as_number(exercise, answer, returned) for answer in answers]
    compare_numbers(exercise, cases, seen, part, tell=tell, also=also, formula=formula)
