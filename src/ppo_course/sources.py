"""The student and the solution version of a notebook, from its source.

A source is `source/NN_name.py`, a Python file whose cells start with `# %%`. Exercises are marked
as nbgrader has it: the cell carries `nbgrader={"solution": true, "grade_id": ..., ...}`, and what
the student shall write stands between `### BEGIN SOLUTION` and `### END SOLUTION`. In the student
version, the answer is folded away below the check of the exercise.
"""

import ast
import copy
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard

import jupytext
import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearMarkScheme,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from traitlets.config import Config

from ppo_course.grading.cells import read_assignment

STUB = "assert False, 'Not implemented yet'"
TEXT_STUB = "What I tried, what I saw, and what I conclude:"

# A region's delimiter in whatever spelling. nbgrader knows the exact one alone, and would hand the
# solution to the students when a source says "Begin solution".
DELIMITER = re.compile(
    r"^\s*#*\s*(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)\s*$", re.IGNORECASE
)

DRAWS = re.compile(r"^ *(plt\.)?show\(", re.MULTILINE)  # what a cell that draws ends with

ANSWER = "The answer, if you are stuck for long"

# The same on every machine, whatever kernel the author used.
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

# nbgrader logs an error, then raises it.
QUIET = logging.getLogger("notebooks.build")
QUIET.disabled = True


class BuildError(Exception):
    """A source that cannot be turned into notebooks; the message says where and why."""


def read_source(path: Path) -> NotebookNode:
    """The notebook that a source describes: no outputs, the same bytes at every reading."""
    name = path.stem
    try:
        notebook: NotebookNode = jupytext.read(path, fmt="py:percent")
    except Exception as error:  # whatever jupytext's parsers raise
        raise BuildError(f"{path.name}: not a notebook source: {error}") from error

    notebook.metadata = nbformat.from_dict(NOTEBOOK_METADATA)  # type: ignore[no-untyped-call]
    notebook.nbformat, notebook.nbformat_minor = 4, 5

    seen: Counter[str] = Counter()
    for number, cell in enumerate(notebook.cells, start=1):
        check_delimiters(cell.source, where=f"{path.name}, cell {number}")
        # Not the cell's number: an inserted cell would then rename all that follow.
        seen[cell.source] += 1
        text = f"{name}\n{seen[cell.source]}\n{cell.source}"
        cell.id = hashlib.sha256(text.encode()).hexdigest()[:16]
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if DRAWS.search(cell.source) and "nbgrader" not in cell.metadata:
                # Folded: a student opens it to see how the picture is made.
                cell.metadata["jupyter"] = {"source_hidden": True}
    return notebook


def check_delimiters(source: str, *, where: str) -> None:
    """Raise if the regions of a cell are not opened and closed in nbgrader's own spelling."""
    opened: str | None = None
    for line in source.splitlines():
        match = DELIMITER.match(line)
        if match is None:
            continue
        verb, kind = match.groups()
        expected = f"END {opened}" if opened else f"BEGIN {kind.upper()}"
        if f"{verb} {kind}" != expected or "###" not in line:
            raise BuildError(f"{where}: '### {expected}' expected, found '{line.strip()}'")
        opened = None if opened else kind
    if opened:
        raise BuildError(f"{where}: '### END {opened}' is missing")


def solution_version(source: NotebookNode) -> NotebookNode:
    """The notebook filled in, to be read and run: without the marks of the exercises."""
    notebook = copy.deepcopy(source)
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        cell.source = without_delimiters(cell.source)
    return notebook


def without_delimiters(source: str) -> str:
    """A cell with its regions filled in."""
    return "\n".join(line for line in source.split("\n") if not DELIMITER.match(line))


def with_answers(notebook: NotebookNode, source: NotebookNode) -> NotebookNode:
    """The student version with a folded answer after each check.

    Args:
        notebook: the student version.
        source: the notebook with its solutions, cell by cell the same.
    """
    cells: list[NotebookNode] = []
    answers: list[str] = []
    for cell, original in zip(notebook.cells, source.cells, strict=True):
        cells.append(cell)
        marks = original.metadata.get("nbgrader", {})
        if cell.cell_type == "code" and marks.get("solution"):
            answers.append(without_delimiters(original.source).strip("\n"))
        elif marks.get("grade") and answers:
            cells.append(answer_cell("\n\n\n".join(answers), of=cell))
            answers = []
    notebook.cells = cells
    return notebook


def answer_cell(code: str, *, of: NotebookNode) -> NotebookNode:
    """Markdown that shows code when it is opened; its id follows from the check's."""
    # Without the blank lines the fence would be read as HTML.
    text = f"<details><summary>{ANSWER}</summary>\n\n```python\n{code}\n```\n\n</details>"
    cell: NotebookNode = nbformat.v4.new_markdown_cell(text)  # type: ignore[no-untyped-call]
    cell.id = hashlib.sha256(f"answer\n{of.id}".encode()).hexdigest()[:16]
    return cell


def student_version(source: NotebookNode, *, name: str) -> NotebookNode:
    """The notebook to be filled in, by the steps of `nbgrader generate_assignment`, with answers.

    Left out are those that need a course's database or header files; a course runs nbgrader itself.
    """
    notebook = copy.deepcopy(source)
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.text_stub = TEXT_STUB
    resources: dict[str, object] = {}
    for step in (
        LockCells,
        ClearSolutions,
        CheckCellMetadata,
        # Checksums come after it: they are those of the cells that the students get.
        ClearHiddenTests,
        ClearMarkScheme,
        ComputeChecksums,
    ):
        try:
            notebook, resources = step(config=config, log=QUIET).preprocess(notebook, resources)
        except Exception as error:  # RuntimeError, ValueError or a step's own
            reason = error.__context__ or error  # the general one hides the particular one
            raise BuildError(f"{name}: {reason}") from error
    return with_answers(notebook, source)


def references(sources: Iterable[NotebookNode]) -> str:
    """The solutions of all exercises by the names of their checks, as `likeness` reads them."""
    found: dict[str, object] = {}
    for source in sources:
        for exercise in read_assignment(source, source).exercises:
            call = next(node for node in ast.walk(ast.parse(exercise.check.text)) if _checks(node))
            names = [each.id for each in call.args if isinstance(each, ast.Name)]
            text = "\n".join(line.rstrip() for line in exercise.solution.text.split("\n"))
            found[ast.unparse(call.func)] = {"names": names, "text": text.strip("\n")}
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def _checks(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("check_")


def render(notebook: NotebookNode) -> str:
    """The text of an .ipynb file, as Jupyter writes it."""
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.rstrip("\n") + "\n"
