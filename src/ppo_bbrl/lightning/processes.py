"""The processes of a training: what they agree on, and how SIGTERM ends one."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from ppo_bbrl.errors import Terminated


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    All methods must be called by every process, with tensors on the device that its process group
    works with. Alone they return what they were given.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def all_counts(self, count: int, device: torch.device) -> list[int]:
        """The counts of all processes, in the order of their ranks."""
        if self.size == 1:
            return [count]
        counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([count], device=device))
        return [int(each) for each in counts]

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes."""
        if self.size == 1:
            return values
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def join(self, values: Tensor, counts: list[int] | tuple[int, ...]) -> Tensor:
        """The `[N]` of all processes one after the other, without gradient.

        Args:
            values: this process's, `[counts[rank]]`.
            counts: how many each process has.
        """
        if self.size == 1:
            return values
        padded = values.new_zeros(max(counts))
        padded[: len(values)] = values
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([one[:n] for one, n in zip(gathered, counts, strict=True)])


class _Terminated(Terminated, SIGTERMException):
    """What Lightning's callbacks know, and what no environment is blamed for."""


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what goes on inside, where Lightning would only make a note of it.

    It looks at its notes after each batch, which an environment that hangs never gets to. Where the
    program handles the signal itself, or nobody does, this changes nothing.
    """
    noted: Any = signal.getsignal(signal.SIGTERM)
    of_lightning = type(noted).__module__.startswith("lightning.")
    if not of_lightning or current_thread() is not main_thread():  # only there can handlers be set
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        noted(number, frame)  # other processes of the training are told, too
        raise _Terminated(128 + number)

    try:
        with suppress(OSError):  # a sandbox may forbid it
            signal.signal(signal.SIGTERM, stop)
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, noted)
