"""Converts actions from a row of the workspace to the form that an environment expects.

In the workspace every action is one tensor: indices 0..n-1 for Discrete and MultiDiscrete, whatever
the space's `start`; zeros and ones in float32 for MultiBinary; numbers as the policy sampled them,
unclipped, for Box. For Dict and Tuple it is a flat vector of floats, the parts of the space one
after the other. The environment receives them in the right structure and type, with `start` added,
clipped to the bounds.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.errors import UserError, one_line

Array = NDArray[Any]
#: the spaces that the package has a policy for, nested or not
ACTION_KINDS = (Box, Discrete, MultiDiscrete, MultiBinary, Dict, Tuple)
#: from a row of actions in the workspace, `[B, …]`, to what `VectorEnv.step` takes
Converter = Callable[[Array | Tensor], Any]


@runtime_checkable
class OwnSpace(Protocol):
    """An action space of your own: a class derived from `gymnasium.Space` (docs/extending.md)."""

    def action_head(self) -> Any:
        """A module with `n_outputs`, which turns outputs `[..., n_outputs]` into a distribution."""

    def for_environments(self, actions: Array) -> Any:
        """Actions as the policy writes them, `[B, …]`, as one entry for each environment."""


def is_own(space: Space[Any]) -> bool:
    """Whether a space, or a part of it, is one of your own."""
    return any(isinstance(part, OwnSpace) for part in leaves(space))


def leaves(space: Space[Any]) -> Iterator[Space[Any]]:
    """The elementary spaces in nested Dicts and Tuples, in the order of an action's numbers."""
    if not isinstance(space, Dict | Tuple):
        yield space
        return
    for part in space.spaces.values() if isinstance(space, Dict) else space.spaces:
        yield from leaves(part)


def action_converter(space: Space[Any], n_envs: int) -> Converter:
    """Return a function that converts a row of actions from the workspace for `VectorEnv.step`.

    It makes an array `[B, …]`, for Dict and Tuple a dict or tuple of arrays, which environments may
    write in, and raises ValueError for actions of the wrong shape or dtype.
    """
    if isinstance(space, OwnSpace):
        return lambda actions: space.for_environments(_array(actions).copy())
    if isinstance(space, Discrete | MultiDiscrete):
        return _indices(space, n_envs)
    if isinstance(space, MultiBinary):
        return _bits(space, n_envs)
    if isinstance(space, Box):
        return _numbers(space, n_envs)
    if isinstance(space, Dict | Tuple):
        return _parts(space, n_envs)
    raise UserError(f"there are no actions for {one_line(space)}")


def each_action(space: Space[Any], actions: Any, n_envs: int) -> list[Any]:
    """Split a converter's result for Dict or Tuple into one action for each environment."""
    return [_one_of(space, actions, index) for index in range(n_envs)]


def _one_of(space: Space[Any], actions: Any, index: int) -> Any:
    if isinstance(space, Dict):
        return {name: _one_of(part, actions[name], index) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        pairs = zip(space.spaces, actions, strict=True)
        return tuple(_one_of(part, own, index) for part, own in pairs)
    # A Box contains only arrays, not numbers; an action of a Discrete may be used as a key.
    whole = isinstance(space, Discrete | OwnSpace)
    return actions[index] if whole else actions[index, ...]


def _indices(space: Discrete[Any] | MultiDiscrete, n_envs: int) -> Converter:
    assert space.shape is not None
    shape, start = (n_envs, *space.shape), space.start
    from_zero = not np.any(start)

    def discrete(action: Array | Tensor) -> Array:
        array = _array(action)
        if array.shape != shape or array.dtype.kind not in "iu":
            raise ValueError(_wrong_action(array, shape, "integers"))
        return (array if from_zero else array + start).astype(space.dtype, copy=from_zero)

    return discrete


def _bits(space: MultiBinary, n_envs: int) -> Converter:
    shape = (n_envs, *space.shape)

    def binary(action: Array | Tensor) -> Array:
        array = _array(action)
        if array.shape != shape or array.dtype.kind not in "biuf":
            raise ValueError(_wrong_action(array, shape, "zeros and ones"))
        return array.astype(np.int8)

    return binary


def _numbers(space: Box, n_envs: int) -> Converter:
    shape, low, high, dtype = (n_envs, *space.shape), space.low, space.high, space.dtype
    bounded = bool(np.isfinite(low).any() or np.isfinite(high).any())

    def box(action: Array | Tensor) -> Array:
        array = _array(action)
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(_wrong_action(array, shape, "floats"))
        if bounded:
            array = np.clip(array, low, high)
        return array.astype(dtype, copy=not bounded)

    return box


def _parts(space: Dict | Tuple[Any], n_envs: int) -> Converter:
    parts = list(leaves(space))
    sizes = [math.prod(part.shape or ()) for part in parts]
    shape, ends = (n_envs, sum(sizes)), np.cumsum(sizes)[:-1]
    converters = [action_converter(part, n_envs) for part in parts]

    def several(action: Array | Tensor) -> Any:
        array = _array(action)
        if array.shape != shape or array.dtype.kind != "f":
            raise ValueError(_wrong_action(array, shape, "floats"))
        made = []
        for numbers, part, convert in zip(
            np.split(array, ends, axis=1), parts, converters, strict=True
        ):
            own = numbers.reshape(n_envs, *(part.shape or ()))
            made.append(
                convert(own.astype(np.int64) if isinstance(part, Discrete | MultiDiscrete) else own)
            )
        return _structured(space, iter(made))

    return several


def _structured(space: Space[Any], made: Iterator[Any]) -> Any:
    if isinstance(space, Dict):
        return {name: _structured(part, made) for name, part in space.spaces.items()}
    if isinstance(space, Tuple):
        return tuple(_structured(part, made) for part in space.spaces)
    return next(made)


def _array(action: Array | Tensor) -> Array:
    return action if isinstance(action, np.ndarray) else action.detach().numpy()


def _wrong_action(action: Array, shape: tuple[int, ...], kind: str) -> str:
    return (
        f"the policy wrote actions of shape {list(action.shape)} and dtype {action.dtype}; "
        f"the environment takes shape {list(shape)}, {kind}"
    )
