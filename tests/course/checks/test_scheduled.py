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
    "ahead": (lambda i, u, n: i * (1 - (u + 1) / n), "it is one update ahead"),
    "behind": (lambda i, u, n: i * (n - u + 1) / n, "it is one update behind"),
    "too late": (lambda i, u, n: i * (1 - u / (n + 1)), "one update too late"),
    "squared": (lambda i, u, n: i * (1 - u / n) ** 2, "is squared"),
    "last is 0": (lambda i, u, n: i * (1 - u / (n - 1)), "the last update has the value 0"),
    "linspace": (lambda i, u, n: np.linspace(i, 0, n)[u], "the last update has the value 0"),
    "grows": (lambda i, u, n: i * u / n, "it grows from 0"),
    "grows to": (lambda i, u, n: i * (u + 1) / n, "it grows to the initial value"),
    "factor": (lambda i, u, n: 1 - u / n, "it is the factor alone"),
    "integers": (lambda i, u, n: i * (1 - u // n), "it never falls"),
    "not divided": (lambda i, u, n: i * (n - u), "is counted in updates"),
    "floor": (lambda i, u, n: max(i * (1 - u / n), 1e-4), "it stops falling at 0.0001"),
    "subtracted": (lambda i, u, n: i - u / n, "is subtracted from the initial value"),
    "brackets": (lambda i, u, n: i * (1 - u) / n, "is divided as a whole"),
    "steps": (lambda i, u, n: i * 0.99**u, "does not know"),
    "list": (lambda i, u, n: [i * (1 - k / n) for k in range(n)], "it does not return the value"),
    "nothing": (lambda i, u, n: None, "it returns nothing"),
    "nan": (lambda i, u, n: float("nan"), "its result is nan"),
    "division by 0": (lambda i, u, n: i / u, "updates are counted from 0, and there is"),
    "signature": (lambda i, u: i, "is called as scheduled(initial, update, n_updates)"),
    "stub": (stub, "is not written yet"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_scheduled, WRONG_ANSWERS, name)


def test_a_constant_value_never_falls():
    """The same numbers as those of an integer division: the message names both."""
    for constant in (lambda i, u, n: i, lambda i, u, n: i * (1 - u // n)):
        message = complaint(check_scheduled, constant)
        assert "it never falls: update plays no part, or // divides" in message


def test_with_a_seed_right_answers_pass_and_wrong_ones_fail(capsys):
    assert_seeds_grade(check_scheduled, by_factor, WRONG_ANSWERS, capsys)


def test_numbers_learned_by_heart_fail_with_a_seed():
    known = {tuple(case): right(case) for case in CASES}
    check_scheduled(lambda *call: known.get(call, 0.0))
    complaint(check_scheduled, lambda *call: known.get(call, 0.0), seed=1)


def test_the_global_random_streams_stay_as_they_were():
    assert_streams_stay(check_scheduled, by_factor)
