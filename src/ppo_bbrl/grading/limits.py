"""What a graded cell may use of the machine: time, memory, disk."""

import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """The limits of one graded cell, with the student's code that it needs.

    Attributes:
        seconds: of wall-clock time.
        memory: MiB besides what the packages take before the student's code runs.
        output: bytes of what is printed that are kept.
    """

    seconds: float = 30.0
    memory: int = 2048
    output: int = 20_000

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


def apply(limits: Limits) -> None:
    """Limit this process for good: hard limits cannot be raised again.

    The memory limit needs Linux, where one can read how much there is already.
    """
    seconds = int(limits.seconds) + 1
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_FSIZE, 16 * MIB)
    _limit(resource.RLIMIT_CORE, 0)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text(encoding="ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory * MIB)


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(what, (value, value))
