"""The answers to the quiz of notebook 02b, computed."""

import torch

from ppo_course.nb02b_policy_gradient.bandits import Samples
from ppo_course.nb02b_policy_gradient.importance import SIZES, Weighted
from quiz import nearest, the_one


def samples(logits, action, reward):
    return Samples(logits, action, reward, 0.0)


def question_1():
    logits = torch.tensor([0.8, 0.2]).log()
    score = samples(logits, torch.tensor([1]), torch.ones(1)).score[0]

    def is_it(*entries):
        return torch.allclose(score, torch.tensor(entries))

    return the_one(a=is_it(-0.8, 0.8), b=is_it(0.0, 1.0), c=is_it(0.2, -0.2), d=is_it(-0.2, 0.8))


def question_2():
    """The mean of the terms over all actions, weighted, and their variance."""
    logits, action = torch.tensor([0.5, 0.3, 0.2]).log(), torch.arange(3)
    found = []
    for reward in (torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1001.0, 1002.0, 1004.0])):
        terms = reward[:, None] * samples(logits, action, reward).score
        weight = logits.exp()[:, None]
        mean = (weight * terms).sum(0)
        found.append((mean, (weight * (terms - mean).square()).sum()))
    (mean, variance), (mean_after, variance_after) = found
    stays = torch.allclose(mean, mean_after, atol=1e-2)
    grows = bool(variance_after > 10 * variance)
    return the_one(
        a=torch.allclose(mean + 1000, mean_after) and not grows,
        b=stays and grows,
        c=stays and not grows,
        d=not stays and grows,
    )


def question_3():
    weights = torch.tensor([3.0, 1.0]).log()
    size = SIZES.right(Weighted(weights, torch.zeros(2), torch.ones(2)))
    return nearest(size, a=2, b=1.6, c=1.33, d=4)


def question_4():
    ratio = torch.tensor(1.5, requires_grad=True)
    term = torch.min(ratio * -2, ratio.clamp(0.8, 1.2) * -2)
    (gradient,) = torch.autograd.grad(term, ratio)
    value, has_one = round(term.item(), 4), bool(gradient)
    return the_one(
        a=value == -2.4 and not has_one,
        b=value == -2.4 and has_one,
        c=value == -3 and has_one,
        d=value == -3 and not has_one,
    )
