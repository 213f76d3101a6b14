"""The check of `critic_targets`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, error_of
from seeds import SEEDS

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_course.nb02_values.critic_targets import EXERCISE, check_critic_targets

NAMES = "env/env_obs", "env/reward", "critic/v_values", "env/terminated", "env/done"


def answer(
    terminal=lambda te, d: te,
    ended=lambda te, d: d,
    rows=lambda d: ~d[:-1],
    next_value=lambda v, d: v[1:],
    result=lambda target, value: target,
):
    """A student's function with other masks, rows, next values, or another last line."""

    def critic_targets(workspace, discount_factor, gae_lambda):
        observation, reward, value, terminated, done = workspace[NAMES]
        advantage = gae(
            reward=reward[1:],
            value=value[:-1],
            next_value=next_value(value, done),
            terminated=terminal(terminated[1:], done[1:]),
            done=ended(terminated[1:], done[1:]),
            discount_factor=discount_factor,
            gae_lambda=gae_lambda,
        )
        target = result(lambda_returns(advantage=advantage, value=value[:-1]), value[:-1])
        mask = rows(done)
        return observation[:-1][mask], target[mask]

    return critic_targets


right_answer = answer()


def by_environment(workspace, discount_factor, gae_lambda):
    """Environment after environment, another order of the transitions; the loop is written out."""
    observation, reward, value, terminated, done = workspace[NAMES]
    starts, found = [], []
    for b in range(reward.shape[1]):
        following = value[-1, b]
        for t in reversed(range(len(reward) - 1)):
            if done[t + 1, b]:
                following = value[t + 1, b]
            after = (1 - gae_lambda) * value[t + 1, b] + gae_lambda * following
            if terminated[t + 1, b]:
                after = torch.tensor(0.0)
            following = reward[t + 1, b] + discount_factor * after
            if not done[t, b]:
                starts.append(observation[t, b])
                found.append(following)
    return torch.stack(starts), torch.stack(found)


def by_transitions(workspace, discount_factor, gae_lambda):
    """With the workspace's own get_transitions()."""
    _, reward, value, terminated, done = workspace[NAMES]
    advantage = gae(
        reward=reward[1:], value=value[:-1], next_value=value[1:],
        terminated=terminated[1:], done=done[1:],
        discount_factor=discount_factor, gae_lambda=gae_lambda,
    )  # fmt: skip
    target = lambda_returns(advantage=advantage, value=value[:-1])
    workspace.set_full("target", torch.cat((target, torch.zeros_like(target[:1]))))
    transitions = workspace.get_transitions()
    return transitions.get("env/env_obs", 0), transitions.get("target", 0)


def flags_of_the_row(workspace, discount_factor, gae_lambda):
    """`done` is cut as the values are, [:-1]."""
    done = workspace["env/done"]
    return answer(ended=lambda _te, _d: done[:-1])(workspace, discount_factor, gae_lambda)


def by_terminated(workspace, discount_factor, gae_lambda):
    terminated = workspace["env/terminated"]
    return answer(rows=lambda _done: ~terminated[:-1])(workspace, discount_factor, gae_lambda)


def of_the_row_after(workspace, discount_factor, gae_lambda):
    observation, done = workspace["env/env_obs", "env/done"]
    _, target = right_answer(workspace, discount_factor, gae_lambda)
    return observation[1:][~done[:-1]], target


def by_the_transitions_alone(workspace, discount_factor, gae_lambda):
    """get_transitions() first, and `gae` on what it puts side by side."""
    t = workspace.get_transitions()
    advantage = gae(
        reward=t.get("env/reward", 1), value=t.get("critic/v_values", 0),
        next_value=t.get("critic/v_values", 1), terminated=t.get("env/terminated", 1),
        done=t.get("env/done", 1), discount_factor=discount_factor, gae_lambda=gae_lambda,
    )  # fmt: skip
    value = t.get("critic/v_values", 0)
    return t.get("env/env_obs", 0), lambda_returns(advantage=advantage, value=value)


def as_floats(workspace, discount_factor, gae_lambda):
    observations, target = right_answer(workspace, discount_factor, gae_lambda)
    return observations.float(), target.double()


RIGHT = [right_answer, by_environment, by_transitions, as_floats]


def of_the_reset(value, done):
    after = torch.cat((value[2:], value[-1:]))
    return torch.where(done[1:], after, value[1:])


def changed(change):
    """The right answer, its two results changed."""

    def critic_targets(workspace, discount_factor, gae_lambda):
        return change(*right_answer(workspace, discount_factor, gae_lambda))

    return critic_targets


def twice(observations, target):
    return torch.cat((observations, observations)), torch.cat((target, target))


WRONG = {
    answer(terminal=lambda te, d: d): "no-value-at-truncation",
    answer(ended=lambda te, d: te): "leak-after-truncation",
    answer(terminal=lambda te, d: torch.zeros_like(te)): "value-of-terminal",
    answer(ended=lambda te, d: torch.zeros_like(d)): "leak",
    answer(rows=lambda d: torch.ones_like(d[1:])): "resets-kept",
    answer(rows=lambda d: ~d[1:]): "by-done-of-next",
    answer(rows=lambda d: ~d[1:] & ~d[:-1]): "no-last-transition",
    answer(next_value=of_the_reset): "value-after-reset",
    answer(result=lambda target, value: target - value): "advantages",
    by_terminated: "truncations-kept",
    flags_of_the_row: "done-row-off",
    of_the_row_after: "observation-after",
    by_the_transitions_alone: "one-behind-the-other",
    changed(twice): "repeated",
    changed(lambda o, t: (t, o)): "exchanged",
    changed(lambda o, t: t): "not-two",
    changed(lambda o, t: None): "returns-nothing",
    changed(lambda o, t: (o[:-1], t)): "not-one-row",
    changed(lambda o, t: (list(o), t)): "no-tensors",
    changed(lambda o, t: (o, t / 0)): "not-finite",
    changed(lambda o, t: (o, t + 17)): "unknown",
    lambda workspace, discount_factor: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_episodes_accept_and_refuse_the_same,
    test_every_known_mistake_is_named,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_critic_targets, EXERCISE, RIGHT, WRONG)


def as_it_was(workspace, discount_factor, gae_lambda):
    """The function that the notebook asks to mend."""
    wrong = answer(terminal=lambda te, d: d, rows=lambda d: torch.ones_like(d[1:]))
    return wrong(workspace, discount_factor, gae_lambda)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_both_mistakes_of_the_function_to_mend_are_told(seed):
    keys = error_of(check_critic_targets, as_it_was, seed=seed).keys
    assert keys == ("no-value-at-truncation", "resets-kept")
