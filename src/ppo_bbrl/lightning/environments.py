"""Environments as Lightning's users give them: a name, an environment, a vector environment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.connection import wait
from typing import Any

import gymnasium as gym
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from ppo_bbrl.config.wrappers import warn_of_statistics
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.faults import reason
from ppo_bbrl.envs.names import check_trusted
from ppo_bbrl.envs.spaces import check_supported
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import environment_maker, own_copy
from ppo_bbrl.envs.workers import AFTER_A_FAULT, WorkerVectorEnv, close_workers
from ppo_bbrl.errors import EnvironmentFailedError, UserError, one_line
from ppo_bbrl.system.sizes import size_of

#: while a checkpoint is opened: the names that the caller gives, which are trusted
_GIVEN: ContextVar[frozenset[str] | None] = ContextVar("_GIVEN", default=None)

_SPACES = (Box, Discrete, MultiDiscrete, MultiBinary)

Env = gym.Env[Any, Any]
MakeEnv = Callable[[], Env]


class DummyVecEnv(SyncEnvs):
    """Environments in this process, one after the other. Their infos are dropped.

    Args:
        env_fns: make the environments.

    Raises:
        EnvironmentFailedError: naming the environment that cannot be made, or that fails in a step.
    """

    def __init__(self, env_fns: Sequence[MakeEnv]) -> None:
        super().__init__(env_fns)


class SubprocVecEnv(WorkerVectorEnv):
    """Environments in processes of their own. Their infos are dropped.

    Args:
        env_fns: make the environments.

    Raises:
        EnvironmentFailedError: naming the environment that cannot be made, that fails in a step, or
            whose process ends; all processes are ended by then.
    """

    def __init__(self, env_fns: Sequence[MakeEnv]) -> None:
        super().__init__(env_fns, len(env_fns))


class GivenEnvs(EnvAgent):
    """Environments that somebody else has made and will close, as a BBRL agent.

    Args:
        name: as messages call them.
        envs: with next-step autoreset.
        autoreset: whether an ended environment starts anew in the following row.
    """

    def __init__(
        self, name: str, envs: VectorEnv[Any, Any, Any], *, autoreset: bool = True
    ) -> None:
        self._act_in(name, envs, autoreset=autoreset)

    def _check_spaces(self) -> None:
        """They were looked at when the environments were given."""

    def _failed(self, where: str, error: BaseException) -> EnvironmentFailedError:
        """Of Gymnasium's own processes it is told which one has ended; the others are ended."""
        failed, envs = super()._failed(where, error), self.envs.unwrapped
        if isinstance(envs, AsyncVectorEnv):
            if isinstance(error, EOFError | OSError):
                processes: list[Any] = [process.sentinel for process in envs.processes]
                for ended in wait(processes, AFTER_A_FAULT):
                    which = f"the process of environment {processes.index(ended)} ended"
                    failed = EnvironmentFailedError(
                        f"{self.env_name} failed in {where}: {which} ({reason(error)})"
                    )
            close_workers(envs, AFTER_A_FAULT)
        return failed


def make_vec_env(
    env_id: str | Callable[..., Env],
    n_envs: int = 1,
    *,
    vec_env_cls: Callable[[Sequence[MakeEnv]], VectorEnv[Any, Any, Any]] = DummyVecEnv,
    env_kwargs: Mapping[str, Any] | None = None,
    wrapper_class: Callable[[Env], Env] | None = None,
) -> VectorEnv[Any, Any, Any]:
    """Several environments of one kind as a vector environment.

    Args:
        env_id: a registered name, or what makes an environment (a class, a function).
        n_envs: how many.
        vec_env_cls: DummyVecEnv, SubprocVecEnv, or another class that takes a list of functions,
            such as Gymnasium's AsyncVectorEnv.
        env_kwargs: keyword arguments of each environment.
        wrapper_class: applied to each environment.

    Raises:
        UserError: if the environment does not exist or cannot be made.
    """
    n_envs = size_of("n_envs", n_envs)
    kwargs, wrappers = dict(env_kwargs or {}), [wrapper_class] if wrapper_class else []
    if isinstance(env_id, str):
        make_one = named_environment("env_id", env_id, kwargs, wrappers)
    else:
        make_class = env_id

        def make_one() -> Env:
            env = make_class(**own_copy(kwargs))
            return wrapper_class(env) if wrapper_class else env

    try:
        return vec_env_cls([make_one] * n_envs)
    except Exception as error:
        raise UserError(f"env_id = {env_id!r} cannot be made: {one_line(error)}") from error


def named_environment(
    argument: str,
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Callable[[Env], Env]] = (),
) -> MakeEnv:
    """What makes an environment of a registered name.

    Raises:
        UserError: naming the argument, if there is none of that name, or if a checkpoint names it
            and its module is not trusted.
    """
    _check_name(name)
    try:
        return environment_maker(name, kwargs or {}, wrappers)
    except UserError as error:
        told = one_line(error).removeprefix(f"gym_env.env_name = {name!r}: ")
        raise UserError(f"{argument} = {name!r}: {told}") from error


def _made(argument: str, name: str, make: Callable[[MakeEnv], Any]) -> Any:
    make_one = named_environment(argument, name)
    try:
        return make(make_one)
    except (Exception, SystemExit) as error:
        raise UserError(f"{argument} = {name!r} cannot be made: {reason(error)}") from error


def training_environment(env: Any) -> VectorEnv[Any, Any, Any]:
    """The argument `env` as a vector environment with next-step autoreset.

    Raises:
        UserError: if it is none, or if PPO cannot handle it.
    """
    given = env
    if isinstance(env, str):
        env = _made("env", env, lambda make_one: DummyVecEnv([make_one]))
    elif isinstance(env, gym.Env):
        env = DummyVecEnv([lambda: given])
    if not isinstance(env, VectorEnv):
        raise UserError(
            f"env = {env!r}: must be an environment, a vector environment or a registered name"
        )
    mode = env.metadata.get("autoreset_mode")
    if mode != AutoresetMode.NEXT_STEP:
        raise UserError(
            f"env resets its environments by {mode or 'a mode that it does not name'}; supported "
            "is AutoresetMode.NEXT_STEP, where the last observation of an episode has its own row"
        )
    try:
        check_supported(
            "env", env.single_observation_space, env.single_action_space, _SPACES, _SPACES
        )
    except UserError:
        if isinstance(given, str):
            env.close()
        raise
    warn_of_statistics(env)
    return env


def evaluation_environment(env: Any) -> Env | None:
    """The argument `eval_env` as a single environment.

    Raises:
        UserError: if it is none, or vectorised.
    """
    if env is None:
        return None
    if isinstance(env, str):
        made: Env = _made("eval_env", env, lambda make_one: make_one())
        return made
    if isinstance(env, VectorEnv):
        raise UserError(
            f"eval_env = {env!r} is vectorised: must be a single environment, a registered name, "
            "or None when a trained model is loaded"
        )
    if not isinstance(env, gym.Env):
        raise UserError(f"eval_env = {env!r}: must be an environment, a registered name or None")
    return env


def _check_name(name: str) -> None:
    """Refuse the name of an environment that comes from a checkpoint and wants an import.

    Raises:
        UserError: naming it.
    """
    given = _GIVEN.get()
    if given is not None:
        check_trusted(name, name in given)


@contextmanager
def opening(kwargs: Mapping[str, Any], trust: bool) -> Iterator[None]:
    """Around what makes the environments that a checkpoint names.

    Args:
        kwargs: what the caller gives; names among it are trusted.
        trust: whether all others are, too.
    """
    names = frozenset(value for value in kwargs.values() if isinstance(value, str))
    token = _GIVEN.set(None if trust else names)
    try:
        yield
    finally:
        _GIVEN.reset(token)
