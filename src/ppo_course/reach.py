"""Sees whether a student's code uses functions of the package that would be the answer."""

import contextlib
import dis
import functools
import importlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

PACKAGES = ("bbrl", "bbrl_utils", "ppo_bbrl", "ppo_course")
LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_CLOSURE")


def borrowed(thing: Any, allowed: Collection[Any]) -> str | None:
    """What of the packages a function or class uses besides what is allowed; None if nothing.

    It follows names: those of the functions' own code, of helpers that they name, of base classes,
    imports and attributes of modules. Who hides a name from this has written more than the answer.
    """
    return _Search(allowed).visit(thing)


def _is_of_packages(name: Any) -> bool:
    return isinstance(name, str) and name.partition(".")[0] in PACKAGES


class _Search:
    def __init__(self, allowed: Collection[Any]) -> None:
        self._allowed = {id(thing) for thing in allowed}
        self._seen: set[int] = set()
        self._kept: list[Any] = []  # so that no identity is given twice

    def visit(self, thing: Any, names: Collection[str] = ()) -> str | None:
        """Look at a thing; of a module of the packages, at these names."""
        while isinstance(thing, functools.partial | MethodType | staticmethod | classmethod):
            thing = thing.func if isinstance(thing, functools.partial) else thing.__func__
        if isinstance(thing, property):
            return self._first((thing.fget, thing.fset))
        if id(thing) in self._allowed or not isinstance(thing, FunctionType | type | ModuleType):
            return None
        if isinstance(thing, ModuleType):
            if not _is_of_packages(thing.__name__) or thing in self._kept:
                return None
            self._kept.append(thing)
            return self._first((getattr(thing, name, None) for name in names), names)
        if id(thing) in self._seen:
            return None
        self._seen.add(id(thing))
        self._kept.append(thing)
        if _is_of_packages(thing.__module__):
            return f"{thing.__name__} of {thing.__module__}"
        if isinstance(thing, type):
            return self._first((*thing.__bases__, *vars(thing).values()))
        cells = zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True)
        enclosed = {}
        for name, cell in cells:
            with contextlib.suppress(ValueError):  # not filled yet
                enclosed[name] = cell.cell_contents
        return self._code(thing.__code__, {**thing.__globals__, **enclosed}) or self._first(
            (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values())
        )

    def _first(self, things: Iterable[Any], names: Collection[str] = ()) -> str | None:
        return next((found for thing in things if (found := self.visit(thing, names))), None)

    def _code(self, code: CodeType, known: Mapping[str, Any]) -> str | None:
        names = {name for part in _nested(code) for name in part.co_names}
        for part in _nested(code):
            for step in dis.get_instructions(part):
                # Not attributes: `cfg.algorithm.gae` is no use of a function `gae`.
                if step.opname in LOADS and step.argval in known:
                    found = self.visit(known[step.argval], names)
                elif step.opname == "IMPORT_NAME" and _is_of_packages(step.argval):
                    found = None
                    with contextlib.suppress(ImportError):
                        found = self.visit(importlib.import_module(step.argval), names)
                else:
                    continue
                if found:
                    return found
        return None


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
