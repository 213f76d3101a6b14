"""Functions that nobody can change by replacing what their module consists of."""

import builtins
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def private(function: _Function) -> _Function:
    """The same function, with a copy of its module's globals and of Python's builtins.

    A student's code can find a module of the grader by any of its classes, which Python lists, and
    replace its functions there. What decides about marks has to keep its own.
    """
    assert isinstance(function, FunctionType)
    shared = function.__globals__
    own = dict(shared)
    own["__builtins__"] = dict(vars(builtins))
    for name, value in shared.items():
        if isinstance(value, FunctionType) and value.__globals__ is shared:
            own[name] = _with_globals(value, own)
    return cast(_Function, _with_globals(function, own))


def _with_globals(function: FunctionType, globals_: dict[str, Any]) -> FunctionType:
    copied = FunctionType(
        function.__code__, globals_, function.__name__, function.__defaults__, function.__closure__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied
