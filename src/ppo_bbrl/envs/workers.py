"""Environments in worker processes, about one per core, all of which end with the run.

Each process steps several environments, one after the other, and writes their rows into memory
shared with the run. If one fails, the run gets a one-line message with the index of the
environment, and all processes are ended.
"""

import multiprocessing
import os
import select
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv
from gymnasium.vector.utils import batch_space

from ppo_bbrl.envs.actions import each_action
from ppo_bbrl.envs.masks import sizes_of
from ppo_bbrl.envs.sync import CLOSE_SECONDS, NOT_RUNNING, MakeEnv
from ppo_bbrl.envs.worker_process import Board, Group, end_of, see_one, signals_held, work
from ppo_bbrl.errors import EnvironmentFailedError

AFTER_A_FAULT = 1.0  # seconds that the others get to close once one of the processes has failed
LOOK_AROUND = 1000  # ms of waiting for one process after which the others are checked


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


class WorkerVectorEnv(AsyncVectorEnv):  # its type parameters differ between versions of Gymnasium
    """Gymnasium's `AsyncVectorEnv` with several environments in each process, one after the other.

    Autoreset is next-step, and infos are dropped. No environment is made in this process.

    Args:
        env_fns: functions that make the environments.
        n_workers: the number of processes; it must divide the number of environments.
        cores: the cores that the processes may run on; empty: the system decides.
        hold: whether an ended environment is left alone until the next reset of all.
        masks: whether to look for masks of invalid actions.

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
    ) -> None:
        n_envs, size = len(env_fns), len(env_fns) // n_workers
        self._groups = (n_workers, size)
        self._n_steps, self._doing = 0, "while it was made"
        self._asked = [True] * n_workers  # which owe an answer; the first one says "ready"
        self._kind = kind = see_one(env_fns[0], n_envs)
        n_actions = sum(sizes_of(kind.spaces[1])) if masks else 0
        self._board = Board.new(n_envs, n_workers, n_actions)
        #: which actions are allowed now, `[B, A]`; None: the environments have no masks
        self.action_masks: Any = None
        follows = threading.current_thread() is threading.main_thread()
        groups = [
            Group(fns, i * size, n_envs, kind, hold, follows)
            for i, fns in enumerate(self._group(env_fns))
        ]
        try:
            with ExitStack() as self._starting:
                self._starting.enter_context(signals_held())
                super().__init__(groups, copy=False, worker=partial(work, self._board))
            for process, core in zip(self.processes, choose_cores(n_workers, cores), strict=True):
                if core is not None and process.pid is not None:
                    with suppress(ProcessLookupError):  # it has ended: the next step reports it
                        os.sched_setaffinity(process.pid, {core})
        except BaseException:
            close_workers(self, AFTER_A_FAULT)
            raise
        self.num_envs = n_envs
        self.single_observation_space, self.single_action_space = kind.spaces
        self.observation_space, self.action_space = (batch_space(s, n_envs) for s in kind.spaces)
        self._rows = self._board.rows()

    def _check_spaces(self) -> None:
        """Wait until all are made; each process compares its spaces with the first one's."""
        self._starting.close()  # all processes have been started
        self._wait_for = [_waiting(pipe) for pipe in self.parent_pipes]
        self._receive()

    def reset_async(self, seed: Any = None, options: Any = None) -> None:
        """Send seeds: one for each environment, or the first one's, from which the others count."""
        seeds: Any = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + i for i in range(self.num_envs)]
        self._send("reset", [(own, options) for own in self._group(seeds)], "in a reset")

    def reset_wait(self, timeout: Any = None) -> tuple[Any, dict[str, Any]]:
        """The first observations, `[B, …]`, and no infos."""
        have_masks = self._receive(timeout)
        self.action_masks = self._board.mask_rows() if any(have_masks) else None
        if self.action_masks is not None and not all(have_masks):
            close_workers(self, AFTER_A_FAULT)
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
        self._receive(timeout)
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

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """End the processes, even if one of them hangs or is dead."""
        seconds = CLOSE_SECONDS if timeout is None else timeout
        slow = close_workers(self, 0.0 if terminate else seconds)
        if slow and not terminate:
            more = f" (and {len(slow) - 1} more)" if len(slow) > 1 else ""
            text = f"{self._who(slow[0])} did not close: after {seconds:g} s its process was killed"
            warnings.warn(text + more, stacklevel=3)

    def _group(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        n_workers, size = self._groups
        return [items[i * size : (i + 1) * size] for i in range(n_workers)]

    def _observed(self) -> Any:
        return _ungrouped(self.observations)

    # ----------------------------------------------------------------------- messages and faults

    def _send(self, command: str, data: Sequence[Any], doing: str) -> None:
        self._assert_is_running()
        for worker, asked in enumerate(self._asked):
            if asked:  # an answer that an interrupt left unread
                self._answer(worker)
        for worker, (pipe, own) in enumerate(zip(self.parent_pipes, data, strict=True)):
            try:
                pipe.send((command, own))
            except OSError:
                raise self._ended(worker, doing.replace("in", "before", 1)) from None
            self._asked[worker] = True
        self._doing = doing

    def _receive(self, timeout: float | None = None) -> list[Any]:
        """The answers of all processes.

        Raises:
            EnvironmentFailedError: for the first process that failed or ended.
            TimeoutError: as in `AsyncVectorEnv`, if there is no answer within `timeout` seconds.
        """
        self._assert_is_running()
        deadline = None if timeout is None else time.monotonic() + timeout
        answers = []
        for worker, wait_for in enumerate(self._wait_for):
            while not wait_for(LOOK_AROUND):
                self._look_around()
                if deadline is not None and time.monotonic() > deadline:
                    raise multiprocessing.TimeoutError(f"no answer in {timeout} seconds")
            answers.append(self._answer(worker))
        return answers

    def _answer(self, worker: int) -> Any:
        try:
            answer, fault, warned = self.parent_pipes[worker].recv()
        except (EOFError, OSError):
            raise self._ended(worker, self._doing) from None
        self._asked[worker] = False
        for category, text in warned:
            warnings.warn(text, category, stacklevel=2)
        if fault is not None:
            close_workers(self, AFTER_A_FAULT)
            raise fault.error()
        return answer

    def _look_around(self) -> None:
        """While waiting for one process, raise an error if any process has ended."""
        for worker, process in enumerate(self.processes):
            if not process.is_alive():
                if self._wait_for[worker](0):
                    self._answer(worker)  # raises the fault that it reported
                raise self._ended(worker, self._doing)

    def _ended(self, worker: int, when: str) -> EnvironmentFailedError:
        """The error for a process that ended unasked; ends all the others."""
        process, who = self.processes[worker], self._who(worker)
        process.join(LOOK_AROUND / 1000)
        close_workers(self, AFTER_A_FAULT)
        return EnvironmentFailedError(f"{who}: its process {end_of(process)} {when}")

    def _who(self, worker: int) -> str:
        """The environment that a process is running, or all of its environments."""
        size = self._groups[1]
        first, running = worker * size, self._board.running[worker]
        last = first + size - 1
        if running != NOT_RUNNING:
            first = last = first + running
        which = f"environment {first}" if first == last else f"environments {first} to {last}"
        return f"{which} of {len(self.processes) * size} ({self._kind.name})"


def close_workers(envs: "AsyncVectorEnv[Any, Any]", seconds: float) -> list[int]:
    """Let every worker close its environments and end; after `seconds`, kill those that have not.

    Gymnasium's own `close` waits for answers that an interrupted step has already read, and for
    workers that hang. Here a worker may be in any state.

    Returns:
        The workers that were killed before they had closed their environments.
    """
    if envs.closed:
        return []
    envs.closed = True  # so that Gymnasium does not close them again
    deadline = time.monotonic() + seconds

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    processes: list[Any] = getattr(envs, "processes", [])
    pipes: list[Any] = getattr(envs, "parent_pipes", [])  # None for a worker that has failed
    warned: list[tuple[type[Warning], str]] = []
    slow: list[int] = []
    try:
        for pipe in pipes:
            with suppress(Exception):
                pipe.send(("close", None))
        for worker, (pipe, process) in enumerate(zip(pipes, processes, strict=False)):
            answer: Any = "none yet"
            with suppress(Exception):
                while answer is not None and pipe.poll(left()):
                    # The answer to the step that it was in; None means that it has closed.
                    answer, *_, also = pipe.recv()
                    warned += also if isinstance(also, list) else ()
            process.join(left())
            if answer is not None and process.is_alive():
                slow.append(worker)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            with suppress(Exception):
                pipe.close()
    for category, text in warned:
        warnings.warn(text, category, stacklevel=2)
    return slow


def _waiting(pipe: Any) -> Callable[[int], Any]:
    """A function that waits until there is something to read, up to a number of milliseconds.

    `Connection.poll` does the same, but takes four times as long to start.
    """
    if not hasattr(select, "poll"):
        return lambda milliseconds: pipe.poll(milliseconds / 1000)
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    return waiting.poll


def _ungrouped(grouped: Any) -> Any:
    """Reshape `[processes, environments of each, …]` to `[B, …]`, in dicts and tuples too."""
    if isinstance(grouped, dict):
        return {name: _ungrouped(each) for name, each in grouped.items()}
    if isinstance(grouped, tuple):
        return tuple(map(_ungrouped, grouped))
    return grouped.reshape(-1, *grouped.shape[2:])
