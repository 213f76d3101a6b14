"""Grades notebooks of one assignment: asks the worker, and says what it found."""

import base64
import contextlib
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, Any

from nbformat import NotebookNode

from ppo_bbrl.system.files import write_file
from ppo_course.grading.answers import CHECKS_FOLDER
from ppo_course.grading.attempt import Task
from ppo_course.grading.boundary import Boundary, BoundaryError, command, find
from ppo_course.grading.cells import Assignment, Cell, Code, Exercise, SourceError, cells_for
from ppo_course.grading.controls import mutants
from ppo_course.grading.limits import Limits
from ppo_course.grading.reachable import to_python, without

N_CONTROLS = 2
MOST_MUTANTS = 40
PATIENCE = 20.0  # seconds that the worker has besides a graded cell's own
WORKER = ("-m", "ppo_course.grading.worker")
IMPORTING = 300.0  # seconds for the teacher's definitions

#: What the worker gets of the environment. No tokens of a hub, nothing that changes Python.
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "CONDA_PREFIX")
# One thread each: a fork takes no others along. TESTING_MODE makes whatever trains short. Functions
# are not compiled: that starts a compiler, and takes longer than a check.
SET = {
    "MPLBACKEND": "Agg",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "SDL_VIDEODRIVER": "dummy",
    "TESTING_MODE": "on",
    "TORCH_COMPILE_DISABLE": "1",
    "TORCHDYNAMO_DISABLE": "1",  # its name until torch 2.5
    # No thread can begin while a student's code runs: nothing may need one.
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_THREAD_LIMIT": "1",
}


@dataclass(frozen=True)
class Verdict:
    """What came of one graded cell.

    Attributes:
        grade_id: of the graded cell.
        outcome: "passed", "failed" (the check or the code raised), "timed out", "crashed" (the
            process ended early), or "tampered" (the check was not itself any more).
        error: the name of what was raised; empty if it passed.
        message: lines for the student; empty if it passed.
        output: what was printed.
    """

    grade_id: str
    outcome: str
    error: str = ""
    message: tuple[str, ...] = ()
    output: str = ""

    @property
    def passed(self) -> bool:
        """Whether the cell gets its points."""
        return self.outcome == "passed"


class WorkerEndedError(Exception):
    """The worker does not answer any more."""


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
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Grader":
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        self._stop()

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
        task = Task(
            cells,
            exercise.check,
            exercise.names,
            self.controls[exercise.grade_id],
            files,
            seconds=self.limits.seconds / 2,
        )
        verdict = self._verdict(exercise, task)
        if verdict.outcome == "failed" and any(cell.kind == "own" for cell in cells):
            again = self._verdict(exercise, replace(task, everything=True))
            if again.outcome in ("passed", "failed"):
                return again
        return verdict

    def _verdict(self, exercise: Exercise, task: Task) -> Verdict:
        request = {"ask": "grade", "task": task.to_json(), "limits": self.limits.to_json()}
        # Once more where the worker ends: it need not be this code that ended it.
        for _ in range(2):
            try:
                answer = self._ask(request, seconds=self.limits.wall_seconds + PATIENCE)
            except WorkerEndedError:
                self._start()
                continue
            if not answer["clean"]:  # it left something where the next one begins
                self._start()
            return Verdict(
                exercise.grade_id,
                answer["outcome"],
                answer["error"],
                tuple(answer["message"]),
                answer["output"],
            )
        return Verdict(
            exercise.grade_id,
            "crashed",
            "ProcessEnded",
            ("Your code ended the process that grades it.",),
        )

    # -------------------------------------------------------------------------- the worker

    def _start(self) -> None:
        """A new worker in a new folder, with the definitions run."""
        self._stop()
        self._folder = folder = Path(tempfile.mkdtemp(prefix="grading-"))
        self._begin(folder)
        definitions = [asdict(code) for code in self.assignment.definitions]
        try:
            answer = self._ask({"ask": "define", "definitions": definitions}, seconds=IMPORTING)
        except WorkerEndedError as error:
            raise SourceError("the definitions of the source end Python, or never end") from error
        if answer.get("error"):
            raise SourceError(f"the definitions of the source raise: {answer['error']}")
        # They have been imported. From now on there are none to be read.
        shutil.rmtree(folder / "checks", ignore_errors=True)

    def _begin(self, folder: Path) -> None:
        """Start the process within its boundary, and have it prove that."""
        assert self.boundary is not None
        home, scratch, checks = (folder / name for name in ("home", "scratch", "checks"))
        home.mkdir()
        scratch.mkdir()
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | SET
        environment |= {"HOME": str(home), "MPLCONFIGDIR": str(home), "TMPDIR": str(scratch)}
        private = [Path.home(), *self.hidden]
        read = [*to_python(environment, private=private), *map(str, self.readable)]
        if self.boundary.bubblewrap:
            shutil.copytree(CHECKS_FOLDER, checks)
        words = command(
            self.boundary,
            [sys.executable, "-P", *WORKER],
            read=read,
            replaced=[(CHECKS_FOLDER, str(checks))],
            write=[str(scratch), str(home)],
        )
        with (folder / "errors.txt").open("wb") as errors:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=scratch,
                env=environment,
                start_new_session=True,  # Ctrl-C is the teacher's
            )
        use = {"landlock": self.boundary.landlock, "seccomp": self.boundary.seccomp}
        world = {
            "scratch": str(scratch),
            "home": str(home),
            "read": [str(path) for path in without([*read, str(home)], Path(CHECKS_FOLDER))],
            "hidden": [str(path) for path in self.hidden],
            "use": use,
        }
        try:
            answer = self._ask({"ask": "begin", "world": world}, seconds=IMPORTING)
        except WorkerEndedError as error:
            said = Path(errors.name).read_text(encoding="utf-8", errors="replace").strip()
            why = said.splitlines()[-1] if said else "the process that grades does not begin"
            raise BoundaryError(f"nothing was graded, {self.boundary} fail: {why}") from error
        if answer.get("error"):
            raise BoundaryError(f"nothing was graded, {self.boundary}: {answer['error']}")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            process.wait()
        folder, self._folder = self._folder, None
        if folder is not None:
            _remove(folder)

    def _ask(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """Send a line, wait for one."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise WorkerEndedError from error
        answer: dict[str, Any] = json.loads(_line(process.stdout, seconds))
        return answer

    # -------------------------------------------------------------------------- the controls

    def _controls(self, exercise: Exercise) -> tuple[Code, ...]:
        """Wrong solutions that the check finds wrong, where nobody has disturbed it."""
        known = self._remembered(exercise)
        if known is None:
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
                if verdict.outcome == "failed" and verdict.error in (
                    "ExerciseError",
                    "AssertionError",
                ):
                    known.append(text)
            self._remember(exercise, known)
        return tuple(Code("control", text) for text in known)

    def _file(self, exercise: Exercise) -> Path | None:
        if self.cache is None:
            return None
        parts = [code.text for code in self.assignment.definitions]
        parts += [exercise.check.text, exercise.solution.text]
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return self.cache / f"{exercise.grade_id}-{digest[:16]}.json"

    def _remembered(self, exercise: Exercise) -> list[str] | None:
        file = self._file(exercise)
        if file is None or not file.is_file():
            return None
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            return None
        return known if isinstance(known, list) else None

    def _remember(self, exercise: Exercise, known: list[str]) -> None:
        file = self._file(exercise)
        if file is None:
            return
        with contextlib.suppress(OSError):  # it only saves time
            write_file(file, json.dumps(known))


def _task(exercise: Exercise, solution: str) -> Task:
    """A solution that is not a student's."""
    return Task((Cell("solution", solution, "solution"),), exercise.check, exercise.names)


def _line(stream: IO[bytes], seconds: float) -> bytes:
    """A line of a pipe that has nothing else in it.

    Raises:
        WorkerEndedError: if there is none in time, or the other end is closed.
    """
    if not select.select([stream], [], [], seconds)[0]:
        raise WorkerEndedError
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise WorkerEndedError
    return line


def _remove(folder: Path) -> None:
    """Take a folder away, however deep it is."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        subprocess.run(["rm", "-rf", "--", folder], capture_output=True, check=False)
