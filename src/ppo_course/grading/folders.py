"""The temporary folder of a process that grades, and those that killed gradings left behind.

Who was killed could not remove its folder. So each has a file that is locked as long as its process
lives, and the next grading removes those that nobody locks.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

PREFIX, LOCK = "grading-", "in-use"


class Folder:
    """A new temporary folder, there until `remove`, or until a later one finds its process gone."""

    def __init__(self) -> None:
        remove_abandoned()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        new = self.path / f"{LOCK}.new"
        self._lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _is_free(self._lock)
        new.rename(self.path / LOCK)  # nobody has seen it unlocked

    def remove(self) -> None:
        """Take it away, however deep it is."""
        _remove(self.path)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def remove_abandoned() -> None:
    """Remove the folders of this user's gradings that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, or just removed
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(lock).st_mode) and _is_free(lock):
                    _remove(folder)
            finally:
                os.close(lock)


def _is_free(lock: int) -> bool:
    """Lock a file that nobody has locked; returns whether that was possible."""
    import fcntl  # noqa: PLC0415 - not on Windows, where importing this must not fail

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        subprocess.run(["rm", "-rf", "--", folder], capture_output=True, check=False)
