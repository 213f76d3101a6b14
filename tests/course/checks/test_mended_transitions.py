"""The check of `mended_transitions`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from bug_hunt_testing import SOURCE, notebooks_own
from details_testing import (
    assert_passes_with_one_line,
    assert_seeds_grade,
    assert_streams_stay,
    assert_told_apart,
    stub,
)

from ppo_course import check_mended_transitions
from ppo_course.nb10_bug_hunt.mended_transitions import NAMES


def by_mask(rows):
    starts = ~rows["done"][:-1]
    return {name: rows[name][:-1][starts] for name in NAMES}


def by_index(rows):
    index = (~rows["done"][:-1]).flatten().nonzero().squeeze(-1)
    return {name: rows[name][:-1].flatten(0, 1)[index] for name in NAMES}


def by_environment(rows):
    """Another order, the same for all of them."""
    starts = ~rows["done"][:-1].T
    return {name: rows[name][:-1].transpose(0, 1)[starts] for name in NAMES}


def by_loop(rows):
    steps, envs = rows["done"].shape
    places = [(t, b) for b in range(envs) for t in range(steps - 1) if not rows["done"][t, b]]
    return {name: torch.stack([rows[name][t, b] for t, b in places]) for name in NAMES}


def shuffled(rows):
    batch = by_mask(rows)
    order = torch.randperm(len(batch["action"]))
    return {name: tensor[order] for name, tensor in batch.items()} | {"extra": 1}


@pytest.mark.parametrize("function", [by_mask, by_index, by_environment, by_loop, shuffled])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_mended_transitions, function, capsys)
    for seed in range(5):
        check_mended_transitions(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    own = notebooks_own("mended_transitions")
    assert_passes_with_one_line(check_mended_transitions, own, capsys)


def wrong(**changes):
    """Right, but for the tensors that the functions of `changes` make of the rows."""

    def function(rows):
        return by_mask(rows) | {name: change(rows) for name, change in changes.items()}

    return function


def starts(rows):
    return ~rows["done"][:-1]


def transposed(name):
    return lambda rows: rows[name][:-1].transpose(0, 1)[starts(rows).T]


def of_all(mask, last=-1):
    def function(rows):
        return {name: rows[name][:last][mask(rows)] for name in NAMES}

    return function


def with_last(rows):
    return {name: rows[name][~rows["done"]] for name in NAMES}


def changed(rows):
    rows["action"] = rows["action"].T
    return {}


def added(rows):
    batch = by_mask(rows)
    batch["target"] = batch["target"] + 0.1
    return batch


def other_order(rows):
    """All have the order of the environments, but for the observations."""
    batch = by_environment(rows)
    return batch | {"obs": by_mask(rows)["obs"]}


def shuffled_each(rows):
    batch = by_mask(rows)
    return {name: tensor[torch.randperm(len(tensor))] for name, tensor in batch.items()}


# The words of an error stand in lines of their own: the message quotes the function's line.
WRONG_ANSWERS = {
    "as found": (
        wrong(action=transposed("action")),
        "entries of 'action' are those of the others, but",
    ),
    "all but one": (other_order, "entries of 'obs' are those of the others, but"),
    "another": (
        wrong(target=transposed("target")),
        "entries of 'target' are those of the others, but",
    ),
    "two": (
        wrong(action=transposed("action"), value=transposed("value")),
        "entries of 'action' and 'value' are those of the others, but",
    ),
    "an order each": (shuffled_each, "the six come in 6 different orders"),
    "next row": (
        wrong(action=lambda rows: rows["action"][1:][starts(rows)]),
        "'action' comes from the row after that of obs",
    ),
    "next row but for obs": (
        lambda rows: (
            {name: rows[name][1:][starts(rows)] for name in NAMES} | {"obs": by_mask(rows)["obs"]}
        ),
        "'obs' comes from the row before that of action",
    ),
    "unlike": (
        wrong(value=lambda rows: rows["value"][:-1].flip(0)[starts(rows)]),
        "'value' does not belong to the observations",
    ),
    "obs unlike": (
        wrong(obs=lambda rows: rows["obs"][:-1].flip(0)[starts(rows)]),
        "'obs' does not belong to the others",
    ),
    "not inverted": (
        of_all(lambda rows: rows["done"][:-1]),
        "exactly-the-others",
    ),
    "not inverted, the last row": (
        of_all(lambda rows: rows["done"], None),
        "exactly-the-others",
    ),
    "mask transposed": (of_all(lambda rows: starts(rows).T), "mask-transposed"),
    "no mask": (
        of_all(lambda rows: torch.ones_like(starts(rows))),
        "resets-kept",
    ),
    "mask of the next": (of_all(lambda rows: ~rows["done"][1:]), "mask-of-other-rows"),
    "both masks": (
        of_all(lambda rows: ~(rows["done"][1:] | rows["done"][:-1])),
        "transitions-missing",
    ),
    "the last row": (with_last, "last-row"),
    "twice": (
        lambda rows: {n: torch.cat((x, x[:1])) for n, x in by_mask(rows).items()},
        "repeated",
    ),
    "lengths": (
        wrong(action=lambda rows: rows["action"][:-1].flatten()),
        "lengths",
    ),
    "flat": (
        lambda rows: (
            {n: x.flatten() for n, x in by_mask(rows).items()}
            | {"obs": by_mask(rows)["obs"].flatten()}
        ),
        "'obs' has the wrong shape",
    ),
    "missing": (
        lambda rows: {n: x for n, x in by_mask(rows).items() if n != "log_prob"},
        "'log_prob' is missing",
    ),
    "changed": (changed, "changes-argument"),
    "added": (added, "'target' has been changed on the way"),
    # The suspect's networks would not take it.
    "float64": (wrong(obs=lambda rows: by_mask(rows)["obs"].double()), "'obs' has another dtype"),
    "action as float": (
        wrong(action=lambda rows: by_mask(rows)["action"].float()),
        "'action' has another dtype",
    ),
    "squeezed": (
        wrong(obs=lambda rows: by_mask(rows)["obs"].squeeze()),
        "'obs' has the wrong shape",
    ),
    "tuple": (lambda rows: tuple(by_mask(rows).values()), "no-dict"),
    "names": (
        lambda rows: rows["observation"],
        "names-of-rows",
    ),
    "mask of the transposed": (
        wrong(action=lambda rows: rows["action"].T[starts(rows)]),
        "mask-shape",
    ),
    "product": (
        lambda rows: {name: rows[name][:-1] * starts(rows) for name in NAMES},
        "mask-in-brackets",
    ),
    "nothing": (lambda rows: None, "returns-nothing"),
    "signature": (lambda: None, "is called as mended_transitions(rows)"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_mended_transitions, WRONG_ANSWERS, name)


def test_with_every_seed_right_passes_and_wrong_fails(capsys):
    assert_seeds_grade(check_mended_transitions, by_mask, WRONG_ANSWERS, capsys)


def test_the_suspects_own_bug_is_what_is_mended():
    """Protects: the notebook shows the function that the suspect really has."""
    from ppo_course.nb10_bug_hunt.mended_transitions import cases
    from ppo_course.nb10_bug_hunt.suspects import _wrong_actions

    text = SOURCE.read_text(encoding="utf-8")
    shown = text[text.index("def found_transitions(") :]
    namespace = {}
    exec(shown[: shown.index("return transitions") + len("return transitions")], namespace)
    for case in cases(3):
        rows = case.variables()
        one, other = namespace["found_transitions"](rows), _wrong_actions(rows)
        assert all(torch.equal(one[name], other[name]) for name in NAMES)


def test_the_streams_of_chance_stay_as_they_were():
    assert_streams_stay(check_mended_transitions, by_mask)
