"""The checks of notebook 02b: its own solutions pass, and each mistake gets its own message."""

# ruff: noqa: E501 - lines of the notebook, exchanged

import pytest
import torch
from exchanged_lines import Solutions, refusal
from seeds import SEEDS

import ppo_course
from ppo_course.formulas import combinations
from ppo_course.nb02b_policy_gradient import (
    bandits,
    best_baseline,
    clipping_gap,
    gain_and_kl,
    importance,
    line_search,
    policy_gradient,
    score,
)

written = Solutions("02b_policy_gradient", torch=torch).written
NAMES = (
    *("score", "policy_gradient", "best_baseline", "importance"),
    *("clipping_gap", "gain_and_kl", "line_search"),
)


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_with_any_seed(name, capsys):
    function, check = getattr(written(), name), getattr(ppo_course, f"check_{name}")
    check(function)
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in SEEDS:
        check(function, seed=seed)
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------ other right ways


def score_by_autograd(logits, action):
    rows = []
    for a in action:
        leaf = logits.clone().requires_grad_()
        leaf.log_softmax(0)[a].backward()
        rows.append(leaf.grad)
    return torch.stack(rows)


def score_by_index(logits, action):
    rows = -logits.softmax(0).repeat(len(action), 1)
    rows[torch.arange(len(action)), action] += 1
    return rows


def gradient_by_autograd(logits, action, reward, baseline):
    leaf = logits.clone().requires_grad_()
    ((reward - baseline) * leaf.log_softmax(0)[action]).mean().backward()
    return leaf.grad


def gradient_by_matrix(logits, action, reward, baseline):
    return (reward - baseline) @ score_by_index(logits, action) / len(action)


def baseline_by_loop(logits, action, reward):
    above = below = 0.0
    for row, r in zip(score_by_index(logits, action), reward, strict=True):
        weight = float(row @ row)
        above, below = above + weight * float(r), below + weight
    return above / below


def importance_by_loop(log_prob, old_log_prob, reward):
    weights = [float(n.exp() / o.exp()) for n, o in zip(log_prob, old_log_prob, strict=True)]
    total = sum(w * float(r) for w, r in zip(weights, reward, strict=True))
    return [total / len(weights), sum(weights) ** 2 / sum(w * w for w in weights)]


def gap_by_relu(ratio, advantage, clip_range):
    good = torch.relu(ratio - 1 - clip_range) * advantage.clamp(min=0)
    return good + torch.relu(1 - clip_range - ratio) * (-advantage).clamp(min=0)


def gain_by_einsum(old, new, visits, advantage):
    gain = torch.einsum("s,sa,sa->", visits, new - old, advantage)
    return gain, torch.nn.functional.kl_div(new.log(), old, reduction="none").sum(1) @ visits


def search_by_list(try_step, max_kl):
    for k in range(10):
        result = try_step(0.5**k)
        if not (result[0] <= 0 or result[1] > max_kl):
            return torch.tensor(0.5**k)
    return 0


RIGHT = [
    ("score", score_by_autograd),
    ("score", score_by_index),
    ("policy_gradient", gradient_by_autograd),
    ("policy_gradient", gradient_by_matrix),
    ("best_baseline", baseline_by_loop),
    ("importance", importance_by_loop),
    ("clipping_gap", gap_by_relu),
    ("gain_and_kl", gain_by_einsum),
    ("line_search", search_by_list),
]


@pytest.mark.parametrize(("name", "function"), RIGHT)
def test_other_styles_pass(name, function):
    for seed in (None, *SEEDS):
        getattr(ppo_course, f"check_{name}")(function, seed=seed)


# ------------------------------------------------------------------------------ wrong ones

#: exercise, mistake, the lines that are exchanged for it
WRONG = [
    ("score", "sign", ("return played - logits.softmax(-1)", "return logits.softmax(-1) - played")),
    ("score", "log-probs-subtracted", ("return played - logits.softmax(-1)", "return played - logits.log_softmax(-1)")),
    ("score", "summed-too-early", ("return played - logits.softmax(-1)", "return (played - logits.softmax(-1)).sum(0)")),
    ("score", "transposed", ("return played - logits.softmax(-1)", "return (played - logits.softmax(-1)).T")),
    ("policy_gradient", "no-mean", ("(weight * score(logits, action)).mean(0)", "weight * score(logits, action)")),
    ("policy_gradient", "one-number", ("score(logits, action)).mean(0)", "score(logits, action)).mean()")),
    ("policy_gradient", "raises", ("(reward - baseline).unsqueeze(-1)", "(reward - baseline)")),
    ("best_baseline", "lengths-not-squared", (".square().sum(-1)", ".norm(dim=-1)")),
    ("best_baseline", "not-one-number", (".sum() / weight.sum()", " / weight.sum()")),
    ("importance", "swapped", ("return estimate, effective_size", "return effective_size, estimate")),
    ("importance", "not-two", ("return estimate, effective_size", "return estimate")),
    ("importance", "upside-down", ("(weight * reward).mean()", "(reward / weight).mean()")),
    ("importance", "size-not-squared", ("weight.sum() ** 2", "weight.sum()")),
    ("clipping_gap", "maximum", ("unclipped - torch.min(", "unclipped - torch.max(")),
    ("clipping_gap", "clip-only", ("torch.min(unclipped, clipped)", "clipped")),
    ("clipping_gap", "mean-taken", ("return unclipped - torch.min(unclipped, clipped)", "return (unclipped - torch.min(unclipped, clipped)).mean()")),
    ("gain_and_kl", "swapped", ("return gain, kl", "return kl, gain")),
    ("gain_and_kl", "kl-weighted-by-new", ("kl_by_state = (old * ", "kl_by_state = (new * ")),
    ("gain_and_kl", "gain-of-old", ("(new * advantage)", "(old * advantage)")),
    ("line_search", "returns-gain", ("return size", "return gain")),
    ("line_search", "one-try-less", ("range(10)", "range(9)")),
    ("line_search", "either", ("gain > 0 and", "gain > 0 or")),
    ("line_search", "no-zero", ("return 0.0", "return size")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "key", "change"), WRONG, ids=[f"{n}-{k}-{i}" for i, (n, k, _) in enumerate(WRONG)]
)
def test_each_mistake_is_named(name, key, change):
    function = getattr(written(change), name)
    for seed in (None, *SEEDS[:3]):
        error = refusal(name, function, seed=seed)
        named = [each.partition("~")[0] for each in error.keys]
        assert named[:1] == [key]
        assert len(named) == 1 + (key == "raises")  # each exception here has a hint of its own


def numbers_of(module, name, seed):
    """The cases that a check has, which are always the same."""
    if name == "line_search":
        return module.CASES if seed is None else module.drawn(seed)
    return module.cases(seed)


ALONE = {
    "score": (score, score.SCORES),
    "best_baseline": (bandits, best_baseline.BASELINES),
    "line_search": (line_search, line_search.RULES),
}
SEVERAL = [None, *SEEDS[:3]]


@pytest.mark.parametrize("seed", SEVERAL)
@pytest.mark.parametrize("name", ALONE)
def test_every_known_mistake_is_told_from_the_others(name, seed):
    module, part = ALONE[name]
    for key, wrong in part.wrong.items():
        answers = iter([wrong(case) for case in numbers_of(module, name, seed)])
        error = refusal(name, lambda *_, answers=answers: next(answers), seed=seed)
        assert error.keys == (key,)


@pytest.mark.parametrize("seed", SEVERAL)
def test_every_known_gradient_is_told_from_the_others(seed):
    parts = (policy_gradient.WEIGHTS, policy_gradient.SCORES, policy_gradient.MEANS)
    for keys, values in combinations(parts, 1):
        if keys:
            results = iter(
                [policy_gradient.formula(x, values) for x in policy_gradient.cases(seed)]
            )
            function = lambda *_, results=results: next(results)  # noqa: E731
            assert refusal("policy_gradient", function, seed=seed).keys == keys


@pytest.mark.parametrize("seed", SEVERAL)
def test_every_known_gap_is_told_from_the_others(seed):
    for key, wrong in clipping_gap.GAPS.wrong.items():
        assert refusal("clipping_gap", wrong, seed=seed).keys == (key,)


@pytest.mark.parametrize("seed", SEVERAL)
@pytest.mark.parametrize(
    ("name", "module", "parts"),
    [
        ("importance", importance, (importance.MEANS, importance.SIZES)),
        ("gain_and_kl", gain_and_kl, (gain_and_kl.GAINS, gain_and_kl.DISTANCES)),
    ],
)
def test_every_known_number_of_a_pair_is_told_from_the_others(name, module, parts, seed):
    for place, part in enumerate(parts):
        for key, wrong in part.wrong.items():
            answers = []
            for case in module.cases(seed):
                pair = [each.right(case) for each in parts]
                pair[place] = wrong(case)
                answers.append(tuple(pair))
            left = iter(answers)
            error = refusal(name, lambda *_, left=left: next(left), seed=seed)
            assert error.keys == (key,)


def test_a_mistake_in_the_score_is_not_told_again():
    student = written(("return played - logits.softmax(-1)", "return logits.softmax(-1) - played"))
    ppo_course.check_policy_gradient(student.policy_gradient)
    ppo_course.check_best_baseline(student.best_baseline)
