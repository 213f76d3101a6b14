"""The check of `td_error`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of

from ppo_bbrl.advantages import gae
from ppo_course.nb02_values.td_error import EXERCISE, check_td_error
from ppo_course.nb02_values.trajectories import cases


def read(workspace):
    return workspace["env/reward", "critic/v_values", "env/terminated", "env/done"]


# ------------------------------------------------------------------------------- right answers


def by_masked_fill(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    next_value = value[1:].masked_fill(terminated[1:], 0)
    return reward[1:] + discount_factor * next_value - value[:-1]


def by_product(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    target = reward[1:] + discount_factor * (1 - terminated[1:].float()) * value[1:]
    return target - value[:-1]


def by_rows(workspace, discount_factor):
    rows = []
    for t in range(workspace.time_size() - 1):
        target = workspace.get("env/reward", t + 1)
        goes_on = ~workspace.get("env/terminated", t + 1)
        target[goes_on] += discount_factor * workspace.get("critic/v_values", t + 1)[goes_on]
        rows.append(target - workspace.get("critic/v_values", t))
    return torch.stack(rows)


def by_numbers(workspace, discount_factor):
    reward, value, terminated, _ = (tensor.tolist() for tensor in read(workspace))
    return torch.tensor(
        [
            [
                r + (0 if end else discount_factor * after) - before
                for r, end, after, before in zip(*columns, strict=True)
            ]
            for columns in zip(reward[1:], terminated[1:], value[1:], value[:-1], strict=True)
        ],
        dtype=torch.float64,
    )


RIGHT = [by_masked_fill, by_product, by_rows, by_numbers]

# ------------------------------------------------------------------------------- wrong answers


def without_mask(workspace, discount_factor):
    reward, value, _, _ = read(workspace)
    return reward[1:] + discount_factor * value[1:] - value[:-1]


def masked_by_done(workspace, discount_factor):
    reward, value, _, done = read(workspace)
    return reward[1:] + discount_factor * value[1:] * ~done[1:] - value[:-1]


def mask_turned_round(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    return reward[1:] + discount_factor * value[1:] * terminated[1:] - value[:-1]


def reward_of_the_row(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    return reward[:-1] + discount_factor * value[1:] * ~terminated[1:] - value[:-1]


def mask_of_the_row(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    return reward[1:] + discount_factor * value[1:] * ~terminated[:-1] - value[:-1]


def without_discount(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    return reward[1:] + value[1:] * ~terminated[1:] - value[:-1]


def bracket(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    return reward[1:] + discount_factor * (value[1:] * ~terminated[1:] - value[:-1])


def target_alone(workspace, discount_factor):
    reward, value, terminated, _ = read(workspace)
    return reward[1:] + discount_factor * value[1:] * ~terminated[1:]


def masked_altogether(workspace, discount_factor):
    return by_product(workspace, discount_factor) * ~workspace["env/terminated"][1:]


def sign(workspace, discount_factor):
    return -by_product(workspace, discount_factor)


def bool_subtraction(workspace, discount_factor):
    return (1 - workspace["env/terminated"])[1:]


def all_rows(workspace, discount_factor):
    reward, value, _, _ = read(workspace)
    return reward + discount_factor * value


def other_sizes(workspace, discount_factor):
    reward, value, _, _ = read(workspace)
    return reward + discount_factor * value[1:] - value[:-1]


def overwrites(workspace, discount_factor):
    result = by_masked_fill(workspace, discount_factor)
    workspace.set_full("env/reward", 0 * workspace["env/reward"])
    return result


WRONG = {
    overwrites: "sets-variable",
    without_mask: "value-of-terminal",
    masked_by_done: "no-value-at-truncation",
    mask_turned_round: "mask-inverted",
    reward_of_the_row: "reward-of-row-before",
    mask_of_the_row: "value-of-terminal",
    without_discount: "no-discount",
    bracket: "value-discounted",
    target_alone: "value-not-subtracted",
    masked_altogether: "last-error-0",
    sign: "sign",
    bool_subtraction: "by-minus",
    all_rows: "row-each",
    other_sizes: "sizes",
    lambda workspace, discount_factor: None: "returns-nothing",
    lambda workspace, discount_factor: by_product(workspace, discount_factor).T: "transposed",
    lambda workspace, discount_factor: by_product(workspace, discount_factor).mean(): "shape",
    lambda workspace, discount_factor: by_product(workspace, discount_factor).numpy(): "no-tensor",
    lambda workspace, discount_factor: list(by_product(workspace, discount_factor)): "not-one",
    lambda workspace, discount_factor: by_product(workspace, discount_factor) / 0: "not-finite",
    lambda workspace, discount_factor: by_product(workspace, discount_factor) + 17: "unknown",
    lambda workspace, discount_factor: workspace["critic/values"]: "names",
    lambda workspace: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_episodes_accept_and_refuse_the_same,
    test_every_known_mistake_is_named,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_td_error, EXERCISE, RIGHT, WRONG)


def test_two_mistakes_are_told_together():
    def two(workspace, discount_factor):
        reward, value, _, done = read(workspace)
        return reward[1:] + value[1:] * ~done[1:] - value[:-1]

    error = error_of(check_td_error, two)
    assert error.keys == ("no-value-at-truncation", "no-discount")
    assert "2 things" in str(error)


def test_the_message_shows_an_environment_to_follow_by_hand():
    lines = [line.split() for line in complaint(check_td_error, masked_by_done).splitlines()]
    assert lines[1][-3:] == ["γ", "=", "0.5:"]
    assert lines[2:10] == [
        ["t", "0", "1", "2", "3", "4"],
        ["reward", "3", "1", "0", "2", "4"],
        ["value", "2", "7", "6", "3", "9"],
        ["next", "value", "7", "6", "3", "9", "4"],
        ["terminated", "no", "no", "no", "no", "no"],
        ["done", "no", "yes", "no", "no", "no"],
        ["expected", "4.5", "-3", "·", "3.5", "-3"],
        ["seen", "4.5", "-6", "·", "3.5", "-3"],
    ]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_right_choice_of_every_part_is_right(seed):
    for case in cases(seed):
        right = gae(**case.aligned(), discount_factor=case.discount_factor, gae_lambda=0.0)
        values = [part.right for part in EXERCISE.parts]
        torch.testing.assert_close(EXERCISE.formula(case, values), right)
