"""Landlock: from some moment on, a thread reaches no file but those below the folders named.

The kernel's own, since Linux 5.13, for any user. It does not hide whether a file exists, and does
not know of the owner and the mode of a file; `seccomp` refuses what would change those.
"""

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

# The same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1  # a flag of CREATE_RULESET: asks which version the kernel has
PATH_BENEATH = 1
NO_NEW_PRIVILEGES = 38  # of prctl; without them, the kernel takes no restrictions from a user

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
TRUNCATE = 1 << 14  # since version 3
#: how many kinds of access to files each version knows; all of them are refused, the newest too
KINDS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
TCP = 0b11  # since version 4: to bind and to connect
SCOPES = 0b11  # since version 6: sockets without a path, and signals
READING = READ_FILE | READ_DIR
WRITING = READING | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_FILE | TRUNCATE
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Which version of Landlock the kernel has; 0 for none."""
    try:
        return _call(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION)
    except OSError:
        return 0


def ruleset(*, read: Iterable[Path], write: Iterable[Path]) -> int:
    """A file descriptor for `restrict`: what may be read, and where files may be made as well.

    What does not exist is left out.

    Raises:
        OSError: if the kernel has no Landlock.
    """
    known = version()
    kinds = (1 << KINDS[min(known, max(KINDS))]) - 1 if known else 0
    rules = _Ruleset(kinds, TCP if known >= 4 else 0, SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    descriptor = _call(CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    for paths, access in ((read, READING), (write, WRITING)):
        for path in paths:
            _allow(descriptor, path, access & kinds)
    return descriptor


def restrict(descriptor: int) -> None:
    """Put this thread, and what it starts, under a ruleset, for good.

    Raises:
        OSError: if the kernel does not do it.
    """
    no_new_privileges()
    _call(RESTRICT_SELF, descriptor, 0)


def no_new_privileges() -> None:
    """Whatever this thread runs, it gets no rights that it has not got now."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _allow(descriptor: int, path: Path, access: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= OF_A_FILE
        beneath = _Beneath(access, parent)
        _call(ADD_RULE, descriptor, PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(parent)


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    done = int(libc.syscall(ctypes.c_long(number), *arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return done
