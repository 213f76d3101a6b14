"""The second half of `check_gaussian_policy`: what the agent writes of actions that are there."""

import torch
from torch import Tensor

from ppo_course.feedback import ExerciseError, not_right, numbers, same
from ppo_course.nb05_continuous.gaussian_policy_cases import (
    NAME,
    ROW,
    AgentUnderTest,
    Case,
    no_more_than,
    read,
)


def check_judging(agent: AgentUnderTest, case: Case) -> None:
    """The log-probability of the action that is there, with its gradient."""
    workspace = case.workspace(judged=True)
    agent.forward(workspace, stochastic=True, predict_proba=True)
    if not torch.equal(workspace.get_full("action"), case.actions):
        raise not_right(
            NAME,
            "with predict_proba=True it takes new actions",
            "it reads the action in row t and leaves it: acting belongs in the `else`",
        )
    name = f"{case.prefix}logprob_predict"
    n = len(case.actions[ROW])
    log_prob = read(workspace, case, name, [n], "predict_proba=True")
    expected = agent.log_densities(case.observations[ROW], case.actions[ROW]).sum(-1)
    no_more_than(workspace, case, name, told="predict_proba=True, compute_entropy=False")
    if not same(log_prob, expected):
        raise _wrong_log_prob(agent, case, log_prob, expected)
    _check_gradient(agent, log_prob, expected, name)


def _wrong_log_prob(
    agent: AgentUnderTest, case: Case, log_prob: Tensor, expected: Tensor
) -> ExerciseError:
    observations, actions = case.observations[ROW], case.actions[ROW]
    facts = (f"  seen      {numbers(log_prob)}", f"  expected  {numbers(expected)}")
    for value, wrong, look in (
        (
            agent.log_densities(observations, agent.mean(observations)).sum(-1),
            "with predict_proba=True it judges the mean, not the action in the workspace",
            'self.get(("action", t))',
        ),
        (
            agent.log_densities(observations, actions).mean(-1),
            "the mean over the components is taken, not the sum",
            "the log-probabilities of the components add",
        ),
        (
            expected.exp(),
            "it writes the density, not its logarithm",
            "dist.log_prob(action) is the logarithm already",
        ),
        (-expected, "the sign of the log-probability is turned round", "log π, no minus"),
        (
            agent.log_densities(case.observations[0], case.actions[0]).sum(-1),
            "with predict_proba=True it looks at row 0, not at row t",
            'self.get(("env/env_obs", t)) and self.get(("action", t))',
        ),
    ):
        if same(log_prob, value):
            return not_right(NAME, wrong, look, *facts)
    look = "dist.log_prob of the action in row t"
    return not_right(NAME, "the log-probabilities that it writes are wrong", look, *facts)


def check_entropy(agent: AgentUnderTest, case: Case) -> None:
    """The entropy, whether it acts or judges."""
    name, n = f"{case.prefix}entropy", len(case.actions[ROW])
    for predict_proba in (True, False):
        told = f"compute_entropy=True, predict_proba={predict_proba}"
        workspace = case.workspace(judged=True)
        agent.forward(workspace, stochastic=True, predict_proba=predict_proba, compute_entropy=True)
        entropy = read(workspace, case, name, [n], told)
        if not predict_proba:
            no_more_than(workspace, case, "action", name, told=told)
        expected = agent.entropies(case.observations[ROW]).sum(-1)
        if not same(entropy, expected):
            raise not_right(
                NAME,
                "the entropy that it writes is wrong",
                "dist.entropy() of the distribution with one event for each action",
                f"  seen      {numbers(entropy)}",
                f"  expected  {numbers(expected)}",
            )
        _check_gradient(agent, entropy, expected, name)


def _check_gradient(agent: AgentUnderTest, seen: Tensor, expected: Tensor, name: str) -> None:
    """See that what was written carries the gradient to the weights, as the formula does."""
    weights = dict(agent.policy.named_parameters())
    factor = torch.linspace(0.5, 1.5, len(seen))

    def gradients(result: Tensor) -> list[Tensor | None]:
        if not result.requires_grad:
            return [None] * len(weights)
        total = (factor * result).sum()
        return list(torch.autograd.grad(total, list(weights.values()), allow_unused=True))

    for key, right, found in zip(weights, gradients(expected), gradients(seen), strict=True):
        needed = right is not None and bool(right.any())
        if needed and (found is None or not found.any()):
            raise not_right(
                NAME,
                f"no gradient goes from `{name}` to {key}",
                "no .detach(), .data, .item() or torch.no_grad() on the way: PPO learns from it",
            )
        if needed and found is not None and right is not None and not same(found, right):
            raise not_right(
                NAME,
                f"the gradient from `{name}` to {key} is not right",
                "some part of the formula is detached",
            )
