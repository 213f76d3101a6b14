"""The answers to the quiz of notebook 08, computed with torch and the package's update."""

import math

import torch
from torch import nn

from ppo_bbrl.losses import clipped_surrogate
from quiz import nearest, the_one


def question_1():
    old, new = torch.tensor([-1.0]), torch.tensor([-0.8])
    loss, _ = clipped_surrogate(
        log_prob=new, old_log_prob=old, advantage=torch.tensor([-1.0]), clip_range=0.2
    )
    # A bad action that has become more probable is not clipped: its loss is the ratio.
    return nearest(loss.item(), a=0.8, b=0.82, c=1.22, d=1.25)


def clipped(*gradients):
    """The parts of a sum of orthogonal gradients, after the sum was clipped to 0.5."""
    weight = nn.Parameter(torch.zeros(len(gradients)))
    weight.grad = torch.tensor(gradients)
    nn.utils.clip_grad_norm_([weight], 0.5)
    return weight.grad


def question_2():
    policy, _ = clipped(0.3, 4.0).tolist()
    return nearest(policy, a=0.3, b=0.25, c=0.15, d=0.037)


def question_3():
    def step(critic_coef):
        """The change of the policy's weights."""
        torch.manual_seed(0)
        policy, critic = nn.Linear(3, 1), nn.Linear(3, 1)
        before = policy.weight.detach().clone()
        inputs = torch.randn(8, 3)
        loss = policy(inputs).square().mean() + critic_coef * critic(inputs).square().mean()
        loss.backward()
        for network in (policy, critic):
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            torch.optim.Adam(network.parameters(), lr=0.1).step()
        return (policy.weight - before).detach().flatten()

    once, hundred = step(1.0), step(100.0)
    cosine = torch.cosine_similarity(once, hundred, dim=0).item()
    shorter = hundred.norm() < 0.99 * once.norm()
    return the_one(
        a=torch.allclose(once, hundred),
        b=bool(shorter),
        c=not math.isclose(cosine, 1, abs_tol=0.01),
    )


def question_4():
    once, tenfold = clipped(0.3, 4.0), clipped(3.0, 40.0)
    cosine = torch.cosine_similarity(once, tenfold, dim=0).item()
    ratio = (tenfold.norm() / once.norm()).item()
    turned = not math.isclose(cosine, 1, abs_tol=1e-4)
    return the_one(
        a=not turned and math.isclose(ratio, 1, abs_tol=1e-4),
        b=math.isclose(ratio, 10, abs_tol=1e-2),
        c=turned and math.isclose(ratio, 1, abs_tol=1e-4),
    )
