"""A check of a function that returns one number: ask it about some cases, name the mistake."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import call, not_right, untouched_randomness
from ppo_course.guesses import Guess, as_number, explain


def check_by_cases(
    function: Callable[..., Any],
    cases: Sequence[Any],
    *,
    name: str,
    arguments: Callable[[Any], tuple[Any, ...]],
    given: str,
    returned: str,
    right: Callable[[Any], float],
    mistakes: Sequence[Guess],
    tell: Callable[[Any], list[str]],
    hint: Callable[[Exception], str],
) -> None:
    """Raise the error about the first case that a student's function gets wrong.

    Args:
        function: the student's.
        cases: what it is asked, one call for each.
        name: of the function.
        arguments: what the function gets of a case, made anew at each call.
        given: the arguments in words, which the function must not change.
        returned: the number in words.
        right: the right answer to a case.
        mistakes: known mistakes, the likeliest first.
        tell: the lines that describe a case.
        hint: what to say about an exception besides its own message; may be empty.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    seen = []
    with untouched_randomness():
        for case in cases:
            handed = arguments(case)
            result = call(function, *handed, hint=hint)
            if not _same(handed, arguments(case)):
                raise not_right(
                    name,
                    f"it changes the {given} that it was given",
                    "an instrument only looks, and makes new tensors; operations whose names end "
                    "in _, and -=, work in place",
                )
            if isinstance(result, str):  # float() would read it, and later cells compute with it
                raise not_right(
                    name,
                    "it returns a text",
                    'the number itself, without f"{…}" and str()',
                    f"  seen      {result!r:.60}",
                    f"  expected  {returned}, a number",
                )
            seen.append(as_number(name, result, returned))
    error = explain(name, mistakes, cases, seen, right=right, tell=tell)
    if error is not None:
        raise error


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments hold the same, however deep their tensors lie in lists."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
