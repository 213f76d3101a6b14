"""The processes of asynchronous environments: gone when their environments are, however it ends."""

import time
from contextlib import suppress
from typing import Any

from gymnasium.vector import AsyncVectorEnv


def close_workers(envs: AsyncVectorEnv[Any, Any], seconds: float) -> None:
    """Let every worker close its environment and end; kill those that have not after some seconds.

    Gymnasium's own `close` waits for answers that an interrupted step has already read, and for
    workers that hang. Here a worker may be in any state.
    """
    if envs.closed:
        return
    envs.closed = True  # for Gymnasium, which would close once more
    deadline = time.monotonic() + seconds

    def left() -> float:
        return max(0.0, deadline - time.monotonic())

    pipes: list[Any] = list(envs.parent_pipes)  # None: that of a worker which has failed
    for pipe in pipes:
        with suppress(Exception):
            pipe.send(("close", None))
    for pipe, process in zip(pipes, envs.processes, strict=True):
        with suppress(Exception):
            while pipe.poll(left()):
                answer, _ = pipe.recv()  # of the step that it was in
                if answer is None:  # that it closes
                    break
        process.join(left())
        process.kill()
        process.join()
        with suppress(Exception):
            pipe.close()
