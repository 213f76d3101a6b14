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
        seconds: of processor time. On a busy machine that lasts longer than on an idle one, and
            who waits or sleeps uses none; `wall_seconds` ends that.
        memory: MiB besides what the packages take before the student's code runs.
        output: bytes of what is printed that are kept.
    """

    seconds: float = 20.0
    memory: int = 2048
    output: int = 20_000

    @property
    def wall_seconds(self) -> float:
        """After which it is over in any case; so long that a busy machine costs nobody marks."""
        return 4 * self.seconds + 60

    def to_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)


def apply(limits: Limits) -> None:
    """Limit this process for good: hard limits cannot be raised again.

    The memory limit needs Linux, where one can read how much there is already.
    """
    # At the soft limit comes a signal that tells what happened, at the hard one the end.
    _limit(resource.RLIMIT_CPU, max(1, round(limits.seconds)), more=2)
    _limit(resource.RLIMIT_FSIZE, 16 * MIB)
    _limit(resource.RLIMIT_CORE, 0)
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text(encoding="ascii").split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory * MIB)


def _limit(what: int, value: int, *, more: int = 0) -> None:
    _, hardest = resource.getrlimit(what)
    soft, hard = value, value + more
    if hardest != resource.RLIM_INFINITY:
        soft, hard = min(soft, hardest), min(hard, hardest)
    resource.setrlimit(what, (soft, hard))
