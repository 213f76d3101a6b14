"""The check of `should_stop`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import math

import numpy as np
import pytest
import torch
from details_testing import (
    assert_passes_with_one_line,
    assert_seeds_grade,
    assert_streams_stay,
    assert_told_apart,
    complaint,
    error_of,
    keys_of,
    notebooks_own,
    stub,
)
from seeds import SEEDS

from ppo_course import check_should_stop
from ppo_course.nb04_details.should_stop import CASES, FAR, FORMULAS, drawn, right


def by_item(log_prob, old_log_prob, target_kl):
    log_ratio = (log_prob - old_log_prob).detach()
    kl = (log_ratio.exp() - 1 - log_ratio).mean().item()
    return target_kl is not None and kl > 1.5 * target_kl, kl


def by_no_grad(log_prob, old_log_prob, target_kl):
    with torch.no_grad():
        ratio = torch.exp(log_prob) / torch.exp(old_log_prob)
        kl = ((ratio - 1) - torch.log(ratio)).mean()
    if target_kl is None:
        return False, kl
    return kl > 1.5 * target_kl, kl


def by_loop(log_prob, old_log_prob, target_kl):
    total = 0.0
    for new, old in zip(log_prob.tolist(), old_log_prob.tolist(), strict=True):
        total += math.expm1(new - old) - (new - old)
    kl = total / len(log_prob)
    return target_kl is not None and kl > 1.5 * target_kl, kl


def by_numpy(log_prob, old_log_prob, target_kl):
    """Its comparison is a NumPy truth value."""
    log_ratio = (log_prob.detach() - old_log_prob).numpy().astype(np.float64)
    kl = (np.expm1(log_ratio) - log_ratio).mean()
    return (False if target_kl is None else kl > 1.5 * target_kl), kl


def by_array(log_prob, old_log_prob, target_kl):
    _, kl = by_numpy(log_prob, old_log_prob, None)
    return np.array(kl > 1.5 * (np.inf if target_kl is None else target_kl)), np.float32(kl)


RIGHT = [by_item, by_no_grad, by_loop, by_numpy, by_array]


@pytest.mark.parametrize("function", RIGHT)
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_should_stop, function, capsys)
    for seed in range(5):
        check_should_stop(function, seed=seed)


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_should_stop, notebooks_own("should_stop"), capsys)


def test_the_right_estimate_by_hand():
    """r = 1.2, 0.75, 1: (0.2 - log 1.2 - 0.25 - log 0.75) / 3."""
    expected = (0.2 - math.log(1.2) - 0.25 - math.log(0.75)) / 3
    assert right(CASES[0]) == pytest.approx(expected, rel=1e-5)


def with_estimate(estimate, stop=lambda kl, target: target is not None and kl > 1.5 * target):
    def function(log_prob, old_log_prob, target_kl):
        with torch.no_grad():
            kl = estimate(log_prob - old_log_prob).item()
        return stop(kl, target_kl), kl

    return function


def k3(d):
    return (d.exp() - 1 - d).mean()


def terms(d):
    return d.exp() - 1 - d


def comparing(exceeds):
    """A wrong function: its estimate is right, but `exceeds` compares something else."""

    def function(log_prob, old_log_prob, target_kl):
        d = (log_prob - old_log_prob).detach()
        return target_kl is not None and bool(exceeds(d, 1.5 * target_kl)), k3(d).item()

    return function


def of_both(estimate):
    """A wrong function: an estimate of both logarithms, not of their difference alone."""

    def function(log_prob, old_log_prob, target_kl):
        kl = estimate(log_prob.detach(), old_log_prob).item()
        return target_kl is not None and kl > 1.5 * target_kl, kl

    return function


def none_by_and(log_prob, old_log_prob, target_kl):
    kl = k3(log_prob - old_log_prob).item()
    return target_kl and kl > 1.5 * target_kl, kl


def none_at_first(log_prob, old_log_prob, target_kl):
    stop, kl = None, k3(log_prob - old_log_prob).item()
    if target_kl is not None:
        stop = kl > 1.5 * target_kl
    return stop, kl


def in_place(log_prob, old_log_prob, target_kl):
    with torch.no_grad():
        log_prob -= old_log_prob
    return by_item(log_prob, torch.zeros_like(old_log_prob), target_kl)


def of_logarithms(log_prob, old_log_prob, target_kl):
    ratio = (log_prob / old_log_prob).detach()
    kl = (ratio - 1 - ratio.log()).mean().item()
    return target_kl is not None and kl > 1.5 * target_kl, kl


def without_none(log_prob, old_log_prob, target_kl):
    kl = by_item(log_prob, old_log_prob, 1.0)[1]
    return kl > 1.5 * target_kl, kl


def with_gradient(log_prob, old_log_prob, target_kl):
    kl = k3(log_prob - old_log_prob)
    return bool(target_kl is not None and kl > 1.5 * target_kl), kl


def weighted(log_prob, old_log_prob, target_kl):
    d = (old_log_prob - log_prob).detach()
    kl = (old_log_prob.exp() * d).sum().item()
    return target_kl is not None and kl > 1.5 * target_kl, kl


def no_estimate(value):
    def function(log_prob, old_log_prob, target_kl):
        if target_kl is None:
            return False, value
        return by_item(log_prob, old_log_prob, target_kl)

    return function


def vector(log_prob, old_log_prob, target_kl):
    d = (log_prob - old_log_prob).detach()
    return False, d.exp() - 1 - d


def no_mean_before_comparing(log_prob, old_log_prob, target_kl):
    d = (log_prob - old_log_prob).detach()
    kl = d.exp() - 1 - d
    return True if kl > 0.1 else False, kl.mean()  # noqa: SIM210 - as students write it


WRONG_ANSWERS = {
    "k1": (with_estimate(lambda d: (-d).mean()), "plain"),
    "k1 turned": (with_estimate(lambda d: d.mean()), "log-ratio"),
    "k2": (with_estimate(lambda d: 0.5 * (d**2).mean()), "k2"),
    "inverse": (with_estimate(lambda d: k3(-d)), "ratio-upside-down"),
    "sign": (with_estimate(lambda d: -k3(d)), "sign"),
    "sum": (with_estimate(lambda d: (d.exp() - 1 - d).sum()), "sum"),
    "max": (with_estimate(lambda d: (d.exp() - 1 - d).max()), "largest"),
    "no log": (with_estimate(lambda d: (d.exp() - 1).mean()), "no-log"),
    "no 1": (with_estimate(lambda d: (d.exp() - d).mean()), "no-one"),
    "absolute": (with_estimate(lambda d: d.abs().mean()), "absolute"),
    "logarithms": (of_logarithms, "ratio-of-logs"),
    "mean first": (
        with_estimate(lambda d: d.mean().exp() - 1 - d.mean()),
        "mean-of-logs",
    ),
    "mean of the ratio first": (
        with_estimate(lambda d: d.exp().mean() - 1 - d.exp().mean().log()),
        "mean-of-ratios",
    ),
    "median": (with_estimate(lambda d: (d.exp() - 1 - d).median()), "median"),
    "factor inside": (with_estimate(lambda d: 1.5 * k3(d)), "factor"),
    "log added": (with_estimate(lambda d: (d.exp() - 1 + d).mean()), "added"),
    "log of the new": (
        of_both(lambda new, old: ((new - old).exp() - 1 - new).mean()),
        "log-prob-alone",
    ),
    "no exp": (with_estimate(lambda d: (d - 1 - d).mean()), "no-exp"),
    "any": (comparing(lambda d, limit: (terms(d) > limit).any()), "any-action"),
    "all": (comparing(lambda d, limit: (terms(d) > limit).all()), "all-actions"),
    "k1 compared": (comparing(lambda d, limit: (-d).mean() > limit), "other-number~plain"),
    "sum compared": (comparing(lambda d, limit: terms(d).sum() > limit), "other-number~sum"),
    "k2 compared": (
        comparing(lambda d, limit: 0.5 * d.square().mean() > limit),
        "other-factor~1.1-1.46",
    ),
    "None by and": (none_by_and, "no-false"),
    "None at first": (none_at_first, "no-false"),
    "weighted": (weighted, "weighted"),
    "unknown": (with_estimate(lambda d: d.exp().std()), "unknown"),
    "estimate clamped": (with_estimate(lambda d: k3(d).clamp(max=1.0)), "limited"),
    "logarithms clamped": (with_estimate(lambda d: k3(d.clamp(-2, 2))), "limited"),
    "targets below 1 alone": (
        with_estimate(
            k3, lambda kl, target: target is not None and target < 1 and kl > 1.5 * target
        ),
        "always-the-same~False",
    ),
    "target itself": (
        with_estimate(k3, lambda kl, target: target is not None and kl > target),
        "target-alone",
    ),
    "direction": (
        with_estimate(k3, lambda kl, target: target is not None and kl < 1.5 * target),
        "direction",
    ),
    "never": (with_estimate(k3, lambda kl, target: False), "always-the-same~False"),
    "other place": (
        with_estimate(k3, lambda kl, target: target is not None and kl > 5 * target),
        "other-factor~3.1-20",
    ),
    "half": (
        with_estimate(k3, lambda kl, target: target is not None and kl > target / 8),
        "other-factor~0.05-0.45",
    ),
    "1.3": (
        with_estimate(k3, lambda kl, target: target is not None and kl > 1.3 * target),
        "other-factor~1.1-1.46",
    ),
    "2": (
        with_estimate(k3, lambda kl, target: target is not None and kl > 2 * target),
        "other-factor~1.9-2.1",
    ),
    "3": (
        with_estimate(k3, lambda kl, target: target is not None and kl > 3 * target),
        "other-factor~2.9-3.1",
    ),
    "always": (
        with_estimate(k3, lambda kl, target: target is not None),
        "always-the-same~True",
    ),
    "0 without a target": (no_estimate(0.0), "no-estimate"),
    "None stops": (
        with_estimate(k3, lambda kl, target: target is None or kl > 1.5 * target),
        "stops-without-target",
    ),
    "None fails": (without_none, "may-be-none"),
    "gradient": (with_gradient, "gradient"),
    "vector": (vector, "not-one-number"),
    "compared early": (no_mean_before_comparing, "mean-first"),
    "in place": (in_place, "changes-argument"),
    "exchanged": (lambda *a: by_item(*a)[::-1], "exchanged"),
    "kl alone": (lambda *a: by_item(*a)[1], "not-two"),
    "number": (lambda *a: (0, by_item(*a)[1]), "no-truth"),
    "nan": (with_estimate(lambda d: (d - 9).log().mean()), "number-not-finite"),
    "nothing": (lambda *a: None, "returns-nothing"),
    "signature": (lambda a, b: None, "called-as"),
    "stub": (stub, "not-written"),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_should_stop, WRONG_ANSWERS, name)


def test_the_message_has_the_example_in_probabilities():
    message = complaint(check_should_stop, WRONG_ANSWERS["k1"][0])
    assert "[0.600, 0.300, 0.500]" in message
    assert "[0.500, 0.400, 0.500]" in message


def test_another_number_that_is_compared_is_not_taken_for_another_estimate_or_factor():
    for name in ("k1 compared", "sum compared"):
        (key,) = keys_of(check_should_stop, WRONG_ANSWERS[name][0])
        assert key.startswith("other-number~")


def test_where_a_factor_would_do_the_same_both_causes_are_told():
    for name in ("k2 compared", "1.3"):
        message = complaint(check_should_stop, WRONG_ANSWERS[name][0])
        assert "the factor is not 1.5, or it is not the mean estimate" in message


def test_a_logarithm_of_the_logarithm_is_told_of_the_missing_exp():
    function = with_estimate(lambda r: ((r - 1) - r.log()).mean())
    error = error_of(check_should_stop, function)
    assert error.keys == ("number-not-finite",)
    assert "Is an exp missing?" in str(error)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_no_known_mistake_is_right_or_looks_like_another(seed):
    cases = CASES if seed is None else drawn(seed)
    answers = [[round(f(case), 5) for case in cases] for f in (right, *FORMULAS.wrong.values())]
    assert len({str(answer) for answer in answers}) == len(answers)


def test_no_estimate_at_all_without_a_target_is_told_alike():
    assert "no-estimate" in keys_of(check_should_stop, no_estimate(None))


@pytest.mark.parametrize("factor", [1.48, 1.49, 1.51, 1.52])
def test_a_factor_that_rounding_could_give_is_not_told_to_be_another(factor):
    """The questions are close to 1.5, but not so close that a right answer could miss them."""
    check_should_stop(
        with_estimate(k3, lambda kl, target: target is not None and kl > factor * target)
    )


def test_with_a_seed_right_answers_pass_and_wrong_ones_fail(capsys):
    assert_seeds_grade(check_should_stop, by_item, WRONG_ANSWERS, capsys)


def test_numbers_learned_by_heart_fail_with_a_seed():
    known = {tuple(case.tensors[0].float().tolist()): right(case) for case in (*CASES, FAR)}

    def by_heart(log_prob, old_log_prob, target_kl):
        kl = known.get(tuple(log_prob.tolist()), 0.0)
        return target_kl is not None and kl > 1.5 * target_kl, kl

    check_should_stop(by_heart)
    complaint(check_should_stop, by_heart, seed=1)


def test_the_global_random_streams_stay_as_they_were():
    assert_streams_stay(check_should_stop, by_item)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_target_of_0_is_a_target(seed):
    def falsy(log_prob, old_log_prob, target_kl):
        d = (log_prob - old_log_prob).detach()
        kl = (d.exp() - 1 - d).mean().item()
        return bool(target_kl and kl > 1.5 * target_kl), kl

    assert keys_of(check_should_stop, falsy, seed) == ("zero-is-no-target",)
