"""The check of `lambda_return`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_course.nb02_values.lambda_return import EXERCISE, check_lambda_return
from ppo_course.nb02_values.trajectories import cases

# ------------------------------------------------------------------------------- right answers


def by_where(reward, next_value, terminated, done, discount_factor, gae_lambda):
    following, rows = next_value[-1], []
    for t in reversed(range(len(reward))):
        following = torch.where(done[t], next_value[t], following)
        after = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        following = reward[t] + discount_factor * after.masked_fill(terminated[t], 0)
        rows.append(following)
    return torch.stack(rows[::-1])


def in_place(reward, next_value, terminated, done, discount_factor, gae_lambda):
    result = torch.zeros_like(reward)
    result[-1] = reward[-1] + discount_factor * next_value[-1] * ~terminated[-1]
    for t in range(len(reward) - 2, -1, -1):
        one_step = next_value[t] * ~terminated[t]
        more = (1 - gae_lambda) * next_value[t] + gae_lambda * result[t + 1]
        result[t] = reward[t] + discount_factor * torch.where(done[t], one_step, more)
    return result


def by_numbers(reward, next_value, terminated, done, discount_factor, gae_lambda):
    n_steps, n_envs = reward.shape
    result = [[0.0] * n_envs for _ in range(n_steps)]
    for b in range(n_envs):
        for t in reversed(range(n_steps)):
            value = next_value[t, b].item()
            if terminated[t, b]:
                after = 0.0
            elif done[t, b] or t == n_steps - 1:
                after = value
            else:
                after = (1 - gae_lambda) * value + gae_lambda * result[t + 1][b]
            result[t][b] = reward[t, b].item() + discount_factor * after
    return torch.tensor(result)


def by_n_steps(reward, next_value, terminated, done, discount_factor, gae_lambda):
    """The definition: the n-step returns, weighted; the last gets the rest of the weight."""
    n_steps, n_envs = reward.shape
    result = torch.zeros(n_steps, n_envs)
    for b in range(n_envs):
        for t in range(n_steps):
            rewards, weight = 0.0, 1.0
            for k in range(t, n_steps):
                rewards += discount_factor ** (k - t) * reward[k, b]
                bootstrap = 0.0 if terminated[k, b] else next_value[k, b]
                n_step_return = rewards + discount_factor ** (k - t + 1) * bootstrap
                if done[k, b] or k == n_steps - 1:
                    result[t, b] += weight * n_step_return
                    break
                result[t, b] += weight * (1 - gae_lambda) * n_step_return
                weight *= gae_lambda
    return result


RIGHT = [by_where, in_place, by_numbers, by_n_steps]

# ------------------------------------------------------------------------------- wrong answers


def loop(step, start=lambda next_value: next_value[-1]):
    """An answer whose row t is step(r, V', G_{t+1}, terminated, done, γ, λ)."""

    def lambda_return(reward, next_value, terminated, done, discount_factor, gae_lambda):
        following, rows = start(next_value), []
        for t in reversed(range(len(reward))):
            following = step(
                reward[t], next_value[t], following, terminated[t].float(), done[t].float(),
                discount_factor, gae_lambda,
            )  # fmt: skip
            rows.append(following)
        return torch.stack(rows[::-1])

    return lambda_return


def cut(value, following, done):
    return done * value + (1 - done) * following


def writes(reward, next_value, terminated, done, discount_factor, gae_lambda):
    next_value[terminated] = 0
    return by_where(reward, next_value, terminated, done, discount_factor, gae_lambda)


def last_row_beforehand(reward, next_value, terminated, done, discount_factor, gae_lambda):
    returns = torch.zeros_like(reward)
    returns[-1] = reward[-1] + discount_factor * next_value[-1]
    for t in reversed(range(len(reward) - 1)):
        following = torch.where(done[t], next_value[t], returns[t + 1])
        after = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        returns[t] = reward[t] + discount_factor * after * ~terminated[t]
    return returns


def one_row_early(reward, next_value, terminated, done, discount_factor, gae_lambda):
    """As the formula is written, with t+1 in the places of the tensors."""
    returns, following = torch.zeros_like(reward), next_value[-1]
    for t in reversed(range(len(reward) - 1)):
        following = torch.where(done[t + 1], next_value[t + 1], following)
        after = (1 - gae_lambda) * next_value[t + 1] + gae_lambda * following
        following = reward[t + 1] + discount_factor * after * ~terminated[t + 1]
        returns[t] = following
    return returns


def last_row_left(reward, next_value, terminated, done, discount_factor, gae_lambda):
    returns = torch.zeros_like(reward)
    for t in reversed(range(len(reward) - 1)):
        following = torch.where(done[t], next_value[t], returns[t + 1])
        after = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        returns[t] = reward[t] + discount_factor * after * ~terminated[t]
    return returns


def beyond(reward, next_value, terminated, done, discount_factor, gae_lambda):
    return reward[len(reward)]


WRONG = {
    loop(
        lambda r, v, g, te, d, y, m: r + y * (1 - d) * ((1 - m) * v + m * g)
    ): "no-value-at-truncation",
    loop(
        lambda r, v, g, te, d, y, m: r + y * (1 - te) * ((1 - m) * v + m * g)
    ): "leak-after-truncation",
    loop(
        lambda r, v, g, te, d, y, m: r + y * ((1 - m) * v + m * cut(v, g, d))
    ): "value-of-terminal",
    loop(
        lambda r, v, g, te, d, y, m: r + y * (1 - te) * (m * v + (1 - m) * cut(v, g, d))
    ): "weights-exchanged",
    loop(
        lambda r, v, g, te, d, y, m: r + y * (1 - te) * (v + m * (1 - d) * g), lambda v: 0 * v[-1]
    ): ("full-value"),
    loop(lambda r, v, g, te, d, y, m: r + y * (1 - te) * cut(v, g, d)): "episode-return",
    loop(lambda r, v, g, te, d, y, m: r + y * (1 - te) * v): "one-step-target",
    loop(
        lambda r, v, g, te, d, y, m: r + y * ((1 - te) * (1 - m) * v + (1 - d) * m * g)
    ): "weight-after-truncation",
    loop(
        lambda r, v, g, te, d, y, m: r + y * (1 - te) * ((1 - m) * v + m * cut(v, g, d)),
        lambda v: 0 * v[-1],
    ): "weight-in-last-row",
    loop(
        lambda r, v, g, te, d, y, m: r + y * ((1 - te) * (1 - m) * v + (1 - d) * m * g),
        lambda v: 0 * v[-1],
    ): "weight-at-ends",
    loop(
        lambda r, v, g, te, d, y, m: r + (1 - te) * ((1 - m) * v + m * cut(v, g, d))
    ): "no-discount",
    loop(
        lambda r, v, g, te, d, y, m: y * (r + (1 - te) * ((1 - m) * v + m * cut(v, g, d)))
    ): "reward-discounted",
    loop(
        lambda r, v, g, te, d, y, m: r + y * (1 - te) * ((1 - m) * v + m * cut(v, g, 1 - d))
    ): "done-inverted",
    one_row_early: "row-early",
    last_row_left: "last-row-0",
    last_row_beforehand: "last-row-not-masked",
    lambda *args: by_where(*args).flip(0): "reversed",
    lambda *args: by_where(*args) if args[3][0] else 0: "one-truth-value",
    writes: "changes-argument",
    beyond: "no-following",
    lambda *_: None: "returns-nothing",
    lambda *args: 1 - args[3]: "by-minus",
    lambda *args: by_where(*args) + 17: "unknown",
    lambda reward, next_value: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_episodes_accept_and_refuse_the_same,
    test_every_known_mistake_is_named,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_lambda_return, EXERCISE, RIGHT, WRONG)


def test_the_table_holds_the_arguments_and_no_more():
    table = complaint(check_lambda_return, lambda *args: by_where(*args) + 17)
    assert "    next value" in table
    assert "    value" not in table


def test_two_mistakes_are_told_together():
    function = loop(lambda r, v, g, te, d, y, m: r + (1 - d) * ((1 - m) * v + m * g))
    keys = error_of(check_lambda_return, function).keys
    assert keys == ("no-value-at-truncation", "no-discount")


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_right_choice_of_every_part_is_right(seed):
    for case in cases(seed):
        given = case.aligned()
        constants = {"discount_factor": case.discount_factor, "gae_lambda": case.gae_lambda}
        right = lambda_returns(advantage=gae(**given, **constants), value=given["value"])
        values = [part.right for part in EXERCISE.parts]
        torch.testing.assert_close(EXERCISE.formula(case, values)[case.valid], right[case.valid])
