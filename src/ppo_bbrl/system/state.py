"""State: what a run needs to continue, saved by `state_dict()`, restored by `load_state_dict()`.

It contains only tensors, numbers, strings, None, and lists, tuples and dicts of these, so that
`torch.load(path, weights_only=True)` can read what `torch.save` wrote.
"""

import io
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from ppo_bbrl.errors import StateError, UserError, one_line, shown

State = dict[str, Any]

#: types whose values never change and need no copy
SCALARS = frozenset((bool, int, float, str, type(None)))


def packed(state: Any) -> bytes:
    """A state to send to another process of ours; torch would send its tensors as open files."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def unpacked(content: bytes) -> Any:
    """What was `packed`."""
    return torch.load(io.BytesIO(content), weights_only=True)


class HasState(Protocol):
    """An object with state, in torch's convention."""

    def state_dict(self) -> State:
        """The state; reading it changes nothing."""

    def load_state_dict(self, state: State) -> object:
        """Restore a state, or raise an error."""


class Attributes:
    """The state that consists of some of an object's attributes, which are plain data.

    Args:
        where: what messages call them.
        owner: the object.
        names: the names of the attributes; the state leaves out a leading underscore.
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
            StateError: if one is missing, or its type differs from the current value's.
        """
        check_names(state, self._names, self._where)
        for key, name in self._names.items():
            wanted = type(getattr(self._owner, name))
            if type(state[key]) is not wanted:
                raise StateError(f"{key} = {shown(state[key])}: must be a {wanted.__name__}")
        for key, name in self._names.items():
            setattr(self._owner, name, state[key])


class Unchanging:
    """Values that must be the same when a state is loaded as when it was saved.

    Args:
        values: plain data by dotted names.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def state_dict(self) -> State:
        """The values."""
        return self._values

    def load_state_dict(self, state: State) -> None:
        """Compare the saved values with the current ones.

        Raises:
            StateError: naming the first value that differs.
        """
        for name in {**self._values, **state}:
            there, here = state.get(name), self._values.get(name)
            if there != here and shown(there) != shown(here):  # NaN is not equal to itself
                raise StateError(f"{name} is {shown(there)} in the state, but {shown(here)} here")


class NotPlainError(ValueError):
    """A value is not plain data, or not what was expected.

    Args:
        what: the problem, as in "is a generator"; its place is added while the error passes up.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.place = ""

    def inside(self, step: str) -> "NotPlainError":
        """This error with its place extended by one outer level."""
        self.place = step + self.place
        return self

    def __str__(self) -> str:
        return f"{self.place} {super().__str__()}"


def snapshot(value: Any, where: str) -> Any:
    """Copy a state, so that later changes do not affect it.

    Args:
        value: plain data.
        where: its place, for messages.

    Raises:
        StateError: if something in it is not plain data.
    """
    try:
        return _copied(value)
    except NotPlainError as error:
        raise StateError(
            f"{error.inside(where)}: a state can contain only tensors, numbers, strings, lists and "
            "dicts"
        ) from error


def _copied(value: Any) -> Any:
    if type(value) in SCALARS:
        return value
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)  # so that any machine can load it
    if isinstance(value, int | float):  # a subclass, such as NumPy's float64
        return int(value) if isinstance(value, int) else float(value)
    copied: Any
    if isinstance(value, dict):
        copied = {}
        for key, item in value.items():
            try:
                copied[key] = _copied(item)
            except NotPlainError as error:
                raise error.inside(f".{key}") from None
        if hasattr(value, "_metadata"):  # lets torch recognise old states of modules
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
    """Check that a state is a dict with exactly these names.

    Raises:
        StateError: naming the one that is missing or unexpected.
    """
    if not isinstance(state, dict):
        raise StateError(f"{where}: the state is a {type(state).__name__}, must be a dict")
    for name in names:
        if name not in state:
            raise StateError(f"{where}: the state has no {name}")
    for name in state:
        if name not in names:
            raise StateError(f"{where}: the state has {shown(name)}, which does not exist here")


def state_of(parts: Mapping[str, HasState]) -> State:
    """The states of several objects, by name.

    Raises:
        StateError: if one of the states is not plain data.
    """
    return {name: snapshot(part.state_dict(), name) for name, part in parts.items()}


def load_state(parts: Mapping[str, HasState], state: State, where: str) -> None:
    """Restore the states of several objects: all of them, or none.

    Args:
        parts: the objects, in the order in which they load.
        state: the result of `state_of`.
        where: what messages call the whole.

    Raises:
        StateError: if one of them does not fit; then all of them are as before.
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
