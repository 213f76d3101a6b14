"""Sums over the processes of one host, by way of memory that all of them see.

An exchange by gloo goes through threads that must be woken, which takes longer than the work of a
minibatch of a small network. Here each process writes its numbers, and looks until all others have.
"""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

CAPACITY = 2**20  # bytes of one tensor; gloo is better for larger ones, as it shares out the sums
_LINE = 64  # bytes of a cache line: no two processes write into the same one
_LOOKING = 2e-3  # seconds
_NAP = 5e-4  # seconds between two looks at what takes longer
_let_others_run = getattr(os, "sched_yield", partial(time.sleep, 0))  # not on every system


class SharedSums:
    """Tensors that the processes of one host add up.

    The memory has a count of the exchanges that each process has begun, and two places for each
    process's numbers, used in turn. Whoever begins exchange k has seen that all others began
    k - 1, so that none still reads what was written for k - 2, in the same place.

    Args:
        path: a file of `size_for` bytes, all 0, the same for all processes.
        rank: the number of this process.
        size: the number of processes.

    Raises:
        OSError, RuntimeError: if it cannot be mapped.
    """

    def __init__(self, path: Path, rank: int, size: int) -> None:
        memory = torch.from_file(str(path), True, size_for(size), dtype=torch.uint8)
        counts, numbers = memory[: size * _LINE], memory[size * _LINE :]
        self._counts = counts.numpy().data.cast("q")  # the quickest to look at
        self._places = numbers.view(2, size, CAPACITY)
        self._rank, self._begun = rank, 0
        self._begins = [other * _LINE // 8 for other in range(size)]  # where counts are

    def total(self, values: Tensor, trouble: Callable[[], Exception | None]) -> Tensor:
        """The sum over all processes, the same to the last bit in each.

        Args:
            values: of at most `CAPACITY` bytes.
            trouble: called while others are waited for; why there is no more use in it.

        Raises:
            Exception: what `trouble` has returned.
        """
        place = self._places[self._begun % 2, :, : values.numel() * values.element_size()]
        rows = place.view(values.dtype)
        rows[self._rank].copy_(values.reshape(-1))
        self._begun += 1
        # After the numbers, also for others to see: x86 keeps the order of writes.
        self._counts[self._begins[self._rank]] = self._begun
        for begins in self._begins:
            if self._counts[begins] < self._begun:
                self._wait_for(begins, trouble)
        summed: Tensor = rows[0].clone()
        for row in rows[1:]:
            summed += row
        return summed.view_as(values)

    def _wait_for(self, begins: int, trouble: Callable[[], Exception | None]) -> None:
        def begun() -> bool:
            return self._counts[begins] >= self._begun

        look_often(begun)
        while not begun():
            time.sleep(_NAP)
            # Who has ended may have begun this exchange before.
            if (error := trouble()) is not None and not begun():
                raise error


def look_often(done: Callable[[], bool]) -> None:
    """Look for the end of an exchange without sleeping: to wake up takes longer than most."""
    end = time.perf_counter() + _LOOKING
    while not done() and time.perf_counter() < end:
        _let_others_run()


def can_share() -> bool:
    """Whether this host can: Linux, and a processor that keeps the order of writes."""
    return sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64")


def size_for(size: int) -> int:
    """The bytes of memory for so many processes."""
    return size * (_LINE + 2 * CAPACITY)


def make_file(size: int) -> Path:
    """A file for so many processes, in memory where there is such a place.

    Raises:
        OSError: if there is no room.
    """
    memory = Path("/dev/shm")
    handle, name = tempfile.mkstemp(prefix="ppo_bbrl_", dir=memory if memory.is_dir() else None)
    try:
        with os.fdopen(handle, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size_for(size))  # else: killed when it is full
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)
