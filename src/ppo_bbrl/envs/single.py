"""A single environment: its spaces, a reset, a close."""

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np

from ppo_bbrl.envs.faults import RESET, StalledError, UnfitError, described

Env = gym.Env[Any, Any]
MakeEnv = Callable[[], Env]
Spaces = tuple[gym.Space[Any], gym.Space[Any]]  # of observations and of actions


def itself(env: Env) -> Env:
    """The environment, for those who ask for functions that make one."""
    return env


def spaces_of(env: Env) -> Spaces:
    """Of observations and of actions."""
    return env.observation_space, env.action_space


def check_spaces(env: Env, like: Spaces) -> None:
    """Refuse an environment with other spaces than these.

    Raises:
        UnfitError: naming both.
    """
    for role, own, expected in zip(("observation", "action"), spaces_of(env), like, strict=True):
        if own != expected:
            raise UnfitError(
                f"its {role} space {own} differs from that of the first environment, {expected}"
            )


def close_each(envs: Iterable[Env], running: Any) -> list[tuple[int, BaseException]]:
    """Close all environments; return the index and the error of each that failed."""
    problems: list[tuple[int, BaseException]] = []
    for i, env in enumerate(envs):
        running[0] = i
        try:
            env.close()
        except (Exception, SystemExit, StalledError) as error:  # noqa: BLE001 - whatever it is
            problems.append((i, error))
    return problems


def reset(env: Env, **kwargs: Any) -> Any:
    """An observation and an info.

    Raises:
        UnfitError: if it returns something else.
    """
    if kwargs.get("seed") is not None:
        _seed_spaces(env, kwargs["seed"])
    returned: Any = env.reset(**kwargs)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise UnfitError(f"reset() returned {described(returned)}; expected the pair {RESET}")
    return returned


def own_spaces(env: Env) -> None:
    """Give an environment copies of the spaces of its class.

    It may draw from them, as in `self.action_space.sample()`: others would then draw from the same
    stream, and its state would lack it.
    """
    base = env.unwrapped
    for name in ("observation_space", "action_space"):
        if name not in vars(base) and isinstance(getattr(type(base), name, None), gym.Space):
            setattr(base, name, deepcopy(getattr(base, name)))


def _seed_spaces(env: Env, seed: int) -> None:
    """Seed the spaces of an environment, too."""
    own_spaces(env)
    base = env.unwrapped
    for_observations, for_actions = np.random.SeedSequence(seed).generate_state(2)
    base.observation_space.seed(int(for_observations))
    base.action_space.seed(int(for_actions))
