"""The processes of a training: what they exchange, and how they end even if one of them hangs."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from ppo_bbrl.envs.worker_process import killed_with_parent
from ppo_bbrl.errors import Terminated

LAST_WORDS = 4.0  # seconds that SIGTERM gives the other processes before they are killed
_LOOK_AROUND = 0.001  # seconds between two looks whether the other processes have come


@dataclass(frozen=True)
class Processes:
    """This process and the others that train with it.

    Every process must call each method, with tensors on the device of its process group. With a
    single process, the methods return their arguments.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        trainer: the Trainer that started them; None: the caller makes sure that they end.
        child: whether this process was started by one of them, or by what waits for all of them.
    """

    rank: int = 0
    size: int = 1
    trainer: Trainer | None = None
    child: bool = False

    @classmethod
    def of(cls, trainer: Trainer, device: torch.device) -> Self:
        """The processes that a Trainer has started."""
        one = cls(trainer.global_rank, trainer.world_size, trainer)
        if one.size == 1:
            return one
        started = os.getppid() in one.all_counts(os.getpid(), device)
        return replace(one, child=started or multiprocessing.parent_process() is not None)

    def all_counts(self, count: int, device: torch.device) -> list[int]:
        """The counts of all processes, in the order of their ranks."""
        if self.size == 1:
            return [count]
        counts = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(self.size)]
        self._await(dist.all_gather(counts, torch.tensor([count], device=device), async_op=True))
        return [int(each) for each in counts]

    def total(self, values: Tensor, *, patient: bool = False) -> Tensor:
        """The sum of a tensor over all processes.

        Args:
            values: the tensor, of the same shape in every process.
            patient: whether others may arrive much later, so that signals must work meanwhile.
        """
        if self.size == 1:
            return values
        summed = values.clone()
        work = dist.all_reduce(summed, async_op=True)
        self._await(work) if patient else work.wait()
        return summed

    def join(self, values: Tensor, counts: list[int] | tuple[int, ...]) -> Tensor:
        """The values of all processes, concatenated to `[N, …]`, without gradients.

        Args:
            values: this process's values, `[counts[rank], …]`.
            counts: the number of values in each process.
        """
        if self.size == 1:
            return values
        padded = values.new_zeros(max(counts), *values.shape[1:])
        padded[: len(values)] = values
        gathered = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(gathered, padded)
        return torch.cat([one[:n] for one, n in zip(gathered, counts, strict=True)])

    def _await(self, work: Any) -> None:
        """Wait for the others, one of which may hang; torch's own `wait` would block signals."""
        with self.while_environments_work():
            while not work.is_completed():
                time.sleep(_LOOK_AROUND)
        work.wait()

    @contextmanager
    def while_environments_work(self) -> Iterator[None]:
        """Make SIGTERM, and the end of the process that started this one, end the `with` block.

        Lightning only sets a flag on SIGTERM, and checks it after each batch, which it never
        reaches if an environment hangs. If the program handles the signal itself, or nothing does,
        this changes nothing.
        """
        with killed_with_parent(self.child), _stopped_by_sigterm(self.trainer):
            yield


class _Terminated(Terminated, SIGTERMException):
    """Lightning's callbacks recognise this error, and no environment is blamed for it."""


@contextmanager
def _stopped_by_sigterm(trainer: Trainer | None) -> Iterator[None]:
    noted: Any = signal.getsignal(signal.SIGTERM)
    of_lightning = type(noted).__module__.startswith("lightning.")
    if not of_lightning or current_thread() is not main_thread():  # handlers can be set only there
        yield
        return
    several = trainer is not None and trainer.world_size > 1
    launcher: Any = trainer.strategy.launcher if trainer is not None and several else None

    def stop(number: int, frame: FrameType | None) -> None:
        if several:  # Lightning would tell them in a broadcast, which waits for all of them
            if launcher is not None:
                launcher.kill(number)
        else:
            noted(number, frame)
        raise _Terminated(128 + number)

    try:
        with suppress(OSError):  # a sandbox may forbid it
            signal.signal(signal.SIGTERM, stop)
        yield
    except _Terminated:
        _end(getattr(launcher, "procs", ()))
        raise
    finally:
        if signal.getsignal(signal.SIGTERM) is stop:
            signal.signal(signal.SIGTERM, noted)


def _end(started: Any) -> None:
    """Give processes that were told to end a few seconds, then kill them."""
    deadline = time.monotonic() + LAST_WORDS
    for process in started:
        wait = process.wait if hasattr(process, "wait") else process.join
        with suppress(Exception):  # it still runs
            wait(timeout=max(0.0, deadline - time.monotonic()))
        with suppress(Exception):
            process.kill()
