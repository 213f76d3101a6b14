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
    error_of,
    keys_of,
    notebooks_own,
    stub,
)
from scipy.stats import trim_mean
from seeds import SEEDS

from ppo_course import check_interquartile_mean
from ppo_course.nb04_details.interquartile_mean import CASES, FORMULAS, drawn, right


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


def by_ranks(scores):
    rank = np.argsort(np.argsort(scores))
    quarter = len(scores) // 4
    return np.average(scores, weights=(rank >= quarter) & (rank < len(scores) - quarter))


@pytest.mark.parametrize("function", [by_slice, by_scipy, by_lists, by_torch, by_ranks])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_interquartile_mean, function, capsys)
    for seed in range(5):
        check_interquartile_mean(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(
        check_interquartile_mean, notebooks_own("interquartile_mean"), capsys
    )


def test_the_right_answer_by_hand():
    assert right(np.array([9.0, 1, 5])) == 5  # of three scores none is left out
    assert right(np.array([500.0, 500, 60, 500, 90])) == (90 + 500 + 500) / 3
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


def exclusive(scores):
    low, high = np.percentile(scores, [25, 75])
    return scores[(scores > low) & (scores < high)].mean()


def negative_slice(scores):
    quarter = len(scores) // 4
    return np.sort(scores)[quarter:-quarter].mean()


def once_each(scores):
    ordered = sorted(set(scores.tolist()))
    quarter = len(ordered) // 4
    return np.mean(ordered[quarter : len(ordered) - quarter])


def cut(scores, quarter):
    return np.sort(scores)[quarter : len(scores) - quarter].mean()


def winsorised(scores):
    quarter = len(scores) // 4
    ordered = np.sort(scores)
    return np.clip(scores, ordered[quarter], ordered[len(scores) - quarter - 1]).mean()


def short(scores):
    quarter = len(scores) // 4
    return np.sort(scores)[quarter : -quarter - 1].mean()


WRONG_ANSWERS = {
    "mean": (lambda s: s.mean(), "mean"),
    "median": (np.median, "median"),
    "unsorted": (
        lambda s: s[len(s) // 4 : len(s) - len(s) // 4].mean(),
        "not-sorted",
    ),
    "lowest": (lambda s: np.sort(s)[len(s) // 4 :].mean(), "lowest-alone"),
    "highest": (lambda s: np.sort(s)[: len(s) - len(s) // 4].mean(), "highest-alone"),
    "range": (lambda s: np.subtract(*np.percentile(s, [75, 25])), "range"),
    "quartiles": (quarters, "of-quartiles"),
    "rounded-up": (
        lambda s: np.sort(s)[-(-len(s) // 4) : len(s) - -(-len(s) // 4)].mean(),
        "rounded-up",
    ),
    "rounded": (lambda s: cut(s, round(len(s) / 4)), "rounded-nearest"),
    "half up": (lambda s: cut(s, int(len(s) / 4 + 0.5)), "rounded-half-up"),
    "negative slice": (negative_slice, "it leaves none of 3 scores"),
    "set": (once_each, "ties-once"),
    "upper-three-quarters-of-all": (
        lambda s: np.sort(s)[len(s) // 4 : max(3 * (len(s) // 4), 1)].mean(),
        "upper-three-quarters",
    ),
    "three quarters of the scores": (
        lambda s: np.sort(s)[len(s) // 4 : 3 * len(s) // 4].mean(),
        "upper-three-quarters-of-all",
    ),
    "shares of the scores": (
        lambda s: np.sort(s)[int(0.25 * len(s)) : int(0.75 * len(s))].mean(),
        "upper-three-quarters-of-all",
    ),
    "one at each end": (lambda s: np.sort(s)[1:-1].mean(), "one-each"),
    "upper-half": (lambda s: np.sort(s)[len(s) // 2 :].mean(), "upper-half"),
    "begins late": (
        lambda s: np.sort(s)[len(s) // 4 + 1 : len(s) - len(s) // 4].mean(),
        "one-more-below",
    ),
    "ends late": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4 + 1].mean(),
        "one-less-above",
    ),
    "winsorised": (winsorised, "clipped"),
    "clipped": (
        lambda s: np.clip(s, *np.percentile(s, [25, 75])).mean(),
        "clipped-at-quartiles",
    ),
    "sum": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4].sum(),
        "sum",
    ),
    "divided by all": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4].sum() / len(s),
        "divided-by-all",
    ),
    "one too many": (short, "one-more-above"),
    "percentiles": (inclusive, "outside-quartiles"),
    "between the quartiles": (exclusive, "quartiles-too"),
    "maximum": (lambda s: s.max(), "unknown"),
    "changes-argument": (in_place, "changes-argument"),
    "float": (by_float, "no-integer"),
    "array": (
        lambda s: np.sort(s)[len(s) // 4 : len(s) - len(s) // 4],
        "not-one-number",
    ),
    "method": (lambda s: s.median(), "array"),
    "nothing": (lambda s: None, "returns-nothing"),
    "nan": (lambda s: np.nan, "number-not-finite"),
    "signature": (lambda: None, "called-as"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_interquartile_mean, WRONG_ANSWERS, name)


def test_half_of_the_scores_left_out_at_each_end_leaves_nothing_in_the_middle():
    keys = keys_of(check_interquartile_mean, lambda s: cut(s, len(s) // 2))
    assert keys == ("number-not-finite",)


def test_a_slice_that_is_empty_is_told_as_it_may_be_written():
    """[quarter:-quarter], or [quarter : 3 * quarter]."""
    for function in (
        negative_slice,
        lambda s: np.sort(s)[len(s) // 4 : 3 * (len(s) // 4)].mean(),
    ):
        error = error_of(check_interquartile_mean, function)
        assert error.keys == ("none-left",)
        assert "of 3 scores" in str(error)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_no_known_mistake_is_right_or_looks_like_another(seed):
    cases = [np.array(case, float) for case in CASES] if seed is None else drawn(seed)
    answers = [[round(float(f(c)), 6) for c in cases] for f in (right, *FORMULAS.wrong.values())]
    assert len({tuple(answer) for answer in answers}) == len(answers)


def test_with_a_seed_right_answers_pass_and_wrong_ones_fail(capsys):
    assert_seeds_grade(check_interquartile_mean, by_slice, WRONG_ANSWERS, capsys)


def test_numbers_learned_by_heart_fail_with_a_seed():
    known = {tuple(case): right(np.array(case, float)) for case in CASES}
    check_interquartile_mean(lambda s: known.get(tuple(s), 0.0))
    complaint(check_interquartile_mean, lambda s: known.get(tuple(s), 0.0), seed=1)


def test_the_global_random_streams_stay_as_they_were():
    assert_streams_stay(check_interquartile_mean, by_slice)
