"""The check of `is_clipped`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import random
from itertools import combinations

import pytest
import torch
from seeds import SEEDS

from ppo_bbrl.losses import clipped_surrogate
from ppo_course import ExerciseError, check_is_clipped
from ppo_course.nb03_clip.is_clipped import ADVANTAGE, CLIP_RANGES, MASKS, RATIO, drawn, right


def by_masks(ratio, advantage, clip_range):
    too_good = (advantage > 0) & (ratio > 1 + clip_range)
    too_bad = (advantage < 0) & (ratio < 1 - clip_range)
    return too_good | too_bad


def by_products(ratio, advantage, clip_range):
    clipped = torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
    return clipped * advantage < ratio * advantage


def by_sign(ratio, advantage, clip_range):
    return (ratio - 1) * advantage.sign() > clip_range


def by_where(ratio, advantage, clip_range):
    return torch.where(advantage > 0, ratio > 1 + clip_range, ratio < 1 - clip_range)


def by_gradient(ratio, advantage, clip_range):
    r = ratio.detach().clone().requires_grad_()
    clipped = r.clamp(1 - clip_range, 1 + clip_range)
    torch.min(r * advantage, clipped * advantage).sum().backward()
    return r.grad == 0


def by_loop(ratio, advantage, clip_range):
    return torch.tensor(
        [r > 1 + clip_range if a > 0 else r < 1 - clip_range for r, a in zip(ratio, advantage)]  # noqa: B905
    )


@pytest.mark.parametrize(
    "function", [by_masks, by_products, by_sign, by_where, by_gradient, by_loop]
)
def test_a_right_answer_passes_with_one_line(function, capsys):
    check_is_clipped(function)
    captured = capsys.readouterr()
    assert captured.out.startswith("Well done!")
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def test_what_the_check_takes_for_right_is_where_the_packages_loss_has_no_gradient():
    pairs = torch.cartesian_prod(torch.tensor(RATIO), torch.tensor(ADVANTAGE))
    for eps in CLIP_RANGES:
        log_prob = pairs[:, 0].log().requires_grad_()
        loss, _ = clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=torch.zeros(len(pairs)),
            advantage=pairs[:, 1],
            clip_range=eps,
        )
        (gradient,) = torch.autograd.grad(loss, log_prob)
        assert torch.equal(right(*pairs.unbind(1), eps), gradient == 0)


def two_sided(r, a, eps):
    return (r < 1 - eps) | (r > 1 + eps)


def with_and(r, a, eps):
    return a > 0 and r > 1 + eps


def without_parentheses(r, a, eps):
    return a > 0 & r > 1 + eps


def in_place(r, a, eps):
    clipped = r.clamp_(1 - eps, 1 + eps) * a
    return clipped < r * a


def stub(ratio, advantage, clip_range):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


WRONG_ANSWERS = {
    "two-sided": (two_sided, "advantage-ignored"),
    "swapped": (
        lambda r, a, eps: ((a < 0) & (r > 1 + eps)) | ((a > 0) & (r < 1 - eps)),
        "swapped",
    ),
    "larger product": (
        lambda r, a, eps: r.clamp(1 - eps, 1 + eps) * a > r * a,
        "swapped",
    ),
    "inverted": (lambda r, a, eps: ~by_masks(r, a, eps), "inverted"),
    "inside": (lambda r, a, eps: (r - 1).abs() < eps, "within"),
    "upper end of the product": (
        lambda r, a, eps: r * a > (1 + eps) * a,
        "product-above",
    ),
    "good only": (lambda r, a, eps: (a > 0) & (r > 1 + eps), "bad-never"),
    "bad only": (lambda r, a, eps: (a < 0) & (r < 1 - eps), "good-never"),
    "upper end": (lambda r, a, eps: r > 1 + eps, "upper-end-alone"),
    "lower end": (lambda r, a, eps: r < 1 - eps, "lower-end-alone"),
    "no range": (lambda r, a, eps: (r - 1) * a > 0, "range-ignored"),
    "around 0": (
        lambda r, a, eps: ((a > 0) & (r > eps)) | ((a < 0) & (r < -eps)),
        "range-itself",
    ),
    "nothing is clipped": (lambda r, a, eps: torch.zeros_like(r) > 0, "none-marked"),
    "by hand": (lambda r, a, eps: by_masks(r, a, 0.2), "always~0.2"),
    "both bounds at once": (
        lambda r, a, eps: (r > 1 + eps) & (r < 1 - eps),
        "none-marked",
    ),
    "everything": (lambda r, a, eps: torch.ones_like(r) > 0, "unknown"),
    "numbers": (lambda r, a, eps: by_masks(r, a, eps).float(), "numbers"),
    "share": (lambda r, a, eps: by_masks(r, a, eps).float().mean(), "shape"),
    "indices": (lambda r, a, eps: by_masks(r, a, eps).nonzero().squeeze(), "shape"),
    "list": (lambda r, a, eps: by_masks(r, a, eps).tolist(), "no-tensor"),
    "nothing": (lambda r, a, eps: None, "returns-nothing"),
    "in place": (in_place, "changes-argument"),
    "and": (with_and, "and-or"),
    "parentheses": (without_parentheses, "parentheses"),
    "signature": (lambda r, a: None, "called-as"),
    "stub": (stub, "not-written"),
}


def complaint(function):
    with pytest.raises(ExerciseError) as caught:
        check_is_clipped(function)
    return caught.value


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name, capsys):
    function, said = WRONG_ANSWERS[name]
    error = complaint(function)
    assert error.keys in {(said,), ("raises", said)}
    assert "Where to look: " in str(error)
    assert capsys.readouterr().out == ""


def test_the_message_gives_an_example_with_its_reason():
    lines = str(complaint(two_sided)).splitlines()[1:]
    assert lines[1] == "  Example: ratio = 0.5, advantage = 2, ε = 0.2."
    assert lines[2].split() == ["seen", "True"]
    assert lines[3].split()[:2] == ["expected", "False"]
    assert "the products are 1 and, clipped, 1.6; the minimum is the unclipped" in lines[3]


@pytest.mark.parametrize("seed", [None, *range(5)])
def test_no_known_mistake_is_right_or_looks_like_another(seed):
    if seed is None:
        pairs = torch.cartesian_prod(torch.tensor(RATIO), torch.tensor(ADVANTAGE)).unbind(1)
        clip_ranges = CLIP_RANGES
    else:
        *pairs, clip_ranges = drawn(seed)
    answers = [
        [formula(*pairs, eps).tolist() for eps in clip_ranges]
        for formula in (right, *MASKS.wrong.values())
    ]
    assert all(one != other for one, other in combinations(answers, 2))


def test_the_global_random_streams_stay_as_they_were():
    def drawing(r, a, eps):
        torch.rand(3)
        random.random()
        return by_masks(r, a, eps)

    before = torch.get_rng_state(), random.getstate()
    check_is_clipped(drawing)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_draws_other_transitions_for_grading(seed, capsys):
    """Who returns what the notebook's own check expects, without computing it, fails."""
    pairs = torch.cartesian_prod(torch.tensor(RATIO), torch.tensor(ADVANTAGE)).unbind(1)
    learned = {eps: right(*pairs, eps) for eps in CLIP_RANGES}
    check_is_clipped(lambda r, a, eps: learned[eps][: len(r)])
    with pytest.raises(ExerciseError):
        check_is_clipped(lambda r, a, eps: learned[eps][: len(r)], seed=seed)
    capsys.readouterr()
    check_is_clipped(by_products, seed=seed)
    assert capsys.readouterr().out == ""
    with pytest.raises(ExerciseError) as caught:
        check_is_clipped(two_sided, seed=seed)
    assert caught.value.keys == ("advantage-ignored",)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_the_logarithm_of_the_ratio_is_not_its_distance_from_1(seed):
    def by_logarithm(ratio, advantage, clip_range):
        good = (advantage > 0) & (ratio.log() > clip_range)
        return good | ((advantage < 0) & (ratio.log() < -clip_range))

    with pytest.raises(ExerciseError) as caught:
        check_is_clipped(by_logarithm, seed=seed)
    assert caught.value.keys == ("log-ratio",)
