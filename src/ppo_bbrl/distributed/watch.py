"""Signs of life: a process notices within seconds that another one is silent.

A process that dies closes its connections, which the others notice at once. One that hangs, or
whose link is cut, does not: TCP would wait for many minutes.
"""

import atexit
import os
import sys
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread

from torch._C._distributed_c10d import TCPStore  # torch.distributed has it, unknown to mypy

from ppo_bbrl.errors import UserError

TICK = 1.0  # seconds between two signs of life, and between two looks for those of others
SILENCE = 20.0  # seconds without one after which a process counts as lost


class ProcessLostError(UserError):
    """Another process has ended, hangs, or cannot be reached; the message says which of these."""


class Watch:
    """Gives signs of life to the others, and counts how long those that matter are silent.

    The first process watches all others, and they watch the first: when it ends, all do.

    Args:
        rank: the number of this process.
        size: the number of processes.

    Attributes:
        lost: whether a process has been lost, so that this one cannot wait for what it began.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.lost = False
        self._rank = rank
        others = [other for other in range(size) if (rank == 0) != (other == 0)]
        self._heard = dict.fromkeys(others, 0)  # how many signs of life have come
        self._known = dict(self._heard)
        self._silent = dict.fromkeys(others, 0)  # ticks
        atexit.register(self._leave)
        self._ends = Event()
        Thread(target=self._beat, name="signs of life", daemon=True).start()

    def look(self) -> ProcessLostError | None:
        """Which processes have been silent for too long; to be called every `TICK` of waiting.

        It counts calls instead of reading a clock, so that a machine that slept blames nobody.
        """
        for other, heard in self._heard.items():
            self._silent[other] = 0 if heard != self._known[other] else self._silent[other] + 1
            self._known[other] = heard
        silent = [other for other, ticks in self._silent.items() if ticks * TICK > SILENCE]
        if not silent:
            return None
        self.lost = True
        which = ", ".join(map(str, silent[:8]))
        return ProcessLostError(
            f"no sign of life from process {which} for {SILENCE:g} s: it hangs, or cannot be "
            "reached any more"
        )

    def _beat(self) -> None:
        try:
            store = connect_to_store()
        except Exception:  # noqa: BLE001 - processes that found each other in another way
            self._heard.clear()
            return
        before: dict[int, bytes] = {}
        count = 0
        with suppress(Exception):  # the store has ended: nobody is heard any more
            while not self._ends.wait(TICK):
                count += 1
                store.set(_key(self._rank), str(count))
                there = [one for one in self._heard if one in before or store.check([_key(one)])]
                now = store.multi_get(list(map(_key, there)))  # for ever, if the link is cut
                for other, sign in zip(there, now, strict=True):
                    self._heard[other] += sign != before.get(other)
                    before[other] = sign

    def _leave(self) -> None:
        """End at once, as what waits for a lost process would keep this one from ending."""
        self._ends.set()
        if self.lost:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(1)


def _key(rank: int) -> str:
    run, attempt = (
        os.environ.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT")
    )
    return f"ppo_bbrl/{run}/{attempt}/alive/{rank}"


def connect_to_store() -> TCPStore:
    """A new connection to the store by which torchrun's processes find each other."""
    return TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        wait_for_workers=False,
        timeout=timedelta(seconds=30),
    )
