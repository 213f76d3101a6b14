"""Masks of invalid actions: where a task has them, and one form for all of them.

In the workspace a mask is a row of `env/action_mask`, `[B, A]` bool, true where an action is
allowed: of the n actions of a Discrete space, or of the values of all components of a MultiDiscrete
space, one component after the other; of a Dict or a Tuple those of its parts that are such spaces,
in its order. It is taken from the first of these that a task has:
`info["action_mask"]` of `reset` and `step` (as in Gymnasium), a method `action_masks()` (as for
sb3-contrib), the key `action_mask` of a Dict observation (as for PettingZoo and RLlib).
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Dict, Discrete, MultiDiscrete, Tuple
from numpy.typing import NDArray

from ppo_bbrl.envs.actions import is_own, leaves
from ppo_bbrl.envs.faults import UnfitError, described
from ppo_bbrl.errors import ConfigError, one_line

AUTO, NONE = "auto", "none"
KEY = "action_mask"  # of an info, or of an observation
_METHOD = "action_masks"

Mask = NDArray[np.bool_]
Env = gym.Env[Any, Any]


def sizes_of(space: Space[Any]) -> list[int]:
    """How many values each component has; empty for a space whose actions have no masks."""
    if is_own(space):
        return []
    if isinstance(space, Dict | Tuple):
        return [size for part in leaves(space) for size in sizes_of(part)]
    if isinstance(space, Discrete):
        return [int(space.n)]
    return space.nvec.ravel().tolist() if isinstance(space, MultiDiscrete) else []


class MaskReader:
    """Reads the masks of environments of one action space.

    Args:
        space: of actions; None if masks are not to be looked for.
    """

    def __init__(self, space: Space[Any] | None) -> None:
        self.sizes = [] if space is None else sizes_of(space)
        self._space = space
        self._ends = np.cumsum(self.sizes)[:-1].tolist()

    @property
    def ignores(self) -> bool:
        """Whether masks are not to be looked for."""
        return self._space is None

    def found(self, env: Env | None, info: Any) -> str:
        """What has the mask of an environment after a reset: its info, its method; or nothing.

        Raises:
            UnfitError: if it has one, and its actions are of a space that has none.
        """
        if self._space is None:
            return ""
        in_info = isinstance(info, dict) and KEY in info
        source = KEY if in_info else _METHOD if env and callable(_method(env)) else ""
        if source and not self.sizes:
            raise UnfitError(unread(source, self._space))
        if env and not source and self._is_lost(env):
            warnings.warn(
                "the observations of the environment have an action_mask for each action, but "
                "those that its wrappers make of them have not: no action is masked "
                "(gym_env.action_mask: none if that is meant)",
                stacklevel=2,
            )
        return source

    def _is_lost(self, env: Env) -> bool:
        """Whether there was a mask in the observations, and a wrapper has hidden it."""
        spaces = [env.observation_space]
        while isinstance(env, gym.Wrapper):
            env = env.env
            spaces.append(env.observation_space)
        dicts = [space.spaces for space in spaces if isinstance(space, Dict)]
        parts = [parts[KEY] for parts in dicts if KEY in parts]
        return bool(self.sizes) and sum(self.sizes) in map(_numbers, parts)

    def read(self, source: str, env: Env, info: Any, over: bool) -> Mask:
        """The mask of an environment, `[A]`.

        Args:
            source: what `found` gave.
            env: the environment.
            info: of the last reset or step.
            over: whether its episode has ended, so that no action counts any more.

        Raises:
            UnfitError: if there is none of this form, or if it forbids everything.
        """
        if source == KEY:
            if not isinstance(info, dict) or KEY not in info:
                if over:
                    return np.ones(sum(self.sizes), np.bool_)
                raise UnfitError("its info has no action_mask, and that of the reset had one")
            return self.checked(info[KEY], over)
        return self.checked(_method(env)(), over)

    def checked(self, given: Any, over: bool = False) -> Mask:
        """What a task gives as a mask, in the form of the workspace.

        Args:
            given: `[A]`, or for MultiDiscrete an array for each component; for Dict and Tuple a
                dict or tuple of these, in which parts without masks may be left out or be None.
            over: whether no action counts any more: what is forbidden altogether is allowed then.

        Raises:
            UnfitError: if it is of another form, or if it forbids everything.
        """
        pieces = list(_pieces(self._space, given))
        mask = np.concatenate(pieces) if pieces else np.zeros(0)
        ends = {*np.cumsum([len(piece) for piece in pieces]).tolist()}
        is_mask = mask.dtype.kind in "biuf" and bool(((mask == 0) | (mask == 1)).all())
        if not is_mask or len(mask) != sum(self.sizes) or not ends <= {*self._ends, len(mask)}:
            n = " + ".join(map(str, self.sizes))
            raise UnfitError(f"its action mask is {described(given)}; expected {n} zeros and ones")
        allowed: Mask = mask.astype(np.bool_)
        if allowed.all():
            return allowed
        for i, part in enumerate(np.split(allowed, self._ends)):
            if not part.any():
                if not over:
                    which = f" of component {i}" if len(self.sizes) > 1 else ""
                    raise UnfitError(f"its action mask forbids all {len(part)} actions{which}")
                part[:] = True
        return allowed


def masks_of(infos: Any, reader: MaskReader, over: Mask) -> Mask | None:
    """The masks in the infos of a vector environment, `[B, A]`; None if there are none.

    Args:
        infos: of its last reset or step.
        reader: for its action space.
        over: `[B]`, whose episodes have ended.

    Raises:
        UnfitError: naming the environment whose mask does not fit.
    """
    given = infos.get(KEY) if isinstance(infos, dict) else None
    if given is None or reader.ignores:
        return None
    if not reader.sizes:
        reader.found(None, infos)
    if len(given) != len(over):
        raise UnfitError(f"there are {len(given)} action masks for {len(over)} environments")
    masks = []
    for i, (one, ended) in enumerate(zip(given, over, strict=True)):
        try:
            masks.append(reader.checked(one, bool(ended)))
        except UnfitError as error:
            raise UnfitError(f"environment {i} of {len(over)}: {error}") from None
    return np.stack(masks)


class MaskFromObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Takes one key out of Dict observations and hands it on as `info["action_mask"]`.

    Args:
        env: whose observations are Dicts with this key.
        key: that of the mask.
    """

    def __init__(self, env: Env, key: str = KEY) -> None:
        super().__init__(env)
        self._key, space = key, env.observation_space
        assert isinstance(space, Dict)
        self.observation_space = Dict(
            [(name, part) for name, part in space.spaces.items() if name != key]
        )

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """The observation without the mask, which is in the info."""
        observation, info = self.env.reset(**kwargs)
        return self._taken_apart(observation, info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The observation without the mask, which is in the info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        rest, info = self._taken_apart(observation, info)
        return rest, reward, terminated, truncated, info

    def _taken_apart(self, observation: Any, info: Any) -> tuple[Any, dict[str, Any]]:
        if not isinstance(observation, dict) or self._key not in observation:
            raise UnfitError(
                f"its observation is {described(observation)}; expected is a dict with {self._key}"
            )
        rest = {name: part for name, part in observation.items() if name != self._key}
        return rest, {**info, KEY: observation[self._key]}


def with_mask(env: Env, action_mask: str) -> Env:
    """An environment whose mask, if it is a key of its observations, is in its infos instead.

    Args:
        env: with all of its wrappers.
        action_mask: `gym_env.action_mask`.

    Raises:
        ConfigError: if the configuration names a key, and there is no such mask.
    """
    space = env.observation_space
    parts = space.spaces if isinstance(space, Dict) else {}
    total = sum(sizes_of(env.action_space))
    if action_mask == NONE:
        return env
    if action_mask == AUTO:
        source = KEY if KEY in parts else _METHOD if callable(_method(env)) else ""
        if source and not total:
            raise ConfigError(f"gym_env.action_mask = {AUTO!r}: {unread(source, env.action_space)}")
        fits = KEY in parts and len(parts) > 1 and total and _numbers(parts[KEY]) == total
        return MaskFromObservation(env) if fits else env
    named = f"gym_env.action_mask = {action_mask!r}"
    if not total:
        raise ConfigError(
            f"{named}: masks are for Discrete and MultiDiscrete actions, or parts; the space is "
            f"{one_line(env.action_space)}"
        )
    if action_mask not in parts or len(parts) == 1:
        raise ConfigError(
            f"{named}: must be auto, none or one of several keys of the observation; the "
            f"observation space is {one_line(space)}"
        )
    if _numbers(parts[action_mask]) != total:
        raise ConfigError(
            f"{named}: that part of the observation, {one_line(parts[action_mask])}, has not one "
            f"number for each of {total} actions"
        )
    return MaskFromObservation(env, action_mask)


def _numbers(space: Space[Any]) -> int:
    if isinstance(space, Dict | gym.spaces.Tuple):
        entries = space.spaces.values() if isinstance(space, Dict) else space.spaces
        return sum(map(_numbers, entries))
    return int(np.prod(space.shape)) if space.shape is not None else 0


def _method(env: Env) -> Any:
    return env.get_wrapper_attr(_METHOD) if env.has_wrapper_attr(_METHOD) else None


def unread(source: str, space: Space[Any] | None) -> str:
    """What to say of masks for actions that have none."""
    return (
        f"it gives masks of invalid actions ({source}), and masks are for Discrete and "
        f"MultiDiscrete actions, or parts of one; its action space is {one_line(space)}: "
        "gym_env.action_mask: none trains without"
    )


def _pieces(space: Space[Any] | None, given: Any) -> Iterator[NDArray[Any]]:
    """The arrays of which a mask consists: one, or one for each component."""
    several = isinstance(given, tuple | list) and not all(np.isscalar(piece) for piece in given)
    if isinstance(space, Dict) and isinstance(given, Mapping):
        wanted = [key for key, part in space.spaces.items() if sizes_of(part)]
        if not {*wanted} <= given.keys() <= {*space.spaces}:
            there = f"a dict of {[*given]}"
            raise UnfitError(f"its action mask is {there}; expected a dict of {wanted}")
        for key in wanted:
            yield from _pieces(space.spaces[key], given[key])
    elif isinstance(space, Tuple) and several and len(given) == len(space.spaces):
        for part, own in zip(space.spaces, given, strict=True):
            if sizes_of(part):
                yield from _pieces(part, own)
    elif several:
        for piece in given:
            yield from _pieces(None, piece)
    else:
        yield np.ravel(np.asarray(given))
