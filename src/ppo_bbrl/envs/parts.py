"""Splits Dict and Tuple observations into parts, each identified by a path.

The path of a part consists of the keys that lead to it: `a`, or `a/b` in a Dict within a Dict;
entries of a Tuple have numbers. An observation of any other space is a single part with the empty
path.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Dict, Discrete, MultiDiscrete, Tuple
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.envs.faults import UnfitError, check_rows, described, narrowed
from ppo_bbrl.errors import ConfigError

Array = NDArray[Any]

DEEPEST = 8  # maximum nesting of spaces


def parts_of(space: Space[Any], path: str = "") -> dict[str, Space[Any]]:
    """The parts of a space by path, in its order: none of them is a Dict or a Tuple.

    Raises:
        ConfigError: for keys that cannot be in a path, spaces without parts, and nesting that is
            too deep.
    """
    if not isinstance(space, Dict | Tuple):
        return {path: space}
    if path.count("/") >= DEEPEST - 1:
        raise ConfigError(f"its part {path[:40]}… is deeper than {DEEPEST} spaces within spaces")
    parts: dict[str, Space[Any]] = {}
    for key, one in _entries(space):
        if not isinstance(key, str) or not key or "/" in key or not key.isprintable():
            raise ConfigError(f"its key {key!r:.100} must be a non-empty string without /")
        parts |= parts_of(one, f"{path}/{key}" if path else key)
    if not parts:
        raise ConfigError(f"its part {path!r} is empty" if path else "it is empty")
    return parts


def taken_apart(space: Space[Any], value: Any, path: str = "") -> list[Any]:
    """The parts of a Dict or Tuple observation, in the order of `parts_of`.

    Args:
        space: the observation space of one environment.
        value: an observation of one environment, or of several.
        path: the path of this space in the outermost one.

    Raises:
        UnfitError: if a key or an entry is missing, or there are too many.
    """
    if isinstance(space, Dict):
        keys = [*space.spaces]
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            there = f"a dict of {[*value]}" if isinstance(value, Mapping) else described(value)
            raise UnfitError(f"its observation{_at(path)} is {there}; expected a dict of {keys}")
    elif isinstance(space, Tuple):
        n = len(space.spaces)
        if not isinstance(value, tuple | list) or len(value) != n:
            wanted = f"expected a tuple of {n} values"
            raise UnfitError(f"its observation{_at(path)} is {described(value)}; {wanted}")
    else:
        return [value]
    found = []
    for key, one in _entries(space):
        inner = value[key if isinstance(space, Dict) else int(key)]
        found += taken_apart(one, inner, f"{path}/{key}" if path else str(key))
    return found


def observation_template(space: Space[Any], n_envs: int) -> Tensor:
    """Zeros with the shape and dtype of one row of observations in the workspace.

    Args:
        space: any space except Dict and Tuple, whose parts each have their own row.
        n_envs: B.
    """
    assert space.shape is not None
    if isinstance(space, Discrete | MultiDiscrete):
        return torch.zeros(n_envs, *space.shape, dtype=torch.int64)
    image = space.dtype == np.uint8 and len(space.shape) > 1
    return torch.zeros(n_envs, *space.shape, dtype=torch.uint8 if image else torch.float32)


class ObservationRows:
    """Converts observations of a space to rows of the workspace, one for each part.

    Args:
        space: the observation space of one environment.
        n_envs: B.

    Attributes:
        templates: `[B, …]` by name, `env_obs` or `env_obs/<path>`.
    """

    def __init__(self, space: Space[Any], n_envs: int) -> None:
        parts = parts_of(space)
        self.templates = {
            f"env_obs/{path}" if path else "env_obs": observation_template(part, n_envs)
            for path, part in parts.items()
        }
        self._space, self._whole, self._n_envs = space, "" in parts, n_envs
        self._shapes = [tuple(part.shape or ()) for part in parts.values()]
        starts = [np.asarray(getattr(part, "start", 0)) for part in parts.values()]
        #: subtracted from indices; None if they start at 0
        self._first = [start if start.any() else None for start in starts]
        #: whether the workspace stores each part in a narrower type
        self._wide = [part.dtype == np.float64 for part in parts.values()]

    def of(self, observation: Any) -> list[Array]:
        """The rows for what a vector environment returned, in the order of the templates.

        Raises:
            UnfitError: if a part is missing, or has numbers that are too large.
        """
        parts = [observation] if self._whole else taken_apart(self._space, observation)
        for i, (first, wide) in enumerate(zip(self._first, self._wide, strict=True)):
            if wide:
                parts[i] = narrowed(parts[i], np.dtype(np.float32), rows=True)
            if first is not None:
                parts[i] = parts[i] - first
        return parts

    def check(self, observation: Any) -> None:
        """Refuse observations of a vector environment that have the wrong shape.

        Raises:
            UnfitError: naming the expected shape.
        """
        for part, shape in zip(taken_apart(self._space, observation), self._shapes, strict=True):
            check_rows(self._n_envs, observations=(part, shape))


def _entries(space: Any) -> list[tuple[Any, Space[Any]]]:
    if isinstance(space, Dict):
        return [*space.spaces.items()]
    return [(str(i), one) for i, one in enumerate(space.spaces)]


def _at(path: str) -> str:
    return f" at {path}" if path else ""
