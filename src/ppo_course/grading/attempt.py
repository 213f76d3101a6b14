"""What is asked of the process for one graded cell; running code in it, and telling of errors."""

import ast
import base64
import linecache
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ppo_course.grading.answers import CHECKS
from ppo_course.grading.cells import REGION, Cell, Code
from ppo_course.grading.notebook import Notebook

MOST_LINES, LONGEST_LINE = 40, 400  # of what a student is told


@dataclass(frozen=True)
class Task:
    """What the process for one graded cell is asked to do."""

    cells: tuple[Cell, ...]  # the student's, in the order of the notebook
    check: Code  # the graded cell
    names: tuple[str, ...]  # what the check takes from the student's code
    controls: tuple[Code, ...] = ()  # wrong solutions, which the check must find wrong
    # what was handed in beside the notebook: path and contents in Base64
    files: tuple[tuple[str, str], ...] = ()
    seconds: float = 10.0  # of processor time for the cells that are not the solution
    # run all of the student's cells, not only what the solution needs by name
    everything: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Task":
        """The task that a worker is sent, as a dict."""
        return cls(
            **{
                **data,
                "cells": tuple(Cell(**cell) for cell in data["cells"]),
                "check": Code(**data["check"]),
                "controls": tuple(Code(**code) for code in data["controls"]),
            }
        )


def answering(task: Task, module: ModuleType) -> Callable[[], dict[str, Any]]:
    """Get ready to run the student's code as a notebook; what it returns are its names then.

    The module, with the teacher's definitions, becomes `__main__`.
    """
    sys.modules["__main__"] = module
    notebook = Notebook(vars(module), seconds=task.seconds)
    here = Path.cwd()

    def answer() -> dict[str, Any]:
        sys.modules["__main__"] = module
        # What was handed in beside the notebook, where the notebook's cells look for it.
        for path, contents in task.files:
            (here / path).parent.mkdir(parents=True, exist_ok=True)
            (here / path).write_bytes(base64.b64decode(contents))
        sys.path.insert(0, str(here))
        notebook.run(task.cells, wanted=task.names, everything=task.everything)
        return vars(module)

    return answer


def compiled(code: Code, *, prefix: str) -> CodeType:
    """Some lines, ready to run; error messages can show them, but for hidden tests."""
    filename = _remembered(code, prefix)
    return compile(code.text, filename, "exec", dont_inherit=True)


def compiled_apart(code: Code, *, prefix: str) -> tuple[CodeType, ...]:
    """The same, statement by statement."""
    filename = _remembered(code, prefix)
    statements = ast.parse(code.text, filename).body
    return tuple(
        compile(ast.Module([each], []), filename, "exec", dont_inherit=True) for each in statements
    )


def _remembered(code: Code, prefix: str) -> str:
    """The name under which a student, and the student's code, can look up these lines."""
    filename = f"{prefix}{code.name}>"
    hidden, lines = False, list[str]()
    for line in code.text.splitlines(keepends=True):
        mark = REGION.match(line)
        if mark and mark[2] == "HIDDEN TESTS":
            hidden = mark[1] == "BEGIN"
        lines.append("a hidden test\n" if hidden else line)
    linecache.cache[filename] = (len(code.text), None, lines, filename)
    return filename


def lines_of(error: BaseException) -> list[str]:
    """What a notebook shows of an error: its own words, or the traceback through the cells."""
    try:
        render = getattr(type(error), "_render_traceback_", None)
        if render is not None:
            return _short(str(line) for line in render(error))
        told = _of_cells(traceback.TracebackException.from_exception(error))
        lines = "".join(told.format()).splitlines()
        if isinstance(error, NameError):
            lines.append("Graded are the solution cells, with what they need of your other cells.")
        if isinstance(error, SyntaxError):
            lines.append(f"It is graded with Python {sys.version.partition(' ')[0]}.")
        if isinstance(error, ImportError) and CHECKS in str(error):
            lines.append("Of the checks, one can import what the notebook itself imports.")
        elif isinstance(error, ModuleNotFoundError):
            lines.append("A module of your own has to be handed in beside the notebook.")
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            lines.append("Your code wants more memory than there is for it.")
    except BaseException:  # noqa: BLE001 - the student's error need not be printable
        return [type(error).__name__]
    return _short(lines)


def _of_cells(told: traceback.TracebackException) -> traceback.TracebackException:
    """The lines of the notebook alone; those of packages tell a student little."""
    own = [frame for frame in told.stack if frame.filename.startswith("<")]
    told.stack = traceback.StackSummary.from_list(own)
    for other in (told.__cause__, told.__context__):
        if other is not None:
            _of_cells(other)
    return told


def _short(lines: Iterable[str]) -> list[str]:
    return [line[:LONGEST_LINE] for line in list(lines)[-MOST_LINES:]]
