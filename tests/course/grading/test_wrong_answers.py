"""The wrong answers that students of the tests hand in: each earns what its name says.

`test_grading_flow.py` has nbgrader say the same, in minutes.
"""

import pytest
from answers_tried import Tried
from course import WITH_EXERCISES
from submissions import WORTH, wrong_answers


@pytest.mark.wide(5)
@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_the_solution_passes_and_a_wrong_answer_earns_what_its_name_says(path):
    """Protects: shares of marks, and right answers, that come and go with a change in a check."""
    tried = Tried(path)
    for exercise in tried.assignment.exercises:
        if exercise.grade_id == "write-ppo-run-check":  # trains for a minute
            continue
        assert tried.outcome(exercise, exercise.solution.text).passed
        for name, answer in wrong_answers(exercise.grade_id.removesuffix("-check")).items():
            worth = WORTH.search(name)
            earned = tried.outcome(exercise, answer)
            assert not earned.passed
            deserved = int(worth[1]) / int(worth[2]) if worth else 0
            assert earned.share == pytest.approx(deserved, abs=0.01), f"{exercise.grade_id}: {name}"
