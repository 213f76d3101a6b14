"""Interrupts an environment that takes too long to answer.

A thread looks at the clock; when a call has lasted too long, it sends SIGURG to the main thread,
whose handler raises. The alarm of the process stays free for others. SIGURG is what the runtime of
Go uses for the same purpose: hardly any program handles it, and it does nothing where none does.

This ends whatever Python can be interrupted in: its own code, and waiting (`sleep`, locks, sockets,
other processes). Code in C that neither returns nor waits goes on until it returns; in a process of
its own (`vectorization: async`) it can be killed.
"""

import signal
import threading
import weakref
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

from ppo_bbrl.envs.faults import StalledError
from ppo_bbrl.errors import ConfigError

AGAIN = 0.1  # seconds after which what has swallowed the error gets another one
_LOOKS = 4  # how often the thread looks at the clock in the allowed time


def too_long(seconds: float) -> str:
    """What is said of an environment that took too long."""
    return f"it took longer than {seconds:g} s (gym_env.step_timeout)"


class Watch:
    """Raises `StalledError` in a call that takes longer than some seconds.

    Args:
        seconds: how long each call may take.
        clock: item 0 is when the present call began, by `monotonic`; 0: there is none.
        needed: whether it is an error if calls cannot be interrupted: outside the main thread, on
            Windows. Otherwise the clock alone is kept.

    Raises:
        ConfigError: if they cannot, and it is.
    """

    def __init__(
        self,
        seconds: float,
        clock: MutableSequence[float] | None = None,
        *,
        needed: bool = True,
    ) -> None:
        self.seconds, self.clock, self._needed = seconds, [0.0] if clock is None else clock, needed
        self._raised = (0.0, 0.0)  # for which call, and when
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._check()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this block calls are watched: whoever makes one sets the clock."""
        if not self._check():
            yield
            return
        if self._thread is None or not self._thread.is_alive():  # as after a fork
            self._begin()
        before = signal.signal(signal.SIGURG, self._interrupt)
        try:
            yield
        finally:
            self.clock[0] = 0.0
            signal.signal(signal.SIGURG, before)

    def start(self) -> None:
        """A call begins now."""
        self.clock[0] = monotonic()

    def stop(self) -> None:
        """It is over."""
        self.clock[0] = 0.0

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, and watch that."""
        with self.watching():
            self.start()
            return function(*args, **kwargs)

    def _check(self) -> bool:
        main = threading.current_thread() is threading.main_thread()
        if main and hasattr(signal, "SIGURG"):
            return True
        if self._needed:
            where = "outside the main thread" if not main else "on this system"
            raise ConfigError(
                f"gym_env.step_timeout = {self.seconds:g}: environments cannot be interrupted "
                f"{where}; use gym_env.vectorization=async"
            )
        return False

    def _begin(self) -> None:
        over = self._over = threading.Event()
        arguments = (over, self.clock, self.seconds, threading.get_ident())
        self._thread = threading.Thread(target=_look, args=arguments, daemon=True)
        self._thread.start()
        weakref.finalize(self, over.set)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        began, now = self.clock[0], monotonic()
        again = self._raised[0] == began
        if began and now - began >= self.seconds and (not again or now - self._raised[1] >= AGAIN):
            self._raised = began, now
            raise StalledError(too_long(self.seconds))


def _look(over: threading.Event, clock: Any, seconds: float, thread: int) -> None:
    pause = max(0.01, min(0.1, seconds / _LOOKS))
    while not over.wait(pause):
        began = clock[0]
        if began and monotonic() - began >= seconds:
            signal.pthread_kill(thread, signal.SIGURG)
