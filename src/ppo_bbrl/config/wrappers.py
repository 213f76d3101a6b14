"""Environment wrappers as data: what a configuration may name, and what a run records.

A name stands for one of Gymnasium's wrappers, from an allow-list, or for one of the package's. If
a program passes one of these, the run records it under that name. Any other wrapper is recorded
under its own name, which is never imported: whoever opens the run passes the wrapper again.
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

from ppo_bbrl.config.atari import EpisodicLife, FireReset
from ppo_bbrl.config.mask_velocity import MaskVelocity
from ppo_bbrl.errors import ConfigError, one_line

Env = gym.Env[Any, Any]
Wrapper = Callable[[Env], Env]

# All but those that take a function, write files, open windows, or are for other libraries.
ALLOWED = (
    "AddRenderObservation",
    "AtariPreprocessing",
    "ClipAction",
    "ClipReward",
    "DelayObservation",
    "DiscretizeAction",
    "DiscretizeObservation",
    "DtypeObservation",
    "FilterObservation",
    "FlattenObservation",
    "FrameStackObservation",
    "GrayscaleObservation",
    "MaxAndSkipObservation",
    "NormalizeObservation",
    "NormalizeReward",
    "RecordEpisodeStatistics",
    "RepeatAction",
    "RescaleAction",
    "RescaleObservation",
    "ReshapeObservation",
    "ResizeObservation",
    "StickyAction",
    "TimeAwareObservation",
    "TimeLimit",
)
#: wrappers of the package
OURS: dict[str, Any] = {
    "EpisodicLife": EpisodicLife,
    "FireReset": FireReset,
    "MaskVelocity": MaskVelocity,
}
_PREFIX = "gymnasium.wrappers."
# Arguments that are numbers or arrays; for all others a YAML list stands for a tuple.
_BOUNDS = ("min_action", "max_action", "min_obs", "max_obs")
# The key under which a run records a wrapper that is not in the list.
_OWN = "callable"
_MAX_NAME = 200
# Wrappers that keep running statistics across episodes, by the attribute that holds them.
_STATISTICS = {
    "obs_rms": "NormalizeObservation keeps separate statistics in each environment and starts "
    "from scratch in an evaluation, so the policy sees different numbers there; use "
    "algorithm.normalize_observation: true instead, or scale by constants, as RescaleObservation "
    "does",
    "return_rms": "NormalizeReward keeps separate statistics in each environment and starts from "
    "scratch in an evaluation, so its returns are on a different scale; use "
    "algorithm.normalize_reward: true instead",
}


@dataclass(frozen=True)
class Named:
    """One of Gymnasium's wrappers with its arguments, as in a configuration."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __call__(self, env: Env) -> Env:
        """Wrap an environment."""
        arguments = {
            name: _bound(name, value, env) if name in _BOUNDS else _with_tuples(value)
            for name, value in self.arguments.items()
        }
        wrapped: Env = _class(self.name)(env, **arguments)
        return wrapped

    @property
    def entry(self) -> Any:
        """The form in a configuration."""
        return {"classname": self.name, **self.arguments} if self.arguments else self.name


@dataclass(frozen=True)
class Own:
    """A wrapper of the user's program; a file can record only its name."""

    name: str

    @property
    def entry(self) -> Any:
        """The form in the configuration of a run."""
        return {_OWN: self.name}

    @property
    def last_name(self) -> str:
        """Its name without the module, which depends on how a program is started."""
        return self.name.rpartition(".")[2]


def parse(entry: Any, key: str = "gym_env.wrappers") -> Named | Own:
    """The wrapper that an item of `gym_env.wrappers` stands for.

    Args:
        entry: a name, or a mapping with arguments: `{classname: Name, …}` or `{Name: {…}}`.
        key: the name of the item in errors.

    Raises:
        ConfigError: for a name that is not allowed, or arguments that the wrapper does not accept.
    """
    try:
        plain = _plain(entry)
    except TypeError as error:
        raise ConfigError(f"{key} = {one_line(repr(entry), 200)}: {error}") from error
    if isinstance(plain, dict) and "classname" in plain:
        arguments = dict(plain)
        name = arguments.pop("classname")
    elif isinstance(plain, dict) and len(plain) == 1:
        ((name, arguments),) = plain.items()
        if name == _OWN and isinstance(arguments, str):
            return Own(arguments)
        arguments = {} if arguments is None else arguments
    else:
        name, arguments = plain, {}
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ConfigError(
            f"{key} = {one_line(repr(plain))}: must be the name of a wrapper, or a mapping such "
            "as {classname: FrameStackObservation, stack_size: 4}"
        )
    short = name.removeprefix(_PREFIX)
    if _class(short) is None:
        near = get_close_matches(short, (*ALLOWED, *OURS), n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"{key} = {one_line(repr(name), 100)}: must be one of gymnasium.wrappers: "
            f"{', '.join(ALLOWED)}; or {', '.join(OURS)}{hint}"
        )
    try:
        inspect.signature(_class(short)).bind(None, **arguments)
    except TypeError as error:
        raise ConfigError(f"{key} = {one_line(repr(plain), 200)}: {short}: {error}") from error
    return Named(short, arguments)


def describe(wrapper: Wrapper) -> Named | Own:
    """What a run can record: name and arguments of a Gymnasium wrapper, only the name of others."""
    if isinstance(wrapper, Named):
        return wrapper
    made_by, arguments, more = wrapper, {}, ()
    if isinstance(wrapper, partial):
        made_by, arguments, more = wrapper.func, wrapper.keywords, wrapper.args
    name = getattr(made_by, "__name__", "")
    if _class(name) is made_by and not more:
        with suppress(TypeError):
            return Named(name, _plain(arguments))
    has_name = made_by if hasattr(made_by, "__qualname__") else type(made_by)
    return Own(f"{has_name.__module__}.{has_name.__qualname__}"[-_MAX_NAME:])


def combine(entries: Sequence[Any], given: Iterable[Wrapper]) -> tuple[list[Any], list[Wrapper]]:
    """Combine the wrappers of a configuration and of a program, in the order of application.

    The program's wrappers come last. If the configuration comes from a run that already had them,
    they are not added a second time: they match either its last entries or, in order, the entries
    that record only a name.

    Args:
        entries: the value of `gym_env.wrappers`.
        given: `env_wrappers`; the first is applied first.

    Returns:
        The value of `gym_env.wrappers` for the run, and the wrappers that correspond to it.

    Raises:
        ConfigError: if the configuration records only the name of a wrapper, and the program does
            not pass it.
    """
    wrappers: list[Any] = [
        parse(entry, f"gym_env.wrappers[{index}]") for index, entry in enumerate(entries)
    ]
    own_given = _callables(given)
    described = [describe(wrapper) for wrapper in own_given]
    # Use exactly what is recorded.
    used = [d if isinstance(d, Named) else w for d, w in zip(described, own_given, strict=True)]
    own = [index for index, wrapper in enumerate(wrappers) if isinstance(wrapper, Own)]
    start = len(wrappers) - len(used)
    if start >= 0 and all(map(_alike, wrappers[start:], described)):
        places: Sequence[int] = range(start, len(wrappers))
    elif len(own) == len(used):
        places = own
        _warn_of_other_names([wrappers[index] for index in own], described)
    else:
        places = range(len(wrappers), len(wrappers) + len(used))
        wrappers += described
    missing = [wrappers[index] for index in own if index not in places]
    if missing:
        names = ", ".join(one_line(repr(wrapper.name), _MAX_NAME) for wrapper in missing)
        again = ", ".join(one_line(wrapper.last_name, _MAX_NAME) for wrapper in missing)
        raise ConfigError(
            f"gym_env.wrappers: the run used a wrapper of your own, {names}, and its files record "
            f"only the name; pass it from your program, as in "
            f"ppo_bbrl.load(run, env_wrappers=[{again}])"
        )
    kept = [wrapper.entry for wrapper in wrappers]
    for place, wrapper in zip(places, used, strict=True):
        wrappers[place] = wrapper
    return kept, wrappers


def _class(name: str) -> Any:
    """The wrapper of this name; None if a configuration may not name it."""
    return OURS.get(name) or (getattr(gym.wrappers, name, None) if name in ALLOWED else None)


def wrap(env: Env, wrappers: Iterable[Wrapper]) -> Env:
    """Apply wrappers to an environment, the first one first. Closes it if one of them fails.

    Raises:
        ConfigError: naming the wrapper that fails or does not return an environment.
    """
    wrapped = env
    for wrapper in wrappers:
        try:
            made: Any = wrapper(wrapped)
            if not isinstance(made, gym.Env):
                raise TypeError(f"it returns a {type(made).__name__}, which is not an environment")
            wrapped = made
        except BaseException as error:
            with suppress(Exception):
                env.close()
            if not isinstance(error, Exception):
                raise
            raise ConfigError(f"its wrapper {_name(wrapper)} fails: {one_line(error)}") from error
    return wrapped


def warn_of_statistics(env: Env | VectorEnv[Any, Any, Any]) -> None:
    """Warn about wrappers that keep separate statistics in each environment."""
    if isinstance(env, SyncVectorEnv | AsyncVectorEnv):
        answers = {name: bool(env.call("has_wrapper_attr", name)[0]) for name in _STATISTICS}
    elif isinstance(env, gym.Env):
        answers = {name: env.has_wrapper_attr(name) for name in _STATISTICS}
    else:
        return
    for name, has_it in answers.items():
        if has_it:
            warnings.warn(_STATISTICS[name], stacklevel=2)


def _callables(given: Any) -> list[Wrapper]:
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ConfigError(f"env_wrappers = {one_line(repr(given), 200)}: must be a list")
    wrappers = list(given)
    for index, wrapper in enumerate(wrappers):
        if not callable(wrapper):
            raise ConfigError(
                f"env_wrappers[{index}] = {one_line(repr(wrapper), 200)}: must be a class or a "
                "function; put names into gym_env.wrappers"
            )
    return wrappers


def _alike(one: Named | Own, other: Named | Own) -> bool:
    if isinstance(one, Own) and isinstance(other, Own):
        return one.last_name == other.last_name
    return one == other


def _warn_of_other_names(recorded: Sequence[Own], given: Sequence[Named | Own]) -> None:
    for one, other in zip(recorded, given, strict=True):
        if not _alike(one, other):
            warnings.warn(
                f"the run used the wrapper {one.name!r}; {other.name!r} takes its place and is "
                "assumed to do the same",
                stacklevel=3,
            )


def _name(wrapper: Wrapper) -> str:
    known = describe(getattr(wrapper, "wrapper", wrapper))  # of one for training alone
    return known.name if isinstance(known, Named) else known.last_name


def _bound(name: str, value: Any, env: Env) -> Any:
    """An array with the dtype of the space, since Gymnasium warns about any other."""
    space = env.action_space if name.endswith("action") else env.observation_space
    return np.full(space.shape, value, space.dtype) if isinstance(space, Box) else value


def _with_tuples(value: Any) -> Any:
    """Lists as tuples, which Gymnasium expects."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A value in a form that YAML can represent.

    Raises:
        TypeError: if there is none.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(f"a {type(value).__name__} cannot be written as YAML")
