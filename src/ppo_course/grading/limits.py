"""What a graded cell may use of the machine: time, memory, disk."""

import resource
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """The limits of one graded cell, with the student's code that it needs."""

    # of processor time. On a busy machine that lasts longer than on an idle one
    seconds: float = 20.0
    memory: int = 2048  # MiB besides what the packages take before the student's code runs
    output: int = 20_000  # bytes of what is printed that are kept
    idle: float = 5.0  # seconds by the clock in which it may do nothing, as who sleeps or waits
    disk: int = 64  # MiB of the files that it writes, all together; each of them may have a quarter
    files: int = 2000  # how many of them

    @property
    def wall_seconds(self) -> float:
        """After which it is over, less the time in which other processes kept it from running."""
        return 3 * self.seconds + 15

    @property
    def longest(self) -> float:
        """After which it is over in any case, however busy the machine is."""
        return 10 * self.wall_seconds


def apply(limits: Limits, *, descriptors: int) -> None:
    """Limit this process for good: hard limits cannot be raised again.

    The memory limit needs Linux, where one can read how much there is already.
    """
    # At the soft limit comes a signal that tells what happened, at the hard one the end.
    _limit(resource.RLIMIT_CPU, max(1, round(limits.seconds)), more=2)
    _limit(resource.RLIMIT_FSIZE, limits.disk * MIB // 4)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, descriptors)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text(encoding="ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory * MIB)


def no_more_processes() -> None:
    """Let no process or thread begin; root's may, which `seccomp` refuses."""
    _limit(resource.RLIMIT_NPROC, 0)


def _limit(what: int, value: int, *, more: int = 0) -> None:
    _, hardest = resource.getrlimit(what)
    soft, hard = value, value + more
    if hardest != resource.RLIM_INFINITY:
        soft, hard = min(soft, hardest), min(hard, hardest)
    resource.setrlimit(what, (soft, hard))
