"""Environments in processes: as many processes as cores, all gone when the run ends."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

MakeEnv = Callable[[], gym.Env[Any, Any]]


def choose_workers(n_envs: int, cores: int) -> int:
    """How many processes: one for each core, or more where that does not divide the environments.

    With more processes than cores these wait for each other, and every one of them costs a message
    there and back in each step.
    """
    return next(n for n in range(min(cores, n_envs), n_envs + 1) if n_envs % n == 0)


def choose_cores(n_workers: int, cores: Sequence[int]) -> list[int | None]:
    """Which core each process keeps to: one each if there are as many cores, else None, any.

    All of them wake at once, many times a second. Left to itself the system often lets two of
    them share a core for a while, with another one idle: a fifth of the time was lost so.
    """
    return list(cores) if n_workers == len(cores) else [None] * n_workers


class WorkerVectorEnv(AsyncVectorEnv):  # what it is generic in depends on the version
    """Gymnasium's `AsyncVectorEnv` with several environments in each process, one after the other.

    Autoreset is next-step. `num_envs` is the number of processes; everything else that is seen
    from outside is about environments.

    Args:
        env_fns: make the environments.
        n_workers: divides their number.
        cores: those that the processes may run on; empty: as the system decides.
    """

    def __init__(
        self, env_fns: Sequence[MakeEnv], n_workers: int, cores: Sequence[int] = ()
    ) -> None:
        size = len(env_fns) // n_workers
        self._groups = (n_workers, size)
        # Autoreset happens in the groups.
        super().__init__(
            [partial(_Group, group) for group in self._group(env_fns)],
            copy=False,
            autoreset_mode=AutoresetMode.DISABLED,
        )
        for process, core in zip(self.processes, choose_cores(n_workers, cores), strict=True):
            if core is not None and process.pid is not None:
                os.sched_setaffinity(process.pid, {core})
        one = env_fns[0]()
        self.single_observation_space = one.observation_space
        self.single_action_space = one.action_space
        one.close()

    def reset_async(self, seed: Any = None, options: Any = None) -> None:
        """Seeds: one for each environment."""
        grouped: Any = None if seed is None else self._group(seed)
        super().reset_async(seed=grouped, options=options)

    def reset_wait(self, timeout: Any = None) -> tuple[Any, dict[str, Any]]:
        """`[B, …]`."""
        observation, infos = super().reset_wait(timeout)
        return _ungroup(observation), infos

    def step_async(self, actions: Any) -> None:
        """Actions: `[B, …]`."""
        super().step_async(actions.reshape(*self._groups, *actions.shape[1:]))

    def step_wait(self, timeout: Any = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """`[B, …]` each."""
        observation, reward, terminated, truncated, infos = super().step_wait(timeout)
        arrays = (observation, reward, terminated, truncated)
        return *map(_ungroup, arrays), infos

    def call_async(self, name: str, /, *args: Any, **kwargs: Any) -> None:
        """Call a method of every environment."""
        super().call_async("call_each", name, *args, **kwargs)

    def call_wait(self, timeout: Any = None) -> tuple[Any, ...]:
        """What each environment answered."""
        return tuple(chain(*super().call_wait(timeout)))

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list of them."""
        n_workers, size = self._groups
        if not isinstance(values, list | tuple):
            values = [values] * (n_workers * size)
        super().set_attr(name, self._group(values))

    def _group(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        n_workers, size = self._groups
        return [items[i * size : (i + 1) * size] for i in range(n_workers)]


def _ungroup(array: Any) -> Any:
    return array.reshape(-1, *array.shape[2:])


class _Group(gym.Env[Any, Any]):
    """What runs in one process. Infos stay there: nobody reads them."""

    def __init__(self, env_fns: Sequence[MakeEnv]) -> None:
        self._envs: SyncVectorEnv[Any, Any] = SyncVectorEnv(env_fns, copy=False)
        self.observation_space = self._envs.observation_space
        self.action_space = self._envs.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self._envs.reset(seed=seed, options=options)[0], {}

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, _ = self._envs.step(action)
        return observation, reward, terminated, truncated, {}

    def call_each(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return self._envs.call(name, *args, **kwargs)

    def set_wrapper_attr(self, name: str, value: Any, *, force: bool = True) -> bool:
        self._envs.set_attr(name, value)
        return force

    def close(self) -> None:
        self._envs.close()


def close_workers(envs: AsyncVectorEnv[Any, Any], seconds: float) -> None:
    """Let every worker close its environment and end; kill those that have not after some seconds.

    Gymnasium's own `close` waits for answers that an interrupted step has already read, and for
    workers that hang. Here a worker may be in any state.
    """
    if envs.closed:
        return
    envs.closed = True  # for Gymnasium, which would close once more
    deadline = time.monotonic() + seconds

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    pipes: list[Any] = list(envs.parent_pipes)  # None: that of a worker which has failed
    for pipe in pipes:
        with suppress(Exception):
            pipe.send(("close", None))
    for pipe, process in zip(pipes, envs.processes, strict=True):
        with suppress(Exception):
            while pipe.poll(left()):
                answer, _ = pipe.recv()  # of the step that it was in
                if answer is None:  # that it closes
                    break
        process.join(left())
        process.kill()
        process.join()
        with suppress(Exception):
            pipe.close()
