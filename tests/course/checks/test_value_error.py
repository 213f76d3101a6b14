"""The check of `value_error`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG005 - a student's function has the notebook's arguments, used or not

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

from ppo_course import check_value_error
from ppo_course.guesses import agree
from ppo_course.nb10_bug_hunt.value_error import CASES, mistakes, right
from ppo_course.nb10_bug_hunt.value_error_truths import LENGTH, TRUTHS, true_value


def by_dict(probe, values, gamma):
    true = {"ConstantReward": 1, "Discounting": gamma, "TruncatedOnly": 1 / (1 - gamma)}
    return values.mean().item() - true[probe]


def by_cases(probe, values, gamma):
    if probe == "ConstantReward":
        value = 1.0
    elif probe == "Discounting":
        value = gamma * 1.0
    else:
        value = sum(gamma**t for t in range(2000))
    return (values - value).mean()


def by_numpy(probe, values, gamma):
    match probe:
        case "TruncatedOnly":
            value = 1.0
            for _ in range(2000):
                value = 1 + gamma * value
        case "Discounting":
            value = 0 + gamma * (1 + gamma * 0)
        case _:
            value = 1
    return np.mean(values.numpy()) - value


@pytest.mark.parametrize("function", [by_dict, by_cases, by_numpy])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_value_error, function, capsys)
    for seed in range(5):
        check_value_error(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_value_error, notebooks_own("value_error"), capsys)


def test_the_true_values_by_hand():
    assert true_value("ConstantReward", 0.9) == 1
    assert true_value("Discounting", 0.9) == 0.9
    assert true_value("TruncatedOnly", 0.9) == pytest.approx(10)


def with_truth(**other):
    def function(probe, values, gamma):
        true = {
            "ConstantReward": lambda g: 1,
            "Discounting": lambda g: g,
            "TruncatedOnly": lambda g: 1 / (1 - g),
        } | other
        return values.mean() - true[probe](gamma)

    return function


def true(probe, gamma):
    return {"ConstantReward": 1, "Discounting": gamma, "TruncatedOnly": 1 / (1 - gamma)}[probe]


def in_place(probe, values, gamma):
    values -= true(probe, gamma)
    return values.mean()


def late_if(probe, values, gamma):
    if probe == "ConstantReward":
        value = 1
    if probe == "Discounting":  # noqa: SIM108 - as students write
        value = gamma
    else:
        value = 1 / (1 - gamma)
    return values.mean() - value


def series(n, first=0):
    return with_truth(TruncatedOnly=lambda g: sum(g**t for t in range(first, first + n)))


# The words of an error stand in lines of their own: the message quotes the function's line.
WRONG_ANSWERS = {
    "late if": (late_if, "ConstantReward is taken for a task without an end"),
    "late if, one step": (
        with_truth(TruncatedOnly=lambda g: g),
        "TruncatedOnly gets the value of Discounting",
    ),
    "late if, endless": (
        with_truth(Discounting=lambda g: 1 / (1 - g)),
        "Discounting is taken for a task without an end",
    ),
    "mean alone": (lambda p, v, g: v.mean(), "nothing is subtracted from the mean, as if"),
    "0": (
        with_truth(Discounting=lambda g: 0),
        "nothing is subtracted from the mean, as if",
    ),
    "7 terms": (series(7), "a series that is cut after 7 rewards"),
    "9 terms": (series(9), "a series that is cut after 9 rewards"),
    "2 terms": (with_truth(TruncatedOnly=lambda g: 1 + g), "that is cut after 2 rewards"),
    "8 late terms": (series(8, 1), "alone, and discounts the first reward"),
    "largest": (lambda p, v, g: v.max() - true(p, g), "the largest of the N values alone"),
    "smallest": (lambda p, v, g: v.min() - true(p, g), "the smallest of the N values alone"),
    "last": (lambda p, v, g: v[-1] - true(p, g), "the last of the N values alone"),
    "text": (lambda p, v, g: f"{v.mean() - true(p, g):.3f}", "it returns a text"),
    "NumPy": (
        lambda p, v, g: np.mean(v) - true(p, g),
        "methods of its own: values.mean()",
    ),
    "finite": (
        with_truth(TruncatedOnly=lambda g: (1 - g**8) / (1 - g)),
        "TruncatedOnly counts the steps up to the time limit alone.",
    ),
    "sum": (with_truth(TruncatedOnly=lambda g: 8), "is the sum of the rewards up to"),
    "late": (with_truth(TruncatedOnly=lambda g: g / (1 - g)), "lacks its first reward"),
    "one step": (with_truth(TruncatedOnly=lambda g: 1), "TruncatedOnly is taken to end"),
    "not discounted": (with_truth(Discounting=lambda g: 1), "Discounting is not discounted"),
    "twice": (with_truth(Discounting=lambda g: g**2), "discounted once too often"),
    "both": (with_truth(Discounting=lambda g: 1 + g), "to earn 1 with both of its steps"),
    "constant": (with_truth(ConstantReward=lambda g: g), "value of ConstantReward is discounted"),
    "endless": (
        with_truth(ConstantReward=lambda g: 1 / (1 - g)),
        "ConstantReward is taken for a task without an end",
    ),
    "one γ": (with_truth(TruncatedOnly=lambda g: 10), "TruncatedOnly is a number for γ = 0.9"),
    "another γ": (with_truth(Discounting=lambda g: 0.99), "Discounting is a number for γ = 0.99"),
    "sign": (lambda p, v, g: true(p, g) - v.mean(), "the sign is wrong"),
    "median": (lambda p, v, g: v.quantile(0.5) - true(p, g), "it is the median of the values"),
    "absolute": (lambda p, v, g: (v.mean() - true(p, g)).abs(), "its result has no sign"),
    "mean absolute": (lambda p, v, g: (v - true(p, g)).abs().mean(), "mean of the absolute errors"),
    "square": (lambda p, v, g: (v - true(p, g)).square().mean(), "it is the mean square error"),
    "relative": (lambda p, v, g: v.mean() / true(p, g) - 1, "it is the relative error"),
    "truth": (lambda p, v, g: true(p, g), "it is the true value itself"),
    "total": (lambda p, v, g: v.sum() - true(p, g), "the values are summed up"),
    "first": (lambda p, v, g: v[0] - true(p, g), "the first of the N values alone"),
    "two at once": (
        lambda p, v, g: (
            ({"Discounting": 1}.get(p) or true(p, g)) - v.mean()
            if p == "Discounting"
            else v.mean() - true(p, g)
        ),
        "is not discounted; and the sign is wrong",
    ),
    "strange": (lambda p, v, g: 12.5, "does not know"),
    "in place": (in_place, "it changes the values"),
    "each": (lambda p, v, g: v - true(p, g), "does not return the error of a critic"),
    "names": (
        lambda p, v, g: v.mean() - {"Constant": 1}[p],
        "the probe is one of",
    ),
    "nothing": (lambda p, v, g: None, "it returns nothing"),
    "signature": (lambda v: 0, "is called as value_error(probe, values, discount_factor)"),
    "stub": (stub, "is not written yet"),
}
ALONE = {
    # "two at once" has the words of both of its mistakes.
    name: wrong
    for name, wrong in WRONG_ANSWERS.items()
    if name != "two at once"
}


@pytest.mark.parametrize("name", ALONE)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_value_error, ALONE, name)


def test_two_mistakes_are_told_together():
    function, said = WRONG_ANSWERS["two at once"]
    assert said in complaint(check_value_error, function)


def test_a_long_series_is_told_to_be_cut():
    """The error is so small that it shows at a large γ alone."""
    said = complaint(check_value_error, series(100))
    assert "a series that is cut too early" in said
    assert "add far more terms" in said


def test_an_else_that_overwrites_is_named():
    assert "a later else overwrites it" in complaint(check_value_error, late_if)


@pytest.mark.parametrize("probe", TRUTHS)
def test_every_mistake_shows(probe):
    """Protects: no single mistake gives the numbers of another one, or the right ones.

    Of what is true of ConstantReward, 1, the relative error is the error.
    """
    cases = [case for case in CASES if case.probe == probe]
    found = [([right(case) for case in cases], "right")]
    for mistake in mistakes(probe):
        relative_to_1 = probe == "ConstantReward" and mistake.wrong == "it is the relative error"
        if "; and " in mistake.wrong or "too early" in mistake.wrong or relative_to_1:
            continue
        numbers = [mistake.formula(case) for case in cases]
        same = [wrong for other, wrong in found if all(map(agree, numbers, other))]
        assert not same, mistake.wrong
        found.append((numbers, mistake.wrong))


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_value_error, by_dict, WRONG_ANSWERS, capsys)


def test_a_table_of_the_visible_answers_fails():
    answers = {(c.probe, len(c.values)): right(c) for c in CASES}
    table = lambda p, v, g: answers.get((p, len(v)), 0.0)  # noqa: E731
    check_value_error(table)
    for seed in range(10):
        complaint(check_value_error, table, seed=seed)


def test_the_streams_of_chance_stay_as_they_were():
    assert_streams_stay(check_value_error, by_dict)


def test_the_probes_are_those_of_the_package():
    """Protects: the truths from a change of the environments."""
    from ppo_course.probes import ConstantReward, Discounting, TruncatedOnly

    assert set(TRUTHS) == {"ConstantReward", "Discounting", "TruncatedOnly"}
    assert TruncatedOnly().length == LENGTH
    for probe, rewards in ((ConstantReward, [1]), (Discounting, [0, 1])):
        env = probe()
        env.reset(seed=0)
        steps = [env.step(0) for _ in rewards]
        assert [step[1] for step in steps] == rewards
        assert [step[2] for step in steps] == [False] * (len(rewards) - 1) + [True]
    assert torch.tensor(true_value("TruncatedOnly", 0.5)).item() == 2
