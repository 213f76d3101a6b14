"""The answers to the quiz of notebook 12, computed."""

import math

import torch

from ppo_course.nb12_language_model.right import group_advantages, kl_estimates, token_rewards
from quiz import nearest, the_one


def question_1():
    k1, k3 = (
        float(each) for each in kl_estimates(torch.tensor(0.5).log(), torch.tensor(0.25).log())
    )

    def is_it(one, other):
        return math.isclose(k1, one, abs_tol=0.005) and math.isclose(k3, other, abs_tol=0.005)

    return the_one(a=is_it(0.69, 0.19), b=is_it(-0.69, 0.31), c=is_it(0.69, 0.31),
                   d=is_it(0.25, 0.19))  # fmt: skip


def question_2():
    """A text of 25 characters, and one that fills the page: which of them has a reward left?"""
    written = torch.arange(40)[:, None] < torch.tensor([25, 40])
    reward, zeros = torch.tensor([5.0, 5.0]), torch.zeros(40, 2)
    in_row_39 = zeros.clone()
    in_row_39[39] = reward
    left = (in_row_39 * written).sum(0)
    meant = token_rewards(reward, zeros, zeros, written, 0.0).sum(0)
    return the_one(
        a=bool(left[0] == 0 and left[1] > 0),
        b=torch.equal(left, meant),
        c=bool((left == 0).all()),
    )


def question_3():
    advantage = group_advantages(torch.tensor([3.0, 5.0, 5.0, 7.0]), 4)[-1].item()
    return nearest(advantage, a=2, b=1.22, c=0.75, d=0)


def question_4():
    price = 5 / (math.log(1000) + 2)
    return nearest(price, a=0.26, b=0.56, c=0.72, d=5)
