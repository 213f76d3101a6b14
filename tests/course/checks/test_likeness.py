"""A wrong answer that no check knows by name is likened to a right solution with one slip."""

import ast
import json

import pytest
import torch
from course import WITH_EXERCISES

from ppo_course import ExerciseError, check_lambda_return, check_scheduled
from ppo_course.likeness import solutions
from ppo_course.slips import slips
from ppo_course.sources import read_source, references

SMALL = """\
def mean_of(x, mask):
    total = 0.0
    for value in reversed(x[1:]):
        total += 2 * value
    if mask:
        total = -total
    return total.mean(-1)
"""


def told():
    return {slip.how: ast.unparse(slip.tree) for slip in slips(SMALL)}


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("with `2 / value`", "total += 2 / value"),
        ("with `2 + value`", "total += 2 + value"),
        ("without `2`", "total += value"),
        ("without the line that changes `total`", "pass"),
        ("that sets `total` instead of adding to it", "total = 2 * value"),
        ("without `reversed`", "for value in x[1:]:"),
        ("that goes into `if mask` in every case", "if True:"),
        ("with `total.sum(-1)`", "return total.sum(-1)"),
        ("with `reversed(x[1 + 1:])`", "reversed(x[1 + 1:])"),
    ],
)
def test_a_solution_has_these_slips(how, line):
    found = told()
    assert how in found
    assert line in found[how]


def test_every_slip_is_python_once_and_another_program():
    trees = [ast.dump(slip.tree) for slip in slips(SMALL)]
    assert len({*trees}) == len(trees) > 25
    assert ast.dump(ast.parse(SMALL)) not in trees
    for slip in slips(SMALL):
        compile(slip.tree, "slip", "exec")


def test_what_might_never_end_has_none():
    assert list(slips("def f(x):\n    while x > 1:\n        x -= 1\n    return x")) == []


def test_the_package_has_the_solutions_of_the_notebooks():
    sources = [read_source(path) for path in WITH_EXERCISES]
    assert json.loads(references(sources)) == solutions()


def test_a_slip_that_no_check_knows_is_told():
    def lambda_return(reward, next_value, terminated, done, discount_factor, gae_lambda):
        returns = torch.zeros_like(reward)
        later = next_value[-1]
        for t in range(len(reward) - 1, -1, -1):
            later = torch.where(done[t], next_value[t], later)
            both = (1 + gae_lambda) * next_value[t] + gae_lambda * later
            later = reward[t] + discount_factor * torch.where(terminated[t], 0.0, both)
            returns[t] = later
        return returns

    for seed in (None, 1):
        with pytest.raises(ExerciseError, match=r"\(1 \+ gae_lambda\)") as caught:
            check_lambda_return(lambda_return, seed=seed)
        assert caught.value.keys == ("like",)


def test_what_is_like_no_slip_stays_unknown():
    with pytest.raises(ExerciseError) as caught:
        check_scheduled(lambda *_: 17.25)
    assert caught.value.keys == ("unknown",)


def test_no_message_shows_a_whole_line_of_a_solution():
    for reference in solutions().values():
        text = ast.unparse(ast.parse(reference["text"]))  # every statement in one line
        lines = {line.strip() for line in text.splitlines() if len(line.strip()) > 24}
        for slip in slips(reference["text"]):
            assert not any(line in slip.how for line in lines), slip.how
