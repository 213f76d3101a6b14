"""What runs in a process with environments: it answers commands until its run is gone.

It writes rows into memory that it shares with the run, and tells what goes wrong in one line.
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
    read_from_shared_memory,
    write_to_shared_memory,
)

from ppo_bbrl.envs.faults import name_of, reason
from ppo_bbrl.envs.sync import CLOSE_SECONDS, NOT_RUNNING, MakeEnv, Spaces, SyncEnvs
from ppo_bbrl.errors import EnvironmentFailedError

_PR_SET_PDEATHSIG = 1  # of prctl(2)


class Kind(NamedTuple):
    """What the environments are like, as a process has seen that made one."""

    name: str
    spaces: Spaces
    metadata: dict[str, Any]
    render_mode: str | None


class _Traceback(Exception):  # noqa: N818 - it only carries the text, as the cause of an error
    """The traceback of an error in another process."""


class Fault(NamedTuple):
    """What went wrong in a process."""

    told: str
    traceback: str

    def error(self) -> EnvironmentFailedError:
        """The error to be raised in the run's process."""
        error = EnvironmentFailedError(self.told)
        error.__cause__ = _Traceback(f"\n{self.traceback}")
        return error


@dataclass
class Board:
    """Memory that all processes share: what a step brings, `[B]` each, and who is at work."""

    reward: Any
    terminated: Any
    truncated: Any
    running: Any  # [processes]: the place of the environment that is at work, or NOT_RUNNING

    @classmethod
    def new(cls, n_envs: int, n_workers: int) -> Self:
        """An empty one."""
        reward, terminated, truncated = (RawArray(code, n_envs) for code in "dbb")
        return cls(reward, terminated, truncated, RawArray("q", [NOT_RUNNING] * n_workers))

    def rows(self) -> tuple[Any, Any, Any]:
        """Reward, terminated, truncated as arrays, `[B]`."""
        return (
            np.frombuffer(self.reward, np.float64),
            np.frombuffer(self.terminated, np.bool_),
            np.frombuffer(self.truncated, np.bool_),
        )


@dataclass
class Group:
    """The environments of one process, and what makes their stand-in in the run's process."""

    env_fns: Sequence[MakeEnv]
    first: int
    total: int
    kind: Kind
    hold: bool
    follows_parent: bool

    def __call__(self) -> "_Spaces":
        """Their spaces, as `AsyncVectorEnv` asks for them."""
        return _Spaces(self.kind, len(self.env_fns))


class _Spaces(gym.Env[Any, Any]):
    """An environment that has spaces and nothing else."""

    def __init__(self, kind: Kind, size: int) -> None:
        self.metadata, self.render_mode = kind.metadata, kind.render_mode
        self.observation_space, self.action_space = (batch_space(s, size) for s in kind.spaces)


def work(  # noqa: PLR0917 - Gymnasium's order
    board: Board,
    index: int,
    plan: CloudpickleWrapper,
    pipe: Any,
    parent_pipe: Any,
    shared_memory: Any,
    *_: Any,
) -> None:
    """What each process does: answer `(answer, fault, warnings)` to each command."""
    group: Group = plan.fn  # type: ignore[assignment]
    _become_worker(group.follows_parent)
    parent_pipe.close()
    warned = _collect_warnings()
    place = slice(group.first, group.first + len(group.env_fns))
    running = memoryview(board.running).cast("B").cast("q")[index : index + 1]
    envs, answer, doing = None, cast("Any", None), "while they were made"
    try:
        envs = SyncEnvs(
            group.env_fns,
            hold=group.hold,
            first=group.first,
            total=group.total,
            like=group.kind.spaces,
            running=running,
        )
        space = envs.observation_space
        rows: Any = read_from_shared_memory(space, shared_memory, len(board.running))
        envs.write_into(
            rows[index] if envs.in_one_array else None, *(row[place] for row in board.rows())
        )
        command = "made"
        while command != "close":
            pipe.send((answer, None, warned[:]))
            warned.clear()
            try:
                command, data = pipe.recv()
            except (EOFError, OSError):
                return  # the run is gone
            answer, doing = True, f"in {command}"
            if command == "step":
                envs.advance(data)
            elif command == "reset":
                envs.reset(seed=data[0], options=data[1])
            elif command == "call":
                name, args, kwargs = data
                doing = f"in {name}()"
                answer = envs.call(name, *args, **kwargs)
            elif command == "set":
                envs.set_attr(*data)
            if not envs.in_one_array and command in {"step", "reset"}:
                write_to_shared_memory(space, index, envs._observations, shared_memory)
        envs.close(seconds=None)
        pipe.send((None, None, warned))
    except BaseException as error:  # noqa: BLE001 - sys.exit in an environment, for example
        told = reason(error)
        if not isinstance(error, EnvironmentFailedError):
            which = f"one of environments {place.start} to {place.stop - 1} of {group.total}"
            told = f"{which} ({group.kind.name}) failed {doing}: {told}"
        with suppress(OSError):
            pipe.send((None, Fault(told, traceback.format_exc()), warned))
    finally:
        if envs is not None:
            envs.close(seconds=None)


def see_one(make_env: MakeEnv, n_envs: int) -> Kind:
    """What an environment is like, by a process that makes one.

    Raises:
        EnvironmentFailedError: if it cannot be made.
    """
    ours, theirs = Pipe()
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
        closed = seen is None or ours.poll(CLOSE_SECONDS)
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
        told = f"{seen.name} did not close: after {CLOSE_SECONDS:g} s its process was killed"
        warnings.warn(told, stacklevel=2)
    return seen


def _show_one(make_env: CloudpickleWrapper, pipe: Any, follows_parent: bool) -> None:
    """Make one environment, tell what it is like, close it."""
    _become_worker(follows_parent)
    _collect_warnings()  # the same come again when the environments are made
    env = None
    try:
        env = make_env()
        spaces = env.observation_space, env.action_space
        pipe.send((Kind(name_of(env), spaces, dict(env.metadata), env.render_mode), None))
    except BaseException as error:  # noqa: BLE001
        with suppress(OSError):
            pipe.send((None, Fault(reason(error), traceback.format_exc())))
    if env is not None:
        with suppress(Exception, SystemExit):
            env.close()
        with suppress(OSError):
            pipe.send(None)  # it is closed


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
    """Hold signals back while processes start: until they have handlers of their own."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows, where nothing is inherited
        yield
        return
    handled = [number for number in signal.valid_signals() if callable(signal.getsignal(number))]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _become_worker(follows_parent: bool) -> None:
    """Leave signals to the parent, whose handlers a fork inherits; end with it on Linux."""
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) or number == signal.SIGTERM:
            signal.signal(number, signal.SIG_DFL)
    # They reach workers as well, as Ctrl-C on a terminal. What they mean is their parent's to say.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    # In the midst of a long step, too. It ends with the thread that made it, hence the condition.
    if follows_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _collect_warnings() -> list[tuple[type[Warning], str]]:
    """The list into which this process's warnings go from now on, instead of the console."""
    warned: list[tuple[type[Warning], str]] = []

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        known = category.__module__ == "builtins"  # others may not be known to the parent
        warned.append((category if known else UserWarning, str(message)))

    warnings.showwarning = show
    return warned
