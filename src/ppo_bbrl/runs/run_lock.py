"""A lock on a run, so that nobody else goes on with it meanwhile: no process, no algorithm."""

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppo_bbrl.errors import UserError
from ppo_bbrl.system.files import open_to_append

try:
    import fcntl
except ImportError:  # on Windows: there nothing keeps two processes from going on with one run
    fcntl = None  # type: ignore[assignment]

_Key = tuple[int, int, int]  # of a process, a device and a file


@dataclass
class _Held:
    """A file that this process has locked.

    The system gives the lock to the process, and takes it back as soon as any descriptor of the
    file is closed. So it is opened once, and closed by the last one that has claimed it.
    """

    descriptor: int
    claimed: int = 0
    loops: int = 0  # that have begun
    training: "weakref.ref[RunLock] | None" = None


_held: dict[_Key, _Held] = {}
_changing = threading.RLock()  # a finalizer may run at any time, also where this is held


class RunLock:
    """The lock of a run, in the file `RUN/checkpoints/lock`.

    Algorithms of one program may have it together, as when a cell that resumes a run is run again;
    but only one of them trains, and none that others have overtaken.

    Args:
        run: the folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._run, self._file = run, run / "checkpoints" / "lock"
        self._key: _Key | None = None
        self._release: Callable[[], object] | None = None
        self._loops = 0  # that had begun when this one was in command of the run

    @property
    def claimed(self) -> bool:
        """Whether this one has it."""
        return self._release is not None

    def claim(self) -> None:
        """See that nobody else goes on with this run until `release`, or this one's end.

        Raises:
            UserError: if somebody does.
            OSError: if nothing can be written.
        """
        if self._release is not None:
            return
        with _changing:
            held = _held.get(_key_of(self._file)) or self._lock()
            if held.training is not None and held.training() is not None:
                raise UserError(
                    f"{self._run}: another algorithm of this program trains this run: end its loop"
                )
            held.claimed += 1
            self._key, self._loops = _key_of(self._file), held.loops
            # For who does not release it.
            self._release = weakref.finalize(self, _give_back, self._key)

    def begin(self) -> None:
        """A loop begins.

        Raises:
            UserError: if another algorithm has trained the run meanwhile.
        """
        with _changing:
            held = None if self._key is None else _held.get(self._key)
            if held is None:
                return
            if held.loops != self._loops:
                raise UserError(
                    f"{self._run}: another algorithm of this program has gone on with this run; "
                    "use that one, or resume the run again"
                )
            held.loops = self._loops = held.loops + 1
            held.training = weakref.ref(self)

    def end(self) -> None:
        """The loop has ended."""
        with _changing:
            held = None if self._key is None else _held.get(self._key)
            if held is not None and held.loops == self._loops:
                held.training = None

    def release(self) -> None:
        """Let others go on with this run."""
        self.end()
        if self._release is not None:
            self._release()
            self._release = self._key = None

    def _lock(self) -> _Held:
        with open_to_append(self._file, root=self._run) as file:
            descriptor = os.dup(file.fileno())
        if fcntl is not None:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                os.close(descriptor)
                raise UserError(f"{self._run}: another process trains this run") from None
            except OSError:  # a disk without locks
                pass
        return _held.setdefault(_key_of(self._file), _Held(descriptor))


def _key_of(file: Path) -> _Key:
    try:
        found = file.lstat()
    except OSError:  # it is not there yet
        return os.getpid(), -1, -1
    return os.getpid(), found.st_dev, found.st_ino


def _give_back(key: _Key) -> None:
    if key[0] != os.getpid():  # it belongs to the process from which this one was forked
        return
    with _changing:
        held = _held[key]
        held.claimed -= 1
        if held.claimed == 0:
            del _held[key]
            os.close(held.descriptor)
