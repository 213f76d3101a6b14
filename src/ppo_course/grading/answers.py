"""Keeps the answers away from a student's code: the right functions of the checks, the culprits.

They are in the package, since checks compare with them. What is handed in has to be the student's.
"""

import ast
import functools
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import ppo_bbrl
import ppo_course
from ppo_course.grading.cells import Code

CHECKS = "ppo_course"
FORMERLY = "ppo_bbrl.exercises"  # the same, in notebooks that were made before
CHECKS_FOLDER = str(Path(ppo_course.__file__).parent)
FOLDERS = (str(Path(ppo_bbrl.__file__).parent), CHECKS_FOLDER)
PACKAGES = ("bbrl", "ppo_bbrl", "ppo_course")


class NotYourOwnError(Exception):
    """What an exercise asks for is somebody else's; the message says whose."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def shown(definitions: Iterable[Code]) -> dict[str, tuple[str, ...]]:
    """What the teacher's definitions import of the checks: names, by the name of their module."""
    found: dict[str, tuple[str, ...]] = {}
    for code in definitions:
        for node in ast.walk(ast.parse(code.text)):
            if isinstance(node, ast.ImportFrom) and _of_checks(node.module or ""):
                names = tuple(alias.name for alias in node.names)
                found[str(node.module)] = (*found.get(str(node.module), ()), *names)
    return found


def hide(shown: dict[str, tuple[str, ...]]) -> None:
    """In this process, whoever imports the checks from now on gets no more than these names.

    The checks themselves have imported what they need.
    """
    found = {
        name: {key: _veil(getattr(importlib.import_module(name), key)) for key in keys}
        for name, keys in {CHECKS: (), **shown}.items()
    }
    found = {FORMERLY: found[CHECKS], **found}
    for name in [name for name in sys.modules if _of_checks(name)]:
        del sys.modules[name]
    parents = {name.rpartition(".")[0] for name in found} - {"", "ppo_bbrl"}
    for name, names in sorted({**{name: {} for name in parents}, **found}.items()):
        module = ModuleType(name)
        vars(module).update(names)
        module.__path__ = []  # a package, with nothing to be found in it
        sys.modules[name] = module
        parent, _, own_name = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own_name, module)


def veiled(definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The same names for a student's code, with functions of the checks that do not open.

    Their globals are those of their module, with the right answers in it.
    """
    return {name: _veil(thing) for name, thing in definitions.items()}


def _veil(thing: Any) -> Any:
    if not isinstance(thing, FunctionType) or not _of_checks(thing.__module__ or ""):
        return thing
    # Of Python's own callables, a cache is one that does not tell what it calls.
    veil = functools.lru_cache(maxsize=0)(thing)
    del veil.__wrapped__
    return veil


def demand_own(name: str, thing: Any) -> None:
    """Raise NotYourOwnError if a function or class is the package's, or has a method of it."""
    parts = vars(thing).values() if isinstance(thing, type) else ()
    for part in (thing, *parts):
        owner = _owner(part)
        if owner is not None:
            raise NotYourOwnError(
                f"{name} is not your own: it is taken from {owner}.\n"
                "Where to look: the exercise asks for lines that you write yourself."
            )


def _owner(thing: Any) -> str | None:
    """The package's module that something comes from; None if it comes from elsewhere."""
    while isinstance(thing, functools.partial | MethodType | staticmethod | classmethod):
        thing = thing.func if isinstance(thing, functools.partial) else thing.__func__
    if isinstance(thing, FunctionType) and thing.__code__.co_filename.startswith(FOLDERS):
        return str(thing.__module__)
    if isinstance(thing, type) and thing.__module__.partition(".")[0] in PACKAGES:
        return thing.__module__
    return None


def _of_checks(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in (CHECKS, FORMERLY))
