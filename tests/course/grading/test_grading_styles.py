"""Right answers, written as students write them in a notebook: each has to get its points.

What runs in Jupyter counts: IPython's own words, helpers that are filled in one cell and used in
another, cells in any order, files beside the notebook. What has nothing to do with an exercise
costs it nothing. The answers are in `right/`.
"""

import platform
import re
from pathlib import Path

import nbformat
import pytest

from ppo_course.grading.cells import read_assignment
from ppo_course.grading.grader import Grader
from ppo_course.grading.limits import Limits

RIGHT = Path(__file__).parent / "right"
SQUARE = "def square(x):\n    return x * x"
#: of an answer that is about something else
BY_TABLE = "def square(x):\n    return x * x if torch.is_tensor(x) else TABLE[x]"
CHECK = """
assert square(3) == 9
tensor = torch.tensor([0.1, 2.0], requires_grad=True)
result = square(tensor)
assert result.dtype == torch.float32
assert torch.equal(result, tensor * tensor)
result.sum().backward()
assert torch.equal(tensor.grad, 2 * tensor)
"""


def code(text: str, tag: str = "", **marks: object) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(text.strip("\n"))
    if marks:
        cell.metadata["nbgrader"] = marks
    if tag:
        cell.metadata["tags"] = [tag]
    return cell


def square_cell(text: str) -> nbformat.NotebookNode:
    return code(text, grade_id="square", solution=True, grade=False)


DEFINITIONS = code("%matplotlib inline\nimport torch", "definitions")
CHECK_CELL = code(CHECK, grade_id="square-check", solution=False, grade=True, points=1)
TRAINING = code("trained = 3\nwhile True:\n    square(trained)")
STUB = square_cell("def square(x):\n    assert False, 'Not implemented yet'")


def answers() -> dict[str, list[str]]:
    """By name: a solution, then in turn a place (`above`, `below`, `file NAME`) and its text."""
    found = {}
    for file in sorted(RIGHT.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        parts = re.split(r"^# %% (.+)\n", text, flags=re.MULTILINE)
        for name, answer in zip(parts[1::2], parts[2::2], strict=True):
            pieces = re.split(r"^# %%% (.+)\n", answer.strip("\n") + "\n", flags=re.MULTILINE)
            found[name] = [pieces[0].strip("\n") or BY_TABLE, *pieces[1:]]
    return found


ANSWERS = answers()


@pytest.fixture(scope="module")
def grader():
    cells = [DEFINITIONS, square_cell(SQUARE), CHECK_CELL, TRAINING]
    release = [DEFINITIONS, STUB, CHECK_CELL, TRAINING]
    given = read_assignment(
        nbformat.v4.new_notebook(cells=cells), nbformat.v4.new_notebook(cells=release)
    )
    with Grader(given, limits=Limits(seconds=5)) as grader:
        yield grader


def submission(solution: str, above: list[str], below: list[str]) -> nbformat.NotebookNode:
    cells = [DEFINITIONS, *map(code, above), square_cell(solution), CHECK_CELL, TRAINING]
    cells += map(code, below)
    for number, cell in enumerate(cells, start=1):
        cell.execution_count = number
    return nbformat.v4.new_notebook(cells=cells)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_right_answer_gets_its_points(name, grader):
    solution, *pieces = ANSWERS[name]
    places = list(zip(pieces[0::2], pieces[1::2], strict=True))
    notebook = submission(
        solution,
        [text for place, text in places if place == "above"],
        [text for place, text in places if place == "below"],
    )
    files = {place[5:]: text.encode() for place, text in places if place.startswith("file ")}
    verdict = grader.grade(notebook, files)["square-check"]
    assert verdict.passed, verdict


def test_a_wrong_answer_gets_none_by_what_stands_elsewhere(grader):
    """Everything that was written runs before a wrong answer is given up; it stays wrong."""
    wrong = "def square(x):\n    return x * x + 1"
    verdict = grader.grade(submission(wrong, ["exec('x = 1')"], [SQUARE]))["square-check"]
    assert (verdict.outcome, verdict.error) == ("failed", "AssertionError")


def test_what_an_exercise_misses_is_told(grader):
    verdict = grader.grade(submission("square = power", ["1 / 0"], []))["square-check"]
    assert "NameError: name 'power' is not defined" in "\n".join(verdict.message)
    assert "cell solution" in "\n".join(verdict.message)


def test_syntax_that_is_not_known_is_told_with_the_python_that_grades(grader):
    """Students may have a newer one than their teacher."""
    verdict = grader.grade(submission("def square(x) => x * x", [], []))["square-check"]
    assert (verdict.outcome, verdict.error) == ("failed", "SyntaxError")
    assert f"graded with Python {platform.python_version()}" in "\n".join(verdict.message)


def test_a_module_that_was_not_handed_in_is_told(grader):
    verdict = grader.grade(submission(f"import my_own_helper\n{SQUARE}", [], []))["square-check"]
    assert "handed in beside the notebook" in "\n".join(verdict.message)
