"""State: what a run needs to go on, given by `state_dict()` and taken by `load_state_dict()`.

It is made of tensors, numbers, strings, lists and dicts alone (and None, and tuples of them), so
that `torch.load(path, weights_only=True)` reads what `torch.save` wrote.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from torch import Tensor

from ppo_bbrl.errors import StateError, UserError, one_line, shown

State = dict[str, Any]

#: what never changes, and is the same in every file
SCALARS = frozenset((bool, int, float, str, type(None)))


class HasState(Protocol):
    """An owner of state, after torch's convention."""

    def state_dict(self) -> State:
        """The state; taking it changes nothing."""

    def load_state_dict(self, state: State) -> object:
        """Take over a state, or raise an error."""


class Attributes:
    """Attributes of an object that are plain data, as an owner of state.

    Args:
        where: what they are, for messages.
        owner: whose they are.
        names: of the attributes; in the state they stand without a leading underscore.
    """

    def __init__(self, where: str, owner: object, *names: str) -> None:
        self._where, self._owner = where, owner
        self._names = {name.lstrip("_"): name for name in names}

    def state_dict(self) -> State:
        """The attributes by name."""
        return {key: getattr(self._owner, name) for key, name in self._names.items()}

    def load_state_dict(self, state: State) -> None:
        """Set the attributes.

        Raises:
            StateError: if one is missing, or of another type than it has now.
        """
        check_names(state, self._names, self._where)
        for key, name in self._names.items():
            wanted = type(getattr(self._owner, name))
            if type(state[key]) is not wanted:
                raise StateError(f"{key} = {shown(state[key])}: must be a {wanted.__name__}")
        for key, name in self._names.items():
            setattr(self._owner, name, state[key])


class Unchanging:
    """What must be the same where a state is loaded as where it was taken.

    Args:
        values: plain data by dotted names.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def state_dict(self) -> State:
        """The values."""
        return self._values

    def load_state_dict(self, state: State) -> None:
        """Compare.

        Raises:
            StateError: names the first value that differs.
        """
        for name in {**self._values, **state}:
            there, here = state.get(name), self._values.get(name)
            if there != here:
                raise StateError(f"{name} is {shown(there)} in the state, and {shown(here)} here")


class NotPlainError(ValueError):
    """Something is no plain data, or not what was expected.

    Args:
        what: as in "is a generator"; the place is added on the way out.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.place = ""

    def inside(self, step: str) -> "NotPlainError":
        """The same, seen from one level further out."""
        self.place = step + self.place
        return self

    def __str__(self) -> str:
        return f"{self.place} {super().__str__()}"


def snapshot(value: Any, where: str) -> Any:
    """A copy of a state that nothing changes afterwards.

    Args:
        value: plain data.
        where: its place, for messages.

    Raises:
        StateError: for anything that is no plain data.
    """
    try:
        return _copied(value)
    except NotPlainError as error:
        raise StateError(
            f"{error.inside(where)}: a state holds tensors, numbers, strings, lists and dicts alone"
        ) from error


def _copied(value: Any) -> Any:
    if type(value) in SCALARS:
        return value
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)  # to be loaded on any machine
    if isinstance(value, int | float):  # of a class of one's own, as NumPy's float64 is
        return int(value) if isinstance(value, int) else float(value)
    copied: Any
    if isinstance(value, dict):
        copied = {}
        for key, item in value.items():
            try:
                copied[key] = _copied(item)
            except NotPlainError as error:
                raise error.inside(f".{key}") from None
        if hasattr(value, "_metadata"):  # by which torch recognises old states of modules
            copied = OrderedDict(copied)
            copied._metadata = value._metadata
        return copied
    if type(value) not in (list, tuple):
        raise NotPlainError(f"is a {type(value).__name__}")
    if SCALARS.issuperset(map(type, value)):
        return type(value)(value)
    copied = []
    try:
        for item in value:
            copied.append(_copied(item))
    except NotPlainError as error:
        raise error.inside(f"[{len(copied)}]") from None
    return copied if type(value) is list else tuple(copied)


def check_names(state: object, names: Iterable[str], where: str) -> None:
    """See that a state is a dict with these names.

    Raises:
        StateError: names what is missing, or too much.
    """
    if not isinstance(state, dict):
        raise StateError(f"{where}: the state is a {type(state).__name__}, must be a dict")
    for name in names:
        if name not in state:
            raise StateError(f"{where}: the state has no {name}")
    for name in state:
        if name not in names:
            raise StateError(f"{where}: the state has {shown(name)}, which is not there")


def state_of(parts: Mapping[str, HasState]) -> State:
    """The states of several owners by name.

    Raises:
        StateError: for an owner whose state is no plain data.
    """
    return {name: snapshot(part.state_dict(), name) for name, part in parts.items()}


def load_state(parts: Mapping[str, HasState], state: State, where: str) -> None:
    """Let several owners take over their states: all of them, or none.

    Args:
        parts: in the order in which they load.
        state: as `state_of` gave it.
        where: whose parts they are, for messages.

    Raises:
        StateError: if one of them does not fit; all are as they were before.
    """
    check_names(state, parts, where)
    before = state_of(parts)
    begun: list[str] = []
    try:
        for name, part in parts.items():
            begun.append(name)
            part.load_state_dict(snapshot(state[name], name))
    except BaseException as error:
        for name in reversed(begun):
            parts[name].load_state_dict(before[name])
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise StateError(f"{begun[-1]}: the state does not fit: {one_line(error)}") from error
