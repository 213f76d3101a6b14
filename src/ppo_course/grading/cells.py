"""What grading knows of an assignment: the source notebook's definitions, exercises and checks."""

import ast
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

DEFINITIONS = "definitions"  # the tag of cells that only define
#: the tag of a graded cell that takes longer than others, such as seconds-120
LONGER = re.compile(r"seconds-(\d+)")
REGION = re.compile(r"^\s*#+\s*(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)\s*$")

#: cell magics after which comes no Python, or Python that leaves no names in the notebook
NOT_OF_THE_NOTEBOOK = (
    "! HTML SVG bash capture cmd debug file html javascript js julia latex markdown perl pypy "
    "python python2 python3 r R ruby script sh shell sql svg sx system timeit writefile"
)
CELL_MAGIC = re.compile(r"\s*%%(\S*)")
MOST_TEXT = 1_000_000  # characters of a submission's cells that are looked at

# Names assigned in these are not the notebook's.
OWN_SCOPE = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class SourceError(Exception):
    """A source notebook that cannot be graded with; the message says why."""


@dataclass(frozen=True)
class Code:
    """Some lines of Python, and what to call them in a message."""

    name: str
    text: str


@dataclass(frozen=True)
class Cell:
    """A code cell of a submission."""

    name: str  # what to call it in a message
    text: str  # as the student wrote it
    # a solution cell of the exercise; one of the student's own (added, edited, the solution of
    # another exercise); or one that is left as it was handed out
    kind: Literal["solution", "own", "handed out"]
    above: bool = True  # whether it is above the check
    count: int | None = None  # the number that the notebook shows beside it


@dataclass(frozen=True)
class Exercise:
    """A graded cell and the solution cells that it checks."""

    grade_id: str  # of the graded cell
    check: Code  # the graded cell, with its hidden tests
    names: tuple[str, ...]  # what the solution cells define and the check uses
    solution_ids: tuple[str, ...]  # `grade_id` of the solution cells
    solution: Code  # the teacher's
    earlier: tuple[Code, ...] = ()  # the teacher's solutions above, which this one may need
    seconds: float = 0.0  # of processor time, where it needs more than the limits give it


@dataclass(frozen=True)
class Assignment:
    """A source notebook as grading sees it."""

    definitions: tuple[Code, ...]  # the cells tagged `definitions`, in order
    exercises: tuple[Exercise, ...]  # in order; graded cells that a person marks are left out
    # the text of the definitions and solution cells that a student has not touched yet
    released: frozenset[str]
    # the text of all code cells that a student has not touched yet
    handed_out: frozenset[str] = frozenset()


def read_assignment(source: NotebookNode, release: NotebookNode) -> Assignment:
    """What the teacher's notebook says.

    Args:
        source: with solutions and hidden tests.
        release: the same cells as the students get them.

    Raises:
        SourceError: if a check uses no name that a solution cell before it defines.
    """
    definitions: list[Code] = []
    exercises: list[Exercise] = []
    solutions: dict[str, str] = {}
    for cell in source.cells:
        if cell.cell_type != "code":
            continue
        marks = marks_of(cell)
        text = python(without_marks(cell.source))
        if _defines(cell):
            definitions.append(Code(f"definitions {len(definitions) + 1}", text))
        if marks.get("solution"):
            solutions[marks["grade_id"]] = text
        elif marks.get("grade"):
            # With the marks of hidden tests, for who is not to see them.
            exercise = _exercise(marks["grade_id"], python(cell.source), solutions)
            exercises.append(replace(exercise, seconds=_seconds(cell)))
    code = [cell for cell in release.cells if cell.cell_type == "code"]
    released = (cell for cell in code if marks_of(cell).get("solution") or _defines(cell))
    return Assignment(
        tuple(definitions),
        tuple(exercises),
        *(frozenset(cell.source.strip() for cell in cells) for cells in (released, code)),
    )


def _exercise(grade_id: str, text: str, solutions: dict[str, str]) -> Exercise:
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    names: list[str] = []
    own: list[str] = []
    earlier: list[Code] = []
    for solution_id, solution in solutions.items():
        bound = [name for name in sorted(bound_names(ast.parse(solution))) if name in used]
        if bound:
            own.append(solution_id)
            names += [name for name in bound if name not in names]
        else:
            earlier.append(Code(solution_id, solution))
    if not names:
        raise SourceError(
            f"the graded cell '{grade_id}' uses no name that a solution cell before it defines"
        )
    solution = "\n\n\n".join(solutions[solution_id] for solution_id in own)
    return Exercise(
        grade_id,
        Code(f"check {grade_id}", text),
        tuple(names),
        tuple(own),
        Code(f"solution {own[0]}", solution),
        tuple(earlier),
    )


def _seconds(cell: NotebookNode) -> float:
    """How long a graded cell may take, by its tag; 0 if it has none."""
    found = map(LONGER.fullmatch, cell.metadata.get("tags", []))
    return max((float(tag[1]) for tag in found if tag), default=0.0)


def _defines(cell: NotebookNode) -> bool:
    return DEFINITIONS in cell.metadata.get("tags", [])


def marks_of(cell: NotebookNode) -> dict[str, Any]:
    """nbgrader's metadata of a cell, empty if there is none."""
    marks = cell.get("metadata", {}).get("nbgrader", {})
    return marks if isinstance(marks, dict) else {}


def without_marks(text: str) -> str:
    """A source cell with its regions filled in; the lines keep their numbers."""
    return "\n".join("" if REGION.match(line) else line for line in text.split("\n"))


def cells_for(
    submission: NotebookNode, assignment: Assignment, exercise: Exercise
) -> tuple[Cell, ...]:
    """The code of a submission that an exercise may need, in the order of the notebook.

    Nothing in it is parsed here: what it costs is for the process that grades.
    """
    cells: list[Cell] = []
    above, left = True, MOST_TEXT
    for position, cell in enumerate(submission.cells, start=1):
        grade_id, text = marks_of(cell).get("grade_id"), cell.source
        if cell.cell_type != "code" or not isinstance(text, str):
            continue
        if grade_id == exercise.grade_id:
            above = False
        checks = marks_of(cell).get("grade") and not marks_of(cell).get("solution")
        if checks or len(text) > left:
            continue
        count = cell.get("execution_count")
        if grade_id in exercise.solution_ids:
            number = sum(other.kind == "solution" for other in cells)
            name = f"solution {number + 1}" if number else "solution"
            cells.append(Cell(name, text, "solution", above, count))
        elif text.strip() not in assignment.released:
            own = text.strip() not in assignment.handed_out
            cells.append(Cell(str(position), text, "own" if own else "handed out", above, count))
        left -= len(text)
    return tuple(cells)


def python(text: str) -> str:
    """A cell in Python, where it says something in IPython's own words: magics, `!`, `?`.

    Lines keep their numbers. What no one understands stays as it is, and does not compile.
    """
    lines = text.split("\n")
    while magic := CELL_MAGIC.match(lines[first := _first(lines)]):
        if magic[1] in NOT_OF_THE_NOTEBOOK.split():
            break
        lines[first] = ""  # %%time: its body belongs to the notebook
    try:
        ipython: Any = TransformerManager
        transformed = str(ipython().transform_cell("\n".join(lines[first:])))
    except Exception:  # noqa: BLE001 - it gives up in several ways
        return text
    return "\n" * first + transformed.rstrip("\n")


def _first(lines: list[str]) -> int:
    """The number of the first line that is more than a comment; of the last one if none is."""
    return next((i for i, line in enumerate(lines) if line.split("#")[0].strip()), len(lines) - 1)


def bound_names(tree: ast.AST) -> set[str]:
    """The names that a module's own lines define: functions, classes, imports, assignments."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        if not isinstance(node, OWN_SCOPE):
            names |= bound_names(node)
    return names
