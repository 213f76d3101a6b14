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
    error_of,
    notebooks_own,
    stub,
)
from seeds import SEEDS

from ppo_course import check_minibatch_indices


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


def by_short_integers(n, batch_size, generator):
    return [part.int() for part in by_tensor_split(n, batch_size, generator)]


def by_a_seed_that_is_drawn(n, batch_size, generator):
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    return [torch.as_tensor(x) for x in np.array_split(rng.permutation(n), -(-n // batch_size))]


RIGHT = [
    by_tensor_split,
    by_chunks_of_equal_size,
    by_yield,
    by_numpy,
    by_short_integers,
    by_a_seed_that_is_drawn,
]


@pytest.mark.parametrize("function", RIGHT)
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


def slices(n, b, generator, *, rest=True):
    """Slices of a size that is rounded down; the last one has the rest, or nobody."""
    order, count = torch.randperm(n, generator=generator), -(-n // b)
    size = n // count
    parts = [order[k * size : (k + 1) * size] for k in range(count)]
    if rest:
        parts[-1] = order[(count - 1) * size :]
    return parts


def split_by(size):
    """A wrong function: parts of size(n, number of minibatches)."""
    return lambda n, b, generator: torch.randperm(n, generator=generator).split(size(n, -(-n // b)))


def neighbours(n, b, generator):
    parts = torch.arange(n).tensor_split(-(-n // b))
    return [parts[k] for k in torch.randperm(len(parts), generator=generator)]


def strided(n, b, generator):
    count = -(-n // b)
    return [torch.arange(k, n, count) for k in torch.randperm(count, generator=generator).tolist()]


def rolled(n, b, generator):
    start = int(torch.randint(1, n, (), generator=generator))
    return torch.arange(n).roll(start).tensor_split(-(-n // b))


def turned(n, b, generator):
    order = torch.arange(n).roll(int(torch.randint(1, n, (), generator=generator)))
    return order.flip(0).tensor_split(-(-n // b))


def own_generator(n, b, generator):
    mine = torch.Generator().manual_seed(generator.initial_seed())
    return torch.randperm(n, generator=mine).tensor_split(-(-n // b))


def own_seed_of_all(n, b, generator):
    torch.manual_seed(generator.initial_seed())
    return torch.randperm(n).tensor_split(-(-n // b))


def shuffled_once():
    kept = {}

    def function(n, b, generator):
        key = n, generator.initial_seed()
        if key not in kept:
            kept[key] = torch.randperm(n, generator=generator)
        return kept[key].tensor_split(-(-n // b))

    return function


WRONG_ANSWERS = {
    "replacement": (replacement, "repeated"),
    "each anew": (anew, "repeated"),
    "dropped": (dropped, "rest-dropped"),
    "rest": (
        lambda n, b, generator: torch.randperm(n, generator=generator).split(b),
        "rest-alone",
    ),
    "too large": (
        lambda n, b, generator: torch.randperm(n, generator=generator).tensor_split(max(1, n // b)),
        "too-large",
    ),
    "too many": (
        lambda n, b, generator: torch.randperm(n, generator=generator).tensor_split(n // b + 1),
        "too-many",
    ),
    "last larger": (slices, "rest-in-last"),
    "rest in none": (
        lambda n, b, generator: slices(n, b, generator, rest=False),
        "rounded-down",
    ),
    "first in none": (
        lambda n, b, generator: (torch.randperm(n - 1, generator=generator) + 1).tensor_split(
            -(-n // b)
        ),
        "some-in-none",
    ),
    "split, rounded up": (
        split_by(lambda n, count: -(-n // count)),
        "last-too-small",
    ),
    "split, rounded down": (
        split_by(lambda n, count: n // count),
        "too-many",
    ),
    "not-shuffled": (
        lambda n, b, generator: torch.arange(n).tensor_split(-(-n // b)),
        "not-shuffled",
    ),
    "neighbours": (neighbours, "neighbours-together"),
    "strided": (strided, "order-of-minibatches"),
    "rolled": (rolled, "turned"),
    "turned": (turned, "turned"),
    "own generator": (own_generator, "own-generator"),
    "own seed": (own_seed_of_all, "own-generator"),
    "shuffled-once": (shuffled_once(), "shuffled-once"),
    "chunk": (
        lambda n, b, generator: torch.randperm(n, generator=generator).chunk(-(-n // b)),
        "last-too-small",
    ),
    "global": (
        lambda n, b, generator: torch.randperm(n).tensor_split(-(-n // b)),
        "own-randomness",
    ),
    "seeded": (
        lambda n, b, generator: torch.randperm(
            n, generator=torch.Generator().manual_seed(3)
        ).tensor_split(-(-n // b)),
        "generator-ignored",
    ),
    "from 1": (
        lambda n, b, generator: (torch.randperm(n, generator=generator) + 1).tensor_split(
            -(-n // b)
        ),
        "no-such",
    ),
    "one-tensor": (
        lambda n, b, generator: torch.randperm(n, generator=generator),
        "one-tensor",
    ),
    "lists": (
        lambda n, b, generator: [x.tolist() for x in by_tensor_split(n, b, generator)],
        "no-index-tensor",
    ),
    "floats": (
        lambda n, b, generator: [x.float() for x in by_tensor_split(n, b, generator)],
        "no-integers",
    ),
    "empty": (
        lambda n, b, generator: [*by_tensor_split(n, b, generator), torch.arange(0)],
        "empty",
    ),
    "nothing": (lambda n, b, generator: None, "returns-nothing"),
    "a scalar": (
        lambda n, b, generator: torch.randperm(n, generator=generator).sum(),
        "no-minibatches",
    ),
    "bytes": (
        lambda n, b, generator: [x.to(torch.uint8) for x in by_tensor_split(n, b, generator)],
        "no-integers",
    ),
    "a number": (lambda n, b, generator: 3, "no-minibatches"),
    "signature": (lambda n, b: None, "called-as"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_minibatch_indices, WRONG_ANSWERS, name)


def test_a_rest_that_is_lost_is_not_told_to_round_up_what_is_rounded_up():
    message = complaint(check_minibatch_indices, WRONG_ANSWERS["rest in none"][0])
    assert "n_transitions // 4 rounds the size down" in message
    message = complaint(check_minibatch_indices, WRONG_ANSWERS["first in none"][0])
    assert "1 transition is in none" in message


def test_a_size_that_is_rounded_up_is_told_alike_for_split_and_chunk():
    for name in ("split, rounded up", "chunk"):
        message = complaint(check_minibatch_indices, WRONG_ANSWERS[name][0])
        assert "in torch.split or by torch.chunk" in message


@pytest.mark.parametrize("seed", SEEDS)
def test_right_answers_pass_whatever_the_seed(seed):
    """The bounds on who meets whom are wide enough."""
    check_minibatch_indices(by_a_seed_that_is_drawn, seed=1000 + seed)


def test_indices_in_lists_are_told_in_a_few_words():
    message = complaint(check_minibatch_indices, WRONG_ANSWERS["lists"][0])
    assert "seen      a list of 16 numbers" in message


def test_many_epochs_print_what_the_student_prints_but_once_each(capsys):
    def printing(n, b, generator):
        print("here")
        return by_tensor_split(n, b, generator)

    check_minibatch_indices(printing)
    assert capsys.readouterr().out.count("here") < 20


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


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_a_rest_of_one_is_not_to_be_lost(seed):
    """As who takes an upper end of n - 1 in range() loses it."""

    def cut(n_transitions, batch_size, generator):
        order = torch.randperm(n_transitions, generator=generator)
        count = -(-n_transitions // batch_size)
        if n_transitions % batch_size == 1:
            return order[:-1].tensor_split(count - 1)
        return order.tensor_split(count)

    assert error_of(check_minibatch_indices, cut, seed=seed).keys == ("rest-dropped",)
