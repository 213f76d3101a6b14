"""The check of notebook 05's last exercise: a Gaussian policy as an agent."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppo_course.feedback import (
    describe,
    not_right,
    numbers,
    same,
    untouched_randomness,
)
from ppo_course.nb05_continuous.gaussian_policy_cases import (
    NAME,
    ROW,
    AgentUnderTest,
    Case,
    cases,
    no_more_than,
    read,
)
from ppo_course.nb05_continuous.gaussian_policy_judging import check_entropy, check_judging
from ppo_course.workspaces import RecordingWorkspace

MANY = 10_000  # actions, to see how they spread
TOLERANCE = 0.08  # of a mean or a standard deviation of so many: eight standard errors
# Of the fourth moment, 3 for a Gaussian: 1.8 for uniform noise, 6 for Laplace's. Of so many it errs
# by 0.05, so that a Gaussian misses neither bound in 10^9 tries.
TAILS = (2.4, 4.5)


def check_gaussian_policy(policy_class: Callable[..., Any], *, seed: int | None = None) -> None:
    """Check a student's agent `GaussianPolicy(state_dim, hidden_size, n_actions)`.

    It has a network `model` for the mean and a parameter `log_std`, `[D]`. `dist(obs)` gives
    π(·|s), with batch shape `[B]` and event shape `[D]`; `forward` acts, or judges the action that
    is there, as the other policies of the course do.

    Prints one line if everything is right, nothing where a seed is given. Needs no network and
    leaves the global random streams as they were.

    Args:
        policy_class: the student's.
        seed: draw other weights, observations and sizes from it; to grade.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    with untouched_randomness(), torch.enable_grad():
        for case in cases(seed):
            torch.manual_seed(case.weights_seed)
            agent = AgentUnderTest(policy_class, case)
            _check_dist(agent, case)
            _check_acting(agent, case)
            _check_spread(agent, case)
            _check_greedy(agent, case)
            check_judging(agent, case)
            check_entropy(agent, case)
    if seed is None:
        print(
            "Well done! One event for each action; it samples, it judges, and it knows its prefix."
        )


# ------------------------------------------------------------------------------------- dist


def _check_dist(agent: AgentUnderTest, case: Case) -> None:
    observations = case.observations[ROW]
    n, d = case.actions[ROW].shape
    dist = agent.dist(observations)
    if dist is None:
        raise not_right(NAME, "dist returns nothing", "its last line: return …")
    if not isinstance(dist, Distribution):
        raise not_right(
            NAME,
            "dist does not return a distribution",
            "one of torch.distributions",
            f"  seen      {describe(dist)}",
        )
    shapes = list(dist.batch_shape), list(dist.event_shape)
    facts = (
        f"  seen      batch shape {shapes[0]}, event shape {shapes[1]}",
        f"  expected  batch shape [{n}], event shape [{d}]",
    )
    if shapes == ([n, d], []):
        raise not_right(
            NAME,
            "for its dist the components are separate decisions, each with a log-probability",
            "Independent(normal, 1) makes the last dimension of the batch part of the event",
            *facts,
        )
    if shapes == ([], [n, d]):
        raise not_right(
            NAME,
            "for its dist all actions of the batch are a single event",
            "only the last dimension belongs to the event: Independent(normal, 1)",
            *facts,
        )
    if shapes != ([n], [d]):
        look = "Normal(mean, std) has the batch shape [B, D]; Independent(…, 1) does the rest"
        raise not_right(NAME, "its dist has the wrong shapes", look, *facts)
    if not same(dist.mean, agent.mean(observations)):
        raise not_right(
            NAME, "the mean of its dist is not what the network gives", "self.model(obs)"
        )
    std, right = dist.stddev, case.log_std.exp()
    if not same(std, right.expand(n, d)):
        wrong, look = _wrong_std(std.detach().mean(0), case.log_std, 1e-4)
        first = numbers(std[0]), numbers(right)
        raise not_right(NAME, wrong, look, f"  seen      {first[0]}", f"  expected  {first[1]}")


def _wrong_std(std: Tensor, log_std: Tensor, tolerance: float) -> tuple[str, str]:
    """What is wrong with standard deviations, `[D]`, and where to look."""
    look = "σ is self.log_std.exp()"
    for value, wrong in (
        ((2 * log_std).exp(), "the variance σ² stands where the standard deviation σ is expected"),
        ((log_std / 2).exp(), "the root of σ stands where the standard deviation σ is expected"),
        (log_std.abs(), "log_std stands where the standard deviation σ is expected"),
        (torch.ones_like(log_std), "log_std plays no part: the standard deviation is always 1"),
    ):
        if torch.allclose(std, value, rtol=tolerance, atol=0):
            return wrong, look
    return "its standard deviations are wrong", look


# ------------------------------------------------------------------------------------ acting


def _check_acting(agent: AgentUnderTest, case: Case) -> None:
    """An action in row t, of the right shape, without gradient."""
    workspace = case.workspace()
    agent.forward(workspace, stochastic=True)
    action = read(workspace, case, "action", list(case.actions[ROW].shape), "it acts")
    if same(action, agent.mean(case.observations[ROW])):
        raise not_right(
            NAME,
            "with stochastic=True it takes the mean",
            "the mean is for stochastic=False; here an action is sampled",
        )
    if action.requires_grad:
        raise not_right(
            NAME,
            "the sampled action carries a gradient",
            "an action is data, like an observation: dist.sample() is without gradient "
            "(dist.rsample() is not), and so is x.detach()",
        )
    no_more_than(workspace, case, "action", told="it acts, and compute_entropy is False")
    again = case.workspace()
    agent.forward(again)
    if same(again.get("action", ROW), agent.mean(case.observations[ROW])):
        raise not_right(
            NAME,
            "when it is not told whether to sample, it takes the mean",
            "keep the first line of forward as it was given, with stochastic=True",
        )
    if same(action, again.get("action", ROW)):
        raise not_right(
            NAME,
            "it samples the same actions every time",
            "no seed within forward: the noise must be fresh",
        )


def _check_spread(agent: AgentUnderTest, case: Case) -> None:
    """Whether the sampled actions have the right distribution, from many of them."""
    torch.manual_seed(case.weights_seed)
    rows = case.observations[:, :1].expand(-1, MANY, -1)
    workspace = RecordingWorkspace({"env/env_obs": rows})
    agent.forward(workspace, stochastic=True)
    action, mean = workspace.get("action", ROW), agent.mean(rows)
    noise = (action - mean[ROW]) / case.log_std.exp()
    if (noise.std(0) < 1e-4).any():
        look = "each action of the row has its own noise: torch.randn_like(mean), or dist.sample()"
        raise not_right(NAME, "all actions of a row get the same noise", look)
    if noise.shape[1] > 1 and same(noise[:, 0], noise[:, 1]):
        look = "each component has its own noise: torch.randn_like(mean), or dist.sample()"
        raise not_right(NAME, "all components of an action get the same noise", look)
    if any((action == bound).sum() > 1 for bound in (action.max(), action.min())):
        raise not_right(
            NAME,
            "the actions in the workspace are clipped",
            "the policy writes the sample as it is; the environment's agent clips it",
        )
    spread = action.std(0)
    if not torch.allclose(noise.std(0), torch.ones(1), atol=TOLERANCE):
        wrong, look = _wrong_std(spread, case.log_std, TOLERANCE)
        raise not_right(
            NAME,
            f"of the actions that it samples, {wrong}"
            if "its" not in wrong
            else "the actions that it samples have the wrong standard deviation",
            look,
            f"  seen      {numbers(spread)}  (of {MANY} actions in one state)",
            f"  expected  {numbers(case.log_std.exp())}",
        )
    if (noise.mean(0).abs() > TOLERANCE).any():
        other = [t for t in range(len(rows)) if t != ROW]
        elsewhere = any(same_mean(action, mean[t], case) for t in other)
        raise not_right(
            NAME,
            "it looks at another row than t"
            if elsewhere
            else "the mean of the actions that it samples is not what the network gives",
            'self.get(("env/env_obs", t)), and self.model(obs) for the mean',
        )

    noise = (action - mean[ROW]) / case.log_std.exp()
    fourth = (((noise - noise.mean(0)) / noise.std(0)) ** 4).mean(0)
    if (fourth < TAILS[0]).any() or (fourth > TAILS[1]).any():
        raise not_right(
            NAME,
            "the actions that it samples have the right spread, but are not Gaussian",
            "dist.sample(), or standard normal noise: torch.randn_like(mean), not torch.rand_like",
            f"  seen      a fourth moment of {numbers(fourth)}, in units of σ⁴",
            "  expected  about 3 for each component",
        )


def same_mean(action: Tensor, mean: Tensor, case: Case) -> bool:
    """Whether actions `[N, D]` scatter around a mean."""
    noise = (action - mean) / case.log_std.exp()
    return bool((noise.mean(0).abs() <= TOLERANCE).all())


def _check_greedy(agent: AgentUnderTest, case: Case) -> None:
    workspace = case.workspace()
    agent.forward(workspace, stochastic=False)
    shape = list(case.actions[ROW].shape)
    action = read(workspace, case, "action", shape, "it acts with stochastic=False")
    if not same(action, agent.mean(case.observations[ROW])):
        raise not_right(
            NAME,
            "with stochastic=False its action is not the mean",
            "the most probable action of a Gaussian is its mean",
            f"  seen      {numbers(action[0])}",
            f"  expected  {numbers(agent.mean(case.observations[ROW])[0])}",
        )
    if action.requires_grad:
        raise not_right(
            NAME,
            "with stochastic=False its action carries a gradient",
            "an action is data, like an observation: dist.mean.detach()",
        )
