"""Spaces as numbers, strings and lists, for files that hold no code."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from ppo_bbrl.envs.actions import is_own
from ppo_bbrl.envs.parts import DEEPEST, Array, parts_of
from ppo_bbrl.envs.spaces import ROLES, HasSpaces, Spaces
from ppo_bbrl.errors import one_line

_LARGEST = 2**25  # numbers of an observation or an action that a file may ask for


def as_data(space: Space[Any]) -> dict[str, Any]:
    """A space as numbers, strings and lists, for a file that holds no code.

    Raises:
        ValueError: for a space of another kind than Box, Discrete, MultiDiscrete, MultiBinary, Dict
            and Tuple.
    """
    if isinstance(space, Dict):
        keys, parts = [*space.spaces], [*map(as_data, space.spaces.values())]
        return {"kind": "Dict", "keys": keys, "spaces": parts}
    if isinstance(space, Tuple):
        return {"kind": "Tuple", "spaces": [*map(as_data, space.spaces)]}
    dtype = str(space.dtype)
    if isinstance(space, Box):
        low, high = _few_numbers(space.low), _few_numbers(space.high)
        shape = list(space.shape)
        return {"kind": "Box", "low": low, "high": high, "shape": shape, "dtype": dtype}
    if isinstance(space, Discrete):
        n, start = int(space.n), int(space.start)
        return {"kind": "Discrete", "n": n, "start": start, "dtype": dtype}
    if isinstance(space, MultiDiscrete):
        nvec, starts = space.nvec.tolist(), space.start.tolist()
        return {"kind": "MultiDiscrete", "nvec": nvec, "start": starts, "dtype": dtype}
    if isinstance(space, MultiBinary):
        sizes = space.n if isinstance(space.n, int) else list(space.n)
        return {"kind": "MultiBinary", "n": sizes}
    raise ValueError(f"{one_line(space)} cannot be kept as data")


def from_data(data: dict[str, Any]) -> Space[Any]:
    """The space that `as_data` described.

    Raises:
        ValueError, TypeError, KeyError: if it described none, or one that is too large.
    """
    if _numbers_in(data) > _LARGEST:
        raise ValueError("a space of too many numbers")
    space = _from_data(data)
    parts_of(space)  # refuses keys that are no path
    return space


def _numbers_in(data: dict[str, Any], depth: int = 1) -> int:
    """How many numbers an observation or an action of a space has, before it is made."""
    if depth > DEEPEST:
        raise ValueError("spaces within spaces that are too deep")
    kind = data["kind"]
    if kind in ("Dict", "Tuple"):
        return sum(_numbers_in(one, depth + 1) for one in data["spaces"])
    if kind == "MultiBinary":
        return math.prod(data["n"]) if isinstance(data["n"], list) else int(data["n"])
    return math.prod(data["shape"]) if kind == "Box" else 1


def _from_data(data: dict[str, Any]) -> Space[Any]:
    kind = data["kind"]
    if kind == "Dict":
        parts = map(_from_data, data["spaces"])
        return Dict([*zip(data["keys"], parts, strict=True)])
    if kind == "Tuple":
        return Tuple([*map(_from_data, data["spaces"])])
    if kind == "MultiBinary":
        return MultiBinary(data["n"])
    dtype = np.dtype(data["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"a space of {dtype}")
    if kind == "Box":
        shape = tuple(data["shape"])
        low, high = (np.broadcast_to(np.array(data[x], dtype), shape) for x in ("low", "high"))
        return Box(low, high, shape, dtype.type)
    # Versions of Gymnasium before 1.2 know no other type of a Discrete.
    chosen = {} if dtype == np.int64 else {"dtype": dtype.type}
    if kind == "Discrete":
        return Discrete(data["n"], start=data["start"], **chosen)
    if kind == "MultiDiscrete":
        return MultiDiscrete(np.array(data["nvec"]), start=np.array(data["start"]), **chosen)
    raise ValueError(f"{kind!r} is no space that is kept as data")


def both_as_data(env: HasSpaces) -> dict[str, Any]:
    """The spaces of an environment, each under its name, as plain data.

    Nothing if actions are of a space of your own: to read its class would run code of the file.
    """
    if is_own(env.action_space):
        return {}
    return {name: as_data(getattr(env, name)) for name in ROLES}


def both_from_data(data: Mapping[str, Any]) -> Spaces | None:
    """What `both_as_data` described; None if nothing is there.

    Raises:
        ValueError, TypeError, KeyError: if it describes no spaces.
    """
    return Spaces(*(from_data(data[name]) for name in ROLES)) if ROLES[0] in data else None


def _few_numbers(bound: Array) -> Any:
    """One number where all are the same, as in a picture; else nested lists."""
    first = bound.flat[0] if bound.size else bound.dtype.type(0)
    return first.item() if bool((bound == first).all()) else bound.tolist()
