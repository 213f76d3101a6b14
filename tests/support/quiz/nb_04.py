"""The answers to the quiz of notebook 04, computed."""

import numpy as np
import torch

from ppo_bbrl.losses import clipped_surrogate, value_loss
from quiz import nearest, the_one


def question_1():
    new, old = torch.tensor([0.6]).log(), torch.tensor([0.5]).log()
    k1 = round(float(old - new), 2)
    _, facts = clipped_surrogate(
        log_prob=new, old_log_prob=old, advantage=torch.zeros(1), clip_range=0.2
    )
    k3 = round(float(facts["approx_kl"]), 2)
    answers = {"a": (-0.18, 0.02), "b": (0.18, 0.02), "c": (-0.18, 0.38), "d": (0.18, 0.18)}
    return the_one(**{letter: answer == (k1, k3) for letter, answer in answers.items()})


def question_2():
    def learns(value, old):
        value = torch.tensor([value], requires_grad=True)
        loss, _ = value_loss(
            value=value,
            old_value=torch.tensor([old]),
            target=torch.tensor([60.0]),
            clip_range_vf=0.2,
        )
        (gradient,) = torch.autograd.grad(loss, value)
        return bool(gradient.any())

    value, rollouts = 0.0, 0
    while value < 59.9:
        old = value
        while learns(value, old):
            value += 0.02
        rollouts += 1
    # A step more or less than the clip range, as the last one goes a little beyond it.
    return the_one(a=rollouts < 10, b=50 <= rollouts <= 70, c=270 <= rollouts <= 300)


def question_3():
    return nearest(1 - 0.95**20, a=0.05, b=0.36, c=0.64, d=1.0)


def question_4():
    source = np.random.default_rng(0)

    def middle(scores):
        quarter = scores.shape[-1] // 4
        return np.sort(scores)[..., quarter : scores.shape[-1] - quarter].mean(-1)

    def width(seeds):
        """Of the middle 95 % of differences between two variants, over many experiments."""
        first, second = source.normal(0, 40, (2, 40_000, seeds))
        return np.subtract(*np.percentile(middle(first) - middle(second), [97.5, 2.5]))

    half = width(6) / 2
    options = {"a": 9, "b": 12, "c": 24, "d": 36}
    distance = {letter: abs(width(seeds) - half) for letter, seeds in options.items()}
    closest = min(distance, key=distance.__getitem__)
    return the_one(**{letter: letter == closest for letter in options})


def question_5():
    source, n_experiments, n_parts, n_seeds = np.random.default_rng(0), 200, 10, 20
    missed = 0
    for _ in range(n_experiments):
        # Parts of a run are not independent: half of the variance is the run's own.
        runs = source.normal(size=(2, n_seeds, 1)) + source.normal(size=(2, n_seeds, n_parts))
        apart = np.abs(np.subtract(*runs.mean(1))).argmax()
        drawn = source.integers(n_seeds, size=(2, 500, n_seeds))
        first, second = np.take_along_axis(runs[:, None, :, apart], drawn, axis=-1).mean(-1)
        low, high = np.percentile(first - second, [2.5, 97.5])
        missed += not low <= 0 <= high
    share = missed / n_experiments
    return the_one(a=0.03 < share < 0.08, b=share > 0.1, c=0 < share < 0.025, d=share == 0)
