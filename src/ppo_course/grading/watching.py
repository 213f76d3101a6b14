"""Looks after a check while it runs: has the student's code replaced something in the meantime?

Comparing before and after is not enough. What a check calls may take a part of the check away and
let it come back later: a function, a method, a generator, a comparison of a student's class. So
Python tells, by its hook for profilers, whenever a line of the student's begins to run or ends,
and everything has to be as it was at both times.
"""

from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from ppo_course.grading.tampering import Look, modes

CHECK = "<check "  # what the file names of graded cells begin with
MODE = "a mode of torch or hooks of its gradients were left active"
EVENTS = frozenset(("call", "return"))  # a generator's steps are such, too


def watch(
    replaced: Look, changed: Look, *, of_student: Callable[[CodeType], bool]
) -> tuple[Callable[[FrameType, str, Any], None], Look]:
    """Look after what the check relies on, with what `tampering.snapshot` gave.

    Returns:
        A hook for `sys.setprofile`, and what tells the first thing that was seen replaced, whether
        it came back or not.
    """
    found: list[str] = []
    active = modes()  # in a cell they may come and go, but not while the check runs
    before = entered = active()
    check = CHECK
    others: set[str] = set()  # file names, for speed: this is called a million times a second

    def look(frame: FrameType, event: str, given: Any) -> None:
        if event not in EVENTS:
            return
        code = frame.f_code
        if type(given) is FrameType and frame.f_back and of_student(frame.f_back.f_code):
            found.append("the frames of the interpreter were looked at")
        if code.co_filename in others:
            return
        if not of_student(code):
            if not code.co_filename.startswith("<"):
                others.add(code.co_filename)
            return
        # Only where it meets other code, or a helper would cost milliseconds at each call.
        caller, checking = frame.f_back, False
        while caller is not None:
            if of_student(caller.f_code):
                return
            checking = checking or caller.f_code.co_filename.startswith(check)
            caller = caller.f_back
        if not found and (told := replaced()):
            found.append(told)
        nonlocal entered
        if not checking:
            return
        if event == "call":
            entered = active()
        elif not found and active() != entered:
            found.append(MODE)

    def first() -> str | None:
        if not found and active() != before:
            found.append(MODE)
        return found[0] if found else changed()

    return look, first
