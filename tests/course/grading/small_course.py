"""A course of one small notebook, graded in seconds by nbgrader's own commands."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbgrader_command import run_nbgrader

ROOT = Path(__file__).parents[3]
NAME = "squares"
FILE = f"{NAME}.ipynb"
ANSWER = "def square(x):\n    return x * x"


def marks(grade_id: str, *, solution: bool, points: int = 0) -> dict[str, object]:
    base = {"schema_version": 3, "task": False, "grade_id": grade_id, "solution": solution}
    grade = {"grade": bool(points), "locked": not solution}
    return {**base, **grade, **({"points": points} if points else {})}


def source() -> nbformat.NotebookNode:
    """A check with hidden tests, and a text that a person marks."""
    new = nbformat.v4
    cells = [
        new.new_code_cell("import math", metadata={"tags": ["definitions"]}),
        new.new_code_cell(
            "def square(x):\n    ### BEGIN SOLUTION\n    return x * x\n    ### END SOLUTION",
            metadata={"nbgrader": marks("square", solution=True)},
        ),
        new.new_code_cell(
            "assert square(3) == 9\n### BEGIN HIDDEN TESTS\nassert square(7) == 49\n"
            "### END HIDDEN TESTS",
            metadata={"nbgrader": marks("square-check", solution=False, points=2)},
        ),
        new.new_code_cell("plot(square)"),
        new.new_markdown_cell(
            "Why?", metadata={"nbgrader": marks("report", solution=True, points=3)}
        ),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return new.new_notebook(cells=cells, metadata=metadata)


def handed_out() -> nbformat.NotebookNode:
    notebook = source()
    notebook.cells[1].source = "def square(x):\n    assert False, 'Not implemented yet'"
    notebook.cells[2].source = "assert square(3) == 9"
    return notebook


def answered(text: str = ANSWER) -> nbformat.NotebookNode:
    notebook = handed_out()
    notebook.cells[1].source = text
    return notebook


def hand_in(path: Path, notebook: nbformat.NotebookNode | str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
    path.write_bytes(text.encode(encoding))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


class SmallCourse:
    """The course in a folder, with its assignment made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "notebooks" / "nbgrader_config.py", folder)
        hand_in(folder / "source" / NAME / FILE, source())
        self.nbgrader("generate_assignment", NAME)

    @property
    def _environment(self) -> dict[str, str]:
        programs = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        settings = {"PATH": programs, "JUPYTER_CONFIG_DIR": str(self.folder / ".jupyter")}
        return {**os.environ, **settings}

    def run(self, *command: str) -> str:
        """Run a command in the course's folder; what it said."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said[-3000:]
        return said

    def nbgrader(self, *words: str, status: int = 0) -> str:
        code, said = run_nbgrader(words, self.folder, self._environment)
        assert code == status, said[-3000:]
        return said

    def submitted(self, student: str) -> Path:
        return self.folder / "submitted" / student / NAME

    def rows(self) -> dict[str, dict[str, str]]:
        """The exported table, by student."""
        self.nbgrader("export")
        with (self.folder / "grades.csv").open(encoding="utf-8") as file:
            return {row["student_id"]: row for row in csv.DictReader(file)}

    def marks(self) -> dict[str, float]:
        return {student: float(row["score"]) for student, row in self.rows().items()}

    def page(self, student: str) -> str:
        path = self.folder / "feedback" / student / NAME / f"{NAME}.html"
        return path.read_text(encoding="utf-8")
