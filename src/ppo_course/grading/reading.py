"""How nbgrader's autograder reads submissions here: with limits, and never to run them itself."""

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbgrader.converters.base import NbGraderException
from nbgrader.preprocessors import Execute
from traitlets.utils.importstring import import_item

from ppo_course.grading.boundary import BoundaryError, find
from ppo_course.grading.preprocessors import GradeApart

MIB = 2**20
LARGEST = 100 * MIB  # of a notebook, and of all the files beside it
MOST_CELLS = 10_000
MOST_CODE = 2 * MIB  # characters of all code cells: colouring them takes ten seconds for each MiB
MOST_FILES = 1000


class UnsafeSubmissionError(Exception):
    """A submission that is not read; the message says why."""


class SafeExporter(NotebookExporter):
    """For `c.Autograde.exporter_class`: nothing is graded unless it is graded apart.

    nbgrader makes it before it looks at the first submission. An `nbgrader_config.py` that could
    not be loaded leaves nbgrader its own steps, which run submissions as they are.

    Raises:
        NbGraderException: on creation, if the steps of the autograder run submissions, or if there
            is no boundary for them. The log says which.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)  # type: ignore[no-untyped-call]
        autograde: Any = self.parent
        named = autograde.autograde_preprocessors
        steps = [import_item(step) if isinstance(step, str) else step for step in named]
        if GradeApart not in steps or any(issubclass(step, Execute) for step in steps):
            self._refuse(
                "nothing was graded: this course grades by GradeApart, which is not among "
                "c.Autograde.autograde_preprocessors. Was nbgrader_config.py loaded? See above"
            )
        try:
            self.log.info("Boundary: %s", find(GradeApart(parent=self).boundary))
        except BoundaryError as error:
            self._refuse(str(error))
        self._leave_out(autograde.assignments, autograde.coursedir)

    def from_filename(
        self, filename: str, resources: dict[str, Any] | None = None, **kw: Any
    ) -> Any:
        """nbconvert's interface.

        Raises:
            UnsafeSubmissionError: if the file is a link or too large. nbgrader names the student,
                and goes on with the next one.
        """
        path = Path(filename)
        for part in (path, path.parent, path.parent.parent):
            if part.is_symlink():
                raise UnsafeSubmissionError(f"{part} is a link; a submission has to be a file")
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UnsafeSubmissionError(f"{path} is not a file")
        if about.st_size > LARGEST:
            raise UnsafeSubmissionError(
                f"{path} has {about.st_size / MIB:.0f} MiB, more than {LARGEST // MIB}"
            )
        return super().from_filename(filename, resources, **kw)

    def from_notebook_node(
        self, nb: Any, resources: dict[str, Any] | None = None, **kw: Any
    ) -> Any:
        """nbconvert's interface.

        Raises:
            UnsafeSubmissionError: if there are too many cells, or there is too much in them.
        """
        if len(nb.cells) > MOST_CELLS:
            raise UnsafeSubmissionError(f"it has {len(nb.cells)} cells, more than {MOST_CELLS}")
        texts = [cell.get("source") for cell in nb.cells if cell.get("cell_type") == "code"]
        code = sum(len(text) for text in texts if isinstance(text, str))
        if code > MOST_CODE:
            raise UnsafeSubmissionError(
                f"its code has {code / MIB:.1f} MiB, more than {MOST_CODE // MIB}"
            )
        return super().from_notebook_node(nb, resources, **kw)  # type: ignore[no-untyped-call]

    def _refuse(self, why: str) -> None:
        self.log.error(why)
        raise NbGraderException(why)

    def _leave_out(self, folders: Iterable[str], course: Any) -> None:
        """Have nbgrader copy nothing from folders in which there are links, pipes, or too much."""
        for folder in folders:
            if found := _odd(Path(folder)):
                self.log.warning("No file beside the notebook in %s is copied: %s", folder, found)
                course.ignore = [*course.ignore, f"{glob.escape(folder)}/*"]


def _odd(folder: Path) -> str:
    """What there is in a folder that should not be copied; empty if there is nothing."""
    number = size = 0
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
                return f"{path.relative_to(folder)} is not a file"
            if not name.endswith(".ipynb"):  # a notebook is read, not copied
                number, size = number + 1, size + about.st_size
            if number > MOST_FILES or size > LARGEST:
                return f"there are more than {MOST_FILES} files, or {LARGEST // MIB} MiB"
    return ""
