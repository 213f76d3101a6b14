"""The check of `minibatch_indices`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import math

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

from ppo_bbrl.exercises import check_minibatch_indices


def by_tensor_split(n, batch_size, generator):
    return torch.randperm(n, generator=generator).tensor_split(math.ceil(n / batch_size))


def by_chunks_of_equal_size(n, batch_size, generator):
    count = -(-n // batch_size)
    order = torch.randperm(n, generator=generator)
    return [order[k::count] for k in range(count)]


def by_yield(n, batch_size, generator):
    order = torch.rand(n, generator=generator).argsort()
    count, start = -(-n // batch_size), 0
    for k in range(count):
        size = n // count + (k < n % count)
        yield order[start : start + size]
        start += size


def by_numpy(n, batch_size, generator):
    order = torch.randperm(n, generator=generator).numpy()
    return [torch.from_numpy(part) for part in np.array_split(order, -(-n // batch_size))]


@pytest.mark.parametrize("function", [by_tensor_split, by_chunks_of_equal_size, by_yield, by_numpy])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_minibatch_indices, function, capsys)
    for seed in range(5):
        check_minibatch_indices(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_minibatch_indices, notebooks_own("minibatch_indices"), capsys)


def replacement(n, b, generator):
    return torch.randint(n, (n,), generator=generator).tensor_split(-(-n // b))


def anew(n, b, generator):
    return [torch.randperm(n, generator=generator)[:b] for _ in range(-(-n // b))]


def dropped(n, b, generator):
    order = torch.randperm(n, generator=generator)
    return [order[k * b : (k + 1) * b] for k in range(n // b)] or [order[:0]]


def neighbours(n, b, generator):
    parts = torch.arange(n).tensor_split(-(-n // b))
    return [parts[k] for k in torch.randperm(len(parts), generator=generator)]


WRONG_ANSWERS = {
    "replacement": (replacement, "used more than once"),
    "each anew": (anew, "used more than once"),
    "dropped": (dropped, "the rest is dropped"),
    "rest": (
        lambda n, b, generator: torch.randperm(n, generator=generator).split(b),
        "a small rest gets a minibatch",
    ),
    "too large": (
        lambda n, b, generator: torch.randperm(n, generator=generator).tensor_split(max(1, n // b)),
        "larger than batch_size",
    ),
    "too many": (
        lambda n, b, generator: torch.randperm(n, generator=generator).tensor_split(n // b + 1),
        "more minibatches than needed",
    ),
    "not shuffled": (
        lambda n, b, generator: torch.arange(n).tensor_split(-(-n // b)),
        "not shuffled",
    ),
    "neighbours": (neighbours, "the same neighbours"),
    "global": (
        lambda n, b, generator: torch.randperm(n).tensor_split(-(-n // b)),
        "two generators with the same seed",
    ),
    "seeded": (
        lambda n, b, generator: torch.randperm(
            n, generator=torch.Generator().manual_seed(3)
        ).tensor_split(-(-n // b)),
        "another generator gives the same",
    ),
    "from 1": (
        lambda n, b, generator: (torch.randperm(n, generator=generator) + 1).tensor_split(
            -(-n // b)
        ),
        "there is no transition",
    ),
    "one tensor": (
        lambda n, b, generator: torch.randperm(n, generator=generator),
        "all indices come in one tensor",
    ),
    "lists": (
        lambda n, b, generator: [x.tolist() for x in by_tensor_split(n, b, generator)],
        "a minibatch is no tensor of indices",
    ),
    "floats": (
        lambda n, b, generator: [x.float() for x in by_tensor_split(n, b, generator)],
        "the indices are no integers",
    ),
    "empty": (
        lambda n, b, generator: [*by_tensor_split(n, b, generator), torch.arange(0)],
        "a minibatch is empty",
    ),
    "nothing": (lambda n, b, generator: None, "it returns nothing"),
    "a number": (lambda n, b, generator: 3, "it does not return minibatches"),
    "signature": (lambda n, b: None, "is called as minibatch_indices(n_transitions, batch_size"),
    "stub": (stub, "is not written yet"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_minibatch_indices, WRONG_ANSWERS, name)


def test_an_error_within_a_generator_is_told_with_its_line():
    def failing(n, b, generator):
        yield torch.randperm(n, generator=generator)[: n // 0]

    message = complaint(check_minibatch_indices, failing)
    assert "raises ZeroDivisionError" in message
    assert "generator=generator)[: n // 0]" in message


def test_with_a_seed_right_answers_pass_and_wrong_ones_fail(capsys):
    assert_seeds_grade(check_minibatch_indices, by_tensor_split, WRONG_ANSWERS, capsys)


def test_the_global_random_streams_stay_as_they_were():
    assert_streams_stay(check_minibatch_indices, by_tensor_split)
