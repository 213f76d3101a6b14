"""Observations that a user's program gives to a trained policy: checked, and as agents get them."""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.agents.observations import Observation
from ppo_bbrl.envs.faults import UnfitError
from ppo_bbrl.envs.parts import parts_of, taken_apart
from ppo_bbrl.envs.spaces import as_observation, is_image
from ppo_bbrl.errors import UserError, one_line

Array = NDArray[Any]


def as_batch(space: Space[Any], observation: Any) -> tuple[Observation, int, bool]:
    """An observation of an environment, or a batch of them, as agents get it.

    Args:
        space: of one environment.
        observation: as the environment returns it, `[…]`, or a batch, `[N, …]`; for Dict and Tuple
            a dict or tuple of these.

    Returns:
        The batch, `[N, …]` by path; N; and whether it was a single observation.

    Raises:
        UserError: for an observation that is not in the space.
    """
    parts = parts_of(space)
    pair = isinstance(observation, tuple) and len(observation) == 2
    if pair and isinstance(observation[1], dict) and not isinstance(space, Tuple):
        raise UserError(
            "the observation is a pair with a dict, as reset() returns: give its first part, as in "
            "observation, info = env.reset()"
        )
    try:
        arrays = [_as_array(one) for one in taken_apart(space, observation)]
    except UnfitError as error:
        raise UserError(str(error).replace("its", "the", 1)) from None
    pairs = list(zip(parts.items(), arrays, strict=True))
    single = all(array.shape == (part.shape or ()) for (_, part), array in pairs)
    if not single:
        _refuse_mixture(pairs)
    row: dict[str, Any] = {}
    for (path, part), array in pairs:
        batch = array[None] if single else array
        _check(batch, part, f"the observation at {path}" if path else "the observation")
        row[path] = as_observation(part, batch)
    lengths = {len(one) for one in row.values()}
    if len(lengths) > 1:
        raise UserError(f"the parts of the observation are batches of {sorted(lengths)}")
    return row.get("", row), lengths.pop(), single


def _refuse_mixture(pairs: Any) -> None:
    """Refuse observations of which one part is single, and another one a batch."""
    batches = [path for (path, part), one in pairs if one.shape[1:] == part.shape and one.ndim]
    for (path, part), one in pairs:
        if one.shape == part.shape and batches and path not in batches:
            raise UserError(
                f"the observation at {path} is a single one, that at {batches[0]} a batch: all "
                "parts must be the one or the other"
            )


def _as_array(observation: Any) -> Array:
    if isinstance(observation, Tensor):
        observation = observation.detach().cpu().numpy()
    try:
        return np.asarray(observation)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"the observation is not an array: {one_line(error)}") from error


def _check(batch: Array, space: Any, named: str) -> None:
    """Refuse observations that are not in the space: a network would accept anything."""
    shape = tuple(space.shape or ())
    if batch.shape[1:] != shape or batch.ndim != len(shape) + 1 or batch.dtype.kind not in "biuf":
        what = f"shape {list(batch.shape)} and dtype {batch.dtype}"
        raise UserError(
            f"{named} has {what}; must have shape {list(shape)}, or [N, …] for a batch, as in "
            f"{one_line(space, 200)}"
        )
    low: Any = 0
    high: Any = 255
    if isinstance(space, Discrete):
        low, high = space.start, space.start + space.n - 1
    elif isinstance(space, MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    elif isinstance(space, MultiBinary):
        high = 1
    elif not is_image(space):
        assert isinstance(space, Box)
        with np.errstate(over="ignore"):
            seen = batch.astype(np.float32, copy=False)  # as networks do
        if not np.isfinite(seen).all():
            raise UserError(f"{named} contains NaN or infinite numbers, or some beyond ±3.4e+38")
        return
    if batch.dtype.kind not in "biu" or not bool(((low <= batch) & (batch <= high)).all()):
        raise UserError(
            f"{named} is not in {one_line(space, 200)}: must contain integers from "
            f"{_told(low)} to {_told(high)}"
        )


def _told(bound: Any) -> str:
    return one_line(np.asarray(bound).tolist())
