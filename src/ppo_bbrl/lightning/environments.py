"""The environments that users pass to the model: by name, single, or as a vector environment."""

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
from ppo_bbrl.envs.guard import RESTART, OnFailure
from ppo_bbrl.envs.names import check_trusted
from ppo_bbrl.envs.spaces import check_supported
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import environment_maker, own_copy
from ppo_bbrl.envs.workers import AFTER_A_FAULT, WorkerVectorEnv, close_workers
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError, UserError, one_line
from ppo_bbrl.lightning.checks import check_arguments
from ppo_bbrl.system.sizes import size_of

#: the environment names passed by the caller who opens a checkpoint, which are trusted
_GIVEN: ContextVar[frozenset[str] | None] = ContextVar("_GIVEN", default=None)

_SPACES = (Box, Discrete, MultiDiscrete, MultiBinary)

Env = gym.Env[Any, Any]
MakeEnv = Callable[[], Env]


class DummyVecEnv(SyncEnvs):
    """Environments in this process, stepped one after the other. Infos are dropped.

    Args:
        env_fns: functions that make the environments.
        on_failure: what to do about environments that fail or hang.

    Raises:
        EnvironmentFailedError: naming the environment that cannot be made, or fails in a step.
    """

    def __init__(
        self,
        env_fns: Sequence[MakeEnv],
        on_failure: OnFailure = OnFailure(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(env_fns, on_failure=on_failure)


class SubprocVecEnv(WorkerVectorEnv):
    """Environments in processes of their own. Infos are dropped.

    Args:
        env_fns: functions that make the environments.
        on_failure: what to do about environments that fail or hang.

    Raises:
        EnvironmentFailedError: naming the environment that cannot be made, fails in a step, or
            whose process ends; all processes have ended by then.
    """

    def __init__(
        self,
        env_fns: Sequence[MakeEnv],
        on_failure: OnFailure = OnFailure(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(env_fns, len(env_fns), on_failure=on_failure)


class GivenEnvs(EnvAgent):
    """A BBRL agent for environments that the caller has made and will close.

    Args:
        name: what messages call them.
        envs: a vector environment with next-step autoreset.
        autoreset: whether an ended environment is reset in the following row.
    """

    def __init__(
        self, name: str, envs: VectorEnv[Any, Any, Any], *, autoreset: bool = True
    ) -> None:
        self._act_in(name, envs, autoreset=autoreset)

    def _check_spaces(self) -> None:
        """Nothing to do: the spaces were checked when the environments were passed."""

    def _failed(self, where: str, error: BaseException) -> EnvironmentFailedError:
        """The error for a failure. If one of Gymnasium's processes ended, name it, end the rest."""
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
    vec_env_cls: Callable[..., VectorEnv[Any, Any, Any]] = DummyVecEnv,
    env_kwargs: Mapping[str, Any] | None = None,
    wrapper_class: Callable[[Env], Env] | None = None,
    step_timeout: float | None = None,
    on_failure: str = "stop",
) -> VectorEnv[Any, Any, Any]:
    """Make a vector environment of several environments of one kind.

    Args:
        env_id: a registered name, or a class or function that makes an environment.
        n_envs: the number of environments.
        vec_env_cls: DummyVecEnv, SubprocVecEnv, or another class that takes a list of functions,
            such as Gymnasium's AsyncVectorEnv.
        env_kwargs: keyword arguments of each environment.
        wrapper_class: applied to each environment.
        step_timeout: seconds that a reset, a step or a close may take; None: no limit. It is the
            limit of `eval_env`, too, whose Python code is interrupted in the main thread.
        on_failure: stop, or restart: another environment takes the place of one that fails or
            hangs (docs/reliability.md). Both need DummyVecEnv or SubprocVecEnv.

    Raises:
        UserError: if the environment does not exist or cannot be made, or for a wrong argument.
    """
    n_envs = size_of("n_envs", n_envs)
    more = _on_failure(vec_env_cls, step_timeout, on_failure)
    kwargs, wrappers = dict(env_kwargs or {}), [wrapper_class] if wrapper_class else []
    if isinstance(env_id, str):
        make_one = named_environment("env_id", env_id, kwargs, wrappers)
    else:
        make_class = env_id

        def make_one() -> Env:
            env = make_class(**own_copy(kwargs))
            return wrapper_class(env) if wrapper_class else env

    try:
        return vec_env_cls([make_one] * n_envs, **more)
    except ConfigError:
        raise
    except Exception as error:
        raise UserError(f"env_id = {env_id!r} cannot be made: {one_line(error)}") from error


def _on_failure(vec_env_cls: Any, step_timeout: float | None, on_failure: str) -> dict[str, Any]:
    """The arguments of a vector environment that say what is done about failures, if any."""
    check_arguments(step_timeout=step_timeout, on_failure=on_failure)
    what = OnFailure(step_timeout, on_failure == RESTART)
    if what == OnFailure():
        return {}
    if not (isinstance(vec_env_cls, type) and issubclass(vec_env_cls, SyncEnvs | WorkerVectorEnv)):
        name = getattr(vec_env_cls, "__name__", type(vec_env_cls).__name__)
        key = "step_timeout" if step_timeout is not None else "on_failure"
        value = on_failure if step_timeout is None else f"{step_timeout:g}"
        raise UserError(f"{key} = {value}: not with {name}; use DummyVecEnv or SubprocVecEnv")
    return {"on_failure": what}


def named_environment(
    argument: str,
    name: str,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Callable[[Env], Env]] = (),
) -> MakeEnv:
    """Return a function that makes the environment with a registered name.

    Raises:
        UserError: naming the argument, if the name is unknown, or comes from a checkpoint and
            needs a module that is not trusted.
    """
    _check_name(name)
    try:
        return environment_maker(name, kwargs or {}, wrappers)
    except UserError as error:
        text = one_line(error).removeprefix(f"gym_env.env_name = {name!r}: ")
        raise UserError(f"{argument} = {name!r}: {text}") from error


def _made(argument: str, name: str, make: Callable[[MakeEnv], Any]) -> Any:
    make_one = named_environment(argument, name)
    try:
        return make(make_one)
    except (Exception, SystemExit) as error:
        raise UserError(f"{argument} = {name!r} cannot be made: {reason(error)}") from error


def training_environment(env: Any) -> VectorEnv[Any, Any, Any]:
    """Convert the argument `env` to a vector environment with next-step autoreset.

    Raises:
        UserError: if that is not possible, or PPO cannot handle it.
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
            f"env has the autoreset mode {mode or 'unknown'}: must be AutoresetMode.NEXT_STEP, in "
            "which the last observation of an episode has its own row"
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


def step_timeout_of(env: Any) -> float | None:
    """The time that `make_vec_env` gave a step of training environments; None: no limit."""
    on_failure = getattr(env, "on_failure", None)
    return on_failure.step_timeout if isinstance(on_failure, OnFailure) else None


def evaluation_environment(env: Any) -> Env | None:
    """Convert the argument `eval_env` to a single environment.

    Raises:
        UserError: if it is not an environment, or is vectorised.
    """
    if env is None:
        return None
    if isinstance(env, str):
        made: Env = _made("eval_env", env, lambda make_one: make_one())
        return made
    if isinstance(env, VectorEnv):
        raise UserError(
            f"eval_env = {env!r} is vectorised: must be a single environment, a registered name, "
            "or None for loading a trained model"
        )
    if not isinstance(env, gym.Env):
        raise UserError(f"eval_env = {env!r}: must be an environment, a registered name or None")
    return env


def _check_name(name: str) -> None:
    """Refuse an environment name that comes from a checkpoint and would import a module.

    Raises:
        UserError: naming it.
    """
    given = _GIVEN.get()
    if given is not None:
        check_trusted(name, name in given)


@contextmanager
def opening(kwargs: Mapping[str, Any], trust: bool) -> Iterator[None]:
    """Inside the `with` block, environments that a checkpoint names are made only if trusted.

    Args:
        kwargs: the caller's arguments, whose environment names are trusted.
        trust: whether to trust all other names too.
    """
    names = frozenset(value for value in kwargs.values() if isinstance(value, str))
    token = _GIVEN.set(None if trust else names)
    try:
        yield
    finally:
        _GIVEN.reset(token)
