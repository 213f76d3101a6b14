"""Whether what a check relies on was replaced: functions of the packages, builtins, methods."""

import builtins
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

#: whole packages, by the first part of their modules' names
PACKAGES = ("bbrl", "ppo_bbrl")
MODULES = (
    "builtins",
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
PREFIXES = ("torch.distributions",)

_MISSING = object()


class Snapshot:
    """The functions and classes of the modules above as they are now, and what they consist of."""

    def __init__(self) -> None:
        self._modules = {
            name: (module, dict(vars(module)))
            for name, module in list(sys.modules.items())
            if _watched(name)
        }
        self._classes: dict[type, dict[str, Any]] = {}
        self._functions: dict[FunctionType, tuple[Any, ...]] = {}
        for _, values in self._modules.values():
            for value in values.values():
                self._add(value)

    def _add(self, value: Any) -> None:
        if isinstance(value, FunctionType):
            self._functions[value] = _parts(value)
        elif isinstance(value, type) and value not in self._classes:
            if not _watched(value.__module__):
                return
            self._classes[value] = dict(vars(value))
            for member in vars(value).values():
                self._add(getattr(member, "__func__", member))

    def changed(self) -> str | None:
        """The name of something that is not as it was, or None.

        What was added counts where it hides something: a function of a module that has the name
        of a builtin, a method that a class had inherited.
        """
        return next(self._changes(), None)

    def _changes(self) -> Iterator[str]:
        for name, (module, before) in self._modules.items():
            now = vars(module)
            for key in _replaced(before, now):
                yield f"{name}.{key}"
            if name.partition(".")[0] in PACKAGES:
                for key in now.keys() - before.keys():
                    if key in vars(builtins) and not key.startswith("__"):
                        yield f"{name}.{key}"
        for cls, members in self._classes.items():
            methods = vars(cls)
            added = methods.keys() - members.keys()
            hiding = [k for k in added if callable(methods[k]) and _inherited(cls, k)]
            for key in (*_replaced(members, methods), *hiding):
                yield f"{cls.__module__}.{cls.__qualname__}.{key}"
        for function, parts in self._functions.items():
            if any(one is not other for one, other in zip(parts, _parts(function), strict=True)):
                yield f"{function.__module__}.{function.__qualname__}"


def _watched(name: str) -> bool:
    return name in MODULES or name.partition(".")[0] in PACKAGES or name.startswith(PREFIXES)


def _parts(function: FunctionType) -> tuple[Any, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


def _replaced(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key, value in before.items():
        function = callable(value) or isinstance(value, property | staticmethod | classmethod)
        if function and now.get(key, _MISSING) is not value:
            yield key


def _inherited(cls: type, key: str) -> bool:
    return any(key in vars(base) for base in cls.__mro__[1:])
