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

from ppo_course import check_ratio_error
from ppo_course.nb10_bug_hunt.ratio_error import CASES, MISTAKES, drawn, right


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
    assert [right(case) for case in CASES] == pytest.approx([0.8, 2.0, 0.0])


def in_place(new, old):
    new -= old
    return (new.exp() - 1).abs().max()


# The words of an error stand in lines of their own: the message quotes the function's line.
WRONG_ANSWERS = {
    "mean": (lambda n, o: ((n - o).exp() - 1).abs().mean(), "it is the mean distance"),
    "of the mean": (lambda n, o: ((n - o).exp().mean() - 1).abs(), "it is the mean of the ratios"),
    "signed mean": (lambda n, o: ((n - o).exp() - 1).mean(), "it is the mean of ratio - 1"),
    "one side": (lambda n, o: ((n - o).exp() - 1).max(), "ratios below 1 are not counted"),
    "other side": (lambda n, o: 1 - (n - o).exp().min(), "ratios above 1 are not counted"),
    "all but the last": (
        lambda n, o: ((n - o).exp() - 1).abs()[:-1].max(),
        "the last transition is left out",
    ),
    "largest": (lambda n, o: abs((n - o).exp().max() - 1), "ratios below 1 are not counted"),
    "upside down": (lambda n, o: ((o - n).exp() - 1).abs().max(), "upside down"),
    "logarithms": (lambda n, o: (n - o).abs().max(), "it compares the logarithms"),
    "of logarithms": (lambda n, o: (n / o - 1).abs().max(), "the ratio of the log-probabilities"),
    "difference": (lambda n, o: (n.exp() - o.exp()).abs().max(), "difference of the probabilities"),
    "ratio": (lambda n, o: (n - o).exp().max(), "it is the largest ratio, and not"),
    "first": (lambda n, o: ((n - o).exp() - 1).abs()[0], "the first transition alone"),
    "sum": (lambda n, o: ((n - o).exp() - 1).abs().sum(), "the sum of the distances"),
    "smallest": (lambda n, o: (n - o).exp().min(), "it is the smallest ratio"),
    "nearest": (lambda n, o: ((n - o).exp() - 1).abs().min(), "it is the smallest distance"),
    "place": (
        lambda n, o: ((n - o).exp() - 1).abs().argmax(),
        "it is the place of the furthest ratio",
    ),
    "square": (
        lambda n, o: ((n - o).exp() - 1).square().max(),
        "it is the square of the largest distance",
    ),
    "mean square": (
        lambda n, o: ((n - o).exp() - 1).square().mean(),
        "it is the mean of the squared distances",
    ),
    "half a ratio": (
        lambda n, o: (n.exp() / o - 1).abs().max(),
        ".exp() is taken of log_prob alone",
    ),
    # The next cell makes an array of them, and draws it.
    "text": (lambda n, o: f"{by_torch(n, o):.2f}", "it returns a text"),
    "exp of one": (
        lambda n, o: math.exp(n - o),
        "take one number, and a tensor here has N",
    ),
    "one float": (
        lambda n, o: float((n - o).exp() - 1),
        "take one number, and a tensor here",
    ),
    "zero": (lambda n, o: 0.0, "does not know"),
    "all of them": (lambda n, o: ((n - o).exp() - 1).abs(), "does not return the largest distance"),
    "in place": (in_place, "it changes the log-probabilities"),
    "math": (
        lambda n, o: torch.exp(float((n - o).max())),
        "tensors have methods of their own",
    ),
    "nothing": (lambda n, o: None, "it returns nothing"),
    "signature": (lambda: None, "is called as ratio_error(log_prob, old_log_prob)"),
    "stub": (stub, "is not written yet"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_ratio_error, WRONG_ANSWERS, name)


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_ratio_error, by_torch, WRONG_ANSWERS, capsys)


@pytest.mark.parametrize("cases", [CASES, *map(drawn, range(30))])
def test_every_mistake_shows(cases):
    """Protects: no mistake gives the right numbers, or those of another mistake."""
    numbers = [tuple(round(m.formula(c), 5) for c in cases) for m in MISTAKES]
    numbers.append(tuple(round(right(c), 5) for c in cases))
    if cases is CASES:
        assert len(set(numbers)) == len(numbers)
    assert numbers.count(numbers[-1]) == 1


def test_a_table_of_the_visible_answers_fails():
    answers = {len(c.new): right(c) for c in CASES}
    table = lambda n, o: answers.get(len(n), 0.0)  # noqa: E731
    check_ratio_error(table)
    for seed in range(10):
        complaint(check_ratio_error, table, seed=seed)


def test_the_streams_of_chance_stay_as_they_were():
    assert_streams_stay(check_ratio_error, by_torch)
