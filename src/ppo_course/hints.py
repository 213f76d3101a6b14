"""What to say about an exception besides its own message."""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

Section = Mapping[str, Any]  # of a file words.toml


class Hint:
    """What to say about an exception, by its class and what its message holds.

    Args:
        key: of the words.
        texts: the message holds one of them; without, any message will do.
        error: the classes it is about.
        when: what else has to hold.
    """

    def __init__(
        self,
        key: str,
        *texts: str,
        error: type[Exception] | tuple[type[Exception], ...] = Exception,
        when: Callable[[Exception], bool] = lambda _error: True,
    ) -> None:
        self.key, self._texts, self._error, self._when = key, texts, error, when

    def is_about(self, error: Exception) -> bool:
        """Whether it is to be said about this exception."""
        said = str(error)
        fits = not self._texts or any(text in said for text in self._texts)
        return fits and isinstance(error, self._error) and self._when(error)


def hints_of(section: Section) -> Iterator[Hint]:
    """Those that a section of `words.toml` has."""
    for key, hint in section.items():
        if isinstance(hint, dict):
            holds, classes = (
                [hint[name]] if isinstance(hint.get(name), str) else hint.get(name, [])
                for name in ("holds", "error")
            )
            yield Hint(key, *holds, when=functools.partial(_is_one_of, {*classes}))


def _is_one_of(classes: Collection[str], error: Exception) -> bool:
    return not classes or any(cls.__name__ in classes for cls in type(error).__mro__)
