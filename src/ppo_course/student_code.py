"""A student's code, called under the name that messages use."""

from collections.abc import Callable
from typing import Any


class Named:
    """A call of a student's code, as a function of the name that messages use.

    Args:
        name: in messages.
        run: what is called.
        written_in: the student's function, in whose file the line of an error is looked for.
    """

    def __init__(self, name: str, run: Callable[..., Any], written_in: Any) -> None:
        self.__name__, self.__code__ = name, getattr(written_in, "__code__", None)
        self._run = run

    def __call__(self, *args: Any) -> Any:
        """What the student's code returns."""
        return self._run(*args)
