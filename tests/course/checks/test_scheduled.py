"""The check of `scheduled`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG005 - a student's function has the notebook's arguments, used or not

import numpy as np
import pytest
import torch
from details_testing import (
    assert_passes_with_one_line,
    assert_seeds_grade,
    assert_streams_stay,
    assert_told_apart,
    complaint,
    keys_of,
    notebooks_own,
    stub,
)

from ppo_course import check_scheduled
from ppo_course.nb04_details.scheduled import CASES, right


def by_factor(initial, update, n_updates):
    return initial * (1 - update / n_updates)


def by_rest(initial, update, n_updates):
    return initial * (n_updates - update) / n_updates


def by_line(initial, update, n_updates):
    return np.linspace(initial, 0, n_updates + 1)[update]


def by_tensor(initial, update, n_updates):
    return torch.lerp(torch.tensor(initial), torch.tensor(0.0), update / n_updates)


@pytest.mark.parametrize("function", [by_factor, by_rest, by_line, by_tensor])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_scheduled, function, capsys)
    for seed in range(5):
        check_scheduled(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_scheduled, notebooks_own("scheduled"), capsys)


WRONG_ANSWERS = {
    "ahead": (lambda i, u, n: i * (1 - (u + 1) / n), "ahead"),
    "behind": (lambda i, u, n: i * (n - u + 1) / n, "behind"),
    "one-update-late": (lambda i, u, n: i * (1 - u / (n + 1)), "one-update-late"),
    "squared": (lambda i, u, n: i * (1 - u / n) ** 2, "squared"),
    "last is 0": (lambda i, u, n: i * (1 - u / (n - 1)), "last-is-0"),
    "linspace": (lambda i, u, n: np.linspace(i, 0, n)[u], "last-is-0"),
    "grows": (lambda i, u, n: i * u / n, "grows"),
    "grows-to-initial": (lambda i, u, n: i * (u + 1) / n, "grows-to-initial"),
    "factor": (lambda i, u, n: 1 - u / n, "factor-alone"),
    "integers": (lambda i, u, n: i * (1 - u // n), "never-falls"),
    "not divided": (lambda i, u, n: i * (n - u), "counted-in-updates"),
    "floor": (lambda i, u, n: max(i * (1 - u / n), 1e-4), "floor"),
    "low floor": (lambda i, u, n: max(i * (1 - u / n), 1e-5), "floor~0.00001"),
    "floor of a tenth": (lambda i, u, n: i * max(1 - u / n, 0.1), "stops falling at a tenth of it"),
    "floor of a hundredth": (
        lambda i, u, n: i * max(1 - u / n, 0.01),
        "stops falling at a hundredth of it",
    ),
    "subtracted": (lambda i, u, n: i - u / n, "subtracted"),
    "brackets": (lambda i, u, n: i * (1 - u) / n, "brackets"),
    "steps": (lambda i, u, n: i * 0.99**u, "unknown"),
    "list": (lambda i, u, n: [i * (1 - k / n) for k in range(n)], "not-one-number"),
    "nothing": (lambda i, u, n: None, "returns-nothing"),
    "nan": (lambda i, u, n: float("nan"), "number-not-finite"),
    "division by 0": (lambda i, u, n: i / u, "from-0"),
    "signature": (lambda i, u: i, "called-as"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_scheduled, WRONG_ANSWERS, name)


def test_a_constant_value_never_falls():
    """The same numbers as those of an integer division: the message names both."""
    for constant in (lambda i, u, n: i, lambda i, u, n: i * (1 - u // n)):
        assert keys_of(check_scheduled, constant) == ("never-falls",)


def test_with_a_seed_right_answers_pass_and_wrong_ones_fail(capsys):
    assert_seeds_grade(check_scheduled, by_factor, WRONG_ANSWERS, capsys)


def test_numbers_learned_by_heart_fail_with_a_seed():
    known = {tuple(case): right(case) for case in CASES}
    check_scheduled(lambda *call: known.get(call, 0.0))
    complaint(check_scheduled, lambda *call: known.get(call, 0.0), seed=1)


def test_the_global_random_streams_stay_as_they_were():
    assert_streams_stay(check_scheduled, by_factor)
