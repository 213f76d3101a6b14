"""Minibatches: what Lightning's Trainer iterates over in one of its epochs."""

from collections.abc import Callable, Iterator

import torch

from ppo_bbrl.lightning.collection import Batch, Transitions
from ppo_bbrl.lightning.processes import Processes


def n_minibatches(n_rows: int, batch_size: int) -> int:
    """How many minibatches an epoch over a rollout has, however many of its rows are valid.

    So all processes make the same number of optimiser steps.
    """
    return -(-n_rows // batch_size)


def minibatches(
    rollout: Transitions, batch_size: int, generator: torch.Generator, counts: list[int]
) -> Iterator[Batch]:
    """Each transition exactly once, shuffled; minibatches equally large, up to one transition.

    Args:
        rollout: of this process.
        batch_size: M at most.
        generator: draws the order.
        counts: N of each process.
    """
    n = n_minibatches(rollout.n_rows, batch_size)
    shuffled = torch.randperm(len(rollout), generator=generator)
    # tensor_split gives the first `count % n` parts one more.
    sizes = [tuple(count // n + (i < count % n) for count in counts) for i in range(n)]
    for index, each in zip(shuffled.tensor_split(n), sizes, strict=True):
        if sum(each) == 0:
            continue  # more minibatches than transitions
        batch = rollout.valid.select(index) if len(index) else rollout.spare
        yield batch._replace(counts=each) if len(each) > 1 else batch


class RolloutLoader:
    """Collects rollouts and gives their minibatches: one pass is one epoch of the Trainer.

    It has a length, so that Lightning fetches a minibatch only when the step on the one before is
    done: a rollout never starts with weights that still wait for a step. The length is an upper
    bound. A pass is shorter when `target_kl` ends the epochs over a rollout.

    Args:
        num_rollouts: in one pass.
        epochs_per_rollout: passes over each rollout.
        batch_size: transitions of a minibatch at most.
        n_rows: of a rollout, autoreset steps counted.
        collect: collects a rollout.
        processes: those that train together.
        device: of what they exchange.
        generator: draws the minibatches.
        too_far: whether the policy has gone too far for a further step, asked before each but the
            first minibatch of a rollout.
        on_batch: told each minibatch before it is given away.
        on_end: told that a pass has ended, if it was shorter than its length.
    """

    def __init__(
        self,
        *,
        num_rollouts: int,
        epochs_per_rollout: int,
        batch_size: int,
        n_rows: int,
        collect: Callable[[int], Transitions],
        processes: Processes,
        device: torch.device,
        generator: torch.Generator,
        too_far: Callable[[Batch], bool],
        on_batch: Callable[[Batch], None],
        on_end: Callable[[], None],
    ) -> None:
        self.num_rollouts, self.epochs_per_rollout = num_rollouts, epochs_per_rollout
        self.batch_size, self.n_rows = batch_size, n_rows
        self.collect, self.too_far = collect, too_far
        self.on_batch, self.on_end = on_batch, on_end
        self.processes, self.device, self.generator = processes, device, generator

    def __len__(self) -> int:
        """Minibatches of a pass at most."""
        return (
            self.num_rollouts
            * self.epochs_per_rollout
            * n_minibatches(self.n_rows, self.batch_size)
        )

    def __iter__(self) -> Iterator[Batch]:
        """Collect, then give the minibatches, `num_rollouts` times."""
        for index in range(self.num_rollouts):
            rollout = self.collect(index)
            first = True
            for batch in self._epochs(rollout):
                if not first and self.too_far(batch):
                    break
                first = False
                self.on_batch(batch)
                yield batch
        self.on_end()

    def _epochs(self, rollout: Transitions) -> Iterator[Batch]:
        counts = self.processes.all_counts(len(rollout), self.device)
        for _ in range(self.epochs_per_rollout):
            yield from minibatches(rollout, self.batch_size, self.generator, counts)
