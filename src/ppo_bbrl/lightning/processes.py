"""The processes of a distributed training, and what they agree on."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


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
