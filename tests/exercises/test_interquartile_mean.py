"""The check of `interquartile_mean`: right answers pass, each mistake gets its own message."""

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
from scipy.stats import trim_mean

from ppo_bbrl.exercises import check_interquartile_mean
from ppo_bbrl.exercises.interquartile_mean import CASES, MISTAKES, drawn, right


def by_slice(scores):
    quarter = len(scores) // 4
    return np.sort(scores)[quarter : len(scores) - quarter].mean()


def by_scipy(scores):
    return trim_mean(scores, 0.25)  # as rliable does


def by_lists(scores):
    ordered = sorted(scores.tolist())
    for _ in range(len(scores) // 4):
        ordered.pop()
        ordered.pop(0)
    return sum(ordered) / len(ordered)


def by_torch(scores):
    quarter = len(scores) // 4
    ordered = torch.from_numpy(scores).sort().values
    return ordered[quarter : len(scores) - quarter].mean()


@pytest.mark.parametrize("function", [by_slice, by_scipy, by_lists, by_torch])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_interquartile_mean, function, capsys)
    for seed in range(5):
        check_interquartile_mean(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(
        check_interquartile_mean, notebooks_own("interquartile_mean"), capsys
    )


def test_the_right_answer_by_hand():
    assert right(np.array([9.0, 1, 2, 3, 100, 4])) == (2 + 3 + 4 + 9) / 4


def in_place(scores):
    scores.sort()
    quarter = len(scores) // 4
    return scores[quarter : len(scores) - quarter].mean()


def inclusive(scores):
    low, high = np.percentile(scores, [25, 75])
    return scores[(scores >= low) & (scores <= high)].mean()


def quarters(scores):
    low, high = np.percentile(scores, [25, 75])
    return (low + high) / 2


def by_float(scores):
    quarter = len(scores) / 4
    return np.sort(scores)[quarter:-quarter].mean()


def short(scores):
    quarter = len(scores) // 4
    return np.sort(scores)[quarter : -quarter - 1].mean()


WRONG_ANSWERS = {
    "mean": (lambda s: s.mean(), "it is the mean of all scores"),
    "median": (np.median, "it is the median"),
    "unsorted": (
        lambda s: s[len(s) // 4 : len(s) - len(s) // 4].mean(),
        "not sorted before their ends",
    ),
    "lowest": (lambda s: np.sort(s)[len(s) // 4 :].mean(), "only the lowest scores"),
    "highest": (lambda s: np.sort(s)[: len(s) - len(s) // 4].mean(), "only the highest scores"),
    "range": (lambda s: np.subtract(*np.percentile(s, [75, 25])), "the interquartile range"),
    "quartiles": (quarters, "the middle of the two quartiles"),
    "rounded up": (
        lambda s: np.sort(s)[-(-len(s) // 4) : len(s) - -(-len(s) // 4)].mean(),
        "a quarter is rounded up",
    ),
    "sum": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4].sum(),
        "it is the sum of the middle half",
    ),
    "divided by all": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4].sum() / len(s),
        "divided by the number of all scores",
    ),
    "one too many": (short, "one score too many"),
    "percentiles": (inclusive, "outside of the quartiles"),
    "maximum": (lambda s: s.max(), "does not know"),
    "in place": (in_place, "it changes the scores"),
    "float": (by_float, "// divides without a remainder"),
    "array": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4],
        "it does not return the interquartile mean",
    ),
    "method": (lambda s: s.median(), "scores is a NumPy array"),
    "nothing": (lambda s: None, "it returns nothing"),
    "nan": (lambda s: np.nan, "its result is nan"),
    "signature": (lambda: None, "is called as interquartile_mean(scores)"),
    "stub": (stub, "is not written yet"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_interquartile_mean, WRONG_ANSWERS, name)


@pytest.mark.parametrize("seed", [None, *range(30)])
def test_no_known_mistake_is_right_or_looks_like_another(seed):
    cases = [np.array(case, float) for case in CASES] if seed is None else drawn(seed)
    answers = [
        [round(float(f(c)), 6) for c in cases] for f in (right, *(m.formula for m in MISTAKES))
    ]
    assert len({tuple(answer) for answer in answers}) == len(answers)


def test_with_a_seed_right_answers_pass_and_wrong_ones_fail(capsys):
    assert_seeds_grade(check_interquartile_mean, by_slice, WRONG_ANSWERS, capsys)


def test_numbers_learned_by_heart_fail_with_a_seed():
    known = {tuple(case): right(np.array(case, float)) for case in CASES}
    check_interquartile_mean(lambda s: known.get(tuple(s), 0.0))
    complaint(check_interquartile_mean, lambda s: known.get(tuple(s), 0.0), seed=1)


def test_the_global_random_streams_stay_as_they_were():
    assert_streams_stay(check_interquartile_mean, by_slice)
