"""The check of `gaussian_log_prob`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import math

import pytest
import torch
from estimates_testing import check_the_check, complaint
from gaussians_testing import every_known_mistake_is_named
from torch.distributions import Independent, MultivariateNormal, Normal

from ppo_bbrl.agents.policies import GaussianPolicy
from ppo_course import check_gaussian_log_prob
from ppo_course.nb05_continuous.gaussian_log_prob import PARTS, formula, right
from ppo_course.nb05_continuous.gaussians import cases

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

# ------------------------------------------------------------------------------- right answers


def by_formula(action, mean, log_std):
    error = (action - mean) / log_std.exp()
    return (-0.5 * error**2 - log_std - HALF_LOG_2PI).sum(-1)


def by_loop(action, mean, log_std):
    rows = []
    for a, m in zip(action, mean, strict=True):
        total = torch.zeros(())
        for i in range(len(log_std)):
            total = total - (a[i] - m[i]) ** 2 / (2 * torch.exp(2 * log_std[i]))
            total = total - log_std[i] - HALF_LOG_2PI
        rows.append(total)
    return torch.stack(rows)


def by_sums_apart(action, mean, log_std):
    squares = ((action - mean) * (-log_std).exp()).square().sum(-1)
    return -0.5 * squares - log_std.sum() - len(log_std) * HALF_LOG_2PI


def by_distribution(action, mean, log_std):
    return Independent(Normal(mean, log_std.exp()), 1).log_prob(action)


def by_covariance(action, mean, log_std):
    return MultivariateNormal(mean, torch.diag((2 * log_std).exp())).log_prob(action)


RIGHT = [by_formula, by_loop, by_sums_apart, by_distribution, by_covariance]

# ------------------------------------------------------------------------------- wrong answers


def each(action, mean, log_std):
    return -0.5 * ((action - mean) / log_std.exp()) ** 2 - log_std - HALF_LOG_2PI


def densities(action, mean, log_std):
    std = torch.exp(log_std)
    return torch.exp(-((action - mean) ** 2) / (2 * std**2)) / (math.sqrt(2 * math.pi) * std)


def by_density(action, mean, log_std):
    """Right where the densities are neither too small nor too large."""
    return densities(action, mean, log_std).prod(dim=1).log()


def by_density_and_a_little(action, mean, log_std):
    return (densities(action, mean, log_std) + 1e-12).log().sum(-1)


def squeezed(action, mean, log_std):
    return by_formula(action, mean, log_std).squeeze()


def by_math(action, mean, log_std):
    return each(action, mean, torch.tensor(math.exp(log_std)).log()).sum(-1)


def stub(action, mean, log_std):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def in_place(action, mean, log_std):
    with torch.no_grad():
        log_std.exp_()
    return Normal(mean, log_std).log_prob(action).sum(-1)


def in_place_with_gradient(action, mean, log_std):
    mean -= action
    return mean.sum(-1)


WRONG = {
    each: "not-summed",
    lambda a, m, s: each(a, m, s).sum(): "single-number",
    lambda a, m, s: each(a, m, s).sum(0): "sum-over-actions",
    lambda a, m, s: each(a, m, s).sum(-1, keepdim=True): "keeps-dimension",
    lambda a, m, s: each(a, m, s).mean(-1): "mean-over-components",
    lambda a, m, s: each(a, m, s).sum(-1).exp(): "density",
    lambda a, m, s: by_formula(a, m, s) + s.sum(): "log-std-missing",
    lambda a, m, s: by_formula(a, m, s) + HALF_LOG_2PI * len(s): "constant-missing",
    lambda a, m, s: by_formula(a, m, s) + HALF_LOG_2PI * (len(s) - 1): "constant-once",
    lambda a, m, s: (-(((a - m) / s.exp()) ** 2) - s - HALF_LOG_2PI).sum(-1): "half-missing",
    lambda a, m, s: (-((a - m) ** 2) / s.exp() / 2 - s - HALF_LOG_2PI).sum(-1): "divided-by-std",
    lambda a, m, s: (-(((a - m) / s) ** 2) / 2 - s - HALF_LOG_2PI).sum(-1): "divided-by-log-std",
    lambda a, m, s: (-(((a - m) / s.exp()) ** 2) / 2 - s.exp() - HALF_LOG_2PI).sum(
        -1
    ): "log-std-as-std",
    lambda a, m, s: -by_formula(a, m, s): "sign",
    lambda a, m, s: (-((a - m) ** 2) / 2 - s - HALF_LOG_2PI).sum(-1): "not-divided",
    lambda a, m, s: by_formula(a, m, s).detach(): "no-gradient",
    lambda a, m, s: by_formula(a, m, s.detach()): "no-gradient",
    lambda a, m, s: by_formula(a, m, s) + s.sum() - s.detach().sum(): ("wrong-gradient"),
    lambda a, m, s: by_formula(a, m, s).tolist(): "no-tensor",
    lambda a, m, s: None: "returns-nothing",
    lambda a, m, s: (each(a, m, s) - s.log()).sum(-1): "not-finite",
    lambda a, m, s: by_formula(a, m, s) + 1: "unknown",
    lambda a, m, s: by_formula(a, m, s.clamp(-1, 1)): ("far"),
    lambda a, m, s: by_formula(a, m, s.clamp(-20, 2)): "std-limited",
    lambda a, m, s: by_formula(a, m, (s.exp() + 1e-8).log()): "std-limited",
    lambda a, m, s: by_formula(a, m, s.exp().clamp(min=1e-3).log()): "std-limited",
    lambda a, m, s: densities(a, m, s).log().sum(-1): "density-first",
    lambda a, m, s: by_formula(m + s.exp() * ((a - m) / s.exp()).clamp(-10, 10), m, s): "far",
    lambda a, m, s: by_formula(a, 0 * m, s): "mean-missing",
    lambda a, m, s: by_formula(0 * a, m, s): "action-missing",
    lambda a, m, s: by_formula(a, -m, s): "mean-added",
    lambda a, m, s: by_formula(a, m, s ^ 2): "power",
    by_density: "density-first",
    by_density_and_a_little: "far",
    squeezed: "squeezed",
    by_math: "math-of-a-tensor",
    in_place: "changes-argument",
    lambda a, m: None: "called-as",
    stub: "not-written",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_gaussian_log_prob, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_known_mistake_is_named(PARTS, formula)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_right_choice_of_every_part_is_right_as_the_packages_policy_has_it(seed):
    for case in cases(seed):
        values = [part.right for part in PARTS]
        expected = right(case.action, case.mean, case.log_std)
        torch.testing.assert_close(formula(case, values), expected)
        policy = GaussianPolicy(2, [4], len(case.log_std))
        policy.log_std.data.copy_(case.log_std)
        policy.mean = lambda _, case=case: case.mean
        log_prob, _ = policy.evaluate_actions(torch.zeros(1, 2), case.action)
        torch.testing.assert_close(log_prob.detach(), expected)


def test_two_mistakes_are_told_together():
    def two(action, mean, log_std):
        error = (action - mean) / log_std.exp()
        return (-(error**2) - HALF_LOG_2PI).sum(-1)

    message = complaint(check_gaussian_log_prob, two)
    assert "2 things" in message
    assert "the factor ½" in message
    assert "log σ is missing" in message


def test_an_operator_in_place_is_told_where_it_happens():
    message = complaint(check_gaussian_log_prob, in_place_with_gradient)
    assert "mean -= action" in message
    assert "an in-place function" in message


def test_the_message_shows_an_action_to_follow_by_hand():
    lines = complaint(check_gaussian_log_prob, lambda a, m, s: by_formula(a, m, s) + 1).splitlines()
    assert lines[2:9] == [
        "    action = [1.2, 2.7]",
        "    mean = [-0.3, 0.3]",
        "    log_std = [-0.5, 0.7]",
        "    (action − mean) / σ = [2.47, 1.19]",
        "    log-density of each component = [-3.48, -2.33]",
        "  seen      -4.806",
        "  expected  -5.806",
    ]


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(
    "constant",
    [
        0.5 * math.log(2) * math.pi,
        math.log(2) * math.pi,
        0.5 * math.log(math.pi),
        math.log(math.pi),
        0.5 * math.log2(2 * math.pi),
        math.log2(2 * math.pi),
        0.5 * math.log10(2 * math.pi),
        math.log10(2 * math.pi),
    ],
)
def test_other_logarithms_are_told_what_the_constant_is(constant, seed):
    def wrong(action, mean, log_std):
        return (each(action, mean, log_std) + HALF_LOG_2PI - constant).sum(-1)

    message = complaint(check_gaussian_log_prob, wrong, seed=seed)
    assert "the constant is not ½ log 2π ≈ 0.9189" in message
