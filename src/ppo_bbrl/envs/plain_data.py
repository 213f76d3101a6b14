"""Convert Python's and NumPy's plain data to tensors, numbers, strings, lists, dicts, and back.

An object that occurs in two places is restored as one object. Subclasses can write and read
further types.
"""

import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.seeding import sequence_from_state, sequence_state
from ppo_bbrl.system.state import SCALARS, NotPlainError

_BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")

_TEXTS = 2**20  # bytes that an array of texts may take besides what is in it


def _within(state: Any) -> Any:
    """The state of NumPy's generator, if the places in it are such.

    NumPy does not look: it would read the memory there.

    Raises:
        NotPlainError: if they are not.
    """
    position, last = state.get("buffer_pos", 0), 4
    if state["bit_generator"] == "MT19937":
        position, last = state["state"]["pos"], 624
    if type(position) is not int or not 0 <= position <= last:
        raise NotPlainError("is a random generator with a position outside of its numbers")
    return state


class Writer:
    """Writes values; use a single writer for values that may share parts."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}
        self._known: list[object] = []  # keeps them alive, so that no other object gets their id
        self._buffers: dict[int, list[np.ndarray[Any, Any]]] = {}
        self._writers: dict[type, Callable[[Any], Any]] = {
            np.ndarray: self._array,
            list: lambda value: {"list": self._items(value)},
            set: lambda value: {"set": self._items(value)},
            deque: lambda value: {"deque": self._items(value), "most": value.maxlen},
            dict: self._dict,
            OrderedDict: self._dict,
            Tensor: lambda value: {"tensor": value.detach().clone(), "on": str(value.device)},
            np.random.Generator: self._generator,
            np.random.RandomState: lambda value: {
                "random_state": self.write(value.get_state(legacy=False))
            },
            random.Random: lambda value: {"random": self.write(value.getstate())},
            torch.Generator: lambda value: {
                "torch_generator": value.get_state(),
                "on": str(value.device),
            },
        }

    def is_new(self, value: object) -> bool:
        """Note a mutable value; return whether it is written for the first time."""
        if id(value) in self._places:
            return False
        self._places[id(value)] = len(self._known)
        self._known.append(value)
        return True

    def reference(self, value: object) -> dict[str, int]:
        """A placeholder for a value that is already written elsewhere."""
        return {"same": self._places[id(value)]}

    def write(self, value: Any) -> Any:
        """Convert a value to plain data.

        Raises:
            NotPlainError: if it is not plain data, or contains something that is not.
        """
        kind = type(value)
        if kind in SCALARS:
            return value
        if isinstance(value, np.generic):
            return self._number(value)
        if kind is bytes:
            return {"bytes": value.decode("latin-1")}
        if kind in (tuple, frozenset):
            return {kind.__name__: self._items(value)}
        write = self._writers.get(kind)
        if write is None:
            return self.write_other(value)
        return write(value) if self.is_new(value) else self.reference(value)

    def write_other(self, value: Any) -> Any:
        """Write a value of another type; for subclasses to override."""
        raise NotPlainError(f"is a {type(value).__name__}")

    def _items(self, values: Any) -> list[Any]:
        if SCALARS.issuperset(map(type, values)):
            return list(values)
        written: list[Any] = []
        try:
            for item in values:
                written.append(self.write(item))  # noqa: PERF401 - errors report its length
        except NotPlainError as error:
            raise error.inside(f"[{len(written)}]") from None
        return written

    def _dict(self, value: dict[Any, Any]) -> Any:
        pairs = []
        for key, item in value.items():
            try:
                pairs.append([self.write(key), self.write(item)])
            except NotPlainError as error:
                raise error.inside(f"[{key!r}]") from None
        return {"dict": pairs}

    def _number(self, value: np.generic) -> Any:
        if value.dtype.kind not in "biufU" or (value.dtype.kind == "f" and value.itemsize > 8):
            raise NotPlainError(f"is a {type(value).__name__}")
        return {"number": value.dtype.str, "value": value.item()}

    def _array(self, value: Any) -> Any:
        buffer: Any = value
        while isinstance(buffer, np.ndarray) and buffer.base is not None:
            buffer = buffer.base
        others = self._buffers.setdefault(id(buffer), [])
        if any(np.may_share_memory(value, other) for other in others):
            raise NotPlainError("shares its memory with another array")
        others.append(value)
        if value.dtype.kind in "SU":
            texts = value.astype("U").ravel().tolist()
            return {"texts": texts, "dtype": value.dtype.str, "shape": list(value.shape)}
        try:  # keeping its memory order, which affects the rounding of sums
            return {"array": torch.from_numpy(value.copy(order="K"))}
        except (TypeError, ValueError):
            raise NotPlainError(f"is an array of {value.dtype}") from None

    def _generator(self, value: np.random.Generator) -> Any:
        bits: Any = value.bit_generator
        kind = type(bits).__name__
        if kind not in _BIT_GENERATORS:
            raise NotPlainError(f"is a random generator of {kind}")
        seeds = getattr(bits, "seed_seq", None)  # for generators that it may spawn
        return {
            "generator": kind,
            "state": self.write(bits.state),
            "seeds": sequence_state(seeds) if type(seeds) is np.random.SeedSequence else None,
        }


class Reader:
    """Reads what a `Writer` wrote."""

    def __init__(self) -> None:
        self._known: list[Any] = []

    def add(self, value: Any) -> Any:
        """Note a mutable value, in the order of writing."""
        self._known.append(value)
        return value

    def read(self, written: Any, current: Any = None) -> Any:
        """Restore a value from plain data.

        Args:
            written: the result of `Writer.write`.
            current: the value now in its place.

        Raises:
            NotPlainError: if the written value and the current one are of different kinds.
        """
        if not isinstance(written, dict):
            return written
        kind = next(iter(written))
        content = written[kind]
        if kind == "same":
            return self._known[content]
        if kind == "number":
            return np.dtype(content).type(written["value"])
        if kind == "bytes":
            return content.encode("latin-1")
        if kind == "tuple":
            return tuple(self._items(content, current))
        if kind == "frozenset":
            return frozenset(self._items(content))
        if kind in ("list", "set", "deque", "dict"):
            return self._container(kind, written, current)
        if kind == "array":
            return self.add(content.clone().numpy())
        if kind == "tensor":
            return self.add(content.to(written["on"], copy=True))
        if kind == "texts":
            dtype, texts = np.dtype(written["dtype"]), np.array(content, "U")
            if dtype.itemsize * len(content) > _TEXTS + 4 * len("".join(content)):
                raise NotPlainError("is an array whose texts are much shorter than its places")
            return self.add(texts.astype(dtype).reshape(written["shape"]))
        if kind in ("generator", "random_state", "random", "torch_generator"):
            return self._generator(kind, written)
        return self.read_other(written, current)

    def read_other(self, written: dict[str, Any], current: Any) -> Any:
        """Read what `write_other` wrote; for subclasses to override."""
        raise NotPlainError("is not known")

    def _items(self, written: list[Any], current: Any = None) -> list[Any]:
        if SCALARS.issuperset(map(type, written)):
            return written
        now = list(current) if type(current) in (list, tuple, deque) else []
        now += [None] * (len(written) - len(now))
        made: list[Any] = []
        try:
            for item, there in zip(written, now, strict=False):
                made.append(self.read(item, there))
        except NotPlainError as error:
            raise error.inside(f"[{len(made)}]") from None
        return made

    def _container(self, kind: str, written: Any, current: Any) -> Any:
        made: Any
        # Noted before its items, because one of them may contain the container itself.
        if kind == "dict":
            made = self.add({})
            now = current if isinstance(current, dict) else {}
            for key, item in written["dict"]:
                name = self.read(key)
                try:
                    made[name] = self.read(item, now.get(name))
                except NotPlainError as error:
                    raise error.inside(f"[{name!r}]") from None
        elif kind == "set":
            made = self.add(set())
            made.update(self._items(written["set"]))
        else:
            made = self.add([] if kind == "list" else deque(maxlen=written["most"]))
            made.extend(self._items(written[kind], current))
        return made

    def _generator(self, kind: str, written: Any) -> Any:
        place = len(self._known)
        self._known.append(None)
        made: Any
        if kind == "generator":
            if written[kind] not in _BIT_GENERATORS:
                raise NotPlainError("is a random generator of another kind")
            seeds = written["seeds"]
            seeds = None if seeds is None else sequence_from_state(seeds)
            bits = getattr(np.random, written[kind])(seeds)
            bits.state = _within(self.read(written["state"]))
            made = np.random.Generator(bits)
        elif kind == "random_state":
            made = np.random.RandomState()
            made.set_state(_within(self.read(written[kind])))
        elif kind == "random":
            made = random.Random()
            made.setstate(self.read(written[kind]))
        else:
            made = torch.Generator(written["on"])
            made.set_state(written[kind])
        self._known[place] = made
        return made
