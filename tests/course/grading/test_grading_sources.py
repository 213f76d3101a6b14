"""Every notebook's source can be graded with: what the convention of docs/teaching.md asks for."""

import ast
import builtins
import importlib.util
import sys
from pathlib import Path

import pytest
from course import WITH_EXERCISES
from submissions import WRONG, solution_of, wrong_answers

from ppo_course.grading.cells import bound_names, marks_of, read_assignment

ROOT = Path(__file__).parents[3]
SOURCES = WITH_EXERCISES


@pytest.fixture(scope="module")
def build():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "notebooks"), *sys.path])
        spec = importlib.util.spec_from_file_location("build", ROOT / "notebooks" / "build.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request, build):
    return build.read_source(request.param)


def test_a_check_needs_only_what_grading_gives_it(source):
    """Definitions, builtins, and what the solution cells define; nothing that was trained."""
    assignment = read_assignment(source, source)
    assert assignment.exercises
    given = set(vars(builtins))
    for code in assignment.definitions:
        given |= bound_names(ast.parse(code.text))
    for exercise in assignment.exercises:
        for code in (exercise.check, exercise.solution):
            tree = ast.parse(code.text)
            module = ast.parse(code.text)
            own = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            own |= {
                node.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            earlier = {n for code in exercise.earlier for n in bound_names(ast.parse(code.text))}
            missing = used - given - own - bound_names(module) - set(exercise.names) - earlier
            assert not missing, f"{exercise.grade_id}: {missing}"


def test_each_check_is_tried_on_hidden_numbers_too(source):
    """The quiz has no numbers, and a text that a person marks has no check."""
    for cell in source.cells:
        if marks_of(cell).get("grade") and cell.cell_type == "code":
            visible, _, hidden = cell.source.partition("### BEGIN HIDDEN TESTS")
            assert "seed=" not in visible, cell.source
            assert hidden.count("seed=") >= 2 - ("check_quiz_" in visible), cell.source


def test_each_exercise_has_a_wrong_answer_to_hand_in(source):
    for cell in source.cells:
        if marks_of(cell).get("grade"):
            solution = solution_of(source, marks_of(cell)["grade_id"])
            for answer in wrong_answers(solution).values() or [None]:
                assert answer is not None, f"{WRONG / solution}.py is missing"
                ast.parse(answer)


def test_grade_ids_are_unique_in_the_course(build):
    seen = [
        marks_of(cell)["grade_id"]
        for path in SOURCES
        for cell in build.read_source(path).cells
        if marks_of(cell)
    ]
    assert len(seen) == len(set(seen))


def test_wrong_answers_belong_to_exercises(build):
    known = {
        marks_of(cell).get("grade_id") for path in SOURCES for cell in build.read_source(path).cells
    }
    assert {path.stem for path in WRONG.glob("*.py")} <= known
