"""What runs in nbgrader's own process: nothing of a submission, and nothing without end.

Where the configuration of the course, the package or the boundary is not there, no submission is
graded, and the command says so.
"""

import copy
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Self

import nbformat
import pytest
from nbgrader_command import run_nbgrader
from submissions import Course, Draft

from ppo_course.grading.cells import marks_of
from ppo_course.grading.pages import SPENT, clean, markdown2html

ROOT = Path(__file__).parents[3]
SQUARES = "squares"
CELL = '# %% nbgrader={"grade_id": "ID", "schema_version": 3, "task": false, KIND}\n'
SOLUTION = CELL.replace("ID", "square").replace(
    "KIND", '"grade": false, "solution": true, "locked": false'
)
CHECK = CELL.replace("ID", "square-check").replace(
    "KIND", '"grade": true, "solution": false, "locked": true, "points": 3'
)
SOURCE = f"""\
# %% tags=["definitions"]
import math

{SOLUTION}
def square(x):
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION

{CHECK}
assert square(3) == 9
print("Well done!")
### BEGIN HIDDEN TESTS
assert square(4) == 16  # seed=1
### END HIDDEN TESTS
"""
RUNS = "from pathlib import Path\nPath('TRACE').write_text('it ran')"
SCRIPTS = """
# A title

<script>alert(1)</script> <img src=x onerror=alert(1)> [link](javascript:alert(1))
<a href="jAvascript:alert(1)">a</a> <iframe src="http://example.com"></iframe>
<svg><script>alert(1)</script></svg> <form action="http://example.com"><input></form>
<style>* { display: none }</style> <div style="position: fixed" id="notebook">over all</div>
<a href="data:text/html,<script>alert(1)</script>">b</a> <meta http-equiv="refresh" content="0">
<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext>
![far](http://example.com/a.png) **bold** $r_t < 1$ [near](#a) [web](https://example.com)

| a | b |
|---|---|
| 1 | 2 |

> quoted
"""


class Classroom:
    """A course with one exercise, released."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "course"
        (folder / "source").mkdir()
        (folder / "source" / f"{SQUARES}.py").write_text(SOURCE, encoding="utf-8")
        make = [sys.executable, ROOT / "notebooks" / "course.py", self.folder, "--root", folder]
        self.made = subprocess.run(make, check=True, capture_output=True, text=True).stdout
        self.nbgrader("generate_assignment", SQUARES, status=0)
        self._read()

    def copy(self, folder: Path) -> Self:
        """Another one, as this one was at first."""
        made = copy.copy(self)
        made.folder = folder / "course"
        shutil.copytree(self.folder, made.folder, ignore=shutil.ignore_patterns("submitted"))
        made._read()
        return made

    def _read(self) -> None:
        notebooks = [
            nbformat.read(self.folder / step / SQUARES / f"{SQUARES}.ipynb", as_version=4)
            for step in ("source", "release")
        ]
        self.course = Course(*notebooks)

    def nbgrader(self, *arguments: str, status: int, **variables: str) -> str:
        environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(self.folder / ".jupyter")}
        if not variables:
            code, said = run_nbgrader(arguments, self.folder, environment)
        else:  # they may be for Python itself
            command = [sys.executable, "-m", "nbgrader", *arguments]
            environment |= variables
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            code, said = done.returncode, done.stdout
        assert code == status, said[-5000:]
        return said

    def place(self, student: str) -> Path:
        path = self.folder / "submitted" / student / SQUARES / f"{SQUARES}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def hand_in(self, student: str, draft: Draft) -> Path:
        path = self.place(student)
        path.write_text(draft.text, encoding="utf-8")
        return path

    def marks(self) -> dict[str, float]:
        self.nbgrader("export", status=0)
        with (self.folder / "grades.csv").open(encoding="utf-8") as file:
            return {row["student_id"]: float(row["score"] or 0) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    return Classroom(tmp_path_factory.mktemp("course"))


@pytest.fixture
def running(classroom):
    """A submission that leaves a trace wherever it runs; the config is put back after the test."""
    trace = classroom.folder / "trace.txt"
    draft = Draft(classroom.course).solve().add(RUNS.replace("TRACE", str(trace)))
    path = classroom.hand_in("mallory", draft)
    kept = {name: (classroom.folder / name).read_text("utf-8") for name in CONFIGS}
    yield trace
    path.unlink()
    for name, text in kept.items():
        (classroom.folder / name).write_text(text, encoding="utf-8")


CONFIGS = ("nbgrader_config.py", "nbgrader_config.json")


def refused(classroom, trace, told, **variables):
    said = classroom.nbgrader("autograde", SQUARES, "--force", status=1, **variables)
    assert re.search(told, said), said[-3000:]
    assert not trace.exists()
    assert not (classroom.folder / "autograded" / "mallory").exists()


def test_without_the_package_nothing_runs(classroom, running, tmp_path):
    """nbgrader would go on with its own steps, which run a submission as the teacher."""
    hiding = tmp_path / "ppo_bbrl"
    hiding.mkdir()
    (hiding / "__init__.py").write_text("raise ImportError('hidden')", encoding="utf-8")
    told = "nothing was graded: ppo-bbrl is not installed here"
    refused(classroom, running, told, PYTHONPATH=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nbgrader_config.py", "c.GradeApart.seconds = (20"),  # no Python
        ("nbgrader_config.py", "c = get_config()\nc.GradeApart.seconds = twenty"),
        ("nbgrader_config.py", ""),
    ],
)
def test_with_a_broken_configuration_nothing_runs(classroom, running, name, text):
    (classroom.folder / name).write_text(text, encoding="utf-8")
    refused(classroom, running, "nothing was graded: this course grades by GradeApart")


def test_without_a_boundary_nothing_runs(classroom, running):
    config = classroom.folder / "nbgrader_config.py"
    lines = "from ppo_course.grading import seccomp\nseccomp.missing = lambda: 'it is not there'\n"
    config.write_text(config.read_text("utf-8") + lines, encoding="utf-8")
    refused(classroom, running, "nothing was graded.*seccomp: it is not there")


def test_the_course_says_what_is_in_force(classroom):
    (line,) = (line for line in classroom.made.splitlines() if line.startswith("Boundary: "))
    assert "seccomp" in line or "THERE IS NONE" in line


def test_both_files_of_the_configuration_say_the_same():
    python, plain = ((ROOT / "notebooks" / name).read_text("utf-8") for name in CONFIGS)
    assert json.loads(plain)["Autograde"]["exporter_class"] == (
        "ppo_course.grading.reading.SafeExporter"
    )
    assert "c.Autograde.exporter_class = SafeExporter" in python


# -------------------------------------------------------------------- what a student hands in


@pytest.fixture(scope="module")
def graded(classroom, tmp_path_factory):
    """A class with odd files in it, what autograde said, and the marks."""
    made = classroom.copy(tmp_path_factory.mktemp("odd"))
    right = Draft(made.course).solve()
    made.hand_in("alice", right)
    made.hand_in("zoe", right)

    (made.folder / "private.txt").write_text("private", encoding="utf-8")
    made.place("linked").symlink_to(made.place("alice"))
    (made.folder / "submitted" / "folder").mkdir()
    (made.folder / "submitted" / "folder" / SQUARES).symlink_to(made.place("alice").parent)
    (made.folder / "submitted" / "whole").symlink_to(made.place("alice").parents[1])

    made.hand_in("endless", right).with_name("data.bin").symlink_to("/dev/zero")
    made.hand_in("peeking", right).with_name("data.txt").symlink_to(made.folder / "private.txt")
    os.mkfifo(made.hand_in("waiting", right).with_name("data.txt"))
    for path in (made.hand_in("large", right).with_name("a.bin"), made.place("huge")):
        with path.open("wb") as file:
            file.truncate(300 * 2**20)

    many = Draft(made.course).solve()
    many.notebook.cells += [nbformat.v4.new_markdown_cell("x") for _ in range(11_000)]
    made.hand_in("many", many)
    made.hand_in("long", Draft(made.course).solve().add("a = 1\n" * 400_000))
    made.place("deep").write_text("[" * 100_000, encoding="utf-8")
    scripts = Draft(made.course).solve()
    scripts.notebook.cells.insert(0, nbformat.v4.new_markdown_cell(SCRIPTS))
    scripts.notebook.cells.insert(1, nbformat.v4.new_raw_cell("<script>alert(1)</script>"))
    solution = next(c for c in scripts.notebook.cells if marks_of(c).get("solution"))
    solution.outputs = [
        nbformat.v4.new_output("display_data", data={"text/html": "<script>alert(1)</script>"}),
        nbformat.v4.new_output("stream", text="<script>alert(1)</script>"),
    ]
    made.hand_in("scripts", scripts)
    picture = Draft(made.course).solve()
    cell = nbformat.v4.new_markdown_cell("![p](attachment:p.png)")
    cell.attachments = {"p.png": {"image/png": "iVBORw0KGgo=" * 5_000_000}}
    picture.notebook.cells.append(cell)
    made.hand_in("picture", picture)

    said = made.nbgrader("autograde", SQUARES, status=1)
    made.nbgrader("generate_feedback", SQUARES, status=0)
    return made, said, made.marks()


@pytest.mark.parametrize(
    ("student", "points"),
    [
        ("alice", 3),
        ("zoe", 3),
        ("endless", 3),
        ("peeking", 3),
        ("waiting", 3),
        ("large", 3),
        ("scripts", 3),
        ("picture", 3),
        ("linked", 0),
        ("folder", 0),
        ("whole", 0),
        ("huge", 0),
        ("many", 0),
        ("long", 0),
        ("deep", 0),
    ],
)
def test_odd_files_cost_nobody_else_anything(graded, student, points):
    _, _, marks = graded
    assert marks.get(student, 0) == points


@pytest.mark.parametrize("student", ["folder", "whole", "huge", "many", "long"])
def test_who_is_not_graded_is_named_with_the_reason(graded, student):
    _, said, _ = graded
    assert re.search(
        rf"UnsafeSubmissionError: .*({student}|11\d\d\d cells|code has 2.3 MiB)", said
    ), said[-3000:]


def test_only_files_are_copied_from_beside_a_notebook(graded):
    made, said, _ = graded
    for student in ("endless", "peeking", "waiting", "large"):
        folder = made.folder / "autograded" / student / SQUARES
        assert [path.name for path in folder.iterdir()] == [f"{SQUARES}.ipynb"]
        assert re.search(rf"No file beside the notebook in \S*/{student}/", said)


def test_nothing_of_a_submission_runs_in_the_browser(graded):
    made, _, _ = graded
    page = (made.folder / "feedback" / "scripts" / SQUARES / f"{SQUARES}.html").read_text("utf-8")
    assert re.search(r'<meta [^>]*Content-Security-Policy"? content="default-src .none.', page)
    body = page.partition("<body")[2]
    assert not re.search(r"<(script|iframe|svg|form|input|style|meta|math)\b", body)
    assert not re.search(r"<[^>]*\son\w+\s*=", body)
    assert not re.search(r"<[^>]*(javascript:|data:text|example\.com/a\.png|position: fixed)", body)
    assert "A title</h1>" not in body.partition("notebook-container")[0]
    for part in ("<strong>bold</strong>", "$r_t &lt; 1$", 'href="https://example.com"', "<td>2"):
        assert part in body, part
    assert re.search(r"<h1[^>]*>A title", body)
    assert re.search(r"<blockquote>\s*<p>quoted", body)


def test_a_picture_that_is_too_large_costs_no_feedback(graded):
    made, _, _ = graded
    page = made.folder / "feedback" / "picture" / SQUARES / f"{SQUARES}.html"
    assert "Well done!" in page.read_text("utf-8")
    assert page.stat().st_size < 20 * 2**20


def test_the_formgrader_gets_clean_pages_too(classroom):
    """Its page can do all that the teacher can; it takes the filter from the same configuration."""
    program = (
        "import sys\nfrom nbgrader.apps import NbGraderApp\nfrom nbconvert.exporters import "
        "HTMLExporter\napp = NbGraderApp()\napp.initialize([])\n"
        "exporter = HTMLExporter(config=app.config)\n"
        "import nbformat.v4 as v\n"
        "cell = v.new_markdown_cell('<script>alert(1)</script>\\n\\n**bold**')\n"
        "print(exporter.from_notebook_node(v.new_notebook(cells=[cell]))[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=classroom.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in done.stdout
    assert "<strong>bold</strong>" in done.stdout


@pytest.mark.parametrize("text", ["<div>\n", "\\begin{a}", "<table><tr><td>", "|a", "<b>"])
def test_no_text_keeps_the_page_from_being_made(text):
    """Some take quadratic time: 120 kB were minutes, in nbgrader's own process."""
    begin = time.process_time()
    resources = {}
    given = {"resources": resources, "cell": {}}
    page = markdown2html(given, text * 100_000)
    assert time.process_time() - begin < 1
    assert page.startswith("<pre>")
    assert not re.search(r"<(div|table|b)\b", page)
    resources[SPENT] = 1000.0  # many cells that are short
    assert markdown2html(given, "**a**") == "<pre>**a**</pre>"


def test_a_large_picture_in_a_text_is_no_long_text():
    """As Colab pastes them."""
    picture = f"data:image/png;base64,{'iVBO' * 50_000}"
    page = markdown2html({"resources": {}, "cell": {}}, f"**a** ![b]({picture})")
    assert "<strong>a</strong>" in page
    assert f'src="{picture}"' in page


@pytest.mark.parametrize(
    "html",
    [
        "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
        "<img src='javascript:alert(1)'>",
        "<a href=' javascript:alert(1)'>a</a>",
        "<a href='java\tscript:alert(1)'>a</a>",
        "<a href='vbscript:alert(1)'>a</a>",
        "<a href='//example.com'>a</a>",
        "<p onclick='alert(1)'>a</p>",
        "<p style='position: fixed'>a</p>",
        "<base href='http://example.com'>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<!--><script>alert(1)</script>-->",
        "<div id='submission'>a</div>",
    ],
)
def test_what_could_run_is_no_markup_any_more(html):
    found: list[tuple[str, str | None]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.extend([(tag, None), *attributes])
    parser.feed(clean(html))
    harmless = {("title", "</noscript><img src=x onerror=alert(1)>")}
    assert {name for name, _ in {*found} - harmless} <= {"a", "div", "img", "p"}, clean(html)
