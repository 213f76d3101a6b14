"""Signals: those that ask a process to end, and the alarm for what takes too long.

They become exceptions, so that resources are closed and results are kept.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Timer, current_thread, main_thread
from types import FrameType
from typing import Any

from ppo_bbrl.errors import Terminated

# From `kill`; a closed terminal; a batch system that soon ends the job (`--signal=USR1@60` of
# Slurm). Windows lacks most of them.
ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Make the signals of `ENDING` raise `SystemExit` instead of ending the process at once.

    A process that already handles or ignores them (under `nohup`, for example) continues to do so.
    """
    if current_thread() is not main_thread():  # handlers can be set only there
        yield
        return
    block = _Block()
    try:
        with suppress(OSError):  # a sandbox may forbid it
            for one in ENDING:
                if _in_force(one, others=False) is signal.SIG_DFL:
                    block.handle(one, block.exit)
        yield
    finally:
        block.end()


class _Block:
    """A block that handles signals.

    A loop that is left by `break`, or never asked for its next rollout, ends when it is collected,
    perhaps after a later one has begun. So blocks may end in any order: the handlers of one that
    has ended stand for what was there before it.
    """

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        self.over = False

    def handle(self, number: int, handler: Callable[[int, FrameType | None], Any]) -> None:
        """Install a handler."""
        self.before[number] = signal.signal(number, handler)

    def exit(self, number: int, frame: FrameType | None) -> None:
        """Raise, with the status that a shell gives for this signal."""
        if self.over:
            self.pass_on(number, frame)
        else:
            raise Terminated(128 + number)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Do what was done before there was this block."""
        handler = _in_force(number, self.before[number])
        if callable(handler):
            handler(number, frame)
        elif handler is signal.SIG_DFL:
            signal.signal(number, handler)
            os.kill(os.getpid(), number)

    def end(self) -> None:
        """Put back what was there before, where no later block has its own handlers now."""
        self.over = True
        if current_thread() is main_thread():  # a generator may be closed anywhere
            for number in self.before:
                if (now := _in_force(number)) is not signal.getsignal(number):
                    signal.signal(number, now)


def _in_force(number: int, handler: Any = None, *, others: bool = True) -> Any:
    """The handler of a signal; where its block has ended, the one before it.

    Args:
        number: of the signal.
        handler: where to begin; default: the one that is installed.
        others: whether blocks that have not ended count.
    """
    handler = signal.getsignal(number) if handler is None else handler
    while isinstance(block := getattr(handler, "__self__", None), _Block):
        if others and not block.over:
            break
        handler = block.before[number]
    return handler


class Postponed(_Block):
    """Signals that are held back for a while; see `postponed_signals`.

    Attributes:
        first: the one that has come; None before.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self.first: int | None = None

    def deliver(self) -> None:
        """Let the one that has come do what it does: it raises, as a rule."""
        number = self.first
        self.end()
        if number is not None:
            self.pass_on(number, None)

    def begin(self) -> None:
        """Hold back what would raise, from now on."""
        alarms = [signal.SIGALRM] if hasattr(signal, "SIGALRM") else []
        numbers = [signal.SIGINT, *ENDING, *alarms]
        busy = bool(alarms) and signal.getitimer(signal.ITIMER_REAL)[0] > 0
        for number in numbers:
            before = _in_force(number)
            if number in alarms:
                if busy:  # the program has an alarm of its own
                    continue
            elif not callable(before):
                continue
            with suppress(OSError):  # a sandbox may forbid it
                self.handle(number, self._hold)

    def end(self) -> None:
        """Hold nothing back any more."""
        if not self.over and self._has_alarm():
            signal.setitimer(signal.ITIMER_REAL, 0)
        super().end()
        self.first = None

    def _has_alarm(self) -> bool:
        return getattr(signal, "SIGALRM", None) in self.before

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.over:
            self.pass_on(number, frame)
        elif self.first is None and number != getattr(signal, "SIGALRM", None):
            self.first = number
            if self._has_alarm():
                signal.setitimer(signal.ITIMER_REAL, self._seconds)
        else:  # it takes too long, or somebody insists
            self.deliver()


@contextmanager
def postponed_signals(seconds: float) -> Iterator[Postponed]:
    """Hold Ctrl-C and the signals that end a process back until the block asks for them, or ends.

    Then they do what they did before. A second one, or `seconds` after the first, are not held
    back. Signals that would end the process at once are left alone, and so are threads.
    """
    held = Postponed(seconds)
    if current_thread() is not main_thread():
        yield held
        return
    held.begin()
    try:
        yield held
        held.deliver()
    except GeneratorExit:  # a loop is left by `break`: what is raised here would go nowhere
        if (number := held.first) is not None:
            Timer(0.01, os.kill, (os.getpid(), number)).start()
        raise
    finally:
        held.end()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` if the block takes longer, and again every half second until it ends.

    There is no limit where Python cannot set an alarm: outside the main thread, on Windows, in
    some sandboxes, and if the program has an alarm of its own.
    """
    alarm = getattr(signal, "SIGALRM", None)
    if (
        alarm is None
        or current_thread() is not main_thread()
        or signal.getitimer(signal.ITIMER_REAL)[0] > 0
    ):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    try:
        before = signal.signal(alarm, ring)
    except OSError:  # a sandbox may forbid it
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(alarm, before)
