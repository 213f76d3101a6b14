"""The check of notebook 05's last exercise: a Gaussian policy as an agent."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppo_course.feedback import describe, numbers, same
from ppo_course.formulas import first_fit
from ppo_course.gradients import check_gradients, gradients
from ppo_course.mistakes import StudentCode
from ppo_course.nb05_continuous.agent_under_test import (
    EXERCISE,
    ROW,
    AgentUnderTest,
    Case,
    cases,
    no_more_than,
    read,
)
from ppo_course.workspaces import RecordingWorkspace

MANY = 10_000  # actions, to see how they spread
TOLERANCE = 0.08  # of a mean or a standard deviation of so many: eight standard errors
# Of the fourth moment, 3 for a Gaussian: 1.8 for uniform noise, 6 for Laplace's. Of so many it errs
# by 0.05, so that a Gaussian misses neither bound in 10^9 tries.
TAILS = (2.4, 4.5)


@torch.enable_grad()
@EXERCISE.check
def check_gaussian_policy(policy_class: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's agent `GaussianPolicy(state_dim, hidden_size, n_actions)`.

    It has a network `model` for the mean and a parameter `log_std`, `[D]`. `dist(obs)` gives
    π(·|s), with batch shape `[B]` and event shape `[D]`; `forward` acts, or judges the action that
    is there, as the other policies of the course do.
    """
    drawn = cases(seed)

    def see(*checks: Callable[[AgentUnderTest, Case], None]) -> None:
        for case in drawn:
            torch.manual_seed(case.weights_seed)
            agent = AgentUnderTest(policy_class, case)
            for check in checks:
                check(agent, case)

    acting = _check_acting, _check_spread, _check_greedy
    with EXERCISE.partly(
        dist=lambda: see(_check_dist),
        acting=lambda: see(*acting),
        judging=lambda: see(_check_judging),
        the_entropy=lambda: see(_check_entropy),
    ):
        see(_check_dist, *acting, _check_judging, _check_entropy)
        see(_check_extreme)


def _check_dist(agent: AgentUnderTest, case: Case) -> None:
    observations = case.observations[ROW]
    n, d = case.actions[ROW].shape
    dist = agent.dist(observations)
    if dist is None:
        raise EXERCISE.error("dist-returns-nothing")
    if not isinstance(dist, Distribution):
        raise EXERCISE.error("no-distribution", seen=describe(dist))
    shapes = list(dist.batch_shape), list(dist.event_shape)
    if shapes != ([n], [d]):
        known = {"separate-components": ([n, d], []), "one-event": ([], [n, d])}
        key = first_fit(known, shapes.__eq__, "dist-shapes")
        seen = "batch shape {}, event shape {}".format(*shapes)
        raise EXERCISE.error(key, seen=seen, expected=f"batch shape [{n}], event shape [{d}]")
    EXERCISE.refuse(not same(dist.mean, agent.mean(observations)), "dist-mean")
    std, right = dist.stddev, case.log_std.exp()
    if not same(std, right.expand(n, d)):
        key = _wrong_std(std.detach().mean(0), case.log_std, 1e-4)
        raise EXERCISE.error(key, seen=numbers(std[0]), expected=numbers(right), where="")


def _check_extreme(agent: AgentUnderTest, case: Case) -> None:
    """σ is exp(log_std) wherever training takes it, in `dist` and in what `forward` writes."""
    with torch.no_grad():
        agent.policy.log_std.copy_(torch.where(torch.arange(len(case.log_std)) % 2 == 0, -25, 24))
    observations = case.observations
    std, right = agent.dist(observations[ROW]).stddev, agent.policy.log_std.exp().detach()
    told = {"seen": f"σ = {std[0].tolist()}", "expected": f"σ = {right.tolist()}"}
    EXERCISE.refuse(not same(std / right, torch.ones_like(std)), "std-limited", **told)
    workspace = case._replace(actions=agent.mean(observations)).workspace(judged=True)
    agent.forward(workspace, predict_proba=True, compute_entropy=True)
    actions = workspace.get("action", ROW)
    for bare, each in (
        ("logprob_predict", agent.log_densities(observations[ROW], actions)),
        ("entropy", agent.entropies(observations[ROW])),
    ):
        value, wanted = workspace.get(f"{case.prefix}{bare}", ROW), each.sum(-1)
        told = {"seen": numbers(value), "expected": numbers(wanted)}
        EXERCISE.refuse(not same(value, wanted), "std-limited", **told)


def _wrong_std(std: Tensor, log_std: Tensor, tolerance: float) -> str:
    """The key of what is wrong with standard deviations, `[D]`."""
    known = {
        "variance": (2 * log_std).exp(),
        "root-of-std": (log_std / 2).exp(),
        "log-std-as-std": log_std.abs(),
        "std-of-1": torch.ones_like(log_std),
    }
    return first_fit(known, lambda wrong: torch.allclose(std, wrong, tolerance, 0), "wrong-std")


def _check_acting(agent: AgentUnderTest, case: Case) -> None:
    """An action in row t, of the right shape, without gradient."""
    mean = agent.mean(case.observations[ROW])
    workspace = case.workspace()
    agent.forward(workspace, stochastic=True)
    action = read(workspace, case, "action", list(case.actions[ROW].shape), "it acts")
    EXERCISE.refuse(same(action, mean), "mean-for-sample")
    EXERCISE.refuse(action.requires_grad, "sample-with-gradient")
    no_more_than(workspace, case, "action", told="it acts, and compute_entropy is False")
    again = case.workspace()
    agent.forward(again)
    EXERCISE.refuse(same(again.get("action", ROW), mean), "mean-when-not-told")
    EXERCISE.refuse(same(action, again.get("action", ROW)), "same-noise-again")


def _check_spread(agent: AgentUnderTest, case: Case) -> None:
    """Whether the sampled actions have the right distribution, from many of them."""
    torch.manual_seed(case.weights_seed)
    rows = case.observations[:, :1].expand(-1, MANY, -1)
    workspace = RecordingWorkspace({"env/env_obs": rows})
    agent.forward(workspace, stochastic=True)
    action, mean, std = workspace.get("action", ROW), agent.mean(rows), case.log_std.exp()
    noise = (action - mean[ROW]) / std
    EXERCISE.refuse((noise.std(0) < 1e-4).any(), "same-noise-in-row")
    EXERCISE.refuse(noise.shape[1] > 1 and same(noise[:, 0], noise[:, 1]), "same-noise-in-action")
    if any((action == bound).sum() > 1 for bound in (action.max(), action.min())):
        raise EXERCISE.error("clipped")
    spread = action.std(0)
    if not torch.allclose(noise.std(0), torch.ones(1), atol=TOLERANCE):
        seen = f"{numbers(spread)}  (of {MANY} actions in one state)"
        key = _wrong_std(spread, case.log_std, TOLERANCE)
        key = "wrong-spread" if key == "wrong-std" else key
        where = "of the actions that it samples, "
        raise EXERCISE.error(key, seen=seen, expected=numbers(std), where=where)
    if (noise.mean(0).abs() > TOLERANCE).any():
        others = (((action - mean[t]) / std).mean(0).abs() for t in range(len(rows)) if t != ROW)
        elsewhere = any((mean_noise <= TOLERANCE).all() for mean_noise in others)
        raise EXERCISE.error("another-row" if elsewhere else "mean-of-samples")
    fourth = (((noise - noise.mean(0)) / noise.std(0)) ** 4).mean(0)
    if (fourth < TAILS[0]).any() or (fourth > TAILS[1]).any():
        seen = f"a fourth moment of {numbers(fourth)}, in units of σ⁴"
        raise EXERCISE.error("not-gaussian", seen=seen, expected="about 3 for each component")


def _check_greedy(agent: AgentUnderTest, case: Case) -> None:
    workspace = case.workspace()
    agent.forward(workspace, stochastic=False)
    shape = list(case.actions[ROW].shape)
    action = read(workspace, case, "action", shape, "it acts with stochastic=False")
    mean = agent.mean(case.observations[ROW])
    if not same(action, mean):
        raise EXERCISE.error("greedy-not-mean", seen=numbers(action[0]), expected=numbers(mean[0]))
    EXERCISE.refuse(action.requires_grad, "greedy-with-gradient")


def _check_judging(agent: AgentUnderTest, case: Case) -> None:
    """The log-probability of the action that is there, with its gradient."""
    workspace = case.workspace(judged=True)
    agent.forward(workspace, stochastic=True, predict_proba=True)
    EXERCISE.refuse(not torch.equal(workspace.get_full("action"), case.actions), "new-actions")
    name = f"{case.prefix}logprob_predict"
    observations, actions = case.observations[ROW], case.actions[ROW]
    log_prob = read(workspace, case, name, [len(actions)], "predict_proba=True")
    each = agent.log_densities(observations, actions)
    right = each.sum(-1)
    no_more_than(workspace, case, name, told="predict_proba=True, compute_entropy=False")
    if not same(log_prob, right):
        known = {
            "judges-mean": agent.log_densities(observations, agent.mean(observations)).sum(-1),
            "mean-over-components": each.mean(-1),
            "density": right.exp(),
            "log-prob-sign": -right,
            "judges-row-0": agent.log_densities(case.observations[0], case.actions[0]).sum(-1),
        }
        key = first_fit(known, partial(same, log_prob), "log-prob")
        raise EXERCISE.error(key, seen=numbers(log_prob), expected=numbers(right))
    _check_gradients(agent, log_prob, right, name)


def _check_entropy(agent: AgentUnderTest, case: Case) -> None:
    """The entropy, whether it acts or judges."""
    name, n = f"{case.prefix}entropy", len(case.actions[ROW])
    for predict_proba in (True, False):
        told = f"compute_entropy=True, predict_proba={predict_proba}"
        workspace = case.workspace(judged=True)
        agent.forward(workspace, stochastic=True, predict_proba=predict_proba, compute_entropy=True)
        entropy = read(workspace, case, name, [n], told)
        if not predict_proba:
            no_more_than(workspace, case, "action", name, told=told)
        right = agent.entropies(case.observations[ROW]).sum(-1)
        if not same(entropy, right):
            raise EXERCISE.error("entropy", seen=numbers(entropy), expected=numbers(right))
        _check_gradients(agent, entropy, right, name)


def _check_gradients(agent: AgentUnderTest, seen: Tensor, right: Tensor, variable: str) -> None:
    weights = dict(agent.policy.named_parameters())
    found, truth = gradients(seen, weights), gradients(right, weights)
    check_gradients(EXERCISE, found, truth, variable=variable)
