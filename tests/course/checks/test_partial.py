"""Exercises of several parts: marks for each part that is right, and for nothing else."""

import pytest
import torch
from exchanged_lines import Solutions
from torch import nn
from torch.distributions import Independent, Normal

from ppo_bbrl import Agent, build_ortho_mlp
from ppo_bbrl.advantages import gae, lambda_returns
from ppo_course import (
    ExerciseError,
    check_critic_targets,
    check_culprits,
    check_gain_and_kl,
    check_gaussian_policy,
    check_importance,
    check_kl_estimates,
    check_predict_rows,
)
from ppo_course.mistakes import Exercise
from ppo_course.nb01_workspace import predict_rows
from ppo_course.nb10_bug_hunt.suspects import CHARGES, CULPRITS

EXERCISE = Exercise(
    "anything", ("x",), {"anything": {"praise": "fine", "wrong": ["it is", "here"]}}
)


def part(right):
    return lambda: EXERCISE.refuse(not right, "wrong")


@EXERCISE.check
def check_anything(function, *, seed=None):
    """Two parts and a whole."""
    del seed
    parts = EXERCISE.call(function, 1)
    with EXERCISE.partly(the_first=part(parts[0]), the_second=part(parts[1])):
        for right in parts:
            EXERCISE.refuse(not right, "wrong")


def share(check, answer, **kwargs):
    with pytest.raises(ExerciseError) as caught:
        check(answer, **kwargs)
    return caught.value.share


@pytest.mark.parametrize(
    ("parts", "worth"),
    [((1, 0, 1), 0.5), ((0, 1, 1), 0.5), ((0, 0, 1), 0.0), ((1, 1, 0), 0.5), ((0, 0, 0), 0.0)],
)
def test_each_right_part_is_worth_its_share_and_never_all(parts, worth):
    assert share(check_anything, lambda _: parts) == worth


def test_the_message_names_the_parts_that_are_right():
    with pytest.raises(ExerciseError, match="Right already: the second"):
        check_anything(lambda _: (0, 1, 1))


def test_nobody_else_gives_marks():
    def forges(_):
        error = ExerciseError("half of it is right")
        error.share = 0.9
        raise error

    def borrows(_):
        check_anything(lambda _: (1, 0, 1))

    assert share(check_anything, forges) == 0
    assert share(check_anything, borrows) == 0
    assert share(check_anything, lambda _: (0, 0, 0)) == 0


@pytest.mark.parametrize("n", [0, 3, 5])
def test_culprits_are_worth_their_number(n):
    names = [*CULPRITS]
    kept, turned = names[:n], names[n:]
    answer = {name: CULPRITS[name] for name in kept}
    charges = [CULPRITS[name] for name in turned]
    answer |= dict(zip(turned, charges[1:] + charges[:1], strict=True))
    assert len({*answer.values()}) == len(CHARGES)
    for seed in (None, 1):
        assert share(check_culprits, lambda: dict(answer), seed=seed) == pytest.approx(n / 7)


written = Solutions("02_value_and_gae", torch=torch, gae=gae, lambda_returns=lambda_returns).written
TERMINATED_BY_DONE = ("terminated=terminated[1:]", "terminated=done[1:]")
RESETS_KEPT = ("is_transition = ~done[:-1]", "is_transition = torch.ones_like(done[:-1])")


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_one_of_two_bugs_mended_is_worth_half(seed):
    for bugs, worth in (
        ([TERMINATED_BY_DONE], 0.5),
        ([RESETS_KEPT], 0.5),
        ([TERMINATED_BY_DONE, RESETS_KEPT], 0),
    ):
        assert share(check_critic_targets, written(*bugs).critic_targets, seed=seed) == worth


class DistAlone(Agent):
    """Its `dist` is right; nothing else is written."""

    def __init__(self, state_dim, hidden_size, n_actions, name="policy"):
        super().__init__(name)
        self.model = build_ortho_mlp([state_dim, *hidden_size, n_actions], activation=nn.Tanh())
        self.log_std = nn.Parameter(torch.zeros(n_actions))

    def dist(self, obs):
        return Independent(Normal(self.model(obs), self.log_std.exp()), 1)

    def forward(self, t, **kwargs):
        raise AssertionError("Not implemented yet")


class ActsToo(DistAlone):
    def forward(self, t, *, stochastic=True, **kwargs):
        dist = self.dist(self.get(("env/env_obs", t)))
        self.set(("action", t), dist.sample() if stochastic else dist.mean.detach())


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize(("policy", "worth"), [(DistAlone, 0.25), (ActsToo, 0.5)])
def test_a_policy_is_worth_its_methods(policy, worth, seed):
    assert share(check_gaussian_policy, policy, seed=seed) == worth


def test_columns_of_predicted_rows_count():
    def never_truncated(actions, height, time_limit):
        rows = predict_rows.rows(predict_rows.Case(actions, height, time_limit))
        return [row._replace(truncated=False) for row in rows]

    assert share(check_predict_rows, never_truncated) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("check", "answer", "right"),
    [
        (check_importance, lambda new, old, r: (((new - old).exp() * r).mean(), 1), "the estimate"),
        (check_gain_and_kl, lambda _o, n, v, a: ((v * (n * a).sum(-1)).sum(), 1), "the gain"),
        (check_kl_estimates, lambda new, ref: (new - ref, new), "k1"),
    ],
)
def test_one_of_two_results_is_worth_a_half(check, answer, right):
    with pytest.raises(ExerciseError, match=f"Right already: {right}") as caught:
        check(answer)
    assert caught.value.share == 0.5
