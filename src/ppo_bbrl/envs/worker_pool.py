"""The processes of environments: what is asked and answered, and what is done if one fails."""

import multiprocessing
import time
import warnings
from collections.abc import Sequence
from typing import Any

from gymnasium.vector import AsyncVectorEnv
from gymnasium.vector.utils import CloudpickleWrapper

from ppo_bbrl.envs.guard import ATTEMPTS, OnFailure, check_in_a_row, derived
from ppo_bbrl.envs.sync import NOT_RUNNING
from ppo_bbrl.envs.watch import too_long
from ppo_bbrl.envs.worker_ends import close_workers, waiting
from ppo_bbrl.envs.worker_process import Board, Kind, end_of, signals_held
from ppo_bbrl.errors import EnvironmentFailedError

AFTER_A_FAULT = 1.0  # seconds that the others get to close once one of the processes has failed
LOOK_AROUND = 1000  # ms of waiting for one process after which the others are checked
# With a time limit, in seconds: what they get then, and how long after the limit a process may
# interrupt a call by itself, before it is killed.
_SOON, _BEYOND = 0.25, 0.35


class WorkerPool(AsyncVectorEnv):  # its type parameters differ between versions of Gymnasium
    """Processes with several environments each."""

    _groups: tuple[int, int]  # processes, and environments of each
    _kind: Kind
    _board: Board
    _rows: Sequence[Any]  # reward, terminated, truncated: [B]
    failed: Any  # whose episode was cut off by a failure in the last step, [B]

    def _prepare(self, n_workers: int, size: int, on_failure: OnFailure) -> None:
        seconds = on_failure.step_timeout
        self._groups, self.on_failure = (n_workers, size), on_failure
        self._n_steps, self._doing, self._command = 0, "while it was made", "make"
        self._asked = [True] * n_workers  # which owe an answer; the first one says "ready"
        self._wait_for: list[Any] = []
        self._patience, self._after = LOOK_AROUND, AFTER_A_FAULT
        if seconds is not None:
            self._patience, self._after = int(min(250 * seconds, 100)) + 1, _SOON
        #: what was said of the failures in the last step, after which environments were replaced
        self.faults: list[str] = []
        self._killed: set[int] = set()  # processes in which a call did not return
        self._seeds: list[int | None] = [None] * (n_workers * size)
        self._replaced, self._last = 0, [(-1, 0)] * n_workers

    def _send(self, command: str, data: Sequence[Any], doing: str) -> None:
        self._assert_is_running()
        for worker, asked in enumerate(self._asked):
            if asked:  # an answer that an interrupt left unread
                self._answer(worker)
        self._doing, self._command = doing, command
        if self.faults:
            self.faults, self.failed[:] = [], False
        for worker, (pipe, own) in enumerate(zip(self.parent_pipes, data, strict=True)):
            try:
                pipe.send((command, own))
            except OSError:
                if not self._may_restart():
                    raise self._lost(worker, doing.replace("in", "before", 1)) from None
            self._asked[worker] = True

    def _receive(self, timeout: float | None = None) -> list[Any]:
        """The answers of all processes.

        Raises:
            EnvironmentFailedError: for the first process that failed or ended.
            TimeoutError: as in `AsyncVectorEnv`, if there is no answer within `timeout` seconds.
        """
        self._assert_is_running()
        deadline = None if timeout is None else time.monotonic() + timeout
        answers = []
        for worker in range(len(self._wait_for)):
            self._wait(worker, deadline)
            answers.append(self._answer(worker))
        return answers

    def _wait(self, worker: int, deadline: float | None = None) -> None:
        """Wait until a process has answered or ended."""
        while not self._wait_for[worker](self._patience):
            self._look_around()
            if deadline is not None and time.monotonic() > deadline:
                raise multiprocessing.TimeoutError("no answer in time")

    def _answer(self, worker: int) -> Any:
        try:
            return self._read(worker)
        except (EOFError, OSError):
            lost = self._lost(worker, self._doing)
        if not self._may_restart():
            raise lost
        return self._revive(worker, lost)

    def _read(self, worker: int) -> Any:
        answer, fault, warned = self.parent_pipes[worker].recv()
        self._asked[worker] = False
        for category, text in warned:
            warnings.warn(text, category, stacklevel=2)
        if fault is not None:
            close_workers(self, self._after)
            raise fault.error()
        return answer

    def _look_around(self) -> None:
        """While waiting for one process, raise an error if any process has ended.

        One in which a call has lasted too long is killed.
        """
        limit = self.on_failure.step_timeout
        for worker, process in enumerate(self.processes):
            began = self._board.since[worker]
            if limit is not None and began and time.monotonic() - began > limit + _BEYOND:
                self._killed.add(worker)
                process.kill()
            if self._may_restart():
                continue  # when it is its turn
            if not process.is_alive():
                if self._wait_for[worker](0):
                    self._answer(worker)  # raises the fault that it reported
                raise self._lost(worker, self._doing)

    def _may_restart(self) -> bool:
        return self.on_failure.restart and self._command in {"reset", "step"}

    def _lost(self, worker: int, when: str) -> EnvironmentFailedError:
        """The error for a process that ended unasked; ends the others, unless it is replaced."""
        process, who = self.processes[worker], self._who(worker)
        process.join(LOOK_AROUND / 1000)
        if not self._may_restart():
            close_workers(self, self._after)
        limit = self.on_failure.step_timeout
        if worker in self._killed and limit is not None:
            return EnvironmentFailedError(f"{who} failed {when}: {too_long(limit)}")
        return EnvironmentFailedError(f"{who}: its process {end_of(process)} {when}")

    def _revive(self, worker: int, lost: EnvironmentFailedError) -> Any:
        """Start a process in the place of one that ended; its environments begin episodes.

        Returns:
            What it answers to what the other one was asked.
        """
        size = self._groups[1]
        place = slice(worker * size, (worker + 1) * size)
        try:
            self._last[worker] = check_in_a_row(self._last[worker], self._n_steps, lost)
            for _ in range(ATTEMPTS):
                self.faults.append(str(lost))
                try:
                    answer = self._begin(worker, self._seeds[place])
                    break
                except (EOFError, OSError):
                    lost = self._lost(worker, "in a reset, in the place of another one")
            else:
                raise EnvironmentFailedError(f"{lost}, {ATTEMPTS} times in a row")
        except EnvironmentFailedError:
            close_workers(self, self._after)
            raise
        if self._command == "reset":
            return answer
        for row in self._rows:
            row[place] = 0
        self.failed[place] = True
        return answer[1]

    def _begin(self, worker: int, seeds: Sequence[int | None]) -> Any:
        """Start a process in the place of one that has ended, and reset its environments."""
        self._start(worker)
        self._replaced += 1
        own = [derived(seed, self._replaced) for seed in seeds]
        self._wait(worker)
        self._read(worker)  # it is ready
        self.parent_pipes[worker].send(("reset", (own, None)))
        self._wait(worker)
        return self._read(worker)

    def _start(self, worker: int) -> None:
        """Start a process in the place of one that has ended."""
        old: Any = self.processes[worker]
        ours, theirs = multiprocessing.Pipe()
        plan = CloudpickleWrapper(self.env_fns[worker])
        arguments = worker, plan, theirs, ours, None
        process = type(old)(target=self.worker, name=old.name, args=arguments, daemon=True)
        self._killed.discard(worker)
        self._board.running[worker], self._board.since[worker] = NOT_RUNNING, 0.0
        with signals_held():
            process.start()
        theirs.close()
        self.parent_pipes[worker].close()
        self.parent_pipes[worker], self.processes[worker] = ours, process
        self._wait_for[worker] = waiting(ours)

    def _who(self, worker: int) -> str:
        """The environment that a process is running, or all of its environments."""
        size = self._groups[1]
        first, running = worker * size, self._board.running[worker]
        last = first + size - 1
        if running != NOT_RUNNING:
            first = last = first + running
        which = f"environment {first}" if first == last else f"environments {first} to {last}"
        return f"{which} of {len(self.processes) * size} ({self._kind.name})"
