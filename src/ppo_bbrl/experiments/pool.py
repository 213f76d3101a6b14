"""A few processes that train many configurations, one after the other in each."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_GRACE = 10.0  # seconds in which a process that is told to end saves its run


class Event(NamedTuple):
    """What a process says about one of its runs.

    Attributes:
        number: of the configuration, from 0.
        kind: begun (folder), progress (done, steps), evaluated (steps, reward), done (folder,
            steps, seconds, last, best), failed (why).
        facts: as listed, by name.
    """

    number: int
    kind: str
    facts: dict[str, Any]


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    number: int | None = None  # of the configuration that it trains
    rest: bytes = b""  # the beginning of a line

    def give(self, number: int, task: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        self.number = number
        with suppress(BrokenPipeError):  # it has died, which is noticed when its answers end
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()


class Pool:
    """Trains configurations in processes of their own, and tells what happens.

    Each process imports torch once. One that dies is replaced, and its run has failed.

    Args:
        configs: one for each run, resolved: plain dictionaries.
        jobs: number of processes.
        import_from: folders in which the modules of `module:Name-v0` are looked for.

    Use it in a `with` block: at its end, whatever still runs is told to save and end.
    """

    def __init__(
        self, configs: Sequence[Mapping[str, Any]], jobs: int, import_from: Sequence[Path] = ()
    ) -> None:
        self._waiting = list(enumerate(configs))
        # What this process can import, another can: it does not have the folder of a script.
        places = dict.fromkeys([*import_from, *map(Path, sys.path)])
        self._import_from = [str(folder.absolute()) for folder in places]
        self._jobs = jobs
        self._selector = selectors.DefaultSelector()
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def add(self, number: int, config: Mapping[str, Any]) -> None:
        """Append one more configuration; `events` goes on until it is done, too."""
        self._waiting.append((number, config))

    def events(self) -> Iterator[Event]:
        """Yield what happens until every run has ended."""
        while self._waiting or self._workers:
            while self._waiting and len(self._workers) < self._jobs:
                self._start_worker()
            for key, _ in self._selector.select():
                if key.data in self._workers:  # not stopped in the meantime
                    yield from self._read(key.data)

    def stop(self, number: int | None = None) -> None:
        """End the run of a configuration, or all; they save what they have."""
        ending = [each for each in self._workers if number is None or each.number == number]
        self._waiting = [each for each in self._waiting if number is not None and each[0] != number]
        for worker in ending:
            worker.process.terminate()
        end = time.monotonic() + _GRACE
        for worker in ending:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._forget(worker)

    def _start_worker(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ppo_bbrl.experiments.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C in a terminal is for the parent, which tells its processes.
            start_new_session=True,
        )
        assert process.stdout is not None
        worker = _Worker(process)
        self._workers.append(worker)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._next(worker)

    def _next(self, worker: _Worker) -> None:
        """Give a process its next configuration, or let it end."""
        worker.number = None
        if self._waiting:
            number, config = self._waiting.pop(0)
            worker.give(number, {"config": config, "import_from": self._import_from})
        else:
            assert worker.process.stdin is not None
            with suppress(BrokenPipeError):
                worker.process.stdin.close()

    def _read(self, worker: _Worker) -> Iterator[Event]:
        assert worker.process.stdout is not None
        part = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not part:
            number, status = worker.number, worker.process.wait()
            self._forget(worker)
            if number is not None:
                yield Event(number, "failed", {"why": f"its process ended with status {status}"})
            return
        *lines, worker.rest = (worker.rest + part).split(b"\n")
        for line in lines:
            facts = json.loads(line)
            kind, number = facts.pop("kind"), worker.number
            if number is not None:
                yield Event(number, kind, facts)  # upon which more may be added
                if kind in {"done", "failed"} and worker in self._workers:
                    self._next(worker)

    def _forget(self, worker: _Worker) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
            assert worker.process.stdout is not None
            assert worker.process.stdin is not None
            self._selector.unregister(worker.process.stdout)
            worker.process.stdout.close()
            with suppress(OSError):
                worker.process.stdin.close()
