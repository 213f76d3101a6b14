"""The state of MuJoCo's simulations, by its own functions for that, as arrays.

`mj_getState` gives what the next step is computed from, all of it (`mjSTATE_INTEGRATION`). Rewards
also use what the last step computed on its way, such as positions of bodies, which are those of
before its end; so MuJoCo's other arrays of numbers are saved as well. Lists that differ in length
from step to step (contacts) are computed anew.

Of a model, its numbers are saved: environments change masses and frictions. Integers, meshes and
pictures must be the same when a state is loaded; they say where in the memory things are, and no
file shall.
"""

from collections.abc import Iterator
from hashlib import sha256
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from ppo_bbrl.errors import StateError
from ppo_bbrl.system.state import NotPlainError

_LARGE = ("mesh_", "skin_", "tex_", "bvh_", "oct_", "flex")  # what nobody changes


class Simulation(Protocol):
    """A part of a simulation, with torch's convention."""

    def state_dict(self) -> dict[str, Any]:
        """As plain data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""


def simulation_of(value: object) -> Simulation | None:
    """What saves an object of MuJoCo; None: it is none."""
    kind = type(value)
    if getattr(kind, "__module__", None) != "mujoco._structs":  # Box2D's classes have none
        return None
    if kind.__name__ == "MjData":
        return _Data(value)
    return _Model(value) if kind.__name__ == "MjModel" else None


class _Data:
    def __init__(self, data: Any) -> None:
        self._data, self._model, self._mujoco = data, data.model, import_module("mujoco")

    def state_dict(self) -> dict[str, Any]:
        mujoco, model = self._mujoco, self._model
        if model.nplugin or model.opt.enableflags & int(
            getattr(mujoco.mjtEnableBit, "mjENBL_SLEEP", 0)
        ):
            raise NotPlainError("is the MjData of a model with plugins or bodies that sleep")
        which = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        state = np.empty(mujoco.mj_stateSize(model, which))
        mujoco.mj_getState(model, self._data, state, which)
        names, numbers = _joined(_numbers(self._data))
        return {"state": state, "names": names, "numbers": numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        mujoco, model, data = self._mujoco, self._model, self._data
        which = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_setState(model, data, state["state"], which)
        mujoco.mj_forward(model, data)  # for what has no fixed length
        mujoco.mj_setState(model, data, state["state"], which)
        _set(_numbers(data), state)


class _Model:
    def __init__(self, model: Any) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Any]:
        names, numbers = _joined(self._changeable())
        options = {name: value for name, value in _fields(self._model.opt) if type(value) is float}
        return {"names": names, "numbers": numbers, "options": options, "fixed": self._fixed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["fixed"] != self._fixed():
            raise StateError("MuJoCo's model is another one: its integers or its meshes differ")
        _set(self._changeable(), state)
        for name, value in state["options"].items():
            if type(getattr(self._model.opt, name, None)) is float:
                setattr(self._model.opt, name, float(value))

    def _changeable(self) -> Iterator[tuple[str, Any]]:
        for name, array in _numbers(self._model):
            if not name.startswith(_LARGE):
                yield name, array
        yield from _numbers(self._model.opt)

    def _fixed(self) -> str:
        digest = sha256()
        for name, value in (*_fields(self._model), *_fields(self._model.opt)):
            large = name.startswith(_LARGE)
            if isinstance(value, np.ndarray) and (value.dtype.kind != "f" or large):
                digest.update(f"{name}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
            elif type(value) is int and name != "signature":
                digest.update(f"{name}{value}".encode())
        return digest.hexdigest()


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    for name in dir(type(value)):
        if not name.startswith("_"):
            field = getattr(value, name)
            if isinstance(field, np.ndarray | int | float):
                yield name, field


def _numbers(value: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of floats, which are views of its memory."""
    for name, field in _fields(value):
        if isinstance(field, np.ndarray) and field.dtype.kind == "f" and field.size:
            yield name, field


def _joined(arrays: Iterator[tuple[str, Any]]) -> tuple[dict[str, int], Any]:
    """The size of each array by name, and all numbers one after the other."""
    found = list(arrays)
    flat = [np.asarray(array, np.float64).ravel() for _, array in found]
    return {name: array.size for name, array in found}, np.concatenate([np.empty(0), *flat])


def _set(arrays: Iterator[tuple[str, Any]], state: dict[str, Any]) -> None:
    """Write numbers into the arrays of the same names and sizes."""
    here, begins = dict(arrays), 0
    for name, size in state["names"].items():
        part = state["numbers"][begins : begins + size]
        begins += size
        if name in here and here[name].size == size == len(part) and here[name].flags.writeable:
            here[name][...] = part.reshape(here[name].shape)
