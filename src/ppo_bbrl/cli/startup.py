"""What surrounds a command: a quick start, signals, how warnings look, how an error is told."""

import atexit
import gc
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.system.console import say

TRACEBACK = "PPO_BBRL_TRACEBACK"
INTERRUPTED = 130

_FRAME = re.compile(r"\x1b\[[0-9;]*m(WARN: )?")  # Gymnasium's, around its warnings


class Stopped(KeyboardInterrupt):
    """A signal that ends the command: Ctrl-C, a polite kill, a terminal that is closed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def status(self) -> int:
        """The exit status that a shell shows for it."""
        return 128 + self.signal


@contextmanager
def insistent_interrupts() -> Iterator[Callable[[], None]]:
    """Raise `Stopped` for Ctrl-C, SIGTERM and SIGHUP, again every second until heard.

    Some libraries swallow an interrupt that meets them while they are being imported.

    Yields:
        What ends the insisting, for who has heard: from then on only Ctrl-C interrupts, so that
        what saves the run is not disturbed by a second signal of a closing system.
    """
    alarm = getattr(signal, "SIGALRM", None)  # not on Windows
    polite = [signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # else: nohup
        polite.append(hangup)
    first: list[int] = []

    def calm() -> None:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number in polite:
            signal.signal(number, signal.SIG_IGN)

    def interrupt(number: int, _: object) -> None:
        if number != alarm:
            first.append(number)
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 1.0)
        raise Stopped(first[0])

    wanted = [signal.SIGINT, *polite, *([] if alarm is None else [alarm])]
    before = [(number, signal.signal(number, interrupt)) for number in wanted]
    try:
        yield calm
    finally:
        calm()
        for number, handler in before:
            signal.signal(number, handler)


@contextmanager
def quick_start() -> Iterator[None]:
    """Around imports and construction: no garbage collection; and torch on one thread.

    While thousands of modules are imported the collector looks at everything again and again and
    finds nothing: a fifth of the time. What is there at the end stays for good, and later
    collections need not look at it, until Python ends: then libraries count what is left.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import torch

        # At the sizes of classic control a second thread costs more than it brings.
        torch.set_num_threads(1)
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        if collects:
            gc.enable()


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show each warning once, in a line of ours, without the file and the code that gave it."""
    shown = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        told = one_line(_FRAME.sub("", str(message)))
        if told not in shown:
            shown.add(told)
            say(f"ppo-bbrl: warning: {told}", error=True)

    before, warnings.showwarning = warnings.showwarning, show
    unhandled = logging.lastResort  # of libraries that log and leave it to the program to show it
    formatter = None if unhandled is None else unhandled.formatter
    if unhandled is not None:
        unhandled.setFormatter(logging.Formatter("ppo-bbrl: warning: %(message)s"))
    try:
        yield
    finally:
        warnings.showwarning = before
        if unhandled is not None:
            unhandled.setFormatter(formatter)


def end_with(error: BaseException | None) -> NoReturn:
    """Tell an error in one line, and end the process with its status."""
    usage = getattr(error, "format_message", None)  # of the errors in calling a command
    if isinstance(error, Stopped):
        told, status = f"interrupted ({error.signal.name})", error.status
    elif isinstance(error, KeyboardInterrupt):
        told, status = "interrupted", INTERRUPTED
    elif isinstance(error, UserError | OSError):
        told, status = str(error), 1
    elif usage is not None:
        if not usage():  # the help was shown
            sys.exit(2)
        told, status = f"{usage()} (see --help)", 2
    elif TRACEBACK in os.environ and error is not None:
        raise error
    else:
        kind, reason = type(error).__name__, one_line(error)
        told = kind if reason == kind else f"{kind}: {reason}"
        told, status = f"{told} (with {TRACEBACK}=1 more is shown)", 1
    say(f"ppo-bbrl: {one_line(told)}", error=True)
    sys.exit(status)
