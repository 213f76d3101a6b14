"""Seccomp: from some moment on, a thread can ask the kernel for what is listed here, and no more.

No other program, no process, no thread, no signal, no socket: none of that is in the list. The
filters are made by libseccomp, which knows the numbers of each architecture.
"""

import ctypes
import os
from collections.abc import Iterator
from errno import ENOSYS
from functools import cache
from typing import Any

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | ENOSYS  # as in a kernel that has no such call
LESS, EQUAL = 2, 4  # comparisons of an argument, of all its 64 bits
UNKNOWN = -1  # libseccomp's number of a call that it does not know
SET_SECCOMP, FILTER, NO_NEW_PRIVILEGES = 22, 2, 38  # of prctl
LIBRARY = "libseccomp.so.2"

FILES = (
    "access close close_range chdir epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_wait "
    "eventfd2 faccessat faccessat2 fadvise64 fchdir fdatasync flock fstat fstat64 fstatat64 "
    "fstatfs fstatfs64 fsync ftruncate ftruncate64 getcwd getdents getdents64 _llseek lseek lstat "
    "lstat64 mkdir mkdirat newfstatat _newselect open openat pipe pipe2 poll ppoll pread64 preadv "
    "preadv2 pselect6 read readahead readlink readlinkat readv rename renameat renameat2 rmdir "
    "select stat stat64 statfs statfs64 statx umask unlink unlinkat"
)
MEMORY = "brk madvise membarrier mincore mmap mmap2 mprotect mremap msync munmap"
PROCESS = (
    "capget exit exit_group futex futex_time64 futex_waitv get_robust_list get_thread_area getcpu "
    "getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getrandom getresgid getresuid "
    "getrlimit getrusage getsid gettid getuid restart_syscall rseq rt_sigpending "
    "rt_sigprocmask rt_sigreturn rt_sigtimedwait sched_getaffinity sched_getparam "
    "sched_getscheduler sched_yield set_robust_list set_tid_address sigaltstack sigreturn sysinfo "
    "times ugetrlimit uname"
)
CLOCKS = (
    "alarm clock_getres clock_gettime clock_gettime64 clock_nanosleep getitimer gettimeofday "
    "nanosleep pause setitimer time"
)
SOCKET_PAIRS = "getsockopt recvfrom shutdown"  # of this process with itself, as asyncio has one
#: what writes to a descriptor, or makes another that leads to the same place
WRITING = "dup dup2 dup3 pwrite64 pwritev pwritev2 write writev"
#: for `fcntl` and `ioctl`: none that makes the kernel send signals (F_SETOWN, FIOASYNC)
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 36, 37, 38, 1030, 1031, 1032, 1033, 1034)
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
SET_NAME, GET_NAME = 15, 16  # of prctl
LOCAL = 1  # AF_UNIX


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def missing() -> str:
    """Why there are no filters on this machine; empty if there are."""
    try:
        _library()
    except OSError:
        return f"{LIBRARY} is not installed (Debian and Ubuntu: apt install libseccomp2)"
    return ""


def program(*, below: int | None = None) -> bytes:
    """A filter for `restrict`; a thread may write to descriptors below that number alone.

    Raises:
        OSError: if there is no libseccomp.
    """
    library = _library()
    rules = library.seccomp_init(REFUSE)
    try:
        for name, comparisons in _allowed(below):
            number = library.seccomp_syscall_resolve_name(name.encode())
            if number == UNKNOWN:
                continue
            given = (_Comparison * len(comparisons))(*comparisons)
            done = library.seccomp_rule_add_array(rules, ALLOW, number, len(comparisons), given)
            # A negative number is a call that this architecture has not got.
            if done and number >= 0:
                raise OSError(-done, f"libseccomp: {name}")
        descriptor = os.memfd_create("filter")
        try:
            if library.seccomp_export_bpf(rules, descriptor):
                raise OSError("libseccomp does not export its filter")
            return os.pread(descriptor, 1 << 20, 0)
        finally:
            os.close(descriptor)
    finally:
        library.seccomp_release(rules)


def restrict(instructions: bytes) -> None:
    """Put this thread under a filter, for good.

    Raises:
        OSError: if the kernel does not do it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    kept = ctypes.create_string_buffer(instructions, len(instructions))
    filter_ = _Program(len(instructions) // 8, ctypes.cast(kept, ctypes.c_void_p))
    for option, *arguments in (
        (NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (SET_SECCOMP, FILTER, ctypes.byref(filter_), 0, 0),
    ):
        if libc.prctl(option, *arguments):
            raise OSError(ctypes.get_errno(), "prctl")


def _allowed(below: int | None) -> Iterator[tuple[str, tuple[_Comparison, ...]]]:
    """The calls, each with what has to hold for its arguments."""
    for name in f"{FILES} {MEMORY} {PROCESS} {CLOCKS} {SOCKET_PAIRS}".split():
        yield name, ()
    guard = () if below is None else (_Comparison(0, LESS, below, 0),)
    for name in WRITING.split():
        yield name, guard
    for command in FCNTL:
        for name in ("fcntl", "fcntl64"):
            yield name, (*guard, _Comparison(1, EQUAL, command, 0))
    for command in IOCTL:
        yield "ioctl", (_Comparison(1, EQUAL, command, 0),)
    for option in (SET_NAME, GET_NAME):
        yield "prctl", (_Comparison(0, EQUAL, option, 0),)
    # Its own limits, to read them.
    yield "prlimit64", (_Comparison(0, EQUAL, 0, 0), _Comparison(2, EQUAL, 0, 0))
    yield "socketpair", (_Comparison(0, EQUAL, LOCAL, 0),)
    yield "sendto", (*guard, _Comparison(4, EQUAL, 0, 0))  # to no address but the other end


@cache
def _library() -> Any:
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    return library
