"""The processes of one host, which add up in memory that they share."""

import os
import time
from collections.abc import Sequence

from torch import Tensor

from ppo_bbrl.distributed.shared_memory import CAPACITY, SharedSums
from ppo_bbrl.distributed.watch import TICK, ProcessLostError, Watch

_GLANCE = 0.1  # seconds of waiting between two looks whether all are still there


class Neighbours:
    """Processes of one host; one that ends is noticed at once, and one that hangs by `watch`.

    Args:
        sums: the memory that they share.
        rank: the number of this process.
        pids: their process ids, in the order of their ranks.
        watch: notices those that hang.
    """

    def __init__(self, sums: SharedSums, rank: int, pids: Sequence[int], watch: Watch) -> None:
        self._sums, self._watch = sums, watch
        self._others = {other: pid for other, pid in enumerate(pids) if other != rank}
        self._next_glance = self._next_look = 0.0

    def can_add(self, values: Tensor) -> bool:
        """Whether a tensor, of this shape in each process, can be added up here."""
        return not values.is_cuda and values.numel() * values.element_size() <= CAPACITY

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes.

        Raises:
            ProcessLostError: if another process has ended, or hangs.
        """
        now = time.monotonic()
        self._next_glance, self._next_look = now + _GLANCE, now + TICK
        return self._sums.total(values, self._trouble)

    def _trouble(self) -> ProcessLostError | None:
        now = time.monotonic()
        if now >= self._next_glance:
            self._next_glance = now + _GLANCE
            for other, pid in self._others.items():
                if not _runs(pid):
                    self._watch.lost = True
                    return ProcessLostError(f"process {other} has ended")
        if now >= self._next_look:
            self._next_look = now + TICK
            return self._watch.look()
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
