"""The check of `unroll`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import torch
from estimates_testing import check_the_check, complaint
from memories_testing import every_mistake_is_named

from ppo_bbrl.agents.memory import Memory
from ppo_course import check_unroll
from ppo_course.nb07_memory.memories import cases, reset
from ppo_course.nb07_memory.unroll import PARTS, formula


def by_loop(cell, features, memory, begins):
    rows = []
    for t in range(len(features)):
        memory = cell(features[t], reset(memory, begins[t]))
        rows.append(memory)
    return torch.stack(rows)


def by_zip(cell, features, memory, begins):
    rows = torch.empty(0, *memory.shape)
    for seen, fresh in zip(features, begins, strict=True):
        memory = cell(seen, torch.where(fresh[:, None], 0.0, memory))
        rows = torch.cat([rows, memory[None]])
    return rows


def by_environment(cell, features, memory, begins):
    """Each environment alone, step by step."""
    columns = []
    for b in range(len(memory)):
        known, rows = memory[b], []
        for t in range(len(features)):
            known = cell(features[t, b], known * 0 if begins[t, b] else known)
            rows.append(known)
        columns.append(torch.stack(rows))
    return torch.stack(columns, 1)


def in_one_pass(cell, features, memory, begins):
    """The package's own, which takes rows without a beginning together."""
    package = Memory("gru", features.shape[-1], memory.shape[-1])
    package.encoder = torch.nn.Identity()
    for name, weight in cell.named_parameters():
        setattr(package.cells, f"{name}_l0", weight)
    return package.over(features, memory, begins)


RIGHT = [by_loop, by_zip, by_environment, in_one_pass]


def led(reset=reset, *, keep="after", start=lambda m: m, row=lambda f, t: f[t], cut=False):
    """A loop with a mistake."""

    def unroll(cell, features, memory, begins):
        memory, rows = start(memory), []
        for t in range(len(features)):
            before = reset(memory, begins[t])
            memory = cell(row(features, t), before)
            rows.append(memory if keep == "after" else before)
            memory = memory.detach() if cut else memory
        return torch.stack(rows)

    return unroll


def not_carried(cell, features, memory, begins):
    rows = [cell(features[t], reset(memory, begins[t])) for t in range(len(features))]
    return torch.stack(rows)


def reset_behind(cell, features, memory, begins):
    rows = []
    for t in range(len(features)):
        memory = reset(cell(features[t], memory), begins[t])
        rows.append(memory)
    return torch.stack(rows)


def stub(cell, features, memory, begins):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def writing(cell, features, memory, begins):
    memory[begins[0]] = 0
    return by_loop(cell, features, memory, begins)


WRONG = {
    led(lambda m, b: m): "never-reset",
    led(lambda m, b: reset(m, ~b)): "reset-inverted",
    led(lambda m, b: torch.zeros_like(m) if b.any() else m): "reset-all",
    led(lambda m, b: torch.zeros_like(m)): "reset-always",
    led(lambda m, b: m * ~b): "shapes",
    led(keep="before"): "memory-before",
    led(start=torch.zeros_like): "starts-from-0",
    led(row=lambda f, t: f[0]): "features-of-row-0",
    led(row=lambda f, t: f[-1 - t]): "backwards",
    led(row=lambda f, t: f): "one-row",
    led(cut=True): "wrong-gradient",
    writing: "changes-argument",
    not_carried: "not-carried",
    reset_behind: "reset-behind",
    stub: "not-written",
    lambda c, f, m, b: by_loop(c, f, m, b)[-1]: "last-row",
    lambda c, f, m, b: by_loop(c, f, m, b).flatten(0, 1): "flattened",
    lambda c, f, m, b: by_loop(c, f, m, b).transpose(0, 1): "wrong-order",
    lambda c, f, m, b: torch.cat([m[None], by_loop(c, f, m, b)]): "one-row-more",
    lambda c, f, m, b: by_loop(c, f, m, b)[1:]: "one-row-less",
    lambda c, f, m, b: list(by_loop(c, f, m, b)): "a-list",
    lambda c, f, m, b: by_loop(c, f, m, b).detach(): "no-gradient",
    lambda c, f, m, b: by_loop(c, f, m.detach(), b): "no-gradient",
    lambda c, f, m, b: by_loop(c, f, m, b).masked_fill(b[..., None], 0.0): "result-reset",
    lambda c, f, m, b: None: "returns-nothing",
    lambda c, f: f: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_unroll, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_mistake_is_named(check_unroll, PARTS, formula, cases)


def test_the_message_shows_the_first_row_that_is_wrong():
    lines = complaint(check_unroll, led(lambda m, b: m)).splitlines()
    assert (
        lines[1]
        == "  Example: row 0 of environment 1, where an episode begins in row 0 and 2 and 3."
    )
