"""What the checks have in common: their error, and the careful call of a student's function."""

import random
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import numpy as np
import torch

STUB = "Not implemented yet"
WIDTH = 96


class ExerciseError(AssertionError):
    """A student's function is not right yet; the message says what was seen and where to look.

    Notebooks show the message alone, without the lines of the check.
    """

    def _render_traceback_(self) -> list[str]:
        return [part for line in str(self).splitlines() for part in _wrap(line)]


def _wrap(line: str) -> list[str]:
    """A line in parts that fit into a notebook's output, which would break words."""
    return textwrap.wrap(
        line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


@contextmanager
def untouched_randomness() -> Iterator[None]:
    """Put the global random streams back as they were: torch's, NumPy's and Python's."""
    torch_state, numpy_state, state = (
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002 - the stream that a student's function may draw from
        random.getstate(),
    )
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(state)


def call(function: Callable[..., Any], *args: Any, hint: Callable[[Exception], str]) -> Any:
    """Call a student's function; whatever it raises becomes an `ExerciseError` with its line.

    Args:
        function: the student's.
        args: its arguments.
        hint: what to say about an exception besides its own message; may be empty.

    Raises:
        ExerciseError: if the function raises.
    """
    name = getattr(function, "__name__", "the function")
    try:
        return function(*args)
    except Exception as error:  # a student's code may raise anything
        if isinstance(error, NotImplementedError) or (
            isinstance(error, AssertionError) and STUB in str(error)
        ):
            message = (
                f"{name} is not written yet ('{STUB}').\n"
                f"Where to look: replace the line `assert False, '{STUB}'` by your own lines."
            )
        else:
            # A KeyError's own text is quoted and escaped.
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            told = " ".join(str(text).split())
            message = f"{name} raises {type(error).__name__}: {told}\n{_where(function, error)}"
            said = hint(error)
            if said:
                message += f"\nWhere to look: {said}"
        raise ExerciseError(message) from error


def _where(function: Callable[..., Any], error: Exception) -> str:
    """The innermost line of the student's own code, or that it was never reached."""
    code = getattr(function, "__code__", None)
    file = code.co_filename if isinstance(code, CodeType) else None
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if frame.filename == file]
    if not frames:
        return "The call itself failed, before the first line of the function."
    return f"It happens in line {frames[-1].lineno} of the cell: {frames[-1].line}"
