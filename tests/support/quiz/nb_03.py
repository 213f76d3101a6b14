"""The answers to the quiz of notebook 03, computed with the package's losses."""

import torch

from ppo_bbrl.losses import clipped_surrogate
from quiz import nearest, the_one

CLIP_RANGE = 0.2


def objective(log_prob, old_log_prob, advantage):
    loss, _ = clipped_surrogate(
        log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage, clip_range=CLIP_RANGE
    )
    return -loss


def question_1():
    new, old = torch.tensor([0.6]).log(), torch.tensor([0.4]).log()
    value = objective(new, old, torch.tensor([-1.0]))
    return nearest(float(value), a=-1, b=-1.2, c=-1.5, d=0)


def question_2():
    def stands_still(advantage, ratio):
        new = torch.tensor([ratio]).log().requires_grad_()
        (gradient,) = torch.autograd.grad(
            objective(new, torch.zeros(1), torch.tensor([advantage])), new
        )
        return not gradient.any()

    return the_one(
        a=stands_still(1.0, 0.7),
        b=stands_still(1.0, 1.3),
        c=stands_still(-1.0, 1.3),
        d=stands_still(-1.0, 0.9),
    )


def question_3():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(8, 2, generator=generator, requires_grad=True)
    advantage = torch.randn(8, generator=generator)
    log_prob = scores.log_softmax(-1)[:, 0]
    (gradient,) = torch.autograd.grad(
        objective(log_prob, log_prob.detach(), advantage), scores, retain_graph=True
    )
    (of_a2c,) = torch.autograd.grad((advantage * log_prob).mean(), scores)
    return the_one(
        a=not gradient.any(),
        b=torch.allclose(gradient, of_a2c),
        c=torch.allclose(gradient, of_a2c / 2),
    )


def question_4():
    generator = torch.Generator().manual_seed(0)
    n, rounds = 256, 400
    never = 0
    for _ in range(rounds):
        drawn = torch.randint(n, (3, n), generator=generator)
        never += n - len(drawn.unique())
    share = round(100 * never / (n * rounds))
    return the_one(a=share == 0, b=share == 5, c=share == 12, d=share == 37)
