"""The check of `column_minibatches`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import torch
from estimates_testing import check_the_check, complaint
from memories_testing import every_mistake_is_named

from ppo_course import check_column_minibatches
from ppo_course.nb07_memory.column_minibatches import PARTS, cases, formula


def by_split(rows, order, batch_size):
    size = max(1, batch_size // len(rows))
    return [rows[:, index] for index in order.split(size)]


def by_yield(rows, order, batch_size):
    size = max(1, batch_size // rows.shape[0])
    for first in range(0, len(order), size):
        yield rows[:, order[first : first + size]]


def shuffled_first(rows, order, batch_size):
    return rows.index_select(1, order).split(max(1, batch_size // len(rows)), 1)


def by_loop(rows, order, batch_size):
    batches, batch = [], []
    for b in order.tolist():
        if batch and (len(batch) + 1) * len(rows) > batch_size:
            batches.append(torch.stack(batch, 1))
            batch = []
        batch.append(rows[:, b])
    return [*batches, torch.stack(batch, 1)]


RIGHT = [by_split, by_yield, shuffled_first, by_loop]


def return_in_the_loop(rows, order, batch_size):
    for index in order.split(max(1, batch_size // len(rows))):
        return [rows[:, index]]
    return []


def stub(rows, order, batch_size):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


WRONG = {
    return_in_the_loop: "first-alone",
    stub: "not-written",
    lambda r, o, n: [r[:, i] for i in o.split(n)]: "counts-environments",
    lambda r, o, n: [r[:, i] for i in o.split(-(-n // len(r)))]: "rounded-up",
    lambda r, o, n: [r[:, i] for i in o.split(n // len(r))]: "one-at-least",
    lambda r, o, n: [r[:, i] for i in o.split(1)]: "one-each",
    lambda r, o, n: [r[:, o]]: "all-at-once",
    lambda r, o, n: by_split(r, torch.arange(len(o)), n): "order-ignored",
    lambda r, o, n: by_split(r, o.flip(0), n): "order-backwards",
    lambda r, o, n: by_split(r, o.argsort(), n): "order-inverted",
    lambda r, o, n: [r[i] for i in o.split(max(1, n // len(r)))]: "rows",
    lambda r, o, n: [b.flatten() for b in by_split(r, o, n)]: "flattened",
    lambda r, o, n: [b.transpose(0, 1) for b in by_split(r, o, n)]: "transposed",
    lambda r, o, n: [b for b in by_split(r, o, n) if b.shape[1] == max(1, n // len(r))]: (
        "rest-dropped"
    ),
    lambda r, o, n: [
        torch.stack([r[:, b] for b in i.tolist()], -1) for i in o.split(max(1, n // len(r)))
    ]: "more-dimensions",
    lambda r, o, n: by_split(r, o, n)[0]: "no-minibatches",
    lambda r, o, n: [b.tolist() for b in by_split(r, o, n)]: "no-tensors",
    lambda r, o, n: None: "returns-nothing",
    lambda r, o: r: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_column_minibatches, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_mistake_is_named(check_column_minibatches, PARTS[:2] + PARTS[3:], _without_rows, cases)


def _without_rows(case, values):
    """Where picking rows is no choice: with these sizes some are no rows at all."""
    size, order, kept = values
    return formula(case, [size, order, PARTS[2].right, kept])


def test_the_message_shows_shapes_and_the_first_row():
    lines = complaint(check_column_minibatches, lambda r, o, n: [r[:, o]]).splitlines()
    assert lines[1].startswith("  Example: T = 8, B = 7, batch_size = 17, order = [")
    assert lines[2].startswith("  seen      1 of the shapes [8, 7]; first row [")
    assert lines[3].startswith(
        "  expected  4 of the shapes [8, 2], [8, 2], [8, 2], [8, 1]; first row ["
    )
