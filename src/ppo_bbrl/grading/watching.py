"""Looks after a check while it runs: has the student's code replaced something in the meantime?

Comparing before and after is not enough. What a check calls may take a part of the check away and
let it come back later: a function, a method, a generator, a comparison of a student's class. So
Python tells, by its hook for profilers, whenever a line of the student's begins to run or ends,
and everything has to be as it was at both times.
"""

import gc
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType, FunctionType
from typing import Any

from ppo_bbrl.grading.tampering import Look

#: what the file names of the teacher's cells begin with, and of Python's own code
TRUSTED = ("<definitions ", "<check ", "<control>", "<frozen ")

EVENTS = frozenset(("call", "return"))  # a generator's steps are such, too


def made_by_packages() -> dict[int, CodeType]:
    """The code that has no file though it is not a student's, by its identity.

    Named tuples and data classes have such. It is to be asked before a student's code runs.
    """
    functions = (thing for thing in gc.get_objects() if type(thing) is FunctionType)
    return {
        id(function.__code__): function.__code__
        for function in functions
        if function.__code__.co_filename.startswith("<")
    }


def watch(
    replaced: Look, changed: Look, *, scratch: str, known: dict[int, CodeType]
) -> tuple[Callable[[FrameType, str, Any], None], Look]:
    """Look after what the check relies on.

    Args:
        replaced: of `tampering.snapshot`, as the next one.
        changed: likewise.
        scratch: the folder in which the student's code can write files, and so modules.
        known: what `made_by_packages` gave.

    Returns:
        A hook for `sys.setprofile`, and what tells the first thing that was seen replaced, whether
        it came back or not.
    """
    found: list[str] = []
    others: set[str] = set()  # file names, for speed: this is called a million times a second
    of_student = partial(_of_student, scratch.rstrip("/") + "/", known)

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
        caller = frame.f_back
        while caller is not None:
            if of_student(caller.f_code):
                return
            caller = caller.f_back
        if not found and (name := replaced()):
            found.append(f"{name} was replaced")

    def first() -> str | None:
        if found:
            return found[0]
        name = changed()
        return name and f"{name} was replaced"

    return look, first


def _of_student(scratch: str, known: dict[int, CodeType], code: CodeType) -> bool:
    name = code.co_filename
    if id(code) in known or name.startswith(TRUSTED):
        return False
    return not name.startswith("/") or name.startswith(scratch)
