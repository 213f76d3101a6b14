"""What a course's `nbgrader_config.py` gives to nbgrader's autograder in place of its own steps."""

import copy
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.exchange.default import Exchange
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, NbGraderPreprocessor
from traitlets import Enum, Float, Integer, List, Unicode

from ppo_course.grading.boundary import WANTED, find
from ppo_course.grading.cells import marks_of, read_assignment
from ppo_course.grading.collecting import read_files
from ppo_course.grading.grader import Grader, Verdict
from ppo_course.grading.limits import Limits
from ppo_course.grading.sound import remade, sound, writable

Resources = dict[str, Any]

# nbgrader makes its steps anew for each notebook. The exporter that they belong to lasts as long as
# a batch; so this is by exporter, and with it the grader ends.
_GRADERS: weakref.WeakKeyDictionary[Any, Grader] = weakref.WeakKeyDictionary()


class _WithSource(NbGraderPreprocessor):
    """A step that looks at the assignment's source notebook."""

    source = Unicode(
        "source/{assignment_id}/{notebook_id}.ipynb",
        help="where the source notebook is, from the root of the course",
    ).tag(config=True)

    def source_notebook(self, resources: Resources) -> NotebookNode:
        names = resources["nbgrader"]
        path = self.source.format(assignment_id=names["assignment"], notebook_id=names["notebook"])
        notebook: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        return notebook

    def release_notebook(self, source: NotebookNode) -> NotebookNode:
        """The cells as the students get them."""
        notebook = copy.deepcopy(source)
        for step in (ClearSolutions, ClearHiddenTests):
            notebook, _ = step(parent=self.parent, config=self.config).preprocess(notebook, {})
        return notebook


class RestoreCells(_WithSource):
    """Gives a submission a sound form, and the marks of the source's cells, each of them once.

    It stands in the place of nbgrader's DeduplicateIds, which leaves empty marks on the copies of a
    cell; nbgrader then takes the notebook for one of an old version and ends the whole batch.

    - Of several copies of a solution cell, the last one that was changed keeps the marks.
    - Code that became text, or text that became code, is again what it was.
    - A check cell that was deleted comes back, at the end. Its text is nbgrader's business.
    - Marks that the source does not know are taken away; broken ones are mended.
    - Pictures in the text stay, and what cells showed, for who marks by hand; but no HTML and no
      JavaScript, which would run in the teacher's browser.
    - What else editors write into a notebook is left out: it need not be as nbformat has it, and
      would then stop nbgrader. Halves of characters become question marks for the same reason.
    """

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """nbgrader's interface."""
        source = self.source_notebook(resources)
        release = self.release_notebook(source)
        marked = {marks["grade_id"]: cell for cell in release.cells if (marks := marks_of(cell))}
        places: dict[str, list[int]] = {grade_id: [] for grade_id in marked}
        for place, cell in enumerate(nb.cells):
            grade_id = marks_of(cell).get("grade_id")
            if isinstance(grade_id, str) and grade_id in places:
                places[grade_id].append(place)
        nb = sound(nb, source)
        for grade_id, found in places.items():
            original = marked[grade_id]
            if found:
                as_it_was = ("", original.source.strip())
                changed = [i for i in found if nb.cells[i].source.strip() not in as_it_was]
                kept = (changed or found)[-1]
                if len(found) > 1:
                    self.log.warning("Cell '%s' exists %d times", grade_id, len(found))
                if nb.cells[kept].cell_type != original.cell_type:
                    self.log.warning("Cell '%s' is %s again", grade_id, original.cell_type)
                    nb.cells[kept] = remade(nb.cells[kept], original.cell_type)
                nb.cells[kept].metadata.nbgrader = copy.deepcopy(original.metadata.nbgrader)
            elif marks_of(original).get("grade"):
                self.log.warning("Cell '%s' was deleted; it is put back", grade_id)
                nb.cells.append(copy.deepcopy(original))
        return nb, resources


class HideTests(ClearHiddenTests):
    """Takes the hidden tests out of what students see, as ClearHiddenTests does for a release.

    It leaves alone what a student wrote between such marks.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, cell_index: int
    ) -> tuple[NotebookNode, Resources]:
        """nbgrader's interface."""
        if marks_of(cell).get("grade") and not marks_of(cell).get("solution"):
            self._remove_hidden_test_region(cell)
        return cell, resources


class GradeApart(_WithSource):
    """Grades each graded cell in a fresh process, in place of nbgrader's Execute.

    The student's notebook is not run. The verdicts become outputs of the graded cells, from which
    nbgrader makes the marks and the feedback.
    """

    seconds = Float(20.0, help="seconds of processor time that a graded cell may take").tag(
        config=True
    )
    memory = Integer(2048, help="MiB of memory that a graded cell may take").tag(config=True)
    boundary = Enum(
        WANTED,
        "auto",
        help="what keeps a student's code from the machine: the best there is, one to insist on, "
        "or 'none', where all of grading is in a container or machine that is thrown away",
    ).tag(config=True)
    readable = List(
        Unicode(),
        help="files and folders that solutions and checks may read, besides Python and packages",
    ).tag(config=True)
    beside = Unicode(
        "submitted/{student_id}/{assignment_id}",
        help="where a submission is, from the root of the course, with the files that it needs",
    ).tag(config=True)
    cache = Unicode(".grading", help="a folder that spares repeated work").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """nbgrader's interface."""
        verdicts = self.grader(resources).grade(nb, self.files(resources))
        for cell in nb.cells:
            marks = marks_of(cell)
            verdict = verdicts.get(marks.get("grade_id", ""))
            if verdict is not None and marks.get("grade") and not marks.get("solution"):
                cell.outputs = list(_outputs(verdict, float(marks.get("points", 0))))
                self.log.info("%s: %s", verdict.grade_id, verdict.outcome)
        return nb, resources

    def files(self, resources: Resources) -> dict[str, bytes]:
        """What a student handed in beside the notebook, and over it what the teacher handed out."""
        names = resources["nbgrader"]
        known = {f"{kind}_id": names[kind] for kind in ("student", "assignment", "notebook")}
        folders = (self.beside, str(Path(self.source).parent))
        return read_files(Path(folder.format(**known)) for folder in folders)

    def grader(self, resources: Resources) -> Grader:
        """What grades the notebook: the same for all submissions of a batch."""
        source = self.source_notebook(resources)
        assignment = read_assignment(source, self.release_notebook(source))
        grader = _GRADERS.get(self.parent)
        if grader is None or grader.assignment != assignment:
            if grader is not None:
                grader.close()
            root = Path.cwd()  # nbgrader goes to the root of the course
            grader = Grader(
                assignment,
                limits=Limits(seconds=self.seconds, memory=self.memory),
                boundary=find(self.boundary),
                hidden=[root, Path(Exchange(config=self.config).root)],
                readable=[root / Path(path).expanduser() for path in self.readable],
                cache=root / self.cache,
            )
            grader.open()
            _GRADERS[self.parent] = grader
            weakref.finalize(self.parent, grader.close)
            for exercise, controls in grader.controls.items():
                if not controls:
                    self.log.warning("No wrong answer is known to fail the check '%s'", exercise)
        return grader


def _outputs(verdict: Verdict, points: float) -> Iterator[NotebookNode]:
    """What Jupyter would show. Never a stream named stderr: nbgrader gives no points then.

    Where parts are right, the result of the cell is a number, which nbgrader takes for the points.
    """
    new: Any = nbformat.v4.new_output
    if verdict.output:
        yield new("stream", name="stdout", text=writable(verdict.output))
    if verdict.outcome == "partly":
        told = "\n".join(writable(line) for line in verdict.message)
        yield new("stream", name="stdout", text=f"{told}\n\nPoints:\n")
        yield new("execute_result", data={"text/plain": f"{points * verdict.share:.2f}"})
    elif not verdict.passed:
        error, *message = (writable(line) for line in (verdict.error, *verdict.message))
        yield new(
            "error", ename=error, evalue=message[0] if message else "", traceback=message or [error]
        )
