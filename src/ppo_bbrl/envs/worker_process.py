"""The code of a worker process: it answers commands until the run is gone.

It writes rows into memory shared with the run, and reports a failure in one line.
"""

import ctypes
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe, Process, RawArray
from typing import Any, NamedTuple, Self, cast

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import (
    CloudpickleWrapper,
    batch_space,
    create_shared_memory,
    read_from_shared_memory,
)

from ppo_bbrl.envs.faults import name_of, reason
from ppo_bbrl.envs.first_steps import unlock_global_chance
from ppo_bbrl.envs.guard import CLOSE_SECONDS, OnFailure
from ppo_bbrl.envs.single import MakeEnv, Spaces
from ppo_bbrl.envs.sync import NOT_RUNNING
from ppo_bbrl.envs.worker_states import WorkerEnvs
from ppo_bbrl.errors import EnvironmentFailedError
from ppo_bbrl.system.signals import ENDING

_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2  # from prctl(2)


class Kind(NamedTuple):
    """What the environments are like, as seen by a process that made one."""

    name: str
    spaces: Spaces
    metadata: dict[str, Any]
    render_mode: str | None


class _Traceback(Exception):  # noqa: N818 - only carries text, as the cause of an error
    """The traceback of an error in another process."""


class Fault(NamedTuple):
    """What went wrong in a process: a line for the user, and the traceback."""

    message: str
    traceback: str

    def error(self) -> EnvironmentFailedError:
        """The error to raise in the run's process."""
        error = EnvironmentFailedError(self.message)
        error.__cause__ = _Traceback(f"\n{self.traceback}")
        return error


@dataclass
class Board:
    """Memory that all processes share: a step's results, `[B]` each, and which one is running."""

    observations: Any
    reward: Any
    terminated: Any
    truncated: Any
    masks: Any  # [B, A] of allowed actions; None: no action space for masks
    failed: Any  # whose episode was cut off in this step
    running: Any  # [processes]: the index of the environment being run, or NOT_RUNNING
    since: Any  # [processes]: when that began, by `monotonic`, or 0; only if there is a limit

    @classmethod
    def new(cls, space: gym.Space[Any], size: int, n_workers: int, n_actions: int) -> Self:
        """An empty board.

        Args:
            space: of observations of one environment.
            size: the number of environments in each process.
            n_workers: the number of processes.
            n_actions: how many actions masks have; 0: there are none.
        """
        n_envs = n_workers * size
        observations = create_shared_memory(batch_space(space, size), n_workers)
        reward, terminated, truncated, failed = (RawArray(code, n_envs) for code in "dbbb")
        masks = RawArray("b", n_envs * n_actions) if n_actions else None
        running, since = RawArray("q", [NOT_RUNNING] * n_workers), RawArray("d", n_workers)
        return cls(observations, reward, terminated, truncated, masks, failed, running, since)

    def rows(self) -> tuple[Any, Any, Any, Any]:
        """Reward, terminated, truncated and failed as arrays, `[B]` each."""
        return (
            np.frombuffer(self.reward, np.float64),
            np.frombuffer(self.terminated, np.bool_),
            np.frombuffer(self.truncated, np.bool_),
            np.frombuffer(self.failed, np.bool_),
        )

    def of_process(self, index: int) -> tuple[Any, Any]:
        """What a process writes into `running` and `since`."""
        running = memoryview(self.running).cast("B").cast("q")
        since = memoryview(self.since).cast("B").cast("d")
        return running[index : index + 1], since[index : index + 1]

    def mask_rows(self) -> Any:
        """Masks as an array, `[B, A]`; None: there are none."""
        if self.masks is None:
            return None
        return np.frombuffer(self.masks, np.bool_).reshape(len(self.reward), -1)


@dataclass
class Group:
    """The environments of one process; called, it makes their stand-in in the run's process."""

    env_fns: Sequence[MakeEnv]
    first: int
    total: int
    kind: Kind
    hold: bool
    follows_parent: bool
    on_failure: OnFailure

    def __call__(self) -> "_Spaces":
        """An object with the spaces, which is all that `AsyncVectorEnv` asks for."""
        return _Spaces(self.kind, len(self.env_fns))


class _Spaces(gym.Env[Any, Any]):
    """An environment that has spaces but does nothing."""

    def __init__(self, kind: Kind, size: int) -> None:
        self.metadata, self.render_mode = kind.metadata, kind.render_mode
        self.observation_space, self.action_space = (batch_space(s, size) for s in kind.spaces)


def work(
    board: Board,
    index: int,
    plan: CloudpickleWrapper,
    pipe: Any,
    parent_pipe: Any,
    *_: Any,
) -> None:
    """The main loop of a process: answer each command with `(answer, fault, warnings)`."""
    group: Group = plan.fn  # type: ignore[assignment]
    become_worker(group.follows_parent)
    unlock_global_chance()
    parent_pipe.close()
    warned = _collect_warnings()
    place = slice(group.first, group.first + len(group.env_fns))
    running, since = board.of_process(index)
    envs, answer, doing = None, cast("Any", None), "while they were made"
    try:
        envs = WorkerEnvs(
            group.env_fns,
            hold=group.hold,
            first=group.first,
            total=group.total,
            like=group.kind.spaces,
            running=running,
            masks=board.masks is not None,
            on_failure=group.on_failure,
            clock=since,
        )
        space = envs.observation_space
        rows: Any = read_from_shared_memory(space, board.observations, len(board.running))
        masks = board.mask_rows()
        *own, failed = (row[place] for row in board.rows())
        masks = None if masks is None else masks[place]
        envs.write_into(_item(rows, index), *own, masks=masks, failed=failed)
        command = "made"
        while command != "close":
            pipe.send((answer, None, warned[:]))
            warned.clear()
            try:
                command, data = pipe.recv()
            except (EOFError, OSError):
                return  # the run is gone
            doing = f"in {data[0]}()" if command == "call" else f"in {command}"
            answer = envs.answer(command, data)
        envs.close(limited=False)
        pipe.send((None, None, warned))
    except BaseException as error:  # noqa: BLE001 - sys.exit in an environment, for example
        message = reason(error)
        if not isinstance(error, EnvironmentFailedError):
            which = f"environment {place.start} of {group.total}"
            if len(group.env_fns) > 1:
                which = f"one of environments {place.start} to {place.stop - 1} of {group.total}"
            message = f"{which} ({group.kind.name}) failed {doing}: {message}"
        with suppress(OSError):
            pipe.send((None, Fault(message, traceback.format_exc()), warned))
    finally:
        if envs is not None:
            envs.close(limited=False)


def _item(rows: Any, index: int) -> Any:
    """The rows of one process, in dicts and tuples too."""
    if isinstance(rows, dict):
        return {name: _item(each, index) for name, each in rows.items()}
    if isinstance(rows, tuple):
        return tuple(_item(each, index) for each in rows)
    return rows[index]


def see_one(make_env: MakeEnv, n_envs: int, step_timeout: float | None = None) -> Kind:
    """Make an environment in another process, to see what it is like.

    Raises:
        EnvironmentFailedError: if it cannot be made.
    """
    ours, theirs = Pipe()
    seconds = min(CLOSE_SECONDS, step_timeout or CLOSE_SECONDS)
    follows = threading.current_thread() is threading.main_thread()
    process = Process(
        target=_show_one, args=(CloudpickleWrapper(make_env), theirs, follows), daemon=True
    )
    seen: Kind | None = None
    try:
        with signals_held():
            process.start()
        theirs.close()
        seen, fault = ours.recv()
        closed = seen is None or ours.poll(seconds)
    except EOFError:
        process.join(1.0)
        raise EnvironmentFailedError(
            f"its process {end_of(process)} while it was made (environment 0 of {n_envs})"
        ) from None
    finally:
        ours.close()
        process.kill()
        process.join()
    if seen is None:
        raise fault.error()
    if not closed:
        text = f"{seen.name} did not close: after {seconds:g} s its process was killed"
        warnings.warn(text, stacklevel=2)
    return seen


def _show_one(make_env: CloudpickleWrapper, pipe: Any, follows_parent: bool) -> None:
    """Make one environment, report what it is like, close it."""
    become_worker(follows_parent)
    _collect_warnings()  # ignored: the same ones come again when the environments are made
    env = None
    try:
        env = make_env()
        spaces = env.observation_space, env.action_space
        pipe.send((Kind(name_of(env), spaces, dict(env.metadata), env.render_mode), None))
    except BaseException as error:  # noqa: BLE001 - as in `work`
        with suppress(OSError):
            pipe.send((None, Fault(reason(error), traceback.format_exc())))
    if env is not None:
        with suppress(Exception, SystemExit):
            env.close()
        with suppress(OSError):
            pipe.send(None)  # says that it is closed


def end_of(process: Any) -> str:
    """How a process ended, in words."""
    code = process.exitcode
    if code is None:
        return "closed its pipe"
    if code >= 0:
        return f"ended (exit code {code})"
    with suppress(ValueError):
        return f"ended (exit code {code}, killed by {signal.Signals(-code).name})"
    return f"ended (exit code {code})"


@contextmanager
def signals_held() -> Iterator[None]:
    """Block signals while processes start, until these have installed their own handlers."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where nothing is inherited
        yield
        return
    handled = [number for number in signal.valid_signals() if callable(signal.getsignal(number))]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def become_worker(follows_parent: bool) -> None:
    """Leave signals to the parent, whose handlers a fork inherits; on Linux, end when it ends."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) or number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
    # They reach workers too, as Ctrl-C on a terminal does, or what a batch system sends to a job.
    # Only the parent decides what they mean, and ends its workers by SIGTERM.
    for number in {signal.SIGINT, *ENDING} - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    # This works even in the middle of a long step. The kernel sends the signal when the thread
    # that made this process ends, hence the condition.
    if follows_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def killed_with_parent(really: bool = True) -> Iterator[None]:
    """Inside, this process is killed when the one that started it ends. Only on Linux."""
    if not really or sys.platform != "linux":
        yield
        return
    prctl, before = ctypes.CDLL(None).prctl, ctypes.c_int()
    prctl(_PR_GET_PDEATHSIG, ctypes.byref(before))
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        yield
    finally:
        prctl(_PR_SET_PDEATHSIG, before.value)


def _collect_warnings() -> list[tuple[type[Warning], str]]:
    """Collect this process's warnings in a list, and return it, instead of printing them."""
    warned: list[tuple[type[Warning], str]] = []

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        known = category.__module__ == "builtins"  # the parent may not be able to import others
        warned.append((category if known else UserWarning, str(message)))

    warnings.showwarning = show
    return warned
