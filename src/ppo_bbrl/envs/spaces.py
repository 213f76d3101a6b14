"""What a Gymnasium space means here: for the workspace, for a network, for the environment.

Discrete and MultiDiscrete observations and actions lie in the workspace as indices 0..n-1, whatever
the space's `start`; MultiBinary ones as 0 and 1 in float32; Box actions as the policy sampled them,
unclipped, in float32. What the environment receives is made from that here: the right type, `start`
added, clipped to the bounds.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.errors import ConfigError, UserError, one_line

Array = NDArray[Any]

ROLES = ("observation_space", "action_space")
_IMAGE_DIMS = 2
_LARGEST = 2**28  # numbers of an observation or an action that a file may ask for


class HasSpaces(Protocol):
    """An environment, or what stands for one: something with its two spaces."""

    observation_space: Space[Any]
    action_space: Space[Any]


@dataclass
class Spaces:
    """Two spaces that stand for their environment."""

    observation_space: Space[Any]
    action_space: Space[Any]


def check_supported(
    name: str,
    observation_space: Space[Any],
    action_space: Space[Any],
    kinds: Sequence[type[Space[Any]]] = (Box, Discrete),
) -> None:
    """Refuse spaces that no agent can handle.

    Args:
        name: of the environment, as messages have it.
        observation_space: of one environment.
        action_space: likewise.
        kinds: the supported ones.

    Raises:
        ConfigError: naming the environment, the space and what is supported.
    """
    *others, last = (kind.__name__ for kind in kinds)
    supported = f"supported are {', '.join(others)} and {last}"
    for role, space in (("observation", observation_space), ("action", action_space)):
        named = f"{name}: its {role} space {one_line(space)}"
        if not isinstance(space, tuple(kinds)):
            raise ConfigError(f"{named} is not supported; {supported}")
        if isinstance(space, Box) and role == "action" and space.dtype.kind != "f":
            floats = supported.replace("Box", "Box of floats")
            raise ConfigError(f"{named} holds {space.dtype}; {floats}")


def check_same_spaces(env_name: str, made: HasSpaces, trained_on: HasSpaces) -> None:
    """Say so when an environment is not the one that a policy was trained on.

    Other bounds of observations, or another type of numbers, are a warning.

    Raises:
        UserError: for spaces that the policy cannot see or act in.
    """
    for role in ROLES:
        here, there = getattr(made, role), getattr(trained_on, role)
        if here == there and here.dtype == there.dtype:
            continue
        told = (
            f"{env_name}: its {role.replace('_', ' ')} is {one_line(here, 200)}; the policy was "
            f"trained on {one_line(there, 200)}"
        )
        boxes = isinstance(here, Box) and isinstance(there, Box) and here.shape == there.shape
        if not boxes or is_image(here) != is_image(there):
            raise UserError(told)
        warnings.warn(told, stacklevel=2)


def is_image(space: Space[Any]) -> bool:
    """Whether observations stay bytes in the workspace: a Box of uint8 with two or more axes."""
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) >= _IMAGE_DIMS


def observation_template(space: Space[Any], n_envs: int) -> Tensor:
    """Zeros of the shape and type that one row of observations has in the workspace."""
    assert space.shape is not None
    if isinstance(space, Discrete | MultiDiscrete):
        return torch.zeros(n_envs, *space.shape, dtype=torch.int64)
    return torch.zeros(
        n_envs, *space.shape, dtype=torch.uint8 if is_image(space) else torch.float32
    )


def as_observation(space: Space[Any], observed: Array) -> Tensor:
    """What vector environments return, `[B, …]`, as one row of the workspace: always a copy."""
    row = observation_template(space, len(observed))
    np.subtract(
        observed,
        space.start if isinstance(space, Discrete | MultiDiscrete) else 0,
        out=row.numpy(),
        casting="unsafe",  # float64 to float32
    )
    return row


def as_data(space: Space[Any]) -> dict[str, Any]:
    """A space as numbers, strings and lists, for a file that holds no code.

    Raises:
        ValueError: for a space of another kind than Box, Discrete, MultiDiscrete, MultiBinary.
    """
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
        ValueError, TypeError, KeyError: if it described none.
    """
    kind = data["kind"]
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
    # Versions of Gymnasium before 1.2 know no other type of a Discrete.
    chosen = {} if dtype == np.int64 else {"dtype": dtype.type}
    if kind == "Discrete":
        return Discrete(data["n"], start=data["start"], **chosen)
    if kind == "MultiDiscrete":
        return MultiDiscrete(np.array(data["nvec"]), start=np.array(data["start"]), **chosen)
    raise ValueError(f"{kind!r} is no space that is kept as data")


def both_as_data(env: HasSpaces) -> dict[str, Any]:
    """The spaces of an environment, each under its name, as plain data."""
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


def size(space: Space[Any]) -> int | tuple[int, ...]:
    """n of a Discrete space, the length of a vector, the shape of anything else."""
    if isinstance(space, Discrete):
        return int(space.n)
    assert space.shape is not None
    return space.shape[0] if len(space.shape) == 1 else tuple(space.shape)


def action_converter(space: Space[Any], n_envs: int) -> Callable[[Array | Tensor], Array]:
    """The function from a row of actions in the workspace to what `VectorEnv.step` takes.

    It raises ValueError for actions of a wrong shape or kind.
    """
    assert space.shape is not None
    shape = (n_envs, *space.shape)
    if isinstance(space, Discrete | MultiDiscrete):
        start = space.start
        from_zero = not np.any(start)

        def discrete(action: Array | Tensor) -> Array:
            array = _array(action)
            if array.shape != shape or array.dtype.kind not in "iu":
                raise ValueError(_wrong_action(array, shape, "integers"))
            return (array if from_zero else array + start).astype(space.dtype, copy=False)

        return discrete

    if isinstance(space, MultiBinary):

        def binary(action: Array | Tensor) -> Array:
            array = _array(action)
            if array.shape != shape or array.dtype.kind not in "biuf":
                raise ValueError(_wrong_action(array, shape, "zeros and ones"))
            return array.astype(np.int8)

        return binary

    assert isinstance(space, Box)
    bounded = bool(np.isfinite(space.low).any() or np.isfinite(space.high).any())
    low, high, dtype = space.low, space.high, space.dtype

    def box(action: Array | Tensor) -> Array:
        array = _array(action)
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(_wrong_action(array, shape, "floats"))
        if bounded:
            array = np.clip(array, low, high)
        return array.astype(dtype, copy=not bounded)

    return box


def _array(action: Array | Tensor) -> Array:
    return action if isinstance(action, np.ndarray) else action.detach().numpy()


def _wrong_action(action: Array, shape: tuple[int, ...], kind: str) -> str:
    return (
        f"the policy wrote an action of shape {list(action.shape)} and type {action.dtype}; "
        f"the environment takes {list(shape)} {kind}"
    )
