"""The notebook around graded code: IPython's own shell, without what would lead out of it.

A student's cells may use what a notebook gives them: `display`, magics, `_`, `In` and `Out`,
`get_ipython()`, `await` outside functions. Commands of the system, other languages, and magics of
extensions that are not here come to nothing, instead of ending the cell.
"""

import __future__

import ast
import asyncio
import contextlib
import functools
import importlib
import inspect
import re
import sys
from types import FunctionType, ModuleType
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from IPython.utils.text import LSString, SList
from traitlets.config import Config

from ppo_course.grading.cells import NOT_OF_THE_NOTEBOOK, python
from ppo_course.grading.whose import STUDENT

#: magics that run a student's code, or that a student's code uses: what they raise counts
AT_WORK = ("time", "timeit", "prun", "run", "writefile", "file")
#: magics about what is outside of the notebook
ELSEWHERE = "conda debug edit gui load_ext mamba matplotlib micromamba pdb pip pylab reset uv"
#: the options of %timeit, and those that say how often it runs its statement
OPTIONS = re.compile(r"(?:\s*-(?:[nrp]\s*\d+|[tcqov]+)(?=\s|$))*")
LOOPS = re.compile(r"-[nr]\s*\d+")
#: what `from __future__ import …` leaves for the cells that follow
FUTURE = functools.reduce(
    int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)


class _Display(DisplayHook):
    """Keeps what a cell ends with as `_` and `Out[…]`; nobody looks at it."""

    def write_output_prompt(self) -> None:
        """Nothing."""

    def compute_format_data(self, result: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Nothing."""
        return {}, {}

    def finish_displayhook(self) -> None:
        """Nothing but the end."""
        self._is_active = False


class NotebookShell(InteractiveShell):
    """IPython in a process that grades."""

    def __init__(self) -> None:
        quiet = Config()
        quiet.HistoryManager.enabled = False  # no file, no thread
        super().__init__(config=quiet, displayhook_class=_Display)  # type: ignore[no-untyped-call]
        self.builtin_trap.activate()
        # When it is first imported it may start a thread, which a graded cell must not.
        with contextlib.suppress(ImportError):
            importlib.import_module("matplotlib.pyplot")

    def enter(self, module: ModuleType) -> None:
        """Take a module for the notebook, from now on."""
        self.user_module, self.user_ns = module, vars(module)
        self.init_user_ns()  # type: ignore[no-untyped-call]
        self.user_ns.update(_="", __="", ___="")
        self._flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def begin_cell(self, text: str, filename: str, count: int | None) -> None:
        """Go to a cell, which tracebacks call by a filename.

        The number beside it is for `Out[3]`; the next one is taken if there is none.
        """
        inputs = self.user_ns["In"]
        number = count if isinstance(count, int) and 0 < count < 10_000 else len(inputs)
        inputs.extend([""] * (number + 1 - len(inputs)))
        inputs[number] = text
        self.execution_count = number + 1  # IPython's own is one ahead while it displays
        self._filename = filename

    def run_node(self, node: ast.stmt, *, last: bool) -> None:
        """Run a statement of the cell; the value of the last one is kept as `_`."""
        shown = isinstance(node, ast.Expr) and (last or self.ast_node_interactivity == "all")
        tree = ast.Interactive([node]) if shown else ast.Module([node], [])
        mode = "single" if shown else "exec"
        code = compile(tree, self._filename, mode, flags=self._flags, dont_inherit=True)
        self._flags |= code.co_flags & FUTURE
        with self.display_trap:
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.run(FunctionType(code, self.user_ns)())
            else:
                exec(code, self.user_ns)

    def _run_body(self, text: str) -> None:
        """Run the body of a cell magic in the notebook."""
        for node in ast.parse(python(text)).body:
            self.run_node(ast.increment_lineno(node), last=False)

    # ------------------------------------------------------------------- what cells call

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        """IPython's interface; what cannot be had is None."""
        if magic_name in ELSEWHERE.split():
            return None
        if magic_name in AT_WORK:
            return super().run_line_magic(magic_name, _once(magic_name, line), _stack_depth + 1)
        with contextlib.suppress(Exception):
            return super().run_line_magic(magic_name, line, _stack_depth + 1)
        return None

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """IPython's interface; see `cells.python` for those whose body belongs to the notebook."""
        if magic_name == "capture":
            with capture_output() as captured:
                self._run_body(cell)
            self.user_ns.update((name, captured) for name in line.split() if name.isidentifier())
            return None
        if magic_name in AT_WORK:
            return super().run_cell_magic(  # type: ignore[no-untyped-call]
                magic_name, _once(magic_name, line), cell
            )
        if magic_name not in NOT_OF_THE_NOTEBOOK.split():
            self._run_body(cell)
        return None

    def system(self, cmd: str) -> None:
        """A command after `!` is not run."""
        self.user_ns["_exit_code"] = 0

    system_piped = system_raw = system

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """Nor is one whose output is assigned; it is empty."""
        return SList() if split else LSString("")

    def get_local_scope(self, stack_depth: int) -> dict[str, Any]:
        """The names where a magic is called: in a function of the student's, or in the notebook."""
        frame = sys._getframe(stack_depth + 1)
        return frame.f_locals if frame.f_code.co_filename.startswith(STUDENT) else self.user_ns

    def ask_exit(self) -> None:
        """`exit` and `quit`."""
        raise SystemExit

    def showtraceback(self, *arguments: Any, **keywords: Any) -> None:
        """Not by IPython."""


def _once(magic: str, line: str) -> str:
    """The words after a magic; `%timeit` runs its statement once, or it would take seconds."""
    if magic != "timeit":
        return line
    given = OPTIONS.match(line)
    options = given[0] if given else ""
    return f"-n1 -r1 {LOOPS.sub('', options)} {line[len(options) :]}"
