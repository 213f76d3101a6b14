"""The state of environments: their attributes, as Gymnasium defines no way to save it.

Starting from a vector environment, all attributes are followed through wrappers, environments,
spaces and other objects of classes written in Python. Plain data (numbers, strings, arrays, lists,
dicts, random generators) is state; functions and classes are not. An object with the methods
`state_dict` and `load_state_dict` provides its own state, and MuJoCo's simulations have theirs
from MuJoCo. Anything else is an error.

State outside of objects' attributes is missed: that of classes, modules and closures, and NumPy's
global generator.
"""

import copyreg
import functools
import logging
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from gymnasium.wrappers import PassiveEnvChecker

from ppo_bbrl.envs.envpool import EnvPoolVectorEnv
from ppo_bbrl.envs.mujoco_state import simulation_of
from ppo_bbrl.envs.plain_data import Reader, Writer
from ppo_bbrl.errors import StateError, one_line
from ppo_bbrl.system.state import NotPlainError

AnyVectorEnv = VectorEnv[Any, Any, Any]

# Attributes that describe an environment, or draw it; some of them are created on first use.
_DESCRIPTIONS = (
    "spec", "_cached_spec", "metadata", "_metadata", "_saved_kwargs", "mujoco_renderer"
)  # fmt: skip
# Types that are fixed: they hold no state of their own, although code is behind them.
_FIXED = (
    types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, type,
    functools.partial, np.dtype, np.ufunc, EnvSpec, logging.Logger,
)  # fmt: skip


@runtime_checkable
class InProcesses(Protocol):
    """Environments in other processes, which write and read their states there."""

    def written_state(self) -> Any:
        """As plain data."""

    def load_written_state(self, state: Any) -> None:
        """Continue from there."""


def envs_state(envs: AnyVectorEnv, name: str) -> Any:
    """The state of environments, as plain data.

    Args:
        envs: the result of `make_vector_env`.
        name: the environment's name, for messages.

    Raises:
        StateError: if they run in C++, or have state that is not plain data.
        EnvironmentFailedError: if the process of one has ended.
    """
    if isinstance(envs, InProcesses):
        return envs.written_state()
    _check_within_reach(envs)
    return written(envs, "envs", name)


def load_envs_state(envs: AnyVectorEnv, state: Any, name: str) -> None:
    """Set environments to a state from `envs_state`.

    Raises:
        StateError: if it is the state of different environments; nothing has been changed then
            (of those in other processes, some may have been).
    """
    if isinstance(envs, InProcesses):
        envs.load_written_state(state)
        return
    _check_within_reach(envs)
    _, change = read_state(state, envs, "envs", name)
    change()


def written(value: Any, place: str, name: str) -> Any:
    """The state of an object, as plain data.

    Args:
        value: environments, or one of them, or a dict of such things and plain data.
        place: what messages call it.
        name: the environment's name, for messages.

    Raises:
        StateError: if something in it is not plain data.
    """
    try:
        return _EnvWriter().write(value)
    except NotPlainError as error:
        raise StateError(
            f"{name}: {error.inside(place)}, whose state cannot be saved; define the methods "
            "state_dict and load_state_dict in the class that has it"
        ) from error
    except Exception as error:  # of attributes that a class computes
        kind = type(error).__name__
        raise StateError(
            f"{name}: the state of {place} cannot be read: {kind}: {one_line(error)}"
        ) from error


def read_state(state: Any, value: Any, place: str, name: str) -> tuple[Any, Callable[[], None]]:
    """Read the state of an object from what `written` made of it.

    Args:
        state: the result of `written`.
        value: the object as it is now; see `written`.
        place: what messages call it.
        name: the environment's name, for messages.

    Returns:
        What was read, and a function that changes the objects in it.

    Raises:
        StateError: if it is the state of something else; nothing has been changed then.
    """
    reader = _EnvReader()
    try:
        read = reader.read(state, value)
    except NotPlainError as error:
        raise StateError(
            f"{name}: the state belongs to different environments: {error.inside(place)}"
        ) from error
    except Exception as error:  # a damaged file
        raise StateError(f"{name}: the state of the environments is damaged") from error

    def change() -> None:
        for one in reader.changes:
            one()

    return read, change


def _check_within_reach(envs: AnyVectorEnv) -> None:
    for kind, mode in ((AsyncVectorEnv, "async"), (EnvPoolVectorEnv, "envpool")):
        if isinstance(envs, kind):
            raise StateError(
                f"gym_env.vectorization = {mode}: the state of these environments cannot be "
                "saved, because they run outside Python or by themselves; use sync or async"
            )


def _speaks_for_itself(value: object) -> bool:
    kind = type(value)  # a wrapper instance may forward attributes of what it wraps
    return all(callable(getattr(kind, f"{verb}state_dict", None)) for verb in ("", "load_"))


def _speaker(value: Any) -> Any:
    """What has the methods `state_dict` and `load_state_dict` for an object; None: nothing has."""
    return value if _speaks_for_itself(value) else simulation_of(value)


def _is_open(value: object) -> bool:
    """Whether an object's attributes are all of its state."""
    if any(cls.__dict__.get("__slots__") for cls in type(value).__mro__):
        return False
    if isinstance(value, gym.Env | VectorEnv | gym.Space):
        return True
    try:  # ask the copy protocol, which also covers classes written in other languages
        copied: Any = object.__reduce_ex__(value, 2)
    except Exception:  # noqa: BLE001 - classes refuse to be copied with any exception
        return False
    how, kind, attributes = copied[:3]
    if how is not copyreg.__newobj__ or kind != (type(value),):  # type: ignore[attr-defined]
        return False
    own: dict[str, Any] = getattr(value, "__dict__", {})
    return own.keys() == (attributes or {}).keys()


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes that make up an object's state."""
    attributes: Mapping[str, Any] = getattr(value, "__dict__", {})  # MuJoCo's objects have none
    if isinstance(value, gym.Space):  # its bounds and the like never change
        return {name: attributes[name] for name in ("_np_random", "spaces") if name in attributes}
    if _speaker(value) is not None:
        return {name: attributes[name] for name in ("env", "_np_random") if name in attributes}
    stays = _what_stays(value)
    own = {name: item for name, item in attributes.items() if name not in stays}
    if isinstance(value, PassiveEnvChecker):  # keeps rows and infos, for one-time warnings
        own |= {"_previous_data": None, "checked_step": True, "checked_data_reuse": True}
    return own


def _what_stays(value: object) -> tuple[str, ...]:
    """The attributes that are not state, for an object whose other attributes all are."""
    if isinstance(value, VectorEnv):
        return (*_DESCRIPTIONS, "closed")
    return _DESCRIPTIONS if isinstance(value, gym.Env) else ()


def _is_whole(value: object) -> bool:
    """Whether all attributes of an object except `_what_stays` are its state."""
    return not isinstance(value, gym.Space) and _speaker(value) is None


class _EnvWriter(Writer):
    def write_other(self, value: Any) -> Any:
        """Write an object as its attributes."""
        kind = type(value).__name__
        if isinstance(value, _FIXED):
            return {"fixed": kind}
        if isinstance(value, Enum):
            return {"enum": kind, "name": value.name}
        own = _speaker(value)
        if own is None and not _is_open(value):
            raise NotPlainError(f"is a {kind}")
        if not self.is_new(value):
            return self.reference(value)
        attributes: dict[str, Any] = {}
        for name, item in _attributes(value).items():
            try:
                attributes[name] = self.write(item)
            except NotPlainError as error:
                raise error.inside(f".{name}") from None
        written = {"object": kind, "attributes": attributes}
        if own is not None:
            try:
                written["own"] = self.write(dict(own.state_dict()))
            except NotPlainError as error:
                raise error.inside(".state_dict()") from None
            except Exception as error:
                failed = NotPlainError(f"failed: {one_line(error)}")
                raise failed.inside(".state_dict()") from error
        return written


class _EnvReader(Reader):
    """Reads the state of existing objects; `changes` apply it once everything has been read."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[Callable[[], None]] = []

    def read(self, written: Any, current: Any = None) -> Any:
        """As `Reader.read`; nothing takes the place of an environment."""
        if not isinstance(written, dict) and isinstance(current, gym.Env | VectorEnv):
            here = type(current).__name__
            raise NotPlainError(f"is a {type(written).__name__} in the state, but a {here} here")
        return super().read(written, current)

    def read_other(self, written: dict[str, Any], current: Any) -> Any:
        """Return the existing object, and note its new attributes in `changes`."""
        there, here = str(next(iter(written.values()))), type(current).__name__
        if there != here:
            raise NotPlainError(f"is a {there} in the state, but a {here} here")
        if "fixed" in written:
            return current
        if "enum" in written:
            return type(current)[written["name"]]
        self.add(current)
        now: dict[str, Any] = getattr(current, "__dict__", {})
        new: dict[str, Any] = {}
        for name, item in written["attributes"].items():
            try:
                new[name] = self.read(item, now.get(name))
            except NotPlainError as error:
                raise error.inside(f".{name}") from None
        if _is_whole(current):
            new |= {name: now[name] for name in _what_stays(current) if name in now}
        own = self.read(written["own"]) if "own" in written else None

        def change() -> None:
            if _is_whole(current):
                now.clear()
            now.update(new)
            if own is not None:
                _speaker(current).load_state_dict(own)

        self.changes.append(change)
        return current
