"""check_transition_mask: right answers pass, each mistake has its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from seeds import SEEDS

from ppo_bbrl import Workspace
from ppo_course import ExerciseError, check_transition_mask
from ppo_course.nb01_workspace.transition_mask import MASKS, cases, right


def by_loop(done):
    n_rows, n_envs = done.shape
    mask = torch.empty(n_rows - 1, n_envs, dtype=torch.bool)
    for t in range(n_rows - 1):
        for b in range(n_envs):
            mask[t, b] = not done[t, b]
    return mask


def in_place(done):
    """Changes the result of its own, not what it was given."""
    mask = torch.ones_like(done)
    mask[done] = False
    return mask[: len(done) - 1]


RIGHT_ANSWERS = {
    "slice": lambda done: ~done[:-1],
    "comparison": lambda done: done[:-1] == 0,
    "where": lambda done: torch.where(done, False, True)[:-1],
    "logical_not": lambda done: torch.logical_not(done).narrow(0, 0, done.shape[0] - 1),
    "loop": by_loop,
    "in place": in_place,
    "solution of the row before": lambda done: torch.stack([~row for row in done[:-1]]),
}


def overwrites(done):
    done ^= True
    return done[:-1]


def stub(done):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


WRONG_ANSWERS = {
    "upside down": (lambda done: done[:-1], "upside-down"),
    "end of the step": (lambda done: ~done[1:], "by-end-of-step"),
    "both": (lambda done: done[1:], "upside-down-by-end"),
    "two steps": (lambda done: ~(done[:-1] | done[1:]), "two-steps"),
    "all": (lambda done: torch.ones_like(done[1:]), "all"),
    "none": (lambda done: torch.zeros_like(done[1:]), "none"),
    "first episode alone": (
        lambda done: done[:-1].cumsum(0) == 0,
        "first-episode-alone",
    ),
    "any environment": (
        lambda done: ~done[:-1].any(1, keepdim=True).expand_as(done[:-1]),
        "any-environment",
    ),
    "unknown": (lambda done: ~done[:-1].flip(0), "unknown"),
    "T rows": (lambda done: ~done, "row-each"),
    "wrong dimension": (lambda done: ~done[:, :-1], "environment-cut"),
    "flat": (lambda done: (~done[:-1]).flatten(), "shape"),
    "transposed": (lambda done: (~done[:-1]).T, "shape"),
    "integers": (lambda done: 1 - done[:-1].long(), "dtype~torch.int64"),
    "floats": (lambda done: 1 - done[:-1].float(), "dtype~torch.float32"),
    "list": (lambda done: (~done[:-1]).tolist(), "no-tensor"),
    "nothing": (lambda done: None, "returns-nothing"),
    "not": (lambda done: not done[:-1], "not"),
    "minus": (lambda done: 1 - done[:-1], "by-minus"),
    "overwrites": (overwrites, "changes-argument"),
    "stub": (stub, "not-written"),
    "signature": (lambda: None, "called-as"),
}


@pytest.mark.parametrize("name", RIGHT_ANSWERS)
def test_right_answers_pass_with_one_line_and_in_silence_with_a_seed(name, capsys):
    check_transition_mask(RIGHT_ANSWERS[name])
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in SEEDS:
        check_transition_mask(RIGHT_ANSWERS[name], seed=seed)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    function, key = WRONG_ANSWERS[name]
    for seed in (None, *SEEDS):
        with pytest.raises(ExerciseError) as caught:
            check_transition_mask(function, seed=seed)
        assert caught.value.keys in {(key,), ("raises", key)}
        assert "Where to look: " in str(caught.value)


def test_the_message_shows_an_environment_row_by_row():
    with pytest.raises(ExerciseError) as caught:
        check_transition_mask(lambda done: ~done[1:])
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  environment 0, done in rows 0 to 5 ")
    assert lines[1].endswith(" 0 0 1 0 0 0")
    assert lines[2].endswith("  1 0 1 1 1")
    assert lines[3].endswith("  1 1 0 1 1")


def test_a_table_of_the_visible_cases_does_not_pass_the_hidden_ones():
    table = [(done, right(done)) for done in cases(None)]

    def by_heart(done):
        return next((mask for known, mask in table if torch.equal(known, done)), done[1:])

    check_transition_mask(by_heart)
    for seed in SEEDS:
        with pytest.raises(ExerciseError):
            check_transition_mask(by_heart, seed=seed)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_every_known_mistake_shows_and_looks_like_no_other(seed):
    first = cases(seed)[0]
    masks = [right(first), *(formula(first) for formula in MASKS.wrong.values())]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks)


def test_the_mask_counts_what_get_transitions_keeps():
    for done in cases(3):
        workspace = Workspace()
        workspace.set_full("env/done", done)
        assert workspace.get_transitions().batch_size() == int(right(done).sum())


def test_the_global_random_stream_stays_as_it_was():
    def drawing(done):
        torch.rand(3)
        return ~done[:-1]

    before = torch.get_rng_state()
    check_transition_mask(drawing, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
