"""The answers to the quiz of notebook 06, computed with the package's policy and distributions."""

import math

import torch

from ppo_bbrl.agents.multi import MultiDiscretePolicy
from ppo_bbrl.distributions import ActionCategorical, masked
from ppo_bbrl.joint_distributions import ActionMultiCategorical
from quiz import nearest, the_one


def question_1():
    agent = MultiDiscretePolicy(2, [4], [3, 4, 5])
    n_outputs = agent.outputs(torch.zeros(1, 2)).shape[-1]
    return nearest(n_outputs, a=3, b=12, c=60)


def question_2():
    logits = torch.tensor([[0.0, 0.0, math.log(1), math.log(3)]])  # ½ and ½; ¼ and ¾
    log_prob = ActionMultiCategorical(logits, [2, 2]).log_prob(torch.tensor([[0, 0]]))
    return nearest(log_prob.item(), a=-0.29, b=-1.04, c=-2.08, d=0.96)


def question_3():
    mask = torch.arange(10) % 3 == 0
    entropy = ActionCategorical(masked(torch.zeros(10), mask)).entropy()
    return nearest(entropy.item(), a=2.30, b=0.92, c=0, d=1.39)


def question_4():
    logits = torch.tensor([0.5, 1.0, -0.3], requires_grad=True)
    dist = ActionCategorical(masked(logits, torch.tensor([True, True, False])))
    (gradient,) = torch.autograd.grad(dist.log_prob(torch.tensor(0)), logits)
    forbidden = gradient[2].item()
    return the_one(a=forbidden < 0, b=forbidden == 0, c=math.isnan(forbidden))


def question_5():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([True, True, False, True]).expand(50, 4)
    action = torch.tensor([0, 1, 3]).repeat(17)[:50]
    old = ActionCategorical(masked(logits, mask)).log_prob(action)
    ratio = (ActionCategorical(logits).log_prob(action) - old).exp()
    return the_one(a=bool((ratio < 1).all()), b=bool((ratio == 1).all()), c=bool((ratio > 1).all()))
