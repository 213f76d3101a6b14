"""Environments in worker processes, about one per core, all of which end with the run.

Each process steps several environments, one after the other, and writes their rows into memory
shared with the run. If one fails, the run gets a one-line message with the index of the
environment, and all processes are ended.
"""

import os
import threading
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from gymnasium.vector.utils import batch_space, read_from_shared_memory

from ppo_bbrl.envs.actions import each_action
from ppo_bbrl.envs.guard import CLOSE_SECONDS, OnFailure
from ppo_bbrl.envs.masks import sizes_of
from ppo_bbrl.envs.single import MakeEnv
from ppo_bbrl.envs.worker_ends import close_workers, waiting
from ppo_bbrl.envs.worker_pool import AFTER_A_FAULT, WorkerPool
from ppo_bbrl.envs.worker_process import Board, Group, see_one, signals_held, work
from ppo_bbrl.errors import EnvironmentFailedError, StateError
from ppo_bbrl.system.state import check_names, packed, unpacked

__all__ = ["AFTER_A_FAULT", "WorkerVectorEnv", "choose_cores", "choose_workers", "close_workers"]


def choose_workers(n_envs: int, cores: int) -> int:
    """The number of processes: one per core, or the next larger one that divides `n_envs`.

    More processes than cores wait for each other, and each one costs a message there and back in
    every step.
    """
    return next(n for n in range(min(cores, n_envs), n_envs + 1) if n_envs % n == 0)


def choose_cores(n_workers: int, cores: Sequence[int]) -> list[int | None]:
    """The core to which each process is pinned; None (any core) unless there is one for each.

    The processes all wake at once, many times a second. The scheduler often lets two of them
    share a core for a while with another one idle, which cost a fifth of the time.
    """
    return list(cores) if n_workers == len(cores) else [None] * n_workers


class WorkerVectorEnv(WorkerPool):
    """Gymnasium's `AsyncVectorEnv` with several environments in each process, one after the other.

    Autoreset is next-step, and infos are dropped. No environment is made in this process.

    Args:
        env_fns: functions that make the environments.
        n_workers: the number of processes; it must divide the number of environments.
        cores: the cores that the processes may run on; empty: the system decides.
        hold: whether an ended environment is left alone until the next reset of all.
        masks: whether to look for masks of invalid actions.
        on_failure: what to do about environments that fail or hang. A process that ends takes the
            episodes of all its environments with it.

    Raises:
        EnvironmentFailedError: if an environment cannot be made, fails, or its process ends. The
            message gives its index. All processes have ended by then.
    """

    def __init__(
        self,
        env_fns: Sequence[MakeEnv],
        n_workers: int,
        cores: Sequence[int] = (),
        *,
        hold: bool = False,
        masks: bool = True,
        on_failure: OnFailure = OnFailure(),  # noqa: B008 - it is frozen
    ) -> None:
        n_envs, size = len(env_fns), len(env_fns) // n_workers
        self._prepare(n_workers, size, on_failure)
        self._kind = kind = see_one(env_fns[0], n_envs, on_failure.step_timeout)
        n_actions = sum(sizes_of(kind.spaces[1])) if masks else 0
        self._board = Board.new(kind.spaces[0], size, n_workers, n_actions)
        #: which actions are allowed now, `[B, A]`; None: the environments have no masks
        self.action_masks: Any = None
        follows = threading.current_thread() is threading.main_thread()
        groups = [
            Group(fns, i * size, n_envs, kind, hold, follows, on_failure)
            for i, fns in enumerate(self._group(env_fns))
        ]
        try:
            with ExitStack() as self._starting:
                self._starting.enter_context(signals_held())
                super().__init__(
                    groups, shared_memory=False, copy=False, worker=partial(work, self._board)
                )
            for process, core in zip(self.processes, choose_cores(n_workers, cores), strict=True):
                if core is not None and process.pid is not None:
                    with suppress(ProcessLookupError):  # it has ended: the next step reports it
                        os.sched_setaffinity(process.pid, {core})
        except BaseException:
            close_workers(self, self._after)
            raise
        self.num_envs = n_envs
        self.single_observation_space, self.single_action_space = kind.spaces
        self.observation_space, self.action_space = (batch_space(s, n_envs) for s in kind.spaces)
        *self._rows, self.failed = self._board.rows()
        rows = batch_space(kind.spaces[0], size)
        self.observations = read_from_shared_memory(rows, self._board.observations, n_workers)

    def _check_spaces(self) -> None:
        """Wait until all are made; each process compares its spaces with the first one's."""
        self._starting.close()  # all processes have been started
        self._wait_for = [waiting(pipe) for pipe in self.parent_pipes]
        self._receive()

    def reset_async(self, seed: Any = None, options: Any = None) -> None:
        """Send seeds: one for each environment, or the first one's, from which the others count."""
        seeds: Any = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + i for i in range(self.num_envs)]
        if seed is not None:
            self._seeds, self._replaced = list(seeds), 0
        self._send("reset", [(own, options) for own in self._group(seeds)], "in a reset")

    def reset_wait(self, timeout: Any = None) -> tuple[Any, dict[str, Any]]:
        """The first observations, `[B, …]`, and no infos."""
        answers = self._receive(timeout)
        have_masks = [answer[0] for answer in answers]
        self.faults += chain(*(answer[1] for answer in answers))
        self.action_masks = self._board.mask_rows() if any(have_masks) else None
        if self.action_masks is not None and not all(have_masks):
            close_workers(self, self._after)
            raise EnvironmentFailedError(
                f"{self._kind.name}: some of the environments have action masks, others have none"
            )
        return self._observed(), {}

    def step_async(self, actions: Any) -> None:
        """Send the actions, `[B, …]`."""
        self._n_steps += 1
        if not isinstance(actions, np.ndarray):
            actions = each_action(self.single_action_space, actions, self.num_envs)
        self._send("step", self._group(actions), f"in step {self._n_steps}")

    def step_wait(self, timeout: Any = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Observations `[B, …]`; reward, terminated, truncated `[B]`; and no infos."""
        for faults in self._receive(timeout):
            if faults:
                self.faults += faults
        reward, terminated, truncated = self._rows
        return self._observed(), reward.copy(), terminated.copy(), truncated.copy(), {}

    def call_async(self, name: str, /, *args: Any, **kwargs: Any) -> None:
        """Call a method of every environment."""
        self._send("call", [(name, args, kwargs)] * len(self.processes), f"in {name}()")

    def call_wait(self, timeout: Any = None) -> tuple[Any, ...]:
        """The answer of each environment."""
        return tuple(chain(*self._receive(timeout)))

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: one value for all, or a list of them."""
        if not isinstance(values, list | tuple):
            values = [values] * self.num_envs
        self._send("set", [(name, own) for own in self._group(values)], f"in setting {name}")
        self._receive()

    def written_state(self) -> dict[str, Any]:
        """The state of every environment, as plain data.

        Raises:
            StateError: if one has state that is not.
            EnvironmentFailedError: if a process has ended.
        """
        self._send("state", [None] * len(self.processes), "in saving its state")
        answers = self._receive()
        for _, why in answers:
            if why:
                raise StateError(why)
        return {
            "each": [one for content, _ in answers for one in unpacked(content)],
            "steps": self._n_steps,
            "seeds": list(self._seeds),
            "replaced": self._replaced,
            "masked": self.action_masks is not None,
        }

    def load_written_state(self, state: Any) -> None:
        """Continue from a result of `written_state`.

        Raises:
            StateError: if it belongs to other environments; some may have been changed.
            EnvironmentFailedError: if a process has ended.
        """
        names = ("each", "steps", "seeds", "replaced", "masked")
        check_names(state, names, self._kind.name)
        if len(state["each"]) != self.num_envs or len(state["seeds"]) != self.num_envs:
            there = f"{len(state['each'])} environments in the state"
            raise StateError(f"{self._kind.name}: {there}, {self.num_envs} here")
        own = [packed(list(each)) for each in self._group(state["each"])]
        self._send("load", own, "in loading its state")
        for _, why in self._receive():
            if why:
                raise StateError(why)
        self._n_steps, self._replaced = int(state["steps"]), int(state["replaced"])
        self._seeds = list(state["seeds"])
        self.action_masks = self._board.mask_rows() if state["masked"] else None

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End the processes, even if one of them hangs or is dead."""
        most = CLOSE_SECONDS if timeout is None else timeout
        seconds = min(most, self.on_failure.step_timeout or most)
        unclosed = close_workers(self, 0.0 if terminate else seconds)
        if unclosed and not terminate:
            more = f" (and {len(unclosed) - 1} more)" if len(unclosed) > 1 else ""
            worker, how = next(iter(unclosed.items()))
            warnings.warn(f"{self._who(worker)} {how}{more}", stacklevel=3)

    def _group(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        n_workers, size = self._groups
        return [items[i * size : (i + 1) * size] for i in range(n_workers)]

    def _observed(self) -> Any:
        return _ungrouped(self.observations)


def _ungrouped(grouped: Any) -> Any:
    """Reshape `[processes, environments of each, …]` to `[B, …]`, in dicts and tuples too."""
    if isinstance(grouped, dict):
        return {name: _ungrouped(each) for name, each in grouped.items()}
    if isinstance(grouped, tuple):
        return tuple(map(_ungrouped, grouped))
    return grouped.reshape(-1, *grouped.shape[2:])
