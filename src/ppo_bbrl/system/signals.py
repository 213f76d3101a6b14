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


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise `SystemExit` instead of ending the process at once.

    They come from `kill`, from a cluster when the time is up, or from a closed terminal. A
    process that already handles or ignores them (under `nohup`, for example) continues to do so.
    """
    if current_thread() is not main_thread():  # handlers can be set only there
        yield
        return
    wanted = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows lacks one
    ours = [one for one in wanted if one and signal.getsignal(one) is signal.SIG_DFL]
    try:
        with suppress(OSError):  # a sandbox may forbid it
            for one in ours:
                signal.signal(one, _exit)
        yield
    finally:
        if current_thread() is main_thread():  # a generator may be closed anywhere
            for one in ours:
                if signal.getsignal(one) is _exit:
                    signal.signal(one, signal.SIG_DFL)


class Postponed:
    """Signals that are held back for a while; see `postponed_signals`.

    Attributes:
        first: the one that has come; None before.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.first: int | None = None
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def deliver(self) -> None:
        """Let the one that has come do what it does: it raises, as a rule."""
        number, before = self.first, dict(self._before)
        self.end()
        if number is not None:
            before[number](number, None)

    def begin(self) -> None:
        """Hold back what would raise, from now on."""
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
        busy = signal.SIGALRM in numbers and signal.getitimer(signal.ITIMER_REAL)[0] > 0
        for number in numbers:
            before = signal.getsignal(number)
            if number == getattr(signal, "SIGALRM", None):
                if busy:  # the program has an alarm of its own
                    continue
            elif not callable(before):
                continue
            with suppress(OSError):  # a sandbox may forbid it
                self._before[number] = signal.signal(number, self._hold)  # type: ignore[assignment]

    def end(self) -> None:
        """Hold nothing back any more."""
        alarm = getattr(signal, "SIGALRM", None)
        if alarm in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, before in self._before.items():
            if signal.getsignal(number) == self._hold:
                signal.signal(number, before)
        self._before, self.first = {}, None

    def _hold(self, number: int, _: FrameType | None) -> None:
        alarm = getattr(signal, "SIGALRM", None)
        if self.first is None and number != alarm:
            self.first = number
            if alarm in self._before:
                signal.setitimer(signal.ITIMER_REAL, self._seconds)
        else:  # it takes too long, or somebody insists
            self.deliver()


@contextmanager
def postponed_signals(seconds: float) -> Iterator[Postponed]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back until the block asks for them, or ends.

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


def _exit(number: int, _: FrameType | None) -> None:
    raise Terminated(128 + number)  # the status that a shell gives for this signal
