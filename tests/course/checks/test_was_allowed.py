"""The check of `was_allowed`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of
from seeds import SEEDS

from ppo_course import check_was_allowed
from ppo_course.formulas import combinations
from ppo_course.nb06_spaces.was_allowed import PARTS, Case, cases, formula

MASK = "env/action_mask"

# ------------------------------------------------------------------------------- right answers


def by_gather(workspace, sizes):
    mask, action = workspace[MASK], workspace["action"]
    parts = []
    for i, part in enumerate(mask.split(sizes, -1)):
        parts.append(part.gather(-1, action[..., i : i + 1]))
    return torch.cat(parts, -1).all(-1)


def by_offsets(workspace, sizes):
    offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    return workspace[MASK].gather(-1, workspace["action"] + offsets).all(-1)


def by_and(workspace, sizes):
    mask, action = workspace.get_full(MASK), workspace.get_full("action")
    result, begin = True, 0
    for i, size in enumerate(sizes):
        part = mask[..., begin : begin + size]
        result = result & part.gather(-1, action[..., i].unsqueeze(-1)).squeeze(-1)
        begin += size
    return result


def by_loops(workspace, sizes):
    mask, action = workspace[MASK, "action"]
    result = torch.ones(action.shape[:2], dtype=torch.bool)
    for t in range(len(action)):
        for n in range(action.shape[1]):
            begin = 0
            for i, size in enumerate(sizes):
                result[t, n] &= mask[t, n, begin + action[t, n, i]]
                begin += size
    return result


RIGHT = [by_gather, by_offsets, by_and, by_loops]

# ------------------------------------------------------------------------------- wrong answers


def stub(workspace, sizes):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def each(workspace, sizes):
    offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    return workspace[MASK].gather(-1, workspace["action"] + offsets)


def writing(workspace, sizes):
    workspace.set_full("allowed", by_gather(workspace, sizes))
    return workspace["allowed"]


def without_offset(workspace, sizes):
    return workspace[MASK].gather(-1, workspace["action"]).all(-1)


WRONG = {
    stub: "not-written",
    each: "each-component",
    writing: "writes",
    without_offset: "no-offset",
    lambda w, n: each(w, n).any(-1): "any-component",
    lambda w, n: ~by_gather(w, n): "inverted",
    lambda w, n: by_gather(w, n).float(): "no-bool",
    lambda w, n: by_gather(w, n)[:-1]: "wrong-shape",
    lambda w, n: by_gather(w, n).tolist(): "no-tensor",
    lambda w, n: None: "returns-nothing",
    lambda w, n: w["action_mask"]: "names",
    lambda w, n: w[MASK].gather(-1, w["action"].float()): "gather-type",
    lambda w, n: w[MASK].gather(-1, w["action"][..., 0]): "gather-type",
    lambda w, n: torch.stack(w[MASK].split(n, -1)): "unequal-parts",
    lambda w, n: w[MASK].split(n, 1): "split-sizes",
    lambda w: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_was_allowed, None, RIGHT, WRONG)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_every_known_mistake_is_named(seed):
    for keys, values in combinations(PARTS, 1):
        if keys:

            def student(workspace, sizes, values=values):
                mask, action = workspace[MASK], workspace["action"]
                return formula(Case(mask, action, sizes), values)

            assert error_of(check_was_allowed, student, seed=seed).keys == keys


def test_the_cases_hold_allowed_actions_and_others():
    for seed in (None, *SEEDS):
        for case in cases(seed):
            allowed = formula(case, [part.right for part in PARTS])
            assert allowed.any()
            assert not allowed.all()


def test_the_message_shows_an_action_and_its_mask():
    message = complaint(check_was_allowed, lambda w, n: each(w, n)[..., 0])
    assert "Example: row 2, environment 0: action [1, 0],\n" in message
    assert "sizes [4, 3], mask [" in message
    assert " | " in message
