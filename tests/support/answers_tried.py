"""Tries answers to the exercises of a notebook: wrong ones, right ones, mutants of the solution.

Each answer is tried in a process of its own, forked where the notebook's definitions have run, by
the graded cell with its hidden tests, statement by statement as grading does.
"""

import ast
import contextlib
import io
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import MagicMock

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from mutant_sources import Finder, as_mutant  # noqa: E402

from ppo_course.grading.cells import Code, Exercise, read_assignment  # noqa: E402
from ppo_course.sources import read_source  # noqa: E402

EVERY = int(os.environ.get("EVERY_MUTANT", "1"))  # of the mutants, each so many
SECONDS = 12  # of processor time for an answer
PASSED, ENDLESS = "passed", "(does not end)"


class Outcome(NamedTuple):
    """What a check said of an answer."""

    keys: tuple[str, ...]  # of the mistakes; `PASSED`, or the class of another exception
    share: float  # of the marks
    message: str = ""

    @property
    def passed(self) -> bool:
        return self.keys == (PASSED,)

    @property
    def specific(self) -> bool:
        """Whether the part that is wrong was told: a mistake by its name, or a hinted exception."""
        first, *more = self.keys
        if first == "raises":
            return bool(more)
        if "does not recognise" in self.message:
            return False
        return first not in ("unknown", ENDLESS) and "not-written" not in self.keys


class Tried:
    """The exercises of a notebook, ready for answers."""

    def __init__(self, path: Path) -> None:
        source = read_source(path)
        self.assignment = read_assignment(source, source)
        self.names: dict[str, Any] = {"__name__": "__main__", "get_ipython": MagicMock}
        with contextlib.redirect_stdout(io.StringIO()):
            for code in self.assignment.definitions:
                exec(compile(code.text, f"<{code.name}>", "exec"), self.names)

    def outcome(self, exercise: Exercise, answer: str) -> Outcome:
        """What the graded cell says of an answer, with all hidden tests."""
        return Outcome(*in_a_child(lambda: self._try(exercise, answer)))

    def _try(self, exercise: Exercise, answer: str) -> tuple[Any, ...]:
        from ppo_course import ExerciseError

        module = ModuleType("__main__")
        sys.modules["__main__"] = module
        names = vars(module)
        names.update(self.names)
        least, first = 1.0, None
        try:
            for code in (*exercise.earlier, Code("solution", answer)):
                exec(compile(code.text, f"<{code.name}>", "exec"), names)
            for statement in ast.parse(exercise.check.text).body:
                try:
                    exec(compile(ast.Module([statement], []), "<check>", "exec"), names)
                except ExerciseError as error:
                    first, least = first or error, min(least, error.share)
                    if not error.share:
                        break
        except Exception as error:
            if isinstance(error, AssertionError) and not str(error):
                raise
            return ([type(error).__name__], 0.0, str(error))
        if first is None:
            return ([PASSED], 1.0, "")
        return (list(first.keys) or [type(first).__name__], least, str(first))


def in_a_child(work: Callable[[], Any]) -> Any:
    """What `work` returns in a forked process, whose processor time is limited."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        signal.alarm(10 * SECONDS)
        try:
            told = json.dumps(work())
            os.write(writer, told.encode()[: 1 << 16])
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        text = told.read()
    os.waitpid(child, 0)
    keys, *rest = json.loads(text) if text else ([ENDLESS], 0.0, "")
    return tuple(keys), *rest


def mutants_of(solution: str) -> Iterator[str]:
    """All structural mutants of a solution, each once."""
    source = solution.encode()
    finder = Finder(source)
    finder.visit(ast.parse(source))
    seen = set[str]()
    for start, end, text in finder.found:
        mutant = as_mutant("solution", source, start, end, text)
        if mutant is not None and (dumped := ast.dump(ast.parse(mutant.source))) not in seen:
            seen.add(dumped)
            yield mutant.source.decode()


def changed_lines(solution: str, mutant: str) -> tuple[str, str]:
    """The first line that differs, and what it has become."""
    pairs = zip(solution.split("\n"), mutant.split("\n"), strict=False)
    return next(((a.strip(), b.strip()) for a, b in pairs if a != b), ("", ""))


def main() -> None:
    """Write what the checks say of the mutants of solutions, a line of JSON each.

    `answers_tried.py FILE [NN or grade_id …]`
    """
    from course import WITH_EXERCISES

    log, wanted = Path(sys.argv[1]), sys.argv[2:]
    for path in WITH_EXERCISES:
        if not any(word == path.stem[:2] for word in wanted) and wanted:
            continue
        tried = Tried(path)
        for exercise in tried.assignment.exercises:
            if exercise.grade_id == "write-ppo-run-check" or "quiz" in exercise.grade_id:
                continue
            solution = exercise.solution.text
            with log.open("a", encoding="utf-8") as file:
                every = [*mutants_of(solution)][len(exercise.grade_id) % EVERY :: EVERY]
                for mutant in (solution, *every):
                    outcome = tried.outcome(exercise, mutant)
                    old, new = changed_lines(solution, mutant)
                    told = [path.stem, exercise.grade_id, old, new, *outcome]
                    file.write(json.dumps(told, ensure_ascii=False) + "\n")
                    file.flush()


if __name__ == "__main__":
    main()
