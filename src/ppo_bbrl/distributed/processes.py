"""What the processes of a training exchange, and how each notices that another one has gone."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore  # torch.distributed has it, unknown to mypy

from ppo_bbrl.agents.normalisers import Summary
from ppo_bbrl.distributed.neighbours import Neighbours
from ppo_bbrl.distributed.shared_memory import SharedSums, can_share, look_often, make_file
from ppo_bbrl.distributed.watch import TICK, ProcessLostError, Watch, connect_to_store
from ppo_bbrl.errors import one_line
from ppo_bbrl.system.state import State, packed, unpacked

# What gloo says of a connection that is no more.
_OF_A_CONNECTION = re.compile(r"pair\.cc|[Cc]onnect|closed|reset|pipe|route|unreachable|timed out")
_PATIENCE = timedelta(hours=2)  # for the evaluations of the first process


@dataclass(frozen=True)
class Processes:
    """This process and the others; each calls every method in the same order.

    All methods raise `ProcessLostError` if another process has gone.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
        watch: notices those that hang or cannot be reached; None: nobody does.
        neighbours: what all share if they are on one host; None: they do not.
    """

    rank: int
    size: int
    watch: Watch | None = None
    neighbours: Neighbours | None = None

    @classmethod
    def join(cls) -> Self:
        """Join the processes that torchrun has started; its environment variables say how."""
        if not dist.is_initialized():
            on_gpu = torch.cuda.is_available() and dist.is_nccl_available()
            backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
            dist.init_process_group(backend, timeout=_PATIENCE, **_rendezvous())
        rank, size = dist.get_rank(), dist.get_world_size()
        watch = _watching(rank, size)
        return cls(rank, size, watch, _neighbours(rank, size, watch))

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, of the same shape in each."""
        if self.neighbours is not None and self.neighbours.can_add(values):
            return self.neighbours.total(values)
        summed = values.clone()
        self._wait(summed, lambda: dist.all_reduce(summed, async_op=True))
        return summed

    def count(self, number: int) -> int:
        """The sum of a number over all processes."""
        return int(self.total(torch.tensor(number)))

    def counts(self, number: int) -> list[int]:
        """The number of each process, in the order of their ranks."""
        numbers = torch.zeros(self.size, dtype=torch.int64)
        numbers[self.rank] = number
        counts: list[int] = self.total(numbers).tolist()
        return counts

    def summary(self, samples: Tensor) -> Summary:
        """Number, mean and variance of the samples `[n, *shape]` of all processes, in float64."""
        exact = samples.double()
        own = torch.cat([exact.new_tensor([len(exact)]), exact.sum(0).flatten()])
        n, *_ = sums = self.total(own)
        mean = (sums[1:] / n.clamp(min=1)).view(exact.shape[1:])
        spread = self.total((exact - mean).square().sum(0))
        return int(n), mean, spread / n.clamp(min=1)

    def after(self, values: Tensor) -> Tensor:
        """The values of all processes one after the other: `[N]` from `[n]`, where n differs."""
        sizes = self.counts(len(values))
        padded = values.new_zeros(max(sizes))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in sizes]
        self._wait(padded, lambda: dist.all_gather(parts, padded, async_op=True))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def gathered(self, state: State) -> list[State]:
        """The plain data of all processes, in the order of their ranks; elsewhere than at 0: []."""
        content = _as_tensor(packed(state))
        sizes = self.counts(len(content))
        padded = content.new_zeros(max(sizes))
        padded[: len(content)] = content
        parts = [torch.empty_like(padded) for _ in sizes] if self.rank == 0 else None
        self._wait(padded, lambda: dist.gather(padded, parts, dst=0, async_op=True))
        if parts is None:
            return []
        return [_unpacked(part[:size]) for part, size in zip(parts, sizes, strict=True)]

    def told(self, state: State | None) -> State:
        """The plain data that the first process has; what the others give does not count."""
        content = _as_tensor(packed(state or {}))
        size = self.counts(len(content))[0]
        if self.rank:
            content = content.new_zeros(size)
        self._wait(content, lambda: dist.broadcast(content, src=0, async_op=True))
        return _unpacked(content)

    def remember(self, text: str) -> None:
        """Keep a text of the first process for those that torchrun starts in place of these."""
        if (place := _memory()) is not None and self.rank == 0:
            with suppress(OSError):
                place.write_text(text, encoding="utf-8")

    def recall(self) -> str:
        """What was remembered, on whichever host that was; empty if nothing was."""
        place, text = _memory(), ""
        if place is not None:
            with suppress(OSError):
                text = place.read_text(encoding="utf-8")
        found = [each["text"] for each in self.gathered({"text": text}) if each["text"]]
        return str(self.told({"text": found[0] if found else ""})["text"])

    def _wait(self, values: Tensor, begin: Callable[[], Any]) -> None:
        """Wait for an exchange; meanwhile signals work, and silent processes are noticed.

        Args:
            values: what this process gives.
            begin: begins the exchange.
        """
        work = None
        while True:
            try:
                work = work or begin()
                look_often(work.is_completed)
                work.wait() if values.is_cuda else work.wait(timedelta(seconds=TICK))
            except RuntimeError as error:
                if work is None or values.is_cuda or work.is_completed():
                    if not _OF_A_CONNECTION.search(str(error)):
                        raise
                    if self.watch is not None:
                        self.watch.lost = True
                    raise ProcessLostError(
                        f"another process has ended, or cannot be reached ({_what(error)})"
                    ) from error
                if self.watch is not None and (silent := self.watch.look()):
                    raise silent from error
            else:
                return


def _memory() -> Path | None:
    """A file that outlives restarted processes, in the folder that torchrun has for this job."""
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")  # JOB/attempt_0/0/error.json
    return Path(error_file).parents[2] / "ppo_bbrl_run" if error_file else None


def _rendezvous() -> dict[str, Any]:
    """How to find the other processes; not by what those wrote that torchrun has restarted."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"ppo_bbrl/attempt_{attempt}", connect_to_store())
    rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    return {"store": store, "rank": rank, "world_size": size}


@cache
def _neighbours(rank: int, size: int, watch: Watch) -> Neighbours | None:
    """What the processes of one host share; one for a process, however often it joins."""
    if size == 1 or os.environ.get("LOCAL_WORLD_SIZE") != str(size) or not can_share():
        return None
    processes, path, found = Processes(rank, size, watch), None, None
    pids = processes.counts(os.getpid())
    with suppress(OSError):
        path = make_file(size) if rank == 0 else None
    try:
        name = processes.told({"path": str(path or "")})["path"]
        with suppress(OSError, RuntimeError):  # too little shared memory, or not the same folder
            found = Neighbours(SharedSums(Path(name), rank, size), rank, pids, watch)
        all_found = processes.count(int(found is not None)) == size
    finally:
        if path is not None:
            path.unlink()  # it lasts as long as it is mapped
    return found if all_found else None


@cache
def _watching(rank: int, size: int) -> Watch:
    """One for a process, however often it joins."""
    return Watch(rank, size)


def _what(error: RuntimeError) -> str:
    """What gloo says of a connection, without the line of its source and advice on logs."""
    text = re.sub(r"\[[^]]*\.cc:\d+\] ", "", str(error))
    return one_line(text.partition(". This ")[0], 200)


def _as_tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _unpacked(content: Tensor) -> State:
    state: State = unpacked(content.numpy().tobytes())
    return state
