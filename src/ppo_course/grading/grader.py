"""Grades notebooks of one assignment: asks the worker, and says what it found."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nbformat import NotebookNode

from ppo_bbrl.system.files import write_file
from ppo_course.grading.attempt import Task
from ppo_course.grading.boundary import Boundary, find
from ppo_course.grading.cells import Assignment, Cell, Code, Exercise, SourceError, cells_for
from ppo_course.grading.controls import mutants
from ppo_course.grading.limits import Limits
from ppo_course.grading.process import IMPORTING, WorkerEndedError, WorkerProcess

WRONG = ("failed", "partly")
N_CONTROLS = 2
MOST_MUTANTS = 40
PATIENCE = 20.0  # seconds that the worker has besides a graded cell's own


@dataclass(frozen=True)
class Verdict:
    """What came of one graded cell."""

    grade_id: str  # of the graded cell
    # "passed", "partly" (some parts are right), "failed" (the check or the code raised), "timed
    # out", "crashed" (the process ended early), or "tampered" (the check was not itself any more)
    outcome: str
    error: str = ""  # the name of what was raised; empty if it passed
    message: tuple[str, ...] = ()  # lines for the student; empty if it passed
    output: str = ""  # what was printed
    share: float = 0.0  # of the points, where the outcome is "partly"

    @property
    def passed(self) -> bool:
        """Whether the cell gets all of its points."""
        return self.outcome == "passed"


class Grader:
    """Grades any number of submissions of one assignment; a context manager.

    Args:
        assignment: what the source notebook says.
        limits: for each graded cell.
        boundary: what keeps a student's code from this machine; None for the best there is.
        hidden: folders of which a student's code may see nothing: the course, besides the home.
        readable: files and folders that definitions and solutions may read, besides Python's own.
        cache: a folder to remember the controls of each exercise in; made when it is missing.

    Raises:
        BoundaryError: on opening, if there is no boundary, or it does not hold.
        SourceError: on opening, if the teacher's own notebook cannot be graded with: definitions
            that raise, or a solution that fails its check.
    """

    def __init__(
        self,
        assignment: Assignment,
        *,
        limits: Limits | None = None,
        boundary: Boundary | None = None,
        hidden: Sequence[Path] = (),
        readable: Sequence[Path] = (),
        cache: Path | None = None,
    ) -> None:
        self.assignment = assignment
        self.limits = limits or Limits()
        self.boundary = boundary
        self.hidden, self.readable, self.cache = hidden, readable, cache
        self.controls: dict[str, tuple[Code, ...]] = {}
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> "Grader":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Start the process that grades, and try it on the teacher's own answers."""
        self.boundary = self.boundary or find()
        try:
            self._start()
            self.controls = {
                exercise.grade_id: self._controls(exercise)
                for exercise in self.assignment.exercises
            }
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End that process; it may be opened again."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def grade(
        self, submission: NotebookNode, files: Mapping[str, bytes] = MappingProxyType({})
    ) -> dict[str, Verdict]:
        """A verdict for each graded cell of the assignment, by its `grade_id`.

        Whatever is in the notebook, this raises nothing about it.

        Args:
            submission: the notebook.
            files: what was handed in beside it: contents by relative path.
        """
        packed = tuple((path, base64.b64encode(text).decode()) for path, text in files.items())
        return {
            exercise.grade_id: self._grade(
                exercise, cells_for(submission, self.assignment, exercise), packed
            )
            for exercise in self.assignment.exercises
        }

    def _grade(
        self, exercise: Exercise, cells: tuple[Cell, ...], files: tuple[tuple[str, str], ...]
    ) -> Verdict:
        """The verdict with what the solution needs by name, or else with all that was written."""
        controls, seconds = self.controls[exercise.grade_id], self._limits(exercise).seconds / 2
        task = Task(cells, exercise.check, exercise.names, controls, files, seconds)
        verdict = self._verdict(exercise, task)
        if verdict.outcome in WRONG and any(cell.kind == "own" for cell in cells):
            again = self._verdict(exercise, replace(task, everything=True))
            if again.passed or (again.outcome in WRONG and again.share >= verdict.share):
                return again
        return verdict

    def _limits(self, exercise: Exercise) -> Limits:
        """Those of the course, or the longer time that the source gives to an exercise."""
        return replace(self.limits, seconds=max(self.limits.seconds, exercise.seconds))

    def _verdict(self, exercise: Exercise, task: Task) -> Verdict:
        limits = self._limits(exercise)
        request = {"ask": "grade", "task": asdict(task), "limits": asdict(limits)}
        # Once more where the worker ends: it need not be this code that ended it.
        for _ in range(2):
            try:
                answer = self._ask(request, seconds=limits.longest + PATIENCE)
            except WorkerEndedError:
                self._start()
                continue
            if not answer["clean"]:  # it left something where the next one begins
                self._start()
            message = tuple(answer["message"])
            told = (answer["outcome"], answer["error"], message, answer["output"], answer["share"])
            return Verdict(exercise.grade_id, *told)
        why = ("Your code ended the process that grades it.",)
        return Verdict(exercise.grade_id, "crashed", "ProcessEnded", why)

    # -------------------------------------------------------------------------- the worker

    def _start(self) -> None:
        """A new worker in a new folder, with the definitions run."""
        self.close()
        assert self.boundary is not None
        self._worker = WorkerProcess(self.boundary, hidden=self.hidden, readable=self.readable)
        definitions = [asdict(code) for code in self.assignment.definitions]
        try:
            answer = self._ask({"ask": "define", "definitions": definitions}, seconds=IMPORTING)
        except WorkerEndedError as error:
            raise SourceError("the definitions of the source end Python, or never end") from error
        if answer.get("error"):
            raise SourceError(f"the definitions of the source raise: {answer['error']}")
        self._worker.hide_checks()  # they have been imported

    def _ask(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        assert self._worker is not None
        return self._worker.ask(request, seconds=seconds)

    # -------------------------------------------------------------------------- the controls

    def _controls(self, exercise: Exercise) -> tuple[Code, ...]:
        """Wrong solutions that the check finds wrong, where nobody has disturbed it."""
        file = self._file(exercise)
        known = None
        if file is not None and file.is_file():
            with contextlib.suppress(ValueError):
                known = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(known, list):
            right = self._verdict(exercise, _task(exercise, exercise.solution.text))
            if not right.passed:
                raise SourceError(
                    f"the solution of the source fails its own check '{exercise.grade_id}': "
                    + " ".join(right.message)
                )
            known = []
            for text in mutants(exercise.solution.text)[:MOST_MUTANTS]:
                if len(known) == N_CONTROLS:
                    break
                verdict = self._verdict(exercise, _task(exercise, text))
                # A crash or an endless loop would be so with a disturbed check too.
                raised = verdict.error in ("ExerciseError", "AssertionError")
                if verdict.outcome in WRONG and raised:
                    known.append(text)
            if file is not None:
                with contextlib.suppress(OSError):  # it only saves time
                    write_file(file, json.dumps(known))
        earlier = [code.text for code in exercise.earlier]
        return tuple(Code("control", "\n\n\n".join((*earlier, text))) for text in known)

    def _file(self, exercise: Exercise) -> Path | None:
        if self.cache is None:
            return None
        parts = [code.text for code in self.assignment.definitions]
        parts += [exercise.check.text, exercise.solution.text]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return self.cache / f"{exercise.grade_id}-{digest[:16]}.json"


def _task(exercise: Exercise, solution: str) -> Task:
    """A solution that is not a student's."""
    earlier = (Cell(code.name, code.text, "own") for code in exercise.earlier)
    cells = (*earlier, Cell("solution", solution, "solution"))
    return Task(cells, exercise.check, exercise.names)
