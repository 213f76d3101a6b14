"""Worker processes, seen from the run: waiting for them, and their end."""

import select
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ppo_bbrl.envs.worker_process import end_of

if TYPE_CHECKING:
    from gymnasium.vector import AsyncVectorEnv


def close_workers(envs: "AsyncVectorEnv[Any, Any]", seconds: float) -> dict[int, str]:
    """Let every worker close its environments and end; after `seconds`, kill those that have not.

    Gymnasium's own `close` waits for answers that an interrupted step has already read, and for
    workers that hang. Here a worker may be in any state.

    Returns:
        By index, how each ended that did not close its environments.
    """
    if envs.closed:
        return {}
    envs.closed = True  # so that Gymnasium does not close them again
    deadline = time.monotonic() + seconds

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    processes: list[Any] = getattr(envs, "processes", [])
    pipes: list[Any] = getattr(envs, "parent_pipes", [])  # None for a worker that has failed
    warned: list[tuple[type[Warning], str]] = []
    unclosed: dict[int, str] = {}
    try:
        for pipe in pipes:
            with suppress(Exception):
                pipe.send(("close", None))
        for worker, (pipe, process) in enumerate(zip(pipes, processes, strict=False)):
            answer: Any = "none yet"
            with suppress(Exception):
                while answer is not None and pipe.poll(left()):
                    # The answer to the step that it was in; None means that it has closed.
                    answer, *_, also = pipe.recv()
                    warned += also if isinstance(also, list) else ()
            process.join(left())
            if answer is not None and process.is_alive():
                unclosed[worker] = f"did not close: after {seconds:g} s its process was killed"
            elif answer is not None and process.exitcode:
                unclosed[worker] = f"did not close: its process {end_of(process)}"
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            with suppress(Exception):
                pipe.close()
    for category, text in warned:
        warnings.warn(text, category, stacklevel=2)
    return unclosed


def waiting(pipe: Any) -> Callable[[int], Any]:
    """A function that waits until there is something to read, up to a number of milliseconds.

    `Connection.poll` does the same, but takes four times as long to start.
    """
    if not hasattr(select, "poll"):
        return lambda milliseconds: pipe.poll(milliseconds / 1000)
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    return waiting.poll
