"""The check of `gae_by_hand`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, error_of

from ppo_bbrl.advantages import gae
from ppo_course.nb02_values.gae_by_hand import EXERCISE, check_gae_by_hand
from ppo_course.nb02_values.trajectories import cases

# ------------------------------------------------------------------------------- right answers


def by_loop(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    delta = reward + discount_factor * next_value * ~terminated - value
    advantage = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta))):
        following = delta[t] + discount_factor * gae_lambda * ~done[t] * following
        advantage[t] = following
    return advantage


def by_stack(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    delta = reward + discount_factor * next_value.masked_fill(terminated, 0) - value
    rows = [delta[-1]]
    for d, end in zip(delta[:-1].flip(0), done[:-1].flip(0), strict=True):
        rows.insert(0, d + torch.where(end, 0.0, discount_factor * gae_lambda * rows[0]))
    return torch.stack(rows)


def by_sums(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    """The sum of the paper's equation 16, cut where the episode ends."""
    delta = reward + discount_factor * torch.where(terminated, 0, next_value) - value
    n_steps, n_envs = delta.shape
    result = torch.zeros(n_steps, n_envs, dtype=torch.float64)
    for b in range(n_envs):
        for t in range(n_steps):
            for k in range(t, n_steps):
                result[t, b] += (discount_factor * gae_lambda) ** (k - t) * delta[k, b]
                if done[k, b]:
                    break
    return result


def by_returns(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    """The λ-return less the value."""
    following, rows = next_value[-1], []
    for t in reversed(range(len(reward))):
        following = torch.where(done[t], next_value[t], following)
        after = (1 - gae_lambda) * next_value[t] + gae_lambda * following
        following = reward[t] + discount_factor * after * ~terminated[t]
        rows.append(following)
    return torch.stack(rows[::-1]) - value


def by_the_package(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    return gae(
        reward=reward, value=value, next_value=next_value, terminated=terminated, done=done,
        discount_factor=discount_factor, gae_lambda=gae_lambda,
    )  # fmt: skip


RIGHT = [by_loop, by_stack, by_sums, by_returns, by_the_package]

# ------------------------------------------------------------------------------- wrong answers


def with_masks(terminal, ended):
    """A right loop that gets other masks, made from terminated and done."""

    def gae_by_hand(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
        masks = terminal(terminated, done), ended(terminated, done)
        return by_loop(reward, value, next_value, *masks, discount_factor, gae_lambda)

    return gae_by_hand


def loop(delta, decay, times=range, result=lambda advantage, value, done: advantage):
    """An answer of delta(r, V, V', γ), decay(γ, λ), the order of the rows, and the last line."""

    def gae_by_hand(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
        deltas = delta(reward, value, next_value * ~terminated, discount_factor)
        advantage, following = torch.zeros_like(deltas), torch.zeros_like(deltas[0])
        for t in times(len(deltas)):
            following = deltas[t] + decay(discount_factor, gae_lambda) * ~done[t] * following
            advantage[t] = following
        return result(advantage, value, done)

    return gae_by_hand


def delta(reward, value, next_value, discount_factor):
    return reward + discount_factor * next_value - value


def decay(discount_factor, gae_lambda):
    return discount_factor * gae_lambda


def back(n):
    return reversed(range(n))


def collected(*args):
    return by_loop(*args).flip(0)


def one_more_delta(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    advantage = reward + discount_factor * next_value * ~terminated - value
    more = discount_factor * gae_lambda * ~done[:-1] * advantage[1:]
    advantage[:-1] += more
    return advantage


def from_a_value(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    delta = reward + discount_factor * next_value * ~terminated - value
    following, rows = next_value[-1], []
    for t in reversed(range(len(delta))):
        following = delta[t] + discount_factor * gae_lambda * ~done[t] * following
        rows.append(following)
    return torch.stack(rows[::-1])


def by_later_done(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    later = torch.cat((done[1:], torch.zeros_like(done[:1])))
    return by_loop(reward, value, next_value, terminated, later, discount_factor, gae_lambda)


def one_row_early(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    """As the formulas are written, with t+1 in the places of the tensors."""
    delta = reward + discount_factor * next_value * ~terminated - value
    advantage = torch.zeros_like(delta)
    following = torch.zeros_like(delta[0])
    for t in reversed(range(len(delta) - 1)):
        following = delta[t + 1] + discount_factor * gae_lambda * ~done[t + 1] * following
        advantage[t] = following
    return advantage


def without_the_last(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    delta = reward + discount_factor * next_value * ~terminated - value
    advantage = torch.zeros_like(delta)
    for t in reversed(range(len(delta) - 1)):
        advantage[t] = delta[t] + discount_factor * gae_lambda * ~done[t] * advantage[t + 1]
    return advantage


def writes(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    reward += discount_factor * next_value * ~terminated - value
    return reward


nothing = torch.zeros_like

WRONG = {
    with_masks(lambda te, d: d, lambda te, d: d): "no-value-at-truncation",
    with_masks(lambda te, d: te, lambda te, d: te): "trace-leaks-after-truncation",
    with_masks(lambda te, d: te, lambda te, d: nothing(d)): "trace-leaks",
    with_masks(lambda te, d: nothing(d), lambda te, d: d): "value-of-terminal",
    from_a_value: "from-a-value",
    by_later_done: "cut-early",
    loop(delta, lambda y, m: m, back): "fades-by-lambda",
    loop(delta, lambda y, m: y, back): "fades-by-gamma",
    loop(delta, lambda y, m: 1, back): "no-fading",
    loop(delta, lambda y, m: 0, back): "no-trace",
    loop(delta, lambda y, m: y * (1 - m), back): "one-minus-lambda",
    loop(delta, decay): "forwards~before",
    loop(lambda r, v, w, y: r + w - v, decay, back): "delta-no-discount",
    loop(lambda r, v, w, y: r + y * w, decay, back): "delta-no-value",
    loop(lambda r, v, w, y: v - r - y * w, decay, back): "sign",
    loop(delta, decay, back, lambda a, v, d: a + v): "lambda-returns",
    loop(delta, decay, back, lambda a, v, d: a * ~d): "last-advantage-0",
    collected: "reversed",
    one_more_delta: "one-step-trace",
    with_masks(lambda te, d: te, lambda te, d: ~d): "trace-inverted",
    one_row_early: "row-early",
    without_the_last: "last-row-0",
    writes: "changes-argument",
    lambda *_: None: "returns-nothing",
    lambda *args: 1 - args[4]: "by-minus",
    lambda *args: by_loop(*args)[:-1]: "transition-missing",
    lambda *args: by_loop(*args).mean(0): "shape",
    lambda *args: list(by_loop(*args)): "not-one",
    lambda *args: by_loop(*args) + 17: "unknown",
    lambda reward, value: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_episodes_accept_and_refuse_the_same,
    test_every_known_mistake_is_named,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_gae_by_hand, EXERCISE, RIGHT, WRONG)


def test_two_mistakes_are_told_together():
    masks = with_masks(lambda te, d: nothing(d), lambda te, d: te)
    keys = error_of(check_gae_by_hand, masks).keys
    assert keys == ("value-of-terminal", "trace-leaks-after-truncation")


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_right_choice_of_every_part_is_right(seed):
    for case in cases(seed):
        constants = {"discount_factor": case.discount_factor, "gae_lambda": case.gae_lambda}
        values = [part.right for part in EXERCISE.parts]
        torch.testing.assert_close(
            EXERCISE.formula(case, values), gae(**case.aligned(), **constants)
        )
