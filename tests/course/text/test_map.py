"""The map of the course, the links between notebooks, and the progress that a folder keeps."""

import json
import re
import sys
from itertools import pairwise

import pytest
from course import MAP, NOTEBOOKS, SOURCES, WITH_EXERCISES, markdown_cells

from ppo_course import show_progress
from ppo_course.mistakes import Exercise
from ppo_course.progress import COURSE, file_of_progress, note, passed

GRADED = re.compile(r'"grade": true[^\n]*"points": (\d+)[^\n]*\ncheck_(\w+)\(')
TEXT = (NOTEBOOKS / "source" / f"{MAP}.py").read_text(encoding="utf-8")


def test_the_progress_knows_every_check_and_its_points():
    found = {
        path.stem: {
            check: int(points) for points, check in GRADED.findall(path.read_text(encoding="utf-8"))
        }
        for path in WITH_EXERCISES
    }
    assert found == COURSE


def test_each_notebook_links_to_the_one_before_the_map_and_the_one_after():
    first = {path.stem: markdown_cells(path)[0].text for path in SOURCES}
    for one, other in pairwise(first):
        assert f"({other}.ipynb)" in first[one]
        assert f"({one}.ipynb)" in first[other]
    assert all(f"({MAP}.ipynb)" in text for name, text in first.items() if name != MAP)


def test_students_write_at_least_500_lines_in_the_whole_course():
    written = re.compile(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", re.DOTALL)
    lines = [
        line
        for path in WITH_EXERCISES
        for part in written.findall(path.read_text(encoding="utf-8"))
        for line in part.splitlines()
    ]
    assert sum(bool(line.strip()) for line in lines) >= 500


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_the_map_has_each_notebook_with_its_minutes(path):
    told = re.search(
        r"With reading[\w\s#]*? takes about ([\w\s]+?)(?: minutes)?[.,]",
        path.read_text(encoding="utf-8"),
    )
    hours = {"one and a half hours": 90, "two hours": 120, "two and a half hours": 150}
    minutes = hours.get(told[1]) or int(told[1])
    (row,) = re.findall(rf"^# \| \[{path.stem.partition('_')[0]} .*$", TEXT, re.MULTILINE)
    assert f"({path.stem}.ipynb)" in row
    assert f"| {minutes} |" in row


@pytest.fixture
def _notebook(tmp_path, monkeypatch):
    """A folder, and a Python that takes itself for a notebook's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)


@pytest.mark.usefixtures("_notebook")
def test_what_passed_is_kept_in_the_folder_and_told(capsys):
    words = {"square": {"praise": "Right."}}
    exercise = Exercise("square", ("x",), words)

    @exercise.check
    def check_td_error(function, *, seed=None):  # noqa: ARG001 - as every check
        exercise.refuse(exercise.call(function, 3) != 9, "unknown")

    with pytest.raises(AssertionError):
        check_td_error(lambda x: x)
    assert passed() == set()
    check_td_error(lambda x: x * x, seed=1)
    assert passed() == set()  # a hidden test is nobody's progress
    check_td_error(lambda x: x * x)
    note("check_network")
    assert passed() == {"td_error", "network"}
    capsys.readouterr()
    show_progress()
    told = capsys.readouterr().out
    assert re.search(r"^11_write_ppo +●○+ +1 of 17 points$", told, re.MULTILINE)
    first = next(iter(COURSE["01_workspace"]))
    assert f"Next: 01_workspace, the exercise whose check is check_{first}." in told


def test_outside_of_a_notebook_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    note("check_network")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_notebook")
@pytest.mark.parametrize("text", ["", "{", '{"a": 1}', '["nothing of the course"]'])
def test_a_broken_file_is_no_progress(text):
    file_of_progress().parent.mkdir()
    file_of_progress().write_text(text, encoding="utf-8")
    assert passed() == set()
    note("check_network")
    assert json.loads(file_of_progress().read_text(encoding="utf-8")) == ["network"]
