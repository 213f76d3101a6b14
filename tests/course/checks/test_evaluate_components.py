"""The check of `evaluate_components`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import pytest
import torch
from estimates_testing import check_the_check, complaint, error_of
from seeds import SEEDS
from torch.distributions import Categorical

from ppo_bbrl.distributions import MultiCategorical
from ppo_course import check_evaluate_components
from ppo_course.formulas import combinations
from ppo_course.nb06_spaces.evaluate_components import PARTS, Case, formula

# ------------------------------------------------------------------------------- right answers


def by_loop(logits, sizes, action):
    log_prob, entropy = 0, 0
    for i, part in enumerate(logits.split(sizes, -1)):
        dist = Categorical(logits=part)
        log_prob = log_prob + dist.log_prob(action[:, i])
        entropy = entropy + dist.entropy()
    return log_prob, entropy


def by_stack(logits, sizes, action):
    dists = [Categorical(logits=part) for part in logits.split(sizes, -1)]
    pairs = zip(dists, action.unbind(-1), strict=True)
    log_prob = torch.stack([dist.log_prob(at) for dist, at in pairs]).sum(0)
    return [log_prob, torch.stack([dist.entropy() for dist in dists]).sum(0)]


def by_hand(logits, sizes, action):
    log_prob, entropy, begin = torch.zeros(len(action)), torch.zeros(len(action)), 0
    for i, size in enumerate(sizes):
        part = logits[:, begin : begin + size]
        log_probs = part - part.logsumexp(-1, keepdim=True)
        log_prob = log_prob + log_probs[torch.arange(len(action)), action[:, i]]
        entropy = entropy - (log_probs.exp() * log_probs).sum(-1)
        begin += size
    return log_prob, entropy


def by_the_package(logits, sizes, action):
    dist = MultiCategorical(logits, sizes)
    return dist.log_prob(action), dist.entropy()


RIGHT = [by_loop, by_stack, by_hand, by_the_package]

# ------------------------------------------------------------------------------- wrong answers


def stub(logits, sizes, action):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def each(logits, sizes, action):
    dists = [Categorical(logits=part) for part in logits.split(sizes, -1)]
    log_probs = [dist.log_prob(action[:, i]) for i, dist in enumerate(dists)]
    return torch.stack(log_probs, -1), torch.stack([dist.entropy() for dist in dists], -1)


def summed(logits, sizes, action):
    log_prob, entropy = by_loop(logits, sizes, action)
    return log_prob.sum(), entropy.sum()


def overwritten(logits, sizes, action):
    for i, part in enumerate(logits.split(sizes, -1)):
        dist = Categorical(logits=part)
        log_prob, entropy = dist.log_prob(action[:, i]), dist.entropy()
    return log_prob, entropy


def without_gradient(logits, sizes, action):
    return by_loop(logits.detach(), sizes, action)


def by_item(logits, sizes, action):
    log_prob, entropy = by_loop(logits, sizes, action)
    return log_prob.item(), entropy.item()


def writing(logits, sizes, action):
    action += 0 * action + 1
    return by_loop(logits, sizes, action - 1)


WRONG = {
    stub: "not-written",
    each: "not-summed",
    summed: "single-number",
    without_gradient: "no-gradient",
    by_item: "no-item",
    writing: "changes-argument",
    lambda z, n, a: by_loop(z, n, a)[::-1]: "order",
    lambda z, n, a: by_loop(z, n, a)[0]: "not-two",
    lambda z, n, a: None: "returns-nothing",
    lambda z, n, a: (by_loop(z, n, a)[0].unsqueeze(-1),) * 2: "keeps-dimension",
    lambda z, n, a: (by_loop(z, n, a)[0], 1.0): "no-tensor",
    lambda z, n, a: tuple(torch.cat([x, x]) for x in by_loop(z, n, a)): "wrong-shape",
    lambda z, n, a: tuple(x.log() for x in by_loop(z, n, a)): "not-finite",
    lambda z, n, a: (by_loop(z, n, a)[0], -by_loop(z, n, a)[0]): "entropy-of-action",
    lambda z: None: "called-as",
}

(
    test_right_answers_pass,
    test_wrong_answers_are_told_apart,
    test_drawn_cases_accept_and_refuse_the_same,
    _,
    test_streams_stay,
    test_a_table_of_the_visible_numbers_fails,
) = check_the_check(check_evaluate_components, None, RIGHT, WRONG)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_every_known_mistake_is_named(seed):
    for keys, values in combinations(PARTS, 1):
        if keys:

            def student(logits, sizes, action, values=values):
                return tuple(formula(Case(logits, sizes, action), values))

            assert error_of(check_evaluate_components, student, seed=seed).keys == keys


def test_a_loop_that_overwrites_is_told_so_twice():
    error = error_of(check_evaluate_components, overwritten)
    assert error.keys == ("log-prob-last", "entropy-last")


def test_the_message_shows_an_action_to_follow_by_hand():
    lines = complaint(check_evaluate_components, lambda *given: [-x for x in by_loop(*given)])
    lines = lines.splitlines()
    (example,) = [n for n, line in enumerate(lines) if "Example: action" in line]
    assert "sizes [2, 3]" in lines[example]
    assert lines[example + 1].split()[:3] == ["component", "0:", "logits"]
