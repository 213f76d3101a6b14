"""The check of `leaks`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import torch
from estimates_testing import check_the_check, complaint
from memories_testing import every_mistake_is_named

from ppo_course import check_leaks
from ppo_course.nb07_memory.leaks import PARTS, cases, formula


def by_any(memory, timestep):
    return (timestep == 0) & (memory != 0).any(-1)


def by_abs(memory, timestep):
    return torch.logical_and(memory.abs().sum(-1) > 0, timestep.eq(0))


def by_norm(memory, timestep):
    return ~((timestep > 0) | (memory.norm(dim=-1) == 0))


def by_loop(memory, timestep):
    found = torch.zeros_like(timestep, dtype=torch.bool)
    for t in range(len(timestep)):
        for b in range(timestep.shape[1]):
            found[t, b] = timestep[t, b] == 0 and bool(memory[t, b].any())
    return found


RIGHT = [by_any, by_abs, by_norm, by_loop]


def stub(memory, timestep):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


WRONG = {
    stub: "not-written",
    lambda m, t: (t == 1) & m.any(-1): "row-after",
    lambda m, t: (t != 0) & m.any(-1): "goes-on",
    lambda m, t: m.any(-1): "everywhere",
    lambda m, t: t == 0: "memory-unused",
    lambda m, t: (t == 0) | m.any(-1): "or",
    lambda m, t: (t == 0) & m.all(-1): "every-number",
    lambda m, t: (t == 0) & (m.sum(-1) != 0): "sum",
    lambda m, t: (t == 0) & (m > 0).any(-1): "positive",
    lambda m, t: (t == 0) & (m[..., 0] != 0): "first-number",
    lambda m, t: (t == 0) & (m == 0).all(-1): "zero-instead",
    lambda m, t: (t == 0) & (m == 0).any(-1): "any-zero",
    lambda m, t: (t == 0)[..., None] & (m != 0): "each-number",
    lambda m, t: by_any(m, t).any(): "single-number",
    lambda m, t: by_any(m, t).any(1): "no-envs",
    lambda m, t: by_any(m, t).any(0): "no-rows",
    lambda m, t: by_any(m, t).nonzero(): "indices",
    lambda m, t: by_any(m, t).float(): "no-mask",
    lambda m, t: by_any(m, t).tolist(): "a-list",
    lambda m, t: (t == 0) and m.any(-1): "one-truth-value",
    lambda m, t: None: "returns-nothing",
    lambda m: m: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_leaks, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_mistake_is_named(check_leaks, PARTS, formula, cases)


def test_the_message_shows_a_row_to_follow_by_hand():
    lines = complaint(check_leaks, lambda m, t: t == 0).splitlines()
    assert lines[1].startswith(
        "  Example: row 3 of environment 0, with timestep 0 and the memory [0."
    )
    assert [line.split() for line in lines[2:4]] == [["seen", "True"], ["expected", "False"]]
