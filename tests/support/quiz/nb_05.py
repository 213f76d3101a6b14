"""The answers to the quiz of notebook 05, computed with torch and the package's policy."""

import math

import torch
from torch.distributions import Normal

from ppo_bbrl.agents.policies import GaussianPolicy
from quiz import nearest, the_one


def policy(n_actions, std):
    agent = GaussianPolicy(3, [4], n_actions)
    agent.log_std.data.fill_(math.log(std))
    return agent


def question_1():
    agent, observation = policy(2, std=1.0), torch.zeros(1, 3)
    log_prob, _ = agent.evaluate_actions(observation, agent.mean(observation))
    return nearest(log_prob.item(), a=0, b=-0.92, c=-1.84, d=0.16)


def question_2():
    generator = torch.Generator().manual_seed(0)
    ratio = torch.rand(64, 1, generator=generator)
    advantage = torch.randn(64, generator=generator)
    right = ratio[:, 0] * advantage
    try:
        product = ratio * advantage
    except RuntimeError:
        return "a"
    shape = list(product.shape)
    return the_one(
        b=shape == [64] and torch.allclose(product, right),
        c=shape == [64, 1] and torch.allclose(product[:, 0], right),
        d=shape == [64, 64] and all(product[3, n] == ratio[3] * advantage[n] for n in range(64)),
    )


def question_3():
    mean = torch.tensor(1.5, requires_grad=True)
    log_std = torch.tensor(0.0, requires_grad=True)
    noise = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    sampled = (mean + log_std.exp() * noise).detach()

    def learns_nothing(action):
        objective = Normal(mean, log_std.exp()).log_prob(action).mean()
        gradients = torch.autograd.grad(objective, (mean, log_std))
        return all(gradient.abs() < 0.02 for gradient in gradients)

    sample, sent = learns_nothing(sampled), learns_nothing(sampled.clamp(-2, 2))
    return the_one(a=sample and not sent, b=sent and not sample, c=sample and sent)


def question_4():
    observations = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))

    def entropy(std):
        agent = policy(3, std)
        _, entropies = agent.evaluate_actions(observations, torch.zeros(2, 3))
        return entropies.tolist()

    before, after = entropy(0.8), entropy(0.4)
    change = [new - old for new, old in zip(after, before, strict=True)]
    differs = not math.isclose(*change, abs_tol=1e-4)
    return the_one(
        a=math.isclose(change[0], -0.69, abs_tol=0.01),
        b=math.isclose(change[0], -2.08, abs_tol=0.01),
        c=math.isclose(after[0], before[0] / 2, abs_tol=0.01),
        d=differs,
    )


def question_5():
    actions = torch.linspace(-2, 2, 4001)
    log_prob = Normal(0.0, 0.1).log_prob(actions)
    area = float(torch.trapezoid(log_prob.exp(), actions))
    reached = bool((log_prob >= 1.3).any())
    return the_one(
        a=not reached,
        b=reached and math.isclose(area, 1, abs_tol=1e-3),
        c=reached and not math.isclose(area, 1, abs_tol=1e-3),
    )
