"""The check of `ratio_error`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG005 - a student's function has the notebook's arguments, used or not

import math

import numpy as np
import pytest
import torch
from bug_hunt_testing import notebooks_own
from details_testing import (
    assert_passes_with_one_line,
    assert_seeds_grade,
    assert_streams_stay,
    assert_told_apart,
    complaint,
    stub,
)
from seeds import SEEDS

from ppo_course import check_ratio_error
from ppo_course.nb10_bug_hunt.ratio_error import CASES, FORMULAS, drawn, right


def by_torch(new, old):
    return ((new - old).exp() - 1).abs().max().item()


def by_expm1(new, old):
    return torch.expm1(new - old).abs().max()


def by_loop(new, old):
    return max(abs(math.exp(n - o) - 1) for n, o in zip(new.tolist(), old.tolist(), strict=True))


def by_probabilities(new, old):
    return np.max(np.abs(new.exp().numpy() / old.exp().numpy() - 1))


@pytest.mark.parametrize("function", [by_torch, by_expm1, by_loop, by_probabilities])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_ratio_error, function, capsys)
    for seed in range(5):
        check_ratio_error(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_ratio_error, notebooks_own("ratio_error"), capsys)


def test_the_right_answers_by_hand():
    assert [right(case) for case in CASES] == pytest.approx([0.8, 2.0, 0.0, 0.002], rel=1e-3)


def in_place(new, old):
    new -= old
    return (new.exp() - 1).abs().max()


# The words of an error stand in lines of their own: the message quotes the function's line.
WRONG_ANSWERS = {
    "mean": (lambda n, o: ((n - o).exp() - 1).abs().mean(), "mean-distance"),
    "of the mean": (lambda n, o: ((n - o).exp().mean() - 1).abs(), "mean-of-ratios"),
    "signed mean": (lambda n, o: ((n - o).exp() - 1).mean(), "mean-difference"),
    "one side": (lambda n, o: ((n - o).exp() - 1).max(), "below-not-counted"),
    "other side": (lambda n, o: 1 - (n - o).exp().min(), "above-not-counted"),
    "all but the last": (
        lambda n, o: ((n - o).exp() - 1).abs()[:-1].max(),
        "last-left-out",
    ),
    "largest": (lambda n, o: abs((n - o).exp().max() - 1), "below-not-counted"),
    "upside down": (lambda n, o: ((o - n).exp() - 1).abs().max(), "inverted"),
    "logarithms": (lambda n, o: (n - o).abs().max(), "logarithms"),
    "of logarithms": (lambda n, o: (n / o - 1).abs().max(), "of-log-probs"),
    "difference": (lambda n, o: (n.exp() - o.exp()).abs().max(), "difference"),
    "ratio": (lambda n, o: (n - o).exp().max(), "largest-ratio"),
    "first": (lambda n, o: ((n - o).exp() - 1).abs()[0], "first-alone"),
    "sum": (lambda n, o: ((n - o).exp() - 1).abs().sum(), "sum"),
    "smallest": (lambda n, o: (n - o).exp().min(), "smallest-ratio"),
    "nearest": (lambda n, o: ((n - o).exp() - 1).abs().min(), "smallest-distance"),
    "place": (
        lambda n, o: ((n - o).exp() - 1).abs().argmax(),
        "place",
    ),
    "square": (
        lambda n, o: ((n - o).exp() - 1).square().max(),
        "square",
    ),
    "mean square": (
        lambda n, o: ((n - o).exp() - 1).square().mean(),
        "mean-square",
    ),
    "half a ratio": (
        lambda n, o: (n.exp() / o - 1).abs().max(),
        "half-a-ratio",
    ),
    # The next cell makes an array of them, and draws it.
    "text": (lambda n, o: f"{by_torch(n, o):.2f}", "text"),
    "exp of one": (
        lambda n, o: math.exp(n - o),
        "takes-one-number",
    ),
    "one float": (
        lambda n, o: float((n - o).exp() - 1),
        "takes-one-number",
    ),
    "zero": (lambda n, o: 0.0, "unknown"),
    "all of them": (lambda n, o: ((n - o).exp() - 1).abs(), "does not return the largest distance"),
    "in place": (in_place, "changes-argument"),
    "math": (
        lambda n, o: torch.exp(float((n - o).max())),
        "methods",
    ),
    "nothing": (lambda n, o: None, "returns-nothing"),
    "signature": (lambda: None, "is called as ratio_error(log_prob, old_log_prob)"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_ratio_error, WRONG_ANSWERS, name)


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_ratio_error, by_torch, WRONG_ANSWERS, capsys)


@pytest.mark.parametrize("cases", [CASES, *map(drawn, SEEDS)])
def test_every_mistake_shows(cases):
    """Protects: no mistake gives the right numbers, or those of another mistake."""
    numbers = [tuple(round(m(c), 5) for c in cases) for m in FORMULAS.wrong.values()]
    numbers.append(tuple(round(right(c), 5) for c in cases))
    if cases is CASES:
        assert len(set(numbers)) == len(numbers)
    assert numbers.count(numbers[-1]) == 1


def test_a_table_of_the_visible_answers_fails():
    answers = {len(c.new): right(c) for c in CASES}
    table = lambda n, o: answers.get(len(n), 0.0)  # noqa: E731
    check_ratio_error(table)
    for seed in SEEDS:
        complaint(check_ratio_error, table, seed=seed)


def test_the_streams_of_chance_stay_as_they_were():
    assert_streams_stay(check_ratio_error, by_torch)
