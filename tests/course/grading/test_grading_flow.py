"""A course, run as a teacher runs it: nbgrader's own commands on generated submissions.

Every submission gets the mark that it deserves, whatever it does, and none stops the batch.
"""

import csv
import html
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from course import WITH_EXERCISES
from nbgrader_command import run_nbgrader
from submissions import Course, Submission, submissions

from ppo_course.grading.cells import REGION

ROOT = Path(__file__).parents[3]
NAMES = [path.stem for path in WITH_EXERCISES]
PPO = "03_ppo_clip"

#: of notebook 03, in `make test`: the perfect one, and one of each kind of trouble
SHORT = ("perfect", "not-a-notebook", "wrong-ppo-clip-policy-objective-check-1")
SECONDS = 6  # an endless submission costs as much


class Classroom:
    """A course in a folder, with its students."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        command = [sys.executable, ROOT / "notebooks" / "course.py", folder, "--only", name]
        subprocess.run(command, check=True, capture_output=True)
        config = folder / "nbgrader_config.py"
        text = config.read_text(encoding="utf-8")
        assert "c.GradeApart.seconds = 20.0" in text
        text = text.replace("seconds = 20.0", f"seconds = {SECONDS}.0").replace(
            "memory = 2048", "memory = 1024"
        )
        config.write_text(text, encoding="utf-8")
        self.nbgrader("generate_assignment", name)
        self.course = Course(self._read("source"), self._read("release"))
        self.students: list[Submission] = []

    def _read(self, step: str) -> nbformat.NotebookNode:
        return nbformat.read(self.folder / step / self.name / f"{self.name}.ipynb", as_version=4)

    def nbgrader(self, *arguments: str, status: int | None = 0) -> str:
        """Run a command in the folder of the course; what it said."""
        environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(self.folder / ".jupyter")}
        code, said = run_nbgrader(arguments, self.folder, environment)
        assert status is None or code == status, said[-5000:]
        return said

    def hand_in(self, student: Submission) -> None:
        self.students.append(student)
        folder = self.folder / "submitted" / student.name / self.name
        folder.mkdir(parents=True)
        text = student.text.replace("COURSE", str(self.folder))
        copied = " (1)" if student.name == "browser-named" else ""
        (folder / f"{self.name}{copied}.ipynb").write_text(text, encoding="utf-8")

    def marks(self) -> dict[str, float]:
        """From the exported table."""
        self.nbgrader("export")
        with (self.folder / "grades.csv").open(encoding="utf-8") as file:
            return {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)}

    def released(self, student: Submission) -> nbformat.NotebookNode:
        """What a student handed in, if it is a notebook; else what was handed out."""
        try:
            return nbformat.reads(student.text, as_version=4)
        except nbformat.reader.NotJSONError:
            return self.course.release

    def has_feedback(self, student: str) -> bool:
        return (self.folder / "feedback" / student / self.name / f"{self.name}.html").exists()

    def feedback(self, student: str) -> str:
        path = self.folder / "feedback" / student / self.name / f"{self.name}.html"
        return path.read_text(encoding="utf-8")


def assert_hides_tests(classroom: Classroom, student: Submission) -> None:
    """Of tests and answers, a page has what the student has: title, message, the own code."""
    page = words_of(html.unescape(re.sub(r"<[^>]*>", "", classroom.feedback(student.name))))
    handed_in = words_of("".join(cell.source for cell in classroom.released(student).cells))
    for cell in classroom.course.source.cells:
        hidden = False
        for line in cell.source.splitlines():
            if mark := REGION.match(line):
                hidden = mark[1] == "BEGIN"
            elif hidden and len(words_of(line)) > 12 and words_of(line) not in handed_in:
                assert words_of(line) not in page, line
    assert "BEGINHIDDEN" not in page


def words_of(text: str) -> str:
    """Without the spaces."""
    return "".join(text.split())


def graded(folder: Path, name: str, wanted: tuple[str, ...] | None = None) -> Classroom:
    """A course whose submissions were graded."""
    classroom = Classroom(folder, name)
    for student in submissions(name, classroom.course):
        if wanted is None or student.name in wanted:
            classroom.hand_in(student)
    broken = any(student.name == "not-a-notebook" for student in classroom.students)
    classroom.nbgrader("autograde", name, status=1 if broken else 0)
    classroom.nbgrader("generate_feedback", name)
    return classroom


def test_a_short_course_from_the_release_to_the_feedback(tmp_path):
    """Some submissions of notebook 03, in one test: workers would each grade them anew."""
    short = graded(tmp_path, PPO, SHORT)
    assert {student.name for student in short.students} == set(SHORT)
    deserved = {student.name: student.total for student in short.students}
    assert short.marks() == pytest.approx(deserved, abs=0.02)

    assert "the sign is wrong" in short.feedback("wrong-ppo-clip-policy-objective-check-1")
    assert "Well done!" in short.feedback("perfect")
    for student in short.students:
        if student.name != "not-a-notebook":
            assert_hides_tests(short, student)

    released = short.folder / "release" / PPO / f"{PPO}.ipynb"
    text = released.read_text(encoding="utf-8")
    assert "seed=1" not in text
    assert "torch.min(ratio * advantage" not in text
    assert "Not implemented yet" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_submission_gets_its_mark(name, tmp_path):
    classroom = graded(tmp_path, name)
    assert len(classroom.students) >= (20 if name == PPO else 5)
    deserved = {student.name: student.total for student in classroom.students}
    assert classroom.marks() == pytest.approx(deserved, abs=0.02)
    if name == PPO:
        assert "torch.allclose was replaced" in classroom.feedback("patched-torch")
        assert f"did not come to an end in {SECONDS} seconds" in classroom.feedback("endless")
    for student in classroom.students:
        if classroom.has_feedback(student.name):
            assert_hides_tests(classroom, student)
