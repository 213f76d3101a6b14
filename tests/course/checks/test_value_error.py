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
    keys_of,
    stub,
)
from seeds import SEEDS

from ppo_course import check_value_error
from ppo_course.formulas import combinations
from ppo_course.nb10_bug_hunt.value_error import (
    CASES,
    FORMS,
    LENGTH,
    TRUTHS,
    formula,
    right,
    true_value,
)
from ppo_course.one_number import agree


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
    "late if": (late_if, "constant-endless"),
    "late if, one step": (
        with_truth(TruncatedOnly=lambda g: g),
        "value-of-discounting",
    ),
    "late if, endless": (
        with_truth(Discounting=lambda g: 1 / (1 - g)),
        "discounting-endless",
    ),
    "mean alone": (lambda p, v, g: v.mean(), "nothing is subtracted from the mean, as if"),
    "0": (
        with_truth(Discounting=lambda g: 0),
        "nothing is subtracted from the mean, as if",
    ),
    "7 terms": (series(7), "a series that is cut after 7 rewards"),
    "9 terms": (series(9), "a series that is cut after 9 rewards"),
    "2 terms": (with_truth(TruncatedOnly=lambda g: 1 + g), "that is cut after 2 rewards"),
    "8 late terms": (series(8, 1), "to-the-limit-discounted"),
    "largest": (
        lambda p, v, g: v.max() - true(p, g),
        "it looks only at the largest of the N values",
    ),
    "smallest": (
        lambda p, v, g: v.min() - true(p, g),
        "it looks only at the smallest of the N values",
    ),
    "last": (lambda p, v, g: v[-1] - true(p, g), "it looks only at the last of the N values"),
    "text": (lambda p, v, g: f"{v.mean() - true(p, g):.3f}", "text"),
    "NumPy": (
        lambda p, v, g: np.mean(v) - true(p, g),
        "tensor-methods",
    ),
    "finite": (
        with_truth(TruncatedOnly=lambda g: (1 - g**8) / (1 - g)),
        "TruncatedOnly counts only the steps up to the time limit.",
    ),
    "sum": (with_truth(TruncatedOnly=lambda g: 8), "sum-to-the-limit"),
    "late": (with_truth(TruncatedOnly=lambda g: g / (1 - g)), "first-reward-missing"),
    "one step": (with_truth(TruncatedOnly=lambda g: 1), "one-step"),
    "not discounted": (with_truth(Discounting=lambda g: 1), "not-discounted"),
    "twice": (with_truth(Discounting=lambda g: g**2), "discounted-twice"),
    "both": (with_truth(Discounting=lambda g: 1 + g), "earns-twice"),
    "constant": (with_truth(ConstantReward=lambda g: g), "constant-discounted"),
    "endless": (
        with_truth(ConstantReward=lambda g: 1 / (1 - g)),
        "constant-endless",
    ),
    "one γ": (with_truth(TruncatedOnly=lambda g: 10), "TruncatedOnly is a number for γ = 0.9"),
    "another γ": (with_truth(Discounting=lambda g: 0.99), "Discounting is a number for γ = 0.99"),
    "sign": (lambda p, v, g: true(p, g) - v.mean(), "sign"),
    "median": (lambda p, v, g: v.quantile(0.5) - true(p, g), "median"),
    "absolute": (lambda p, v, g: (v.mean() - true(p, g)).abs(), "no-sign"),
    "mean absolute": (lambda p, v, g: (v - true(p, g)).abs().mean(), "mean-absolute"),
    "square": (lambda p, v, g: (v - true(p, g)).square().mean(), "mean-square"),
    "relative": (lambda p, v, g: v.mean() / true(p, g) - 1, "relative"),
    "truth": (lambda p, v, g: true(p, g), "truth-itself"),
    "total": (lambda p, v, g: v.sum() - true(p, g), "sum"),
    "first": (lambda p, v, g: v[0] - true(p, g), "it looks only at the first of the N values"),
    "strange": (lambda p, v, g: 12.5, "unknown"),
    "in place": (in_place, "changes-argument"),
    "each": (lambda p, v, g: v - true(p, g), "does not return the error of a critic"),
    "names": (
        lambda p, v, g: v.mean() - {"Constant": 1}[p],
        "one-of-the-probes",
    ),
    "nothing": (lambda p, v, g: None, "returns-nothing"),
    "signature": (lambda v: 0, "is called as value_error(probe, values, discount_factor)"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_value_error, WRONG_ANSWERS, name)


def two_at_once(probe, values, gamma):
    if probe == "Discounting":
        return 1 - values.mean()
    return values.mean() - true(probe, gamma)


def test_two_mistakes_are_told_together():
    assert keys_of(check_value_error, two_at_once) == ("not-discounted", "sign")


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
    for keys, values in combinations([TRUTHS[probe], FORMS], 1):
        relative_to_1 = probe == "ConstantReward" and keys == ("relative",)
        if not keys or "cut-late" in keys[0] or relative_to_1:
            continue
        numbers = [formula(case, values) for case in cases]
        same = [wrong for other, wrong in found if all(map(agree, cases, numbers, other))]
        assert not same, keys
        found.append((numbers, keys))


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_value_error, by_dict, WRONG_ANSWERS, capsys)


def test_a_table_of_the_visible_answers_fails():
    answers = {(c.probe, len(c.values)): right(c) for c in CASES}
    table = lambda p, v, g: answers.get((p, len(v)), 0.0)  # noqa: E731
    check_value_error(table)
    for seed in SEEDS:
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
