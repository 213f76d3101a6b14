"""What a Gymnasium space means for the workspace, for a network and for the environment.

The workspace stores Discrete and MultiDiscrete observations and actions as indices 0..n-1, whatever
the space's `start`; MultiBinary ones as 0 and 1 in float32; Box actions in float32, as the policy
sampled them, unclipped. This module converts actions to what the environment expects: the right
type, `start` added, clipped to the bounds.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.envs.actions import ACTION_KINDS, OwnSpace, is_own
from ppo_bbrl.envs.parts import observation_template, parts_of, taken_apart
from ppo_bbrl.errors import ConfigError, UserError, one_line

Array = NDArray[Any]

ROLES = ("observation_space", "action_space")
OBSERVATION_KINDS = (Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple)
_IMAGE_DIMS = 2


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
    kinds: Sequence[type[Space[Any]]] = OBSERVATION_KINDS,
    action_kinds: Sequence[type[Space[Any]]] = ACTION_KINDS,
) -> None:
    """Refuse spaces that no agent can handle.

    Args:
        name: how messages refer to the environment.
        observation_space: the observation space of one environment.
        action_space: the action space of one environment.
        kinds: the supported classes of observation spaces and of their parts.
        action_kinds: the supported classes of action spaces and of their parts.

    Raises:
        ConfigError: naming the environment, the space and what is supported.
    """
    roles = (("observation", observation_space, kinds), ("action", action_space, action_kinds))
    for role, space, known in roles:
        supported = _supported(known)
        which = f"{name}: its {role} space {one_line(space)}"
        own = role == "action" and action_kinds is ACTION_KINDS and isinstance(space, OwnSpace)
        if not isinstance(space, tuple(known)) and not own:
            raise ConfigError(f"{which} is not supported; {supported}")
        try:
            parts = parts_of(space)
        except ConfigError as error:
            raise ConfigError(f"{which} is not supported: {error}") from None
        empty = [] if own else [path for path, part in parts.items() if 0 in (part.shape or ())]
        if empty and (role == "action" or len(empty) == len(parts)):
            what = f"its part {empty[0]!r} has no numbers" if empty[0] else "it has no numbers"
            raise ConfigError(f"{which} is not supported: {what}")
        for path, part in () if own else parts.items():
            if not isinstance(part, tuple(known)) or (role == "action" and is_own(part)):
                problem = f"its part {path}, {one_line(part)}, is not supported"
                raise ConfigError(f"{which}: {problem}; {supported}")
            if role == "action" and isinstance(part, Box) and part.dtype.kind != "f":
                floats = supported.replace("Box", "Box of floats")
                named = f": its part {path}, {one_line(part)}," if path else ""
                raise ConfigError(f"{which}{named} has dtype {part.dtype}; {floats}")


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
        own, known = parts_of(here), parts_of(there)
        text = (
            f"{env_name}: its {role.replace('_', ' ')} is {one_line(here, 200)}; the policy was "
            f"trained on {one_line(there, 200)}"
        )
        ordered = list if role == "action_space" else set  # the numbers of an action have an order
        if type(here) is not type(there) or ordered(own) != ordered(known):
            raise UserError(text)
        others = [path for path, part in own.items() if not _same(part, known[path])]
        if not all(_alike(own[path], known[path]) for path in others):
            raise UserError(text)
        if others:
            warnings.warn(text, stacklevel=2)


def _same(here: Space[Any], there: Space[Any]) -> bool:
    return here == there and here.dtype == there.dtype


def _alike(here: Space[Any], there: Space[Any]) -> bool:
    """Whether both are Boxes that look the same to a network."""
    boxes = isinstance(here, Box) and isinstance(there, Box)
    return boxes and here.shape == there.shape and is_image(here) == is_image(there)


def is_image(space: Space[Any]) -> bool:
    """Whether the workspace keeps observations as bytes: a uint8 Box with two or more axes."""
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) >= _IMAGE_DIMS


def as_observation(space: Space[Any], observed: Any) -> Tensor | dict[str, Tensor]:
    """Copy a vector environment's observations, `[B, …]`, into new tensors, as agents get them.

    Raises:
        UnfitError: if a part of a Dict or a Tuple is missing.
    """
    if not isinstance(space, Dict | Tuple):
        return _as_row(space, observed)
    parts = zip(parts_of(space).items(), taken_apart(space, observed), strict=True)
    return {path: _as_row(part, one) for (path, part), one in parts}


def _as_row(space: Space[Any], observed: Array) -> Tensor:
    row = observation_template(space, len(observed))
    np.subtract(
        observed,
        space.start if isinstance(space, Discrete | MultiDiscrete) else 0,
        out=row.numpy(),
        casting="unsafe",  # float64 to float32
    )
    return row


def size(space: Space[Any]) -> Any:
    """The n of a Discrete space, the length of a vector, or the shape of another array.

    For a MultiDiscrete, a Dict or a Tuple it is the space itself, which agents take as well.
    """
    if isinstance(space, MultiDiscrete | Dict | Tuple):
        return space
    if isinstance(space, Discrete):
        return int(space.n)
    assert space.shape is not None
    return space.shape[0] if len(space.shape) == 1 else tuple(space.shape)
