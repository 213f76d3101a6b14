"""What comes back from students: other names, deeper folders, other encodings, pictures, plots.

A small course is graded by nbgrader's own commands; what is brought into place before is tried
file by file too.
"""

import base64
import json
import os
import re
import time
from pathlib import Path

import nbformat
import pytest
from small_course import (
    ANSWER,
    FILE,
    NAME,
    SmallCourse,
    answered,
    hand_in,
    handed_out,
    read,
    source,
)

from ppo_course.grading.collecting import before_autograde, read_files, tidy
from ppo_course.grading.sound import sound

PIXEL = base64.b64encode(b"the bytes of a picture").decode()


def with_pictures() -> nbformat.NotebookNode:
    """In the report, by names of all kinds; and what a cell showed."""
    notebook = answered()
    names = ("image.png", "Capture d’écran 1.png", "lost.png")
    report = notebook.cells[4]
    report.source = "Since ![a](attachment:image.png) ![b](<attachment:Capture d’écran 1.png>)\n"
    report.source += "![c](attachment:lost.png) ![d][e] ![f](<attachment:lost too.png>)\n\n"
    report.source += "[e]: attachment:image.png"
    report.attachments = {name: {"image/png": PIXEL} for name in names[:2]}
    notebook.cells.append(nbformat.v4.new_markdown_cell("![mine](attachment:x)"))
    data = {"image/png": PIXEL, "text/html": "<script>bad()</script>", "text/plain": "a plot"}
    notebook.cells[3].outputs = [nbformat.v4.new_output("display_data", data=data)]
    return notebook


def as_text() -> nbformat.NotebookNode:
    """The answer in a Markdown cell with a picture, the check in a raw one, the report in code."""
    notebook = answered()
    kinds = {1: "markdown", 2: "raw", 4: "code"}
    for place, kind in kinds.items():
        old = notebook.cells[place]
        new = getattr(nbformat.v4, f"new_{kind}_cell")
        notebook.cells[place] = new(old.source, metadata=old.metadata)
    notebook.cells[1].attachments = {"image.png": {"image/png": PIXEL}}
    return notebook


@pytest.fixture
def course(tmp_path: Path) -> Path:
    hand_in(tmp_path / "source" / NAME / FILE, source())
    hand_in(tmp_path / "release" / NAME / FILE, handed_out())
    (tmp_path / "submitted").mkdir()
    return tmp_path


@pytest.fixture
def zoe(course: Path) -> Path:
    """The folder of a student."""
    folder = course / "submitted" / "zoë" / NAME
    folder.mkdir(parents=True)
    return folder


# --------------------------------------------------------------------- what is brought into place


def test_what_is_in_its_place_stays_as_it_is(course, zoe):
    hand_in(zoe / FILE, answered())
    before = (zoe / FILE).read_bytes()
    assert tidy(course) == []
    assert (zoe / FILE).read_bytes() == before
    assert [path.name for path in zoe.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "place",
    [
        f"{NAME}/{FILE}",
        f"deep/er/{FILE}",
        f"{NAME} (1).ipynb",
        f"Copy of {NAME}.ipynb",
        f"{NAME}.ipynb.txt",
        f"{NAME}.ipynb.json",
        "SQUARES.IPYNB",
    ],
)
@pytest.mark.parametrize("beside", [None, "as handed out", "with a note", "broken"])
def test_a_notebook_is_found_wherever_it_is(place, beside, course, zoe):
    if beside:
        empty = handed_out()
        if beside == "with a note":  # something is new, and no exercise is answered
            empty.cells += [nbformat.v4.new_markdown_cell("Zoë"), nbformat.v4.new_code_cell("1")]
        hand_in(zoe / FILE, "{" if beside == "broken" else empty)
    hand_in(zoe / place, answered())
    (line,) = tidy(course)
    assert line.startswith(f"zoë: graded is {place}")
    assert read(zoe / FILE).cells[1].source == ANSWER
    assert (zoe / place).exists()
    assert (zoe / f"{FILE}.set-aside").exists() == bool(beside)
    assert tidy(course) == []  # once is enough


def test_an_answer_counts_where_its_cell_has_lost_its_marks(course, zoe):
    """Some editors drop them; a student may delete the cell and write another one."""
    hand_in(zoe / FILE, handed_out())
    notebook = answered()
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
    hand_in(zoe / f"{NAME} (1).ipynb", notebook)
    hand_in(zoe / f"{NAME} (2).ipynb", handed_out())
    (line,) = tidy(course)
    assert "(1)" in line


def test_what_is_set_aside_is_never_lost(course, zoe):
    """Students hand in again, and again; a name may be taken already."""
    for number in range(1, 4):
        hand_in(zoe / FILE, handed_out() if number > 1 else "{")
        hand_in(zoe / f"{NAME} ({number}).ipynb", answered(f"{ANSWER}  # {number}"))
        tidy(course)
    kept = {path.name: path.read_text("utf-8") for path in zoe.glob("*.set-aside*")}
    assert sorted(kept) == [f"{FILE}.set-aside{end}" for end in ("", "-2", "-3")]
    assert kept[f"{FILE}.set-aside"] == "{"
    assert read_files([zoe]) == {}


def test_the_names_of_files_do_nothing_in_a_terminal(course, zoe, capsys):
    hand_in(zoe / f"{NAME}\x1b]0;owned\x07 (1).ipynb", answered())
    before_autograde(course, "nbgrader", "autograde")
    said = capsys.readouterr().err
    assert "graded is" in said
    assert said.rstrip("\n").isprintable()


def test_of_several_downloads_the_newest_counts(course, zoe):
    hand_in(zoe / FILE, handed_out())
    for number in (1, 10, 9):
        hand_in(zoe / f"{NAME} ({number}).ipynb", answered(f"{ANSWER}  # {number}"))
    (line,) = tidy(course)
    assert "(10)" in line
    assert read(zoe / FILE).cells[1].source.endswith("# 10")


def test_of_two_answers_the_one_with_the_right_name_counts_and_the_other_is_told(course, zoe):
    hand_in(zoe / FILE, answered())
    hand_in(zoe / f"{NAME} (1).ipynb", answered("def square(x):\n    return 0"))
    assert tidy(course) == [f"zoë: graded is {FILE}, and not {NAME} (1).ipynb"]
    assert read(zoe / FILE).cells[1].source == ANSWER


def test_what_is_beside_a_deeper_notebook_comes_with_it(course, zoe):
    hand_in(zoe / NAME / FILE, answered())
    hand_in(zoe / NAME / "own.py", "ONE = 1")
    hand_in(zoe / NAME / "data" / "table.csv", "1")
    hand_in(zoe / NAME / ".ipynb_checkpoints" / FILE, handed_out())
    hand_in(zoe / "__MACOSX" / f"._{FILE}", "binary")
    assert len(tidy(course)) == 1
    assert (zoe / "own.py").read_text(encoding="utf-8") == "ONE = 1"
    assert (zoe / "data" / "table.csv").exists()
    files = read_files([zoe])
    assert files["own.py"] == b"ONE = 1"
    assert not any(FILE in name for name in files)


@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_every_encoding_becomes_utf_8(encoding, course, zoe):
    hand_in(zoe / FILE, answered(f"{ANSWER}  # é").copy(), "utf-8")
    text = json.dumps(read(zoe / FILE), ensure_ascii=False)
    hand_in(zoe / FILE, text, encoding)
    assert tidy(course) == []
    assert read(zoe / FILE).cells[1].source == f"{ANSWER}  # é"
    assert (zoe / f"{FILE}.set-aside").read_bytes() == text.encode(encoding)


def test_who_handed_in_nothing_gets_an_empty_file(course, zoe):
    (line,) = tidy(course)
    assert "no notebook was handed in" in line
    assert (zoe / FILE).read_bytes() == b""


@pytest.mark.parametrize("text", ["", "print('hello')\n", "{", "[1]", '{"cells": 3}', "[" * 9**5])
def test_a_file_that_is_no_notebook_is_told(text, course, zoe):
    hand_in(zoe / FILE, text)
    (line,) = tidy(course)
    assert line.startswith(f"zoë: {FILE} is no notebook")
    assert (zoe / FILE).read_text(encoding="utf-8") == text


def test_links_lead_nowhere(course, zoe):
    """Neither to another student's work, nor to a file of the teacher's."""
    hand_in(course / "submitted" / "bob" / NAME / FILE, answered())
    secret = course / "secret.txt"
    hand_in(secret, "secret")
    (zoe / FILE).symlink_to(course / "submitted" / "bob" / NAME / FILE)
    (zoe / "own.py").symlink_to(secret)
    (zoe / "all").symlink_to(course)
    (line,) = tidy(course)
    assert "no notebook was handed in" in line
    assert read_files([zoe]) == {FILE: b""} or read_files([zoe]) == {}


def test_the_files_beside_a_notebook_have_an_end(zoe):
    (zoe / "large.bin").write_bytes(bytes(5 * 2**20))
    for number in range(100):
        (zoe / f"{number:03}.txt").write_bytes(b"x")
    os.mkfifo(zoe / "pipe")
    files = read_files([zoe])
    assert "large.bin" not in files
    assert len(files) == 64


def test_only_the_assignment_that_is_graded_is_touched(course, zoe):
    before_autograde(course, "nbgrader", "generate_feedback", NAME)
    assert list(zoe.iterdir()) == []
    (course / "source" / "other").mkdir()
    before_autograde(course, "nbgrader", "autograde", "--assignment=other")
    assert list(zoe.iterdir()) == []
    before_autograde(course, "nbgrader", "autograde", f"--assignment={NAME}")
    assert (zoe / FILE).exists()


# ------------------------------------------------------------------------------- a sound notebook


def test_outputs_stay_as_text_and_pictures_alone():
    new = nbformat.v4.new_output
    notebook = answered()
    notebook.cells[1].outputs = [
        new("stream", name="stderr", text="a warning"),
        new("error", ename="E", evalue="e", traceback=["line"]),
        new("display_data", data={"image/svg+xml": "<svg onload='bad()'/>", "text/html": "<b>"}),
        new("execute_result", data={"image/png": PIXEL, "application/javascript": "bad()"}),
        {"output_type": "display_data", "data": 3},
        {"output_type": "error", "traceback": 3},
        "nonsense",
    ]
    made = sound(notebook, source()).cells[1].outputs
    assert [output.output_type for output in made] == [
        *("stream", "error", "display_data", "display_data", "error")
    ]
    assert made[0].name == "stdout"
    assert made[3].data == {"image/png": PIXEL}
    assert "bad" not in json.dumps(made)


@pytest.mark.parametrize("given", [3, [1], {"a": 3}, {"a": {"image/png": 3}}, {"a": {}}, None])
def test_odd_attachments_do_not_matter(given):
    notebook = answered()
    notebook.cells[4].source = "![x](attachment:a)"
    notebook.cells[4]["attachments"] = given
    made = sound(notebook, source())
    nbformat.validate(made)
    assert made.cells[4].attachments["a"]


def test_many_references_to_pictures_take_no_time():
    notebook = answered()
    notebook.cells[4].source = "attachment:a " * 30_000
    begin = time.process_time()
    made = sound(notebook, source())
    assert time.process_time() - begin < 1
    assert len(made.cells[4].attachments) < 3000


# ------------------------------------------------------------------------- nbgrader's own commands


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallCourse, str]:
    """A course that was graded, and what that command said."""
    course = SmallCourse(tmp_path_factory.mktemp("course"))
    untouched = read(course.folder / "release" / NAME / FILE)
    by_file = "import own\n\ndef square(x):\n    return own.square(x)"
    by_heart = "def square(x):\n    return 9\n### BEGIN HIDDEN TESTS"
    hand_in(course.submitted("nested") / NAME / FILE, answered())
    hand_in(course.submitted("renamed") / f"{NAME} (1).ipynb", answered())
    hand_in(course.submitted("renamed") / FILE, untouched)
    hand_in(course.submitted("marked") / FILE, answered(), "utf-16")
    hand_in(course.submitted("pictures") / FILE, with_pictures())
    hand_in(course.submitted("as-text") / FILE, as_text())
    hand_in(course.submitted("helped") / FILE, answered(by_file))
    hand_in(course.submitted("helped") / "own.py", ANSWER)
    hand_in(course.submitted("by-heart") / FILE, answered(by_heart))
    hand_in(course.submitted("nobody") / "notes.txt", "I forgot")
    course.submitted("empty").mkdir(parents=True)
    said = course.nbgrader("autograde", NAME, status=1)
    course.nbgrader("generate_feedback", NAME)
    return course, said


def test_everybody_has_a_row_with_the_mark(graded):
    right = dict.fromkeys(["nested", "renamed", "marked", "pictures", "as-text", "helped"], 2.0)
    assert graded[0].marks() == {**right, "by-heart": 0.0, "nobody": 0.0, "empty": 0.0}


def test_the_teacher_is_told_once_who_has_to_hear_of_it(graded):
    lines = [line for line in graded[1].splitlines() if line.startswith("[submitted]")]
    assert sorted(line.split()[1] for line in lines) == ["empty:", "nested:", "nobody:", "renamed:"]


def test_a_picture_in_a_text_costs_no_feedback(graded):
    text = graded[0].page("pictures")
    assert text.count(f"data:image/png;base64,{PIXEL}") >= 4  # with the plot


def test_the_plots_that_a_person_marks_stay(graded):
    path = graded[0].folder / "autograded" / "pictures" / NAME / FILE
    (shown,) = read(path).cells[3].outputs
    assert shown.data == {"image/png": PIXEL, "text/plain": "a plot"}


def test_nobody_sees_hidden_tests(graded):
    for student in ("nested", "by-heart"):
        assert not re.search(r"square\(7\)|>49<", graded[0].page(student))
    assert "a hidden test" in graded[0].page("by-heart")
