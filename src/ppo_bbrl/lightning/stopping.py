"""SIGTERM while environments are at work."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from lightning.pytorch.utilities.exceptions import SIGTERMException

from ppo_bbrl.errors import Terminated


class _Terminated(Terminated, SIGTERMException):
    """What Lightning's callbacks know, and what no environment is blamed for."""


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what goes on inside, where Lightning would only make a note of it.

    It looks at its notes after each batch, which an environment that hangs never gets to. Where the
    program handles the signal itself, or nobody does, this changes nothing.
    """
    noted: Any = signal.getsignal(signal.SIGTERM)
    of_lightning = type(noted).__module__.startswith("lightning.")
    if not of_lightning or current_thread() is not main_thread():  # only there can handlers be set
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        noted(number, frame)  # other processes of the training are told, too
        raise _Terminated(128 + number)

    try:
        with suppress(OSError):  # a sandbox may forbid it
            signal.signal(signal.SIGTERM, stop)
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, noted)
