"""What grading knows of an assignment: the source notebook's definitions, exercises and checks."""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

DEFINITIONS = "definitions"  # the tag of cells that only define
REGION = re.compile(r"^\s*#+\s*(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)\s*$")


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
class Exercise:
    """A graded cell and the solution cells that it checks.

    Attributes:
        grade_id: of the graded cell.
        check: the graded cell, with its hidden tests.
        names: what the solution cells define and the check uses.
        solution_ids: `grade_id` of the solution cells.
        solution: the teacher's.
    """

    grade_id: str
    check: Code
    names: tuple[str, ...]
    solution_ids: tuple[str, ...]
    solution: Code


@dataclass(frozen=True)
class Assignment:
    """A source notebook as grading sees it.

    Attributes:
        definitions: the cells tagged `definitions`, in order.
        exercises: in order; graded cells that a person marks are left out.
        released: the text of the cells that a student has not touched yet.
    """

    definitions: tuple[Code, ...]
    exercises: tuple[Exercise, ...]
    released: frozenset[str]


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
        if DEFINITIONS in cell.metadata.get("tags", []):
            definitions.append(Code(f"definitions {len(definitions) + 1}", text))
        if marks.get("solution"):
            solutions[marks["grade_id"]] = text
        elif marks.get("grade"):
            exercises.append(_exercise(marks["grade_id"], text, solutions))
    return Assignment(tuple(definitions), tuple(exercises), frozenset(_released(release)))


def _exercise(grade_id: str, text: str, solutions: dict[str, str]) -> Exercise:
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    names: list[str] = []
    own: list[str] = []
    for solution_id, solution in solutions.items():
        bound = [name for name in sorted(bound_names(ast.parse(solution))) if name in used]
        if bound:
            own.append(solution_id)
            names += [name for name in bound if name not in names]
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
    )


def _released(release: NotebookNode) -> Iterable[str]:
    for cell in release.cells:
        marked = marks_of(cell).get("solution") or DEFINITIONS in cell.metadata.get("tags", [])
        if cell.cell_type == "code" and marked:
            yield cell.source.strip()


def marks_of(cell: NotebookNode) -> dict[str, Any]:
    """nbgrader's metadata of a cell, empty if there is none."""
    marks = cell.get("metadata", {}).get("nbgrader", {})
    return marks if isinstance(marks, dict) else {}


def without_marks(text: str) -> str:
    """A source cell with its regions filled in; the lines keep their numbers."""
    return "\n".join("" if REGION.match(line) else line for line in text.split("\n"))


def python(text: str) -> str:
    """A cell without what only IPython understands; the lines keep their numbers."""
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        lines[first] = ""
    magic = re.compile(r"^(\s*)[%!](?!=).*$")
    return "\n".join(magic.sub(r"\1pass", line) for line in lines)


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
