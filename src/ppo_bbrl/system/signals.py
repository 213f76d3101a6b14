"""Signals: those that ask a process to end, and the alarm for what takes too long.

They become exceptions, so that resources are closed and results are kept.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from types import FrameType

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
