"""`make course`: a folder that nbgrader understands, and that keeps what a teacher edited."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script():
    """Not by its name: there are other modules named `course`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "notebooks"), *sys.path])
        spec = importlib.util.spec_from_file_location("make_course", ROOT / "notebooks/course.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture
def make(script):
    return lambda folder, *options: script.main([str(folder), *options])


@pytest.fixture
def course(make, tmp_path):
    assert make(tmp_path / "course", "--only", "03") == 0
    return tmp_path / "course"


def test_a_course_has_the_sources_and_nothing_for_students_yet(course):
    files = {str(path.relative_to(course)) for path in course.rglob("*") if path.is_file()}
    assert files == {
        "nbgrader_config.py",
        "nbgrader_config.json",
        "source/03_ppo_clip/03_ppo_clip.ipynb",
    }
    notebook = nbformat.read(course / "source" / "03_ppo_clip" / "03_ppo_clip.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "### BEGIN SOLUTION" in text
    assert "### BEGIN HIDDEN TESTS" in text
    assert "The answer, if you are stuck" not in text  # students of a graded course get none


def test_what_a_teacher_edited_is_kept_and_named(make, course, capsys):
    config = course / "nbgrader_config.py"
    config.write_text("# mine\n", encoding="utf-8")
    capsys.readouterr()
    assert make(course, "--only", "03") == 1
    assert str(config) in capsys.readouterr().err
    assert config.read_text(encoding="utf-8") == "# mine\n"
    assert make(course, "--only", "03", "--overwrite") == 0
    assert "GradeApart" in config.read_text(encoding="utf-8")


def test_more_notebooks_can_be_added_later(make, course):
    assert make(course, "--only", "01", "02") == 0
    assert {path.name[:2] for path in (course / "source").iterdir()} == {"01", "02", "03"}


def test_an_unknown_notebook_is_one_message(make, tmp_path, capsys):
    assert make(tmp_path, "--only", "99") == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "99" in message
    assert "03_ppo_clip" in message
    assert list(tmp_path.iterdir()) == []
