"""What a Gymnasium space means for the workspace, for a network and for the environment.

The workspace stores Discrete and MultiDiscrete observations and actions as indices 0..n-1, whatever
the space's `start`; MultiBinary ones as 0 and 1 in float32; Box actions in float32, as the policy
sampled them, unclipped. This module converts actions to what the environment expects: the right
type, `start` added, clipped to the bounds.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.envs.actions import ACTION_KINDS, leaves
from ppo_bbrl.errors import ConfigError, UserError, one_line

Array = NDArray[Any]

ROLES = ("observation_space", "action_space")
_IMAGE_DIMS = 2
_LARGEST = 2**28  # how many numbers an observation or action may have, according to a file


class HasSpaces(Protocol):
    """An environment, or any object that has its two spaces."""

    observation_space: Space[Any]
    action_space: Space[Any]


@dataclass
class Spaces:
    """The two spaces of an environment, without the environment."""

    observation_space: Space[Any]
    action_space: Space[Any]


def check_supported(
    name: str,
    observation_space: Space[Any],
    action_space: Space[Any],
    kinds: Sequence[type[Space[Any]]] = (Box, Discrete),
    action_kinds: Sequence[type[Space[Any]]] = ACTION_KINDS,
) -> None:
    """Refuse spaces that no agent can handle.

    Args:
        name: how messages refer to the environment.
        observation_space: the observation space of one environment.
        action_space: the action space of one environment.
        kinds: the supported classes of observation spaces.
        action_kinds: the supported classes of action spaces and of their parts.

    Raises:
        ConfigError: naming the environment, the space and what is supported.
    """
    named = f"{name}: its observation space {one_line(observation_space)}"
    if not isinstance(observation_space, tuple(kinds)):
        raise ConfigError(f"{named} is not supported; {_supported(kinds)}")
    named = f"{name}: its action space {one_line(action_space)}"
    supported = _supported(action_kinds)
    parts = list(leaves(action_space)) if isinstance(action_space, tuple(action_kinds)) else []
    if not parts or not all(isinstance(part, tuple(action_kinds)) for part in parts):
        raise ConfigError(f"{named} is not supported; {supported}")
    for part in parts:
        if isinstance(part, Box) and part.dtype.kind != "f":
            floats = supported.replace("Box", "Box of floats")
            raise ConfigError(f"{named} has dtype {part.dtype}; {floats}")


def _supported(kinds: Sequence[type[Space[Any]]]) -> str:
    *others, last = (kind.__name__ for kind in kinds)
    return f"supported are {', '.join(others)} and {last}"


def check_same_spaces(env_name: str, made: HasSpaces, trained_on: HasSpaces) -> None:
    """Check that an environment has the spaces that a policy was trained on.

    Different bounds or dtypes only cause a warning.

    Raises:
        UserError: if the policy cannot be used with these spaces.
    """
    for role in ROLES:
        here, there = getattr(made, role), getattr(trained_on, role)
        if here == there and here.dtype == there.dtype:
            continue
        text = (
            f"{env_name}: its {role.replace('_', ' ')} is {one_line(here, 200)}; the policy was "
            f"trained on {one_line(there, 200)}"
        )
        boxes = isinstance(here, Box) and isinstance(there, Box) and here.shape == there.shape
        if not boxes or is_image(here) != is_image(there):
            raise UserError(text)
        warnings.warn(text, stacklevel=2)


def is_image(space: Space[Any]) -> bool:
    """Whether the workspace keeps observations as bytes: a uint8 Box with two or more axes."""
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) >= _IMAGE_DIMS


def observation_template(space: Space[Any], n_envs: int) -> Tensor:
    """Zeros with the shape and dtype of one row of observations in the workspace."""
    assert space.shape is not None
    if isinstance(space, Discrete | MultiDiscrete):
        return torch.zeros(n_envs, *space.shape, dtype=torch.int64)
    return torch.zeros(
        n_envs, *space.shape, dtype=torch.uint8 if is_image(space) else torch.float32
    )


def as_observation(space: Space[Any], observed: Array) -> Tensor:
    """Copy a vector environment's observations, `[B, …]`, into a new row for the workspace."""
    row = observation_template(space, len(observed))
    np.subtract(
        observed,
        space.start if isinstance(space, Discrete | MultiDiscrete) else 0,
        out=row.numpy(),
        casting="unsafe",  # float64 to float32
    )
    return row


def as_data(space: Space[Any]) -> dict[str, Any]:
    """Describe a space by numbers, strings and lists, for a file that contains no code.

    Raises:
        ValueError: if it is not a Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple space.
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
    raise ValueError(f"{one_line(space)} cannot be saved as data")


def from_data(data: dict[str, Any]) -> Space[Any]:
    """Rebuild the space that `as_data` described.

    Raises:
        ValueError, TypeError, KeyError: if `data` does not describe a space.
    """
    kind = data["kind"]
    if kind == "Dict":
        return Dict([*zip(data["keys"], map(from_data, data["spaces"]), strict=True)])
    if kind == "Tuple":
        return Tuple([*map(from_data, data["spaces"])])
    if kind == "MultiBinary":
        return MultiBinary(data["n"])
    dtype = np.dtype(data["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"a space of {dtype}")
    if kind == "Box":
        shape = tuple(data["shape"])
        if math.prod(shape) > _LARGEST:
            raise ValueError(f"a space of shape {shape}")
        low, high = (np.broadcast_to(np.array(data[x], dtype), shape) for x in ("low", "high"))
        return Box(low, high, shape, dtype.type)
    # Before version 1.2, Gymnasium's Discrete has no other dtype.
    chosen = {} if dtype == np.int64 else {"dtype": dtype.type}
    if kind == "Discrete":
        return Discrete(data["n"], start=data["start"], **chosen)
    if kind == "MultiDiscrete":
        return MultiDiscrete(np.array(data["nvec"]), start=np.array(data["start"]), **chosen)
    raise ValueError(f"{kind!r} is not a known kind of space")


def both_as_data(env: HasSpaces) -> dict[str, Any]:
    """Describe both spaces of an environment, by name, as plain data."""
    return {name: as_data(getattr(env, name)) for name in ROLES}


def both_from_data(data: Mapping[str, Any]) -> Spaces | None:
    """Rebuild the spaces that `both_as_data` described; None if `data` has none.

    Raises:
        ValueError, TypeError, KeyError: if `data` does not describe spaces.
    """
    return Spaces(*(from_data(data[name]) for name in ROLES)) if ROLES[0] in data else None


def _few_numbers(bound: Array) -> Any:
    """A single number if all are equal, as for images; otherwise nested lists."""
    first = bound.flat[0] if bound.size else bound.dtype.type(0)
    return first.item() if bool((bound == first).all()) else bound.tolist()


def size(space: Space[Any]) -> int | tuple[int, ...]:
    """The n of a Discrete space, the length of a vector, or the shape of anything else."""
    if isinstance(space, Discrete):
        return int(space.n)
    assert space.shape is not None
    return space.shape[0] if len(space.shape) == 1 else tuple(space.shape)
