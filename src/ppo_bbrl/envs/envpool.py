"""EnvPool's environments, which run in threads of C++, as a vector environment of Gymnasium.

EnvPool resets an ended environment in the following step, whatever its action, with reward 0:
this is Gymnasium's next-step autoreset. It differs in three ways. The seed is given when a pool
is made, so a seeded reset makes a new pool. An episode that terminates in the very step of its
time limit counts as truncated, because EnvPool does not distinguish the two. And its tasks are
reimplemented in C++, so they have other random streams than Gymnasium's tasks of the same name.
"""

import warnings
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Tuple
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ppo_bbrl.errors import ConfigError

Array = NDArray[Any]

_LARGEST = 2**31 - 1  # EnvPool's integers have 32 bits

# Arguments that the adapter sets: all environments step together, and are seeded at a reset.
_RESERVED = (
    "batch_size",
    "env_seed",
    "env_type",
    "gym_reset_return_info",
    "max_num_players",
    "num_envs",
    "seed",
    "task_id",
)


class EnvPoolVectorEnv(VectorEnv[Array, Array, Array]):
    """A pool of `num_envs` environments of one task.

    Args:
        env_name: a task of EnvPool.
        num_envs: B.
        env_args: keyword arguments of the task, and of EnvPool (`num_threads`). As in Gymnasium,
            `max_episode_steps` is -1 for no limit.

    Raises:
        ConfigError: if EnvPool is not installed, lacks the task or rejects an argument.
    """

    def __init__(self, env_name: str, num_envs: int, env_args: Mapping[str, Any]) -> None:
        self._envpool = _import()
        self._name, self._args = env_name, _arguments(env_name, env_args, self._envpool)
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self._pool = self._make(int(np.random.SeedSequence().generate_state(1)[0]))
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space
        players = self._pool.config.get("max_num_players", 1)
        if players != 1:
            raise ConfigError(
                f"gym_env.env_name = {env_name!r}: has {players} players; must be a task for one"
            )
        if isinstance(self.single_observation_space, Dict | Tuple):
            raise ConfigError(
                f"gym_env.env_name = {env_name!r}: its observations are a "
                f"{type(self.single_observation_space).__name__}, which is not supported with "
                "gym_env.vectorization = envpool"
            )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Reset all environments; with a seed, in a new pool."""
        del options
        if seed is not None:
            self._pool = None  # ends the threads of the old pool
            self._pool = self._make(seed)
        observation, info = self._pool.reset()
        return observation, info

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Step all environments, or reset those that have ended."""
        if actions.dtype.kind in "iu":
            actions = actions.astype(np.int32)
        observation, reward, terminated, truncated, info = self._pool.step(actions)
        return observation, reward, terminated.astype(bool), truncated.astype(bool), info

    def close_extras(self, **kwargs: Any) -> None:
        """End the pool's threads, which EnvPool's own `close` does not."""
        self._pool = None

    def _make(self, seed: int) -> Any:
        # Environment i gets the seed `seed + i`.
        seed %= _LARGEST - self.num_envs
        try:
            pool = self._envpool.make(
                self._name, env_type="gymnasium", num_envs=self.num_envs, seed=seed, **self._args
            )
            _make_spaces(pool)
        except Exception as error:
            raise _cannot_be_made(self._name, self._args, error) from error
        return pool


def time_limit(env_name: str, env_args: Mapping[str, Any]) -> int | None:
    """The time limit of an EnvPool task's episodes, in steps; None if there is none.

    Raises:
        ConfigError: if EnvPool is not installed, lacks the task or rejects an argument.
    """
    envpool = _import()
    arguments = _arguments(env_name, env_args, envpool)
    try:
        limit = int(envpool.make_spec(env_name, **arguments).config.max_episode_steps)
    except Exception as error:
        raise _cannot_be_made(env_name, arguments, error) from error
    return limit if 0 < limit < _LARGEST else None  # 0: the limit varies between episodes


def _import() -> Any:
    chosen = "gym_env.vectorization = envpool"
    try:
        import envpool  # noqa: PLC0415 - optional
    except Exception as error:  # a build for another NumPy may fail in any way
        if isinstance(error, ModuleNotFoundError) and error.name == "envpool":
            remedy = "pip install 'ppo-bbrl[envpool]'"
            raise ConfigError(f"{chosen}: EnvPool is not installed ({remedy})") from error
        raise ConfigError(f"{chosen}: EnvPool cannot be imported: {_reason(error)}") from error
    return envpool


def _arguments(env_name: str, env_args: Mapping[str, Any], envpool: Any) -> dict[str, Any]:
    """Check the task's name; return the arguments of `envpool.make`."""
    if env_name not in envpool.list_all_envs():
        raise ConfigError(f"gym_env.env_name = {env_name!r}: EnvPool has no such task")
    for name in _RESERVED:
        if name in env_args:
            raise ConfigError(
                f"gym_env.env_args.{name}: cannot be set with gym_env.vectorization = envpool"
            )
    arguments = dict(env_args)
    if arguments.get("max_episode_steps") == -1:  # EnvPool would end every episode at once
        arguments["max_episode_steps"] = _LARGEST
    return arguments


def _cannot_be_made(env_name: str, env_args: Mapping[str, Any], error: Exception) -> ConfigError:
    with_args = f" with gym_env.env_args = {dict(env_args)}" if env_args else ""
    why = f"cannot be made by EnvPool: {_reason(error)}"
    return ConfigError(f"gym_env.env_name = {env_name!r}{with_args} {why}")


def _reason(error: Exception) -> str:
    return shorten(str(error), 300) or type(error).__name__  # one line of long C++ messages


def _make_spaces(pool: Any) -> None:
    """Let a pool create and keep its spaces, without a warning.

    It gives float64 bounds to a float32 Box, about which Gymnasium warns.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Box (low|high)'s precision lowered by casting")
        _ = pool.observation_space, pool.action_space
