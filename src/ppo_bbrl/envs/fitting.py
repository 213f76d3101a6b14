"""Observations of single environments as their rows take them, or what is wrong with them."""

import operator
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray

from ppo_bbrl.envs.faults import narrowed, unfit_observation


def fitting(observation: Any, space: Any) -> Any:
    """An observation, or a part of one, as its row takes it.

    Raises:
        UnfitError: if it has another shape or kind, or a number that the space has not.
    """
    if isinstance(space, Discrete):
        try:
            state = operator.index(observation)
        except TypeError:
            raise unfit_observation(observation, space) from None
        if not 0 <= state - int(space.start) < space.n:
            raise unfit_observation(observation, space)
        return state
    try:
        array = np.asarray(observation)
    except Exception:  # noqa: BLE001 - ragged lists, tensors that require grad
        raise unfit_observation(observation, space) from None
    dtype: Any = space.dtype
    any_number = not isinstance(space, MultiDiscrete | MultiBinary)
    if array.shape == space.shape and (any_number or _are_states(array, space)):
        if np.can_cast(array.dtype, dtype, "same_kind"):
            return narrowed(array, dtype) if dtype.kind == "f" else array
        if array.dtype.kind in "iu" and dtype.kind in "iub":
            as_stored = array.astype(dtype)
            if np.array_equal(as_stored, array):  # 0 to 255 in an image of int64
                return as_stored
    raise unfit_observation(observation, space)


def _are_states(array: NDArray[Any], space: MultiDiscrete | MultiBinary) -> bool:
    if array.dtype.kind not in "iub":
        return False
    if isinstance(space, MultiBinary):
        return bool(((array == 0) | (array == 1)).all())
    index = array.astype(np.int64) - space.start
    return bool(((index >= 0) & (index < space.nvec)).all())
