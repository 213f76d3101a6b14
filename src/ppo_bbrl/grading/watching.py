"""Looks after a check while it runs: has the student's code replaced something in the meantime?

Comparing before and after is not enough. What a check calls may take a part of the check away and
let it come back later: a function, a method, a generator, a comparison of a student's class. So
Python tells, by its hook for profilers, whenever a line of the student's begins to run or ends,
and everything has to be as it was at both times.
"""

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any

from ppo_bbrl.grading.tampering import Snapshot

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


class Watch:
    """What was found so far. It begins at once, in this thread, and for good.

    Args:
        snapshot: how everything was.
        scratch: the folder in which the student's code can write files, and so modules.
        known: what `made_by_packages` gave.
    """

    def __init__(self, snapshot: Snapshot, *, scratch: str, known: dict[int, CodeType]) -> None:
        self._snapshot = snapshot
        self._replaced: str | None = None
        self._scratch = scratch.rstrip("/") + "/"
        self._known = known
        self._kept = sys.getprofile, self._looking()
        sys.setprofile(self._kept[1])
        # What leads to this object is taken away.
        vars(sys)["getprofile"] = lambda: None

    def replaced(self) -> str | None:
        """The first thing that was seen replaced, whether it came back or not."""
        return self._replaced or self._snapshot.changed()

    def lost(self) -> bool:
        """Whether it ended, as it does with an error such as endless recursion."""
        getprofile, look = self._kept
        return getprofile() is not look

    def _looking(self) -> Callable[[FrameType, str, Any], None]:
        of_student = self._of_student
        others: set[str] = set()  # file names, for speed: this is called a million times a second

        def look(frame: FrameType, event: str, _: Any) -> None:
            if event not in EVENTS:
                return
            code = frame.f_code
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
            self._replaced = self._replaced or self._snapshot.replaced()

        return look

    def _of_student(self, code: CodeType) -> bool:
        name = code.co_filename
        if id(code) in self._known or name.startswith(TRUSTED):
            return False
        return not name.startswith("/") or name.startswith(self._scratch)
