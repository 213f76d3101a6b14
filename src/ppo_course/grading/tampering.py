"""Whether what a check relies on was replaced: functions, methods, builtins, our own values."""

import builtins
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import is_
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

#: whole packages, by the first part of their modules' names
PACKAGES = ("bbrl", "ppo_bbrl", "ppo_course")
MODULES = (
    *("copy", "functools", "itertools", "math", "numpy", "random"),
    *("torch", "torch.functional", "torch._tensor"),
)
#: tables of ours that are filled while a run goes on, with nothing in them that a check relies on
FILLED = ("ppo_bbrl.seeding._LOCKS",)
#: where nothing but definitions is in a module, so that nothing may change
OWN = ("ppo_bbrl", "ppo_course")
PREFIXES = tuple(
    f"torch.{name}"
    for name in ("autograd", "distributions", "linalg", "nn", "optim", "overrides", "testing")
)
STUDENTS = "ppo_course.grading.shell"  # where a student's own names are kept
IMMUTABLE = 1 << 8  # Python's flag of a class whose attributes cannot be set
#: the name of a check's function that only raises: a check may put it anywhere for a while
RAISES = "_not_there"

# What changes torch without replacing a function: operators, hooks that act on all.
HOOKED = ("torch.nn.modules.module", "torch.optim.optimizer")
#: of the kinds of tensors for which torch itself adds to its operators when it first needs it
ADDED_LATER = ("FuncTorch", "Meta", "Sparse")

Namespace = Mapping[str, Any]
#: what tells of something that is not as it was, in words, or None
Look = Callable[[], str | None]


def snapshot() -> tuple[Look, Look]:
    """How the functions and classes of the modules above are now, and what they consist of.

    Returns:
        Two functions that compare. The first one does not look into functions: it is fast enough
        for every call. The second one does; it takes milliseconds. What was added counts where it
        hides something: a function of a module that has the name of a builtin, a method that a
        class had inherited.
    """
    # Of a class of Python's own, since a class of this module could be changed.
    before = SimpleNamespace(
        builtins=(vars(builtins), dict(vars(builtins))),
        places=[],  # a namespace, some names in it, and what they stand for
        namespaces=[],  # of modules, classes and objects, with the names that were in them
        containers=[],  # what to say of a list, dict or set, itself, and what was in it
        functions={},
        raising=[],
        seen=set(),
    )
    for name, module in list(sys.modules.items()):
        if _watched(name):
            _add(before, name, vars(module))
    for name, names, key in hooks():
        before.places.append((name, names, (key,), (names[key],)))
        told = f"a hook that acts on all was left in {name}.{key}"
        before.containers.append((told, names[key], names[key].copy()))
    return partial(_replaced, before), partial(_rewritten, before)


def _add(before: SimpleNamespace, name: str, namespace: Namespace, cls: type | None = None) -> None:
    if cls is not None or name.partition(".")[0] in PACKAGES:
        hidden = None if cls is None else cls.__mro__[1:]
        before.namespaces.append((name, namespace, frozenset(namespace), hidden))
    kept: dict[str, Any] = {}
    for key, value in list(namespace.items()):
        own = name.startswith(OWN) and not key.startswith("__")
        if _is_function(value) or (own and not isinstance(value, ModuleType)):
            kept[key] = value
        if own and key == RAISES:
            before.raising.append(value)
        function = getattr(value, "__func__", value)
        if isinstance(function, FunctionType):
            before.functions[function] = _parts(function)
        elif isinstance(value, type):
            if value not in before.seen and _watched(value.__module__) and _open(value):
                before.seen.add(value)
                _add(before, f"{value.__module__}.{value.__qualname__}", vars(value), value)
        elif own:
            _add_value(before, f"{name}.{key}", value)
    before.places.append((name, namespace, tuple(kept), tuple(kept.values())))


def _add_value(before: SimpleNamespace, place: str, value: Any) -> None:
    """What a module of ours keeps besides functions: tables, and objects that hold them."""
    if place in FILLED:
        return
    if isinstance(value, list | dict | set):
        before.containers.append((f"{place} was replaced", value, value.copy()))
    elif type(value).__module__.startswith(OWN) and hasattr(value, "__dict__"):
        attributes = vars(value)
        before.places.append((place, attributes, tuple(attributes), tuple(attributes.values())))
        hidden = type(value).__mro__  # an attribute of the object comes before its class's method
        before.namespaces.append((place, attributes, frozenset(attributes), hidden))
    for function in _functions_in(value):
        before.functions[function] = _parts(function)


def _functions_in(value: Any) -> Iterator[FunctionType]:
    """Those of a table, however deep they lie: the formulas that answers are compared with."""
    if isinstance(value, FunctionType):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _functions_in(item)


def _replaced(before: SimpleNamespace) -> str | None:
    now_builtins, builtins_before = before.builtins
    # First without the help of any builtin, since the rest trusts them.
    for key, value in builtins_before.items():
        if key != "_" and now_builtins.get(key) is not value:
            return f"builtins.{key} was replaced"
    for name, namespace, keys, values in before.places:
        if not all(map(is_, map(namespace.get, keys), values)):
            for key, value in zip(keys, values, strict=True):
                now = namespace.get(key)
                if now is not value and not any(now is function for function in before.raising):
                    return f"{name}.{key} was replaced"
    for told, container, contents in before.containers:
        if not _same_contents(container, contents):
            return str(told)
    for name, namespace, known, hidden in before.namespaces:
        if len(namespace) != len(known):
            for key in namespace.keys() - known:
                if _hides(key, namespace, hidden):
                    return f"{name}.{key} was replaced"
    return None


def _rewritten(before: SimpleNamespace) -> str | None:
    """What was replaced, or a function whose code, default values or closure are others."""
    if found := _replaced(before):
        return found
    for function, (code, defaults, keywords, held) in before.functions.items():
        if (
            function.__code__ is not code
            or function.__defaults__ is not defaults
            or function.__kwdefaults__ is not keywords
            or not all(map(is_, _held(function), held))
        ):
            return f"{function.__module__}.{function.__qualname__} was replaced"
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
    return function.__code__, function.__defaults__, function.__kwdefaults__, _held(function)


def _held(function: FunctionType) -> list[Any]:
    """What a function of the checks holds in its closure; a check holds what it runs."""
    if not (function.__module__ or "").startswith("ppo_course"):
        return []
    return [cell.cell_contents for cell in function.__closure__ or ()]


def _hides(key: str, namespace: Mapping[str, Any], hidden: tuple[type[Any], ...] | None) -> bool:
    """Whether a new name of a namespace takes the place of what was found before.

    It may hide a method of these classes; of a module, for which there are none, a builtin.
    """
    if hidden is None:
        return key in vars(builtins) and not key.startswith("__")
    return callable(namespace[key]) and any(key in vars(base) for base in hidden)


def hooks() -> Iterator[tuple[str, dict[str, Any], str]]:
    """The tables of hooks that act on every module or optimiser: module, its namespace, name."""
    for module in HOOKED:
        names = vars(sys.modules[module]) if module in sys.modules else {}
        for name, table in names.items():
            if name.startswith("_global_") and isinstance(table, dict):
                yield module, names, name


def modes() -> Callable[[], tuple[Any, ...]]:
    """What tells the modes that are active now: they see, and may change, each call of torch."""
    if "torch" not in sys.modules:
        return tuple
    core: Any = sys.modules["torch"]._C
    functions, dispatches = core._len_torch_function_stack, core._len_torch_dispatch_stack
    saving = core._autograd._top_saved_tensors_default_hooks
    return lambda: (functions(), dispatches(), saving(True))


def refuse_operators(error: type[Exception]) -> None:
    """Let nobody in this process give torch's own operators another meaning, for good."""
    if "torch" not in sys.modules:
        return
    core: Any = sys.modules["torch"]._C
    library, later = core._dispatch_library, ADDED_LATER

    def checked(kind: str, namespace: str, key: str = "", *more: Any) -> Any:
        if namespace == "aten" and not key.startswith(later):
            raise error("not allowed while the notebook is graded: replacing an operator of torch")
        return library(kind, namespace, key, *more)

    core._dispatch_library = checked
