"""The check of `coverage`: right answers pass, each mistake gets its own message."""

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
from seeds import SEEDS

from ppo_course import check_coverage
from ppo_course.nb10_bug_hunt.coverage import CASES, FORMULAS, drawn, right


def by_unique(minibatches, n):
    return len(torch.cat(minibatches).unique()) / n


def by_set(minibatches, n):
    return len({i for minibatch in minibatches for i in minibatch.tolist()}) / n


def by_mask(minibatches, n):
    used = torch.zeros(n, dtype=torch.bool)
    for minibatch in minibatches:
        used[minibatch] = True
    return used.float().mean()


def by_count(minibatches, n):
    return (torch.cat(minibatches).bincount(minlength=n) > 0).sum() / n


@pytest.mark.parametrize("function", [by_unique, by_set, by_mask, by_count])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_coverage, function, capsys)
    for seed in range(5):
        check_coverage(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_coverage, notebooks_own("coverage"), capsys)


def test_the_right_answers_by_hand():
    assert [right(case) for case in CASES] == [3 / 6, 4 / 8, 6 / 8, 1]


def emptied(minibatches, n):
    used = torch.cat(minibatches).unique()
    minibatches.clear()
    return len(used) / n


def by_length(minibatches, n):
    minibatches.sort(key=len)
    return by_unique(minibatches, n)


# The words of an error stand in lines of their own: the message quotes the function's line.
WRONG_ANSWERS = {
    "drawn": (lambda m, n: sum(map(len, m)) / n, "repeated-counted"),
    "set of tensors": (
        lambda m, n: len(set(torch.cat(m))) / n,
        "repeated-counted",
    ),
    "exactly once": (
        lambda m, n: (torch.cat(m).bincount(minlength=n) == 1).float().mean(),
        "used-once",
    ),
    "missed": (lambda m, n: 1 - by_unique(m, n), "missed-share"),
    "number": (lambda m, n: len(torch.cat(m).unique()), "count"),
    "percent": (lambda m, n: 100 * by_unique(m, n), "percentage"),
    "added up": (lambda m, n: torch.cat(m).unique().sum() / n, "indices-added"),
    "rounded": (lambda m, n: len(torch.cat(m).unique()) // n, "floored"),
    "of the drawn": (
        lambda m, n: len(torch.cat(m).unique()) / len(torch.cat(m)),
        "of-drawn",
    ),
    "per minibatch": (
        lambda m, n: sum(len(x.unique()) for x in m) / n,
        "repeated-between",
    ),
    "mean": (
        lambda m, n: sum(len(x.unique()) / n for x in m) / len(m),
        "mean-of-minibatches",
    ),
    "first": (lambda m, n: len(m[0].unique()) / n, "first-minibatch"),
    "last": (lambda m, n: len(m[-1].unique()) / n, "last-minibatch"),
    "all but the last": (
        lambda m, n: len(torch.cat(m[:-1]).unique()) / n,
        "last-left-out",
    ),
    "range": (
        lambda m, n: (torch.cat(m).max() - torch.cat(m).min() + 1) / n,
        "span",
    ),
    "largest": (lambda m, n: (torch.cat(m).max() + 1) / n, "largest"),
    "of the largest": (
        lambda m, n: len(torch.cat(m).unique()) / (torch.cat(m).max() + 1),
        "of-largest",
    ),
    "length of the first": (
        lambda m, n: len(m) * len(m[0]) / n,
        "equal-lengths",
    ),
    "number of minibatches": (lambda m, n: len(m) / n, "minibatches-counted"),
    "set of minibatches": (lambda m, n: len(set(m)) / n, "minibatches-counted"),
    "of a minibatch": (
        lambda m, n: sum(len(x.unique()) / len(x) for x in m) / len(m),
        "share-of-minibatch",
    ),
    "neighbours": (
        lambda m, n: len(torch.cat(m).unique_consecutive()) / n,
        "neighbours-only",
    ),
    "one less": (
        lambda m, n: len(torch.cat(m).unique()) / (n - 1),
        "n-minus-1",
    ),
    "text": (lambda m, n: str(by_unique(m, n)), "text"),
    "one": (lambda m, n: 1.0, "unknown"),
    "mask": (
        lambda m, n: torch.cat(m).bincount(minlength=n) > 0,
        "it does not return a share",
    ),
    "emptied": (emptied, "changes-argument"),
    "sorted": (by_length, "changes-argument"),
    "list": (
        lambda m, n: m.unique(),
        "list-of-tensors",
    ),
    "unique of a list": (
        lambda m, n: len(torch.unique(m)) / n,
        "list-of-tensors",
    ),
    "tensor of a list": (
        lambda m, n: len(torch.tensor(m).unique()) / n,
        "list-of-tensors",
    ),
    "NumPy of a list": (
        lambda m, n: len(np.unique(m)) / n,
        "list-of-tensors",
    ),
    # The minibatches of the suspects are not all of the same length.
    "stack": (
        lambda m, n: len(torch.stack(m).unique()) / n,
        "cat-not-stack",
    ),
    "nothing": (lambda m, n: None, "returns-nothing"),
    "signature": (lambda m: 1, "is called as coverage(minibatches, n_transitions)"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_coverage, WRONG_ANSWERS, name)


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_coverage, by_unique, WRONG_ANSWERS, capsys)


@pytest.mark.parametrize("cases", [CASES, *map(drawn, SEEDS)])
def test_every_mistake_shows(cases):
    numbers = [tuple(round(m(c), 6) for c in cases) for m in FORMULAS.wrong.values()]
    numbers.append(tuple(round(right(c), 6) for c in cases))
    if cases is CASES:
        assert len(set(numbers)) == len(numbers)
    assert numbers.count(numbers[-1]) == 1


def test_a_table_of_the_visible_answers_fails():
    answers = {str(c.arguments()[0]): right(c) for c in CASES}
    table = lambda m, n: answers.get(str(m), 1.0)  # noqa: E731
    check_coverage(table)
    for seed in SEEDS:
        complaint(check_coverage, table, seed=seed)


def test_the_streams_of_chance_stay_as_they_were():
    assert_streams_stay(check_coverage, by_unique)
