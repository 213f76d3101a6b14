"""The check of `gaussian_entropy`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import math

import pytest
import torch
from estimates_testing import check_the_check, complaint
from gaussians_testing import every_known_mistake_is_named
from torch.distributions import Independent, Normal

from ppo_course import check_gaussian_entropy
from ppo_course.nb05_continuous.gaussian_entropy import PARTS, formula, right
from ppo_course.nb05_continuous.gaussians import cases

CONSTANT = 0.5 * math.log(2 * math.pi * math.e)

# ------------------------------------------------------------------------------- right answers


def by_expand(mean, log_std):
    return (log_std + CONSTANT).sum().expand(len(mean))


def by_distribution(mean, log_std):
    return Independent(Normal(mean, log_std.exp()), 1).entropy()


def by_broadcast(mean, log_std):
    return (torch.zeros_like(mean) + log_std + 0.5 + 0.5 * math.log(2 * math.pi)).sum(-1)


def by_repeat(mean, log_std):
    total = 0.0
    for component in log_std:
        total = total + 0.5 * torch.log(2 * math.pi * math.e * component.exp() ** 2)
    return torch.stack([total] * len(mean))


RIGHT = [by_expand, by_distribution, by_broadcast, by_repeat]

# ------------------------------------------------------------------------------- wrong answers


def stub(mean, log_std):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def repeated(number, mean):
    return number.expand(len(mean))


WRONG = {
    lambda m, s: (s + CONSTANT).sum(): "single-number",
    lambda m, s: s + CONSTANT: "sum-over-actions",
    lambda m, s: s + CONSTANT + 0 * m: "not-summed",
    lambda m, s: repeated((s + CONSTANT).mean(), m): "mean-over-components",
    lambda m, s: repeated(s.sum() + CONSTANT, m): "constant-once",
    lambda m, s: repeated((s.exp() + CONSTANT).sum(), m): "log-std-as-std",
    lambda m, s: repeated((s + 0.5 * math.log(2 * math.pi)).sum(), m): "half-missing",
    lambda m, s: repeated((s + 2 * CONSTANT).sum(), m): "constant-not-halved",
    lambda m, s: repeated(s.sum(), m): "constant-missing",
    lambda m, s: repeated((0 * s + CONSTANT).sum(), m): "log-std-missing",
    lambda m, s: repeated((CONSTANT - s).sum(), m): "log-std-sign",
    lambda m, s: repeated(-(s + CONSTANT).sum(), m): "sign",
    lambda m, s: repeated((0.5 * s + CONSTANT).sum(), m): "log-std-halved",
    lambda m, s: (m + s + CONSTANT).sum(-1): "depends-on-mean",
    lambda m, s: -Normal(m, s.exp()).log_prob(m + torch.randn_like(m)).sum(-1): ("depends-on-mean"),
    lambda m, s: by_expand(m, s).detach(): "no-gradient",
    lambda m, s: by_expand(m, s) + m.sum() - m.detach().sum(): ("wrong-gradient"),
    lambda m, s: (s + CONSTANT).sum().item(): "no-tensor",
    lambda m, s: None: "returns-nothing",
    lambda m, s: repeated((s.log() + CONSTANT).sum(), m): "not-finite",
    lambda m, s: by_expand(m, s) + 1: "unknown",
    lambda m, s: by_expand(m, s.clamp(-20, 2)): "std-limited",
    lambda m, s: by_expand(m, (s.exp() + 1e-6).log()): "std-limited",
    lambda m, s: repeated((s + 1 + 0.5 * math.log(2 * math.pi)).sum(), m): "one-for-half",
    lambda m, s: (s + CONSTANT).sum(1): "one-dimension",
    lambda m, s: repeated(0.5 * math.log(2 * math.pi * math.e * s.detach().exp()), m): (
        "math-of-a-tensor"
    ),
    lambda s: None: "called-as",
    stub: "not-written",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_gaussian_entropy, None, RIGHT, WRONG)


def test_every_known_mistake_is_named():
    every_known_mistake_is_named(PARTS, formula)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_the_right_choice_of_every_part_is_right(seed):
    for case in cases(seed):
        values = [part.right for part in PARTS]
        torch.testing.assert_close(formula(case, values), right(case.mean, case.log_std))


def test_the_message_shows_the_components():
    lines = complaint(check_gaussian_entropy, lambda m, s: repeated(s.sum(), m)).splitlines()
    assert lines[1:4] == [
        "  Example: log_std [-0.5, 0.7]; the components alone have the entropies [0.9189, 2.119].",
        "  seen      0.2 in each of 4 states",
        "  expected  3.038",
    ]


def of_components(mean, log_std):
    return log_std + CONSTANT


def expanded_to_components(mean, log_std):
    return (log_std + CONSTANT).sum().expand(mean.shape[1])


@pytest.mark.parametrize("wrong", [of_components, expanded_to_components])
def test_a_number_for_each_component_is_led_to_the_sum_and_expand(wrong):
    """log_std has no dimension 1 to sum over."""
    message = complaint(check_gaussian_entropy, wrong)
    assert "sum over the components, then repeat" in message
    assert "x.expand(len(mean))" in message
    assert "dimension 1" not in message
