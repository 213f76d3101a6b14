"""Make vector environments by name, with next-step autoreset."""

import os
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from omegaconf import DictConfig, ListConfig

from ppo_bbrl.config.wrappers import Wrapper, wrap
from ppo_bbrl.envs import envpool as envpool_envs
from ppo_bbrl.envs.faults import mujoco_remedy, mujoco_warns_as_python_does, reason
from ppo_bbrl.envs.guard import OnFailure, check_on_failure
from ppo_bbrl.envs.masks import AUTO, NONE, with_mask
from ppo_bbrl.envs.names import find_spec
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.twins import is_same_task, limit_of, other_space, what_is_lost
from ppo_bbrl.envs.workers import WorkerVectorEnv, choose_workers
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.system.compute import available_cores, core_numbers

DEFAULT_TIME_LIMIT = 10_000

# Environments of bbrl_gymnasium that call float() on their action, which numpy ≥ 2.4 allows only
# for 0-d arrays.
_SCALAR_ACTION = ("bbrl_gymnasium.envs:ContinuousCartPoleEnv",)

# Environments that no wrapper can repair: this one cannot be seeded or rendered either.
_UNUSABLE = {
    "bbrl_gymnasium.envs:RocketLanderEnv": "its step() returns 4 values where Gymnasium takes 5",
}


class ScalarAction(gym.ActionWrapper[Any, Any, Any]):
    """Hands an action of shape (1,) to the environment as a 0-d array."""

    def action(self, action: Any) -> Any:
        """The action, of shape (1,), as an array of shape ()."""
        return np.asarray(action).reshape(())


def own_copy(value: Any) -> Any:
    """A copy with Python's own lists, tuples and dicts; anything else stays as it is.

    In a configuration, lists and dicts are OmegaConf's and shared. An environment may modify its
    arguments or write them as JSON, so each one gets its own plain copy.

    `plain_values.plain` handles the values of a configuration; an argument may be of any type.
    """
    if isinstance(value, dict | DictConfig):
        return {key: own_copy(item) for key, item in value.items()}
    if isinstance(value, list | ListConfig):
        return [own_copy(item) for item in value]
    if type(value) is tuple:
        return tuple(map(own_copy, value))
    return value.item() if isinstance(value, np.generic) else value


def time_limit(env_name: str, env_args: Mapping[str, Any]) -> int | None:
    """The time limit of an environment's episodes, in steps; None if there is none."""
    return limit_of(find_spec(env_name), env_args)


def _check_arguments(env_args: Mapping[str, Any]) -> None:
    """Refuse a value that a vectorised implementation would accept unchecked."""
    limit = env_args.get("max_episode_steps", -1)
    if isinstance(limit, bool) or not isinstance(limit, int) or (limit < 1 and limit != -1):
        raise ConfigError(
            f"gym_env.env_args.max_episode_steps = {limit!r}: must be an integer ≥ 1, or -1 for "
            "no limit"
        )


def longest_episode(cfg: DictConfig) -> int:
    """The steps after which an evaluation ends an episode.

    This is `max_eval_steps`, else the environment's time limit, else 10,000.
    """
    chosen: int | None = cfg.algorithm.max_eval_steps
    own = envpool_envs.time_limit if cfg.gym_env.vectorization == "envpool" else time_limit
    return chosen or own(cfg.gym_env.env_name, own_copy(cfg.gym_env.env_args)) or DEFAULT_TIME_LIMIT


def make_vector_env(
    env_name: str,
    n_envs: int,
    *,
    env_args: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    vectorization: str = "auto",
    hold: bool = False,
    action_mask: str = AUTO,
    on_failure: OnFailure = OnFailure(),  # noqa: B008 - it is frozen
) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment with next-step autoreset.

    `auto` uses the task's own vectorised implementation if that is known to be the same task,
    otherwise one environment after the other (`sync`). `vector_entry_point` always uses the
    vectorised implementation; it is an error if that would ignore a wrapper, an argument or a time
    limit. `envpool` uses EnvPool's task of that name, which need not be registered in Gymnasium.
    With `hold`, environments that are made one by one stay as they are once their episode has
    ended.

    Raises:
        ConfigError: if the environment does not exist or rejects its arguments, or if its
            `vector_entry_point` is not the same task as the environment with its wrappers.
    """
    env_args = own_copy(dict(env_args or {}))
    _check_arguments(env_args)
    vectorization = choose_vectorization(
        env_name, env_args, wrappers, vectorization, one_by_one=on_failure.restart
    )
    check_on_failure(on_failure, vectorization)
    if vectorization == "envpool":
        if wrappers:
            raise ConfigError("gym_env.vectorization = envpool: its environments take no wrappers")
        return envpool_envs.EnvPoolVectorEnv(env_name, n_envs, own_copy(env_args))
    if vectorization == "vector_entry_point":
        return _vectorised(env_name, n_envs, env_args, wrappers)
    make_one = environment_maker(env_name, env_args, wrappers, action_mask)
    masks = action_mask != NONE
    # Observations are copied into the workspace at once; no further copy is needed.
    try:
        if vectorization != "async":
            return SyncEnvs([make_one] * n_envs, hold=hold, masks=masks, on_failure=on_failure)
        n_workers = choose_workers(n_envs, available_cores())
        return WorkerVectorEnv(
            [make_one] * n_envs,
            n_workers,
            core_numbers(),
            hold=hold,
            masks=masks,
            on_failure=on_failure,
        )
    except ConfigError:
        raise
    except Exception as error:
        raise _cannot_be_made(env_name, env_args, error) from error


def choose_vectorization(
    env_name: str,
    env_args: Mapping[str, Any],
    wrappers: Sequence[Wrapper] = (),
    vectorization: str = "auto",
    *,
    one_by_one: bool = False,
) -> str:
    """Resolve `auto` for this task, to vector_entry_point or sync; other choices stay.

    Environments that may be replaced (`one_by_one`) are not vectorised.

    Raises:
        ConfigError: if the environment does not exist.
    """
    if vectorization != "auto":
        return vectorization
    spec = _usable_spec(env_name)
    return (
        "vector_entry_point"
        if not one_by_one and is_same_task(spec, env_args, wrappers)
        else "sync"
    )


def _vectorised(
    env_name: str, n_envs: int, env_args: Mapping[str, Any], wrappers: Sequence[Wrapper]
) -> VectorEnv[Any, Any, Any]:
    spec = _usable_spec(env_name)
    known = is_same_task(spec, env_args, wrappers)

    def refuse(lost: str) -> None:
        if lost:
            chosen = "gym_env.vectorization = vector_entry_point"
            instead = "use auto, sync or async"
            raise ConfigError(f"{chosen}: the vectorised {env_name} {lost}; {instead}")

    try:
        refuse("" if known else what_is_lost(spec, env_args, wrappers))
        envs = gym.make_vec(
            env_name, n_envs, vectorization_mode="vector_entry_point", **own_copy(env_args)
        )
    except ConfigError:
        raise
    except Exception as error:
        raise _cannot_be_made(env_name, env_args, error) from error
    try:
        if envs.metadata.get("autoreset_mode") != AutoresetMode.NEXT_STEP:
            refuse("has no next-step autoreset")
        if envs.num_envs != n_envs:
            refuse(f"has {envs.num_envs} environments, where {n_envs} were asked for")
        if not known and spec.entry_point is not None:
            one = make_env(env_name, env_args)
            with suppress(Exception):
                one.close()
            refuse(other_space(envs, one))
            warnings.warn(
                f"gym_env.vectorization = vector_entry_point: the vectorised {env_name} has not "
                "been compared with the single environment: its rewards, episode ends and time "
                "limit may differ; auto, sync and async use the single environment",
                stacklevel=2,
            )
    except Exception:
        envs.close()
        raise
    return envs


def environment_maker(
    env_name: str,
    env_args: Mapping[str, Any],
    wrappers: Sequence[Wrapper] = (),
    action_mask: str = NONE,
) -> Callable[[], gym.Env[Any, Any]]:
    """Return a function that makes one environment, here or in a worker process.

    Raises:
        ConfigError: if the environment does not exist or cannot be used.
    """
    entry_point = _usable_spec(env_name).entry_point
    if entry_point in _SCALAR_ACTION:
        wrappers = [ScalarAction, *wrappers]
    this_process = os.getpid()

    def make_one() -> gym.Env[Any, Any]:
        if os.getpid() != this_process:
            # Ctrl-C on a terminal reaches workers too. Only their parent decides what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        mujoco_warns_as_python_does(entry_point)
        env = wrap(gym.make(env_name, **own_copy(dict(env_args))), wrappers)
        return with_mask(env, action_mask)

    return make_one


def make_env(
    env_name: str,
    env_args: Mapping[str, Any],
    wrappers: Sequence[Wrapper] = (),
    action_mask: str = NONE,
) -> gym.Env[Any, Any]:
    """Make one environment.

    Raises:
        ConfigError: if it does not exist or cannot be made.
    """
    make_one = environment_maker(env_name, env_args, wrappers, action_mask)
    try:
        return make_one()
    except (Exception, SystemExit) as error:
        raise _cannot_be_made(env_name, env_args, error) from error


def _usable_spec(env_name: str) -> EnvSpec:
    spec = find_spec(env_name)
    if spec.entry_point in _UNUSABLE:
        raise ConfigError(
            f"gym_env.env_name = {env_name!r} cannot be used: {_UNUSABLE[str(spec.entry_point)]}"
        )
    return spec


def _cannot_be_made(
    env_name: str, env_args: Mapping[str, Any], error: BaseException
) -> ConfigError:
    with_args = f" with gym_env.env_args = {own_copy(dict(env_args))}" if env_args else ""
    why = f"{reason(error)}{mujoco_remedy(error)}"
    if why.startswith("InvalidMetadata:"):
        why += '; leave the class attribute `metadata` out, or set it as in {"render_fps": 30}'
    return ConfigError(f"gym_env.env_name = {env_name!r}{with_args} cannot be made: {why}")
