"""Lends right parts of a program to a student's code while another part of it is checked."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any


@contextmanager
def standing_in(things: Sequence[Any], parts: Mapping[str, Any]) -> Iterator[None]:
    """For a while, these names mean these parts in the code of some functions and classes.

    So a mistake in an earlier step is not told, or graded, a second time.
    """
    functions = [
        each
        for thing in things
        for each in (vars(thing).values() if isinstance(thing, type) else (thing,))
        if isinstance(each, FunctionType)
    ]
    namespaces = {id(f.__globals__): f.__globals__ for f in functions}
    before = {
        key: {name: names[name] for name in parts if name in names}
        for key, names in namespaces.items()
    }
    for names in namespaces.values():
        names.update(parts)
    try:
        yield
    finally:
        for key, names in namespaces.items():
            for name in parts:
                names.pop(name, None)
            names.update(before[key])
