"""What surrounds every command: a quick start, signals, the format of warnings and errors."""

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
from threading import Timer
from typing import Any, NoReturn, Self

from ppo_bbrl.errors import Terminated, UserError, one_line
from ppo_bbrl.system.console import say
from ppo_bbrl.system.signals import ENDING

TRACEBACK = "PPO_BBRL_TRACEBACK"
INTERRUPTED = 130

_SOON = 0.05  # seconds
# What torch says of an error or Ctrl-C while it compiles an update, with the source of the update.
_OF_COMPILER = re.compile(r"Error detected in \w+\. Traceback of forward call")
_FRAME = re.compile(r"\x1b\[[0-9;]*m(WARN: )?")  # Gymnasium puts this around its warnings


class Stopped(KeyboardInterrupt):
    """A signal that ends the command: Ctrl-C, SIGTERM, a closed terminal, a batch system."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @classmethod
    def by(cls, error: Terminated) -> Self:
        """The same end, as commands report it, with the notes of an error from a library's loop."""
        stopped = cls(int(str(error.code)) - 128)
        for note in getattr(error, "__notes__", ()):
            stopped.add_note(note)
        return stopped

    @property
    def status(self) -> int:
        """The exit status that a shell shows for it."""
        return 128 + self.signal


@contextmanager
def insistent_interrupts() -> Iterator[Callable[[], None]]:
    """Raise `Stopped` on Ctrl-C, SIGTERM and the like, and again every second until it is handled.

    Some libraries swallow an interrupt that arrives while they are being imported.

    Yields:
        A function to call once the interrupt is handled. From then on only Ctrl-C interrupts, so
        that a second signal from a system shutting down does not disturb the saving of the run.
    """
    alarm = getattr(signal, "SIGALRM", None)  # not on Windows
    polite = [one for one in ENDING if signal.getsignal(one) is not signal.SIG_IGN]  # else: nohup
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
    """For imports and construction: turn off garbage collection, and limit torch to one thread.

    While thousands of modules are imported, the garbage collector scans everything repeatedly and
    finds nothing, which takes a fifth of the time. Objects that exist at the end are permanent,
    so later collections skip them (until Python exits, when some libraries count what is left).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import torch

        # For networks of the size that classic control needs, a second thread costs more than it
        # saves.
        torch.set_num_threads(1)
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        if collects:
            gc.enable()


@contextmanager
def interrupts_that_last() -> Iterator[None]:
    """Inside the `with` block, an interrupt that Python cannot raise where it comes is sent again.

    Where it comes in a destructor or the callback of a weak reference, of which torch's compiler
    has many, Python shows a traceback and forgets it.
    """
    before = sys.unraisablehook

    def again(lost: Any) -> None:
        error = lost.exc_value
        if isinstance(error, Terminated):
            number = int(error.code or 0) - 128
        elif isinstance(error, KeyboardInterrupt):
            number = signal.SIGINT
        else:
            before(lost)
            return
        Timer(_SOON, os.kill, (os.getpid(), number)).start()

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show each warning once, in one line, without its file and source line."""
    shown = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = one_line(_FRAME.sub("", str(message)))
        if text not in shown and not _OF_COMPILER.match(text):
            shown.add(text)
            say(f"ppo-bbrl: warning: {text}", error=True)

    before, warnings.showwarning = warnings.showwarning, show
    unhandled = logging.lastResort  # for libraries that log without setting up a handler
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
    """Print an error in one line, and exit with its status."""
    usage = getattr(error, "format_message", None)  # only usage errors have this
    if isinstance(error, Stopped):
        text, status = f"interrupted ({error.signal.name})", error.status
    elif isinstance(error, KeyboardInterrupt):
        text, status = "interrupted", INTERRUPTED
    elif isinstance(error, UserError | OSError):
        text, status = str(error), 1
    elif usage is not None:
        is_help = type(error).__name__ == "NoArgsIsHelpError"  # in which the message is the help
        if is_help:
            say(usage(), error=True)
        if is_help or not usage():  # older ones have shown it
            sys.exit(2)
        text, status = f"{usage()} (see --help)", 2
    elif TRACEBACK in os.environ and error is not None:
        raise error
    else:
        kind, reason = type(error).__name__, one_line(error)
        text = kind if reason == kind else f"{kind}: {reason}"
        text, status = f"{text} (set {TRACEBACK}=1 to see the traceback)", 1
    say(f"ppo-bbrl: {one_line(text)}", error=True)
    for note in getattr(error, "__notes__", ()):
        say(note, error=True)
    sys.exit(status)
