"""Ctrl-C where a library swallows it: some do, when it meets them while they are being imported."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def insistent_interrupts() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C, and a polite kill (SIGTERM) likewise, interrupt again every second until heard.

    For a program of its own, as it takes the handlers of these signals.

    Yields:
        What ends the insisting, for who has heard.
    """
    alarm = getattr(signal, "SIGALRM", None)  # not on Windows

    def calm() -> None:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def interrupt(*_: object) -> None:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 1.0)
        raise KeyboardInterrupt

    wanted = [number for number in (signal.SIGINT, signal.SIGTERM, alarm) if number is not None]
    before = [(number, signal.signal(number, interrupt)) for number in wanted]
    try:
        yield calm
    finally:
        calm()
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def heard_interrupts() -> Iterator[None]:
    """Raise at the end an interrupt that came meanwhile and was swallowed.

    For a script or a notebook, whose handler is Python's own: any other is left as it is.

    Raises:
        KeyboardInterrupt: if there was one, whatever else has gone wrong since.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came = False

    def interrupt(*_: object) -> None:
        nonlocal came
        came = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        came = False  # it was heard
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if came:
            raise KeyboardInterrupt
