"""A mutation test of the checks: every structural mutant of every solution is refused, and told.

Each mutant is a solution with one change: another comparison, operator, constant, bound, name or
order, something left out. `equivalent_mutants.toml` lists those that change nothing that an
exercise asks for, with the reason.
"""

import tomllib

import pytest
from answers_tried import ROOT, Tried, changed_lines, mutants_of
from course import WITH_EXERCISES

LISTED = tomllib.loads(
    (ROOT / "tests" / "support" / "equivalent_mutants.toml").read_text(encoding="utf-8")
)
#: the check trains for a minute
TOO_LONG = ("write-ppo-run-check",)
TOLD = 0.70


def test_a_solution_has_mutants():
    solution = "def mean(x, n):\n    return x / n\n"
    assert [*mutants_of(solution)] == [solution.replace("x / n", "((x) * (n))")]


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_every_mutant_of_a_solution_is_refused_and_most_are_told(path):
    tried, told, refused, passed, stale = Tried(path), 0, 0, [], []
    for exercise in tried.assignment.exercises:
        if exercise.grade_id in TOO_LONG:
            continue
        solution = exercise.solution.text
        assert tried.outcome(exercise, solution).passed
        listed = {(one["old"], one["new"]) for one in LISTED.get(exercise.grade_id, [])}
        seen = set()
        for mutant in mutants_of(solution):
            outcome = tried.outcome(exercise, mutant)
            if outcome.passed:
                seen.add(changed_lines(solution, mutant))
                continue
            refused += 1
            told += outcome.specific
        passed += sorted(seen - listed)
        stale += sorted(listed - seen)
    assert passed == []
    assert stale == []  # what changes nothing is not refused
    assert told >= TOLD * refused, f"{told} of {refused}"
