"""Signals that ask a process to end: what is open gets closed, and what was learned is kept."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `SystemExit`, where they would end the process at once.

    They come from `kill`, from a cluster whose time is up, from a terminal that is closed. Who
    handles or ignores them already (`nohup` does) goes on doing so.
    """
    if current_thread() is not main_thread():  # only there can handlers be set
        yield
        return
    wanted = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]  # Windows lacks one
    ours = [one for one in wanted if one and signal.getsignal(one) is signal.SIG_DFL]
    try:
        for one in ours:
            signal.signal(one, _exit)
        yield
    finally:
        if current_thread() is main_thread():  # a generator may be closed anywhere
            for one in ours:
                if signal.getsignal(one) is _exit:
                    signal.signal(one, signal.SIG_DFL)


def _exit(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)  # the status that a shell gives for this signal
