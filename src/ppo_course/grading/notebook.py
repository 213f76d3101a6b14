"""Runs a student's cells as a notebook would, for one exercise.

Top to bottom, statement by statement. What is not the solution has little time, and what it raises
costs nothing. It is tried again when the other cells have run, since students do not run their
cells from top to bottom. Of what stands below the check counts what is nowhere above.
"""

import builtins
import contextlib
import importlib
import linecache
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from ppo_course.grading.cells import Cell
from ppo_course.grading.needed import Statement, filename, needed, statements
from ppo_course.grading.shell import NotebookShell

SHARE = 0.2  # of the time for other cells, that each statement may take when all of them run
PATIENCE = 3  # seconds in which a statement may wait
# Out of reach of whoever replaces them in their module.
set_timer, process_time = signal.setitimer, time.process_time


class OutOfTimeError(BaseException):
    """A statement took longer than it may."""


class Notebook:
    """The student's names, after their cells have run, beside those of the teacher's definitions.

    The cells that are not the solution have so many seconds of processor time.
    """

    def __init__(self, names: dict[str, Any], *, seconds: float) -> None:
        self.names, self.seconds = names, seconds
        self._given = dict(names)
        self._shell = NotebookShell.instance()
        self._shell.enter(sys.modules["__main__"])
        self._cell: Cell | None = None
        self._timer = Timer()

    def run(self, cells: Iterable[Cell], *, wanted: Iterable[str], everything: bool) -> None:
        """Run what an exercise needs.

        Args:
            cells: in the order of the notebook.
            wanted: what the check asks for.
            everything: run all of the student's own cells.

        Raises:
            BaseException: what a statement of the solution raises; one of the others never does.
        """
        found: list[Statement] = []
        for cell in cells:
            # Another cell that is not Python is passed over.
            with contextlib.suppress(*(() if cell.kind == "solution" else (Exception,))):
                found += statements(cell)
        solution = [each for each in found if each.cell.kind == "solution"]
        others = [each for each in found if each.cell.kind != "solution"]
        first = [each for each in others if everything and each.cell.kind == "own"]
        taken = {
            *solution,
            *first,
            *needed(
                [*solution, *first], others, names=wanted, defined=vars(builtins) | self._given
            ),
        }
        chosen = [each for each in found if each in taken]
        with put_back():
            self._run_all(chosen, self.seconds * (SHARE if everything else 1))

    def _run_all(self, chosen: list[Statement], each_at_most: float) -> None:
        failed = self._run([each for each in chosen if each.cell.above], each_at_most)
        above = {
            name: value
            for name, value in self.names.items()
            if name not in self._given or value is not self._given[name]
        }
        below = [each for each in chosen if not each.cell.above]
        failed += self._run([each for each in below if each.cell.kind != "solution"], each_at_most)
        self.names.update(above)
        failed += self._run([each for each in below if each.cell.kind == "solution"], each_at_most)
        while failed:
            again = self._run([statement for statement, _ in failed], each_at_most)
            if len(again) == len(failed):
                break
            failed = again
        for statement, error in failed:
            if statement.cell.kind == "solution":
                raise error

    def _run(
        self, statements: Iterable[Statement], each_at_most: float
    ) -> list[tuple[Statement, Exception]]:
        """Run statements; those that raised, and what."""
        failed: list[tuple[Statement, Exception]] = []
        for statement in statements:
            cell = statement.cell
            if cell is not self._cell:
                self._begin(cell)
            try:
                if cell.kind == "solution":
                    self._shell.run_node(statement.node, last=statement.last)
                elif self.seconds > 0:
                    self._run_other(statement, each_at_most)
            except Exception as error:  # noqa: BLE001 - a student's code may raise anything
                failed.append((statement, error))
        return failed

    def _run_other(self, statement: Statement, most: float) -> None:
        begin = process_time()
        try:
            with self._timer.at_most(min(most, self.seconds)):
                self._shell.run_node(statement.node, last=statement.last)
        except Exception:
            raise
        except BaseException:  # noqa: BLE001 - `exit()` in a cell of no importance, or out of time
            pass
        finally:
            self.seconds -= process_time() - begin + self._timer.waited

    def _begin(self, cell: Cell) -> None:
        self._cell = cell
        importlib.invalidate_caches()  # the last one may have written a module
        name = filename(cell)
        lines = cell.text.splitlines(keepends=True)
        linecache.cache[name] = (len(cell.text), None, lines, name)
        self._shell.begin_cell(cell.text, name, cell.count)


class Timer:
    """Ends what takes too long. Its handlers are set when it is made: later, none can be set."""

    def __init__(self) -> None:
        self._armed = False
        self._used, self._waits = 0.0, 0
        signal.signal(signal.SIGPROF, self._stop)
        signal.signal(signal.SIGALRM, self._look)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            raise OutOfTimeError

    def _look(self, number: int, frame: FrameType | None) -> None:
        """Each second: whether anything has been done since the last one."""
        used = process_time()
        self._waits = self._waits + 1 if used < self._used + 0.02 else 0
        self._used = used
        if self._waits >= PATIENCE:
            self._stop(number, frame)

    @contextlib.contextmanager
    def at_most(self, seconds: float) -> Iterator[None]:
        """End what is below after some seconds of processor time, or if it only waits.

        Raises:
            OutOfTimeError: then; again and again, should somebody catch it.
        """
        self._armed, self._waits = True, 0
        set_timer(signal.ITIMER_PROF, max(seconds, 0.01), 0.5)
        set_timer(signal.ITIMER_REAL, 1, 1)
        try:
            yield
        finally:
            self._armed = False
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
                set_timer(timer, 0)

    @property
    def waited(self) -> float:
        """Seconds by the clock for which nothing was done, at the end of what was timed."""
        return float(self._waits)


@contextlib.contextmanager
def put_back() -> Iterator[None]:
    """Let what is below set what it likes, until it ends.

    A default precision, gradients that are switched off, errors in place of warnings or another
    folder are a student's own affair; they would make a check fail that means the usual ones.
    """
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.chdir(Path.cwd()))
        if numpy is not None:
            stack.enter_context(numpy.errstate())
        if torch is not None:
            deterministic = torch.are_deterministic_algorithms_enabled()
            stack.callback(torch.use_deterministic_algorithms, deterministic)
            stack.callback(torch.set_grad_enabled, torch.is_grad_enabled())
            stack.callback(torch.set_default_dtype, torch.get_default_dtype())
            stack.callback(torch.set_default_device, None)
        yield
