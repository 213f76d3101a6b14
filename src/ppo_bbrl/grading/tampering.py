"""Whether what a check relies on was replaced: functions, methods, builtins, our own values."""

import builtins
import sys
from collections.abc import Mapping
from operator import is_
from types import FunctionType, ModuleType
from typing import Any

#: whole packages, by the first part of their modules' names
PACKAGES = ("bbrl", "ppo_bbrl")
MODULES = (
    "copy",
    "functools",
    "itertools",
    "math",
    "numpy",
    "random",
    "torch",
    "torch.autograd",
    "torch.functional",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.modules.module",
    "torch.testing",
    "torch._tensor",
)
OWN = "ppo_bbrl"  # where nothing but definitions is in a module, so that nothing may change
PREFIXES = ("torch.distributions",)
STUDENTS = "ppo_bbrl.grading.shell"  # where a student's own names are kept
IMMUTABLE = 1 << 8  # Python's flag of a class whose attributes cannot be set
#: the name of a check's function that only raises: a check may put it anywhere for a while
RAISES = "_not_there"


class Snapshot:
    """The functions and classes of the modules above as they are now, and what they consist of."""

    def __init__(self) -> None:
        self._builtins, self._builtins_before = vars(builtins), dict(vars(builtins))
        #: a namespace, some names in it, and what they stand for
        self._places: list[tuple[str, Mapping[str, Any], tuple[str, ...], tuple[Any, ...]]] = []
        #: namespaces of modules and classes, with the names that were in them
        self._namespaces: list[tuple[str, Mapping[str, Any], frozenset[str], type | None]] = []
        #: lists, dicts and sets, and what was in them
        self._containers: list[tuple[str, Any, Any]] = []
        self._functions: dict[FunctionType, tuple[Any, ...]] = {}
        self._raising: list[Any] = []
        self._seen: set[type] = set()
        for name, module in list(sys.modules.items()):
            if _watched(name):
                self._add(name, vars(module))

    def _add(self, name: str, namespace: Mapping[str, Any], cls: type | None = None) -> None:
        if cls is not None or name.partition(".")[0] in PACKAGES:
            self._namespaces.append((name, namespace, frozenset(namespace), cls))
        kept: dict[str, Any] = {}
        for key, value in list(namespace.items()):
            own = name.startswith(OWN) and not key.startswith("__")
            if _is_function(value) or (own and not isinstance(value, ModuleType)):
                kept[key] = value
            if own and key == RAISES:
                self._raising.append(value)
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType):
                self._functions[function] = _parts(function)
            elif isinstance(value, type):
                if value not in self._seen and _watched(value.__module__) and _open(value):
                    self._seen.add(value)
                    self._add(f"{value.__module__}.{value.__qualname__}", vars(value), value)
            elif own:
                self._add_value(f"{name}.{key}", value)
        self._places.append((name, namespace, tuple(kept), tuple(kept.values())))

    def _add_value(self, place: str, value: Any) -> None:
        """What a module of ours keeps besides functions: tables, and objects that hold them."""
        if isinstance(value, list | dict | set):
            self._containers.append((place, value, value.copy()))
        elif type(value).__module__.startswith(OWN) and hasattr(value, "__dict__"):
            attributes = vars(value)
            self._places.append((place, attributes, tuple(attributes), tuple(attributes.values())))

    def changed(self) -> str | None:
        """The name of something that is not as it was, or None.

        What was added counts where it hides something: a function of a module that has the name
        of a builtin, a method that a class had inherited. It takes milliseconds.
        """
        return self.replaced() or self._rewritten()

    def replaced(self) -> str | None:
        """As `changed`, but functions are not looked into: fast enough for every call."""
        # First without the help of any builtin, since the rest trusts them.
        for key, value in self._builtins_before.items():
            if key != "_" and self._builtins.get(key) is not value:
                return f"builtins.{key}"
        for name, namespace, keys, values in self._places:
            if not all(map(is_, map(namespace.get, keys), values)):
                for key, value in zip(keys, values, strict=True):
                    now = namespace.get(key)
                    if now is not value and not any(now is function for function in self._raising):
                        return f"{name}.{key}"
        for name, container, contents in self._containers:
            if not _same_contents(container, contents):
                return name
        for name, namespace, before, cls in self._namespaces:
            if len(namespace) != len(before):
                for key in namespace.keys() - before:
                    if _hides(key, namespace, cls):
                        return f"{name}.{key}"
        return None

    def _rewritten(self) -> str | None:
        """A function whose code or default values are others."""
        for function, (code, defaults, keywords) in self._functions.items():
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not keywords
            ):
                return f"{function.__module__}.{function.__qualname__}"
        return None


def _watched(name: str) -> bool:
    if name == STUDENTS:
        return False
    return name in MODULES or name.partition(".")[0] in PACKAGES or name.startswith(PREFIXES)


def _is_function(value: Any) -> bool:
    if isinstance(value, type) and value.__name__.endswith("Storage"):
        return False  # torch.Storage changes with the default precision
    return callable(value) or isinstance(value, property | staticmethod | classmethod)


def _open(cls: type) -> bool:
    """Whether a class can be changed, and is used: torch.ByteTensor and its like are of old."""
    return not cls.__flags__ & IMMUTABLE and type(cls).__name__ != "tensortype"


def _same_contents(container: Any, contents: Any) -> bool:
    """Whether the same objects are in it; they might be equal to anything."""
    if len(container) != len(contents):
        return False
    if isinstance(contents, set):
        return {id(item) for item in container} == {id(item) for item in contents}
    if isinstance(contents, dict):
        return all(container.get(key) is value for key, value in contents.items())
    return all(one is other for one, other in zip(container, contents, strict=True))


def _parts(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _hides(key: str, namespace: Mapping[str, Any], cls: type | None) -> bool:
    """Whether a new name of a module or class takes the place of what was found there before."""
    if cls is None:
        return key in vars(builtins) and not key.startswith("__")
    return callable(namespace[key]) and any(key in vars(base) for base in cls.__mro__[1:])
