"""Two threads: the main one runs a student's code, piece by piece; the other one decides.

The thread that decides is out of sight: no frame, no signal handler and no generator of the
student's code leads to it. It alone may write the verdict, which the kernel sees to (`seccomp`).
"""

import _thread
import builtins
import sys
from _queue import SimpleQueue
from collections.abc import Callable
from types import FunctionType
from typing import Any, NoReturn

#: what a piece of work gave, and the profiler that was active at its end; or what it raised
Outcome = tuple[list[tuple[Any, Any]], list[BaseException]]
#: has a piece of work done in the main thread
Run = Callable[[Callable[[], Any]], Outcome]


def decide_apart(
    decide: Callable[[Run], NoReturn], enter: Callable[[], None]
) -> Callable[[], NoReturn]:
    """Start the thread that decides.

    Args:
        decide: gets what runs a piece of work; it ends the process when it is through.
        enter: what the thread does first; if that raises, so does this.

    Returns:
        What the main thread has to call, to do the work.
    """
    orders: SimpleQueue[list[Any]] = SimpleQueue()
    getprofile = sys.getprofile
    entered = _thread.allocate_lock()
    entered.acquire()
    failed: list[BaseException] = []

    def run(piece: Callable[[], Any]) -> Outcome:
        over = _thread.allocate_lock()
        over.acquire()
        done: list[tuple[Any, Any]] = []
        raised: list[BaseException] = []
        # Of two lists, one gets an element.
        orders.put([over.release, raised.append, getprofile, piece, done.append])
        over.acquire()
        return done, raised

    def thread() -> None:
        try:
            enter()
        except BaseException as error:  # noqa: BLE001 - raised in the other thread
            failed.append(error)
        finally:
            entered.release()
        if not failed:
            decide(run)

    _thread.start_new_thread(thread, ())
    entered.acquire()
    if failed:
        raise failed[0]
    # Without the globals of this module.
    work: Any = FunctionType(_work.__code__, {"__builtins__": dict(vars(builtins))})
    return lambda: work(orders.get)


def _work(next_: Callable[[], list[Any]]) -> NoReturn:
    """Take the parts of an order from the end of their list, so that no name stands for them.

    While a piece of work runs, `done.append`, which would be success, is an operand of the
    interpreter: no frame tells of it.
    """
    while True:
        parts = next_()
        try:
            parts.pop()((parts.pop()(), parts.pop()()))
        except BaseException as error:  # noqa: BLE001 - it is what came of the work
            parts[1](error)
        finally:
            parts.pop(0)()
