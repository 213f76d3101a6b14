"""Whose code it is that runs: a student's, or that of the checks, of packages, of Python.

One knows it by the name of its file, which nobody may choose freely: `audit` sees to that.
"""

import gc
from collections.abc import Callable
from types import CodeType, FunctionType

STUDENT = "<cell "  # what the file names of a student's cells begin with
#: what those of the teacher's cells begin with, and of Python's own code
TRUSTED = ("<definitions ", "<check ", "<control>", "<frozen ")


#: whether some code is a student's; and whether code with some file name is
Whose = tuple[Callable[[CodeType], bool], Callable[[str], bool]]


def recogniser(*, scratch: str, known: dict[int, CodeType]) -> Whose:
    """Tell a student's code from other code, by what `made_by_packages` gave.

    In the folder `scratch`, the student's code can write files, and so modules.
    """
    # Kept here, out of reach of whoever replaces them in this module.
    own, trusted, identity = scratch.rstrip("/") + "/", TRUSTED, id

    def named(name: str) -> bool:
        return name.startswith(own) if name.startswith("/") else not name.startswith(trusted)

    def of_student(code: CodeType) -> bool:
        return named(code.co_filename) and identity(code) not in known

    return of_student, named


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
