"""The check of `reset_memory`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import torch
from estimates_testing import check_the_check, complaint
from memories_testing import every_mistake_is_named

from ppo_course import check_reset_memory
from ppo_course.nb07_memory.memories import reset
from ppo_course.nb07_memory.reset_memory import PARTS, formula, rows


def by_where(memory, begins):
    return torch.where(begins[:, None], torch.zeros(()), memory)


def by_a_factor(memory, begins):
    return memory * (1 - begins.float()).unsqueeze(1)


def by_not(memory, begins):
    return memory * ~begins.unsqueeze(-1)


def in_a_copy(memory, begins):
    memory = memory.clone()
    memory[begins] = 0
    return memory


def by_loop(memory, begins):
    rows = [torch.zeros_like(row) if b else row for row, b in zip(memory, begins, strict=True)]
    return torch.stack(rows)


RIGHT = [reset, by_where, by_a_factor, by_not, in_a_copy, by_loop]


def in_place(memory, begins):
    memory[begins] = 0
    return memory


def stub(memory, begins):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


WRONG = {
    in_place: "changes-argument",
    stub: "not-written",
    lambda m, b: m: "not-reset",
    lambda m, b: m * b.unsqueeze(-1): "inverted",
    lambda m, b: m * 0: "all-reset",
    lambda m, b: torch.zeros_like(m) if b.any() else m: "all-if-any",
    lambda m, b: torch.zeros_like(m) if b.all() else m: "all-if-all",
    lambda m, b: m.masked_fill(b[:, None], 1.0): "filled-with-1",
    lambda m, b: (~b[:, None]).float().expand_as(m): "others-1",
    lambda m, b: m * ~b: "shapes",
    lambda m, b: m * (1 - b).unsqueeze(-1): "minus-bool",
    lambda m, b: torch.zeros_like(m) if b else m: "one-truth-value",
    lambda m, b: m[~b]: "left-out",
    lambda m, b: by_not(m, b).sum(-1): "no-envs",
    lambda m, b: by_not(m, b).T: "wrong-shape",
    lambda m, b: by_not(m, b).tolist(): "a-list",
    lambda m, b: by_not(m, b).numpy(): "no-tensor",
    lambda m, b: by_not(m, b).detach(): "no-gradient",
    lambda m, b: by_not(m, b) / ~b.unsqueeze(-1): "not-finite",
    lambda m, b: None: "returns-nothing",
    lambda m: m: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    _,
) = check_the_check(check_reset_memory, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_mistake_is_named(check_reset_memory, PARTS, formula, rows, alike={"all-if-all"})


def test_the_message_shows_an_environment_to_follow_by_hand():
    lines = complaint(check_reset_memory, lambda m, b: m).splitlines()
    assert lines[1].startswith("  Example: begins = [False, True, False, False]; the memory of env")
    assert lines[3] == "  expected  [0.000, 0.000, 0.000]"
