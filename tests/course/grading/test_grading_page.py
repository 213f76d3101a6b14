"""The exercise that docs/teaching.md adds, added as it says: check, test, cells, wrong answer."""

import math
import re
import shlex
import sys
import types
import zipfile
from pathlib import Path

import nbformat
import pytest
from course import WITH_EXERCISES
from small_course import FILE, NAME, SmallCourse, answered, hand_in
from submissions import Course, Draft, wrong_answers

from ppo_course import ExerciseError
from ppo_course.grading.cells import read_assignment
from ppo_course.grading.grader import Grader
from ppo_course.grading.limits import Limits
from ppo_course.sources import ANSWER

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
CHECK, TEST, CELLS, WRONG = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SOLUTION, GRADED = "returns-discounted", "returns-discounted-check"


@pytest.fixture
def check() -> types.ModuleType:
    module = types.ModuleType("discounted_return")
    exec(compile(CHECK, "discounted_return.py", "exec"), module.__dict__)
    return module


def test_the_test_of_the_page_passes(tmp_path):
    """In a file of its own, with the imports that every such file has."""
    (tmp_path / "discounted_return.py").write_text(CHECK, encoding="utf-8")
    imports = (
        "import pytest\nfrom ppo_course import ExerciseError\n"
        "from discounted_return import RETURNS, check_discounted_return, right\n\n\n"
    )
    file = tmp_path / "test_discounted_return.py"
    file.write_text(imports + TEST, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        status = pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(file)])
        sys.modules.pop("discounted_return", None)
    assert status == 0


def test_the_check_prints_one_line_and_names_mistakes(check, capsys):
    check.check_discounted_return(check.right)
    assert capsys.readouterr().out.startswith("Well done!")
    with pytest.raises(ExerciseError, match="written yet"):
        check.check_discounted_return(lambda *_: (_ for _ in ()).throw(NotImplementedError))


def test_the_cells_of_the_page_are_released_and_graded(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "notebooks")
    import build

    # The check is not in the package: here, it stands in the cell that would import it.
    line = "from ppo_course.nb02_values.discounted_return import check_discounted_return\n"
    assert line in CELLS
    path = tmp_path / "11_returns.py"
    path.write_text(CELLS.replace(line, CHECK), encoding="utf-8")
    source = build.read_source(path)
    with_answer = build.student_version(source, name=path.name)
    assert ANSWER in with_answer.cells[-1].source
    assert "total = reward" in with_answer.cells[-1].source
    with_answer.cells.pop()
    course = Course(source, with_answer)

    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / f"{SOLUTION}.py").write_text(WRONG, encoding="utf-8")
    monkeypatch.setattr("submissions.WRONG", tmp_path / "wrong")
    (wrong,) = wrong_answers(SOLUTION).values()

    assignment = read_assignment(course.source, course.release)
    with Grader(assignment, limits=Limits(seconds=5)) as grader:
        assert len(grader.controls[GRADED]) == 2

        def verdict(draft: Draft) -> tuple[str, str]:
            found = grader.grade(draft.notebook)[GRADED]
            return found.outcome, " ".join(found.message)

        assert verdict(Draft(course).solve()) == ("passed", "")
        assert "not written yet" in verdict(Draft(course))[1]
        outcome, message = verdict(Draft(course).write(returns_discounted=wrong))
        assert outcome == "failed"
        assert "the rewards are discounted from the end" in message


def command(beginning: str) -> list[str]:
    """The first command on the page that begins so, for the small course's notebook."""
    inline = re.findall(r"`(nbgrader[^`]*)`", PAGE.replace("\n", " "))
    lines = [line for block in BLOCKS for line in block.splitlines()]
    found = next(line for line in (*lines, *inline) if line.startswith(beginning))
    return shlex.split(found.replace("03_ppo_clip", NAME), comments=True)


@pytest.mark.slow
def test_the_commands_of_the_page_do_what_it_says(tmp_path):
    course = SmallCourse(tmp_path)

    def run(beginning: str) -> str:
        program, *words = command(beginning)
        if program == "nbgrader":
            return course.nbgrader(*words)
        return course.run(sys.executable, *words)

    hand_in(course.submitted("anna") / FILE, answered())
    wrong = "def square(x):\n    return x * x if x < 8 else 1"
    archive = tmp_path / "downloaded" / NAME / "archive" / "Course-Squares-77.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as moodle:
        for place in (
            f"Zoë von der Au_101_assignsubmission_file/{NAME} (1).ipynb",
            f"李雷_102_assignsubmission_file_/hand-in/{FILE}",
            f"Jean-Luc O'Brien_103_assignsubmission_file_{FILE}",
        ):
            moodle.writestr(place, nbformat.writes(answered(wrong)))
    names = "id,first_name,last_name,email\nanna,Anna,Meier,a@x.org\n101,Zoë,Au,z@x.org\n"
    (tmp_path / "students.csv").write_text(names, encoding="utf-8")

    run("nbgrader zip_collect")
    run("nbgrader db student import")
    run("nbgrader db assignment add")
    (course.submitted("anna") / "timestamp.txt").write_text("2027-03-01 18:30 UTC")
    run("nbgrader autograde")
    rows = course.rows()
    assert {student: float(row["score"]) for student, row in rows.items()} == dict.fromkeys(
        ("anna", "101", "102", "103"), 2.0
    )
    assert (rows["anna"]["email"], rows["101"]["last_name"]) == ("a@x.org", "Au")
    assert rows["anna"]["duedate"] < rows["anna"]["timestamp"]

    # The check was too easy, and is worth more now.
    changed = tmp_path / "source" / NAME / FILE
    text = changed.read_text(encoding="utf-8")
    text = text.replace("square(7) == 49", "square(8) == 64").replace('"points": 2', '"points": 4')
    changed.chmod(0o644)
    changed.write_text(text, encoding="utf-8")
    config = tmp_path / "nbgrader_config.py"
    (penalty,) = re.findall(r"`(c\.LateSubmissionPlugin[^`]*)`", PAGE)
    config.write_text(f"{config.read_text(encoding='utf-8')}\n{penalty}\n", encoding="utf-8")
    (again,) = (block for block in BLOCKS if block.startswith("nbgrader generate_assignment"))
    for line in again.splitlines():
        program, *words = shlex.split(line.replace("03_ppo_clip", NAME))
        assert program == "nbgrader"
        course.nbgrader(*words)
    assert "square(8)" not in course.page("101")
    rows = course.rows()
    assert {student: float(row["raw_score"]) for student, row in rows.items()} == {
        "anna": 4.0,
        "101": 0.0,
        "102": 0.0,
        "103": 0.0,
    }
    assert float(rows["anna"]["score"]) == 0  # late
    (loop,) = (block for block in BLOCKS if "jupytext" in block)
    course.run("bash", "-ec", loop.replace("03_ppo_clip", NAME))
    assert "x < 8" in (tmp_path / "code" / "102.py").read_text(encoding="utf-8")
    run("python -c")
    table = (tmp_path / "marks.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == f"student_id,{NAME}"
    assert len(table) == 5


def test_the_page_names_every_notebook_there_is():
    for path in (ROOT / "notebooks" / "source").glob("*.py"):
        assert f"`{path.stem}`" in PAGE, path.stem


SOURCES = WITH_EXERCISES
HOURS = {"one hour": 60, "one and a half hours": 90, "two hours": 120, "two and a half hours": 150}


def minutes_of(path: Path) -> int:
    """What a notebook's first cell says."""
    text = path.read_text(encoding="utf-8")
    told = re.search(r"With reading[\w\s#]*? takes about ([\w\s]+?)( minutes)?[.,]", text)
    return int(told[1]) if told[2] else HOURS[told[1]]


MINUTES = {path.stem: minutes_of(path) for path in SOURCES}


def test_the_plan_has_the_minutes_of_the_notebooks_in_hours():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d.]+) \|", PAGE, re.MULTILINE)
    assert {name: int(minutes) for name, minutes, _ in rows} == MINUTES
    hours = {name: float(told) for name, _, told in rows}
    assert hours == {name: math.ceil(minutes / 30) / 2 for name, minutes in MINUTES.items()}
    assert f"All of it takes {sum(hours.values()):g} hours" in PAGE
    some = re.findall(r"In ([\d.]+) hours: (\d\d(?:, \d\d)*)", PAGE)
    assert some
    for told, names in some:
        chosen = [name for name in hours if name.partition("_")[0] in names.split(", ")]
        assert float(told) == sum(hours[name] for name in chosen), names


def test_the_page_of_the_course_has_the_same_minutes():
    page = (ROOT / "docs" / "course.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\d\d\w+)`\].*\| \d+, (\d+) \|$", page, re.MULTILINE)
    assert {name: int(minutes) for name, minutes in rows} == MINUTES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_points_are_what_the_rubric_says(path):
    """As many as the exercise's difficulty has full dots."""
    assert "1 for ●○○, 2 for ●●○, 3 for ●●● in every notebook" in PAGE
    found = re.findall(
        r'\*Difficulty: (\S+) ·|"grade": true.*"locked": true, "points": (\d+)',
        path.read_text(encoding="utf-8"),
    )
    dots = [difficulty.count("●") for difficulty, _ in found if difficulty]
    assert dots == [int(points) for _, points in found if points]
    assert dots


def test_the_page_tells_the_limits_that_are_set():
    config = (ROOT / "notebooks" / "nbgrader_config.py").read_text(encoding="utf-8")
    assert "c.GradeApart.seconds = 20.0" in config
    assert "c.GradeApart.memory = 2048" in config
    assert "20 seconds of processor time and 2 GiB" in PAGE
