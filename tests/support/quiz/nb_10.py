"""The answers to the quiz of notebook 10, found with the suspects and by counting."""

import torch

from ppo_course.nb10_bug_hunt.ratio_error import Minibatch, right
from ppo_course.nb10_bug_hunt.suspects import CULPRITS, suspect
from quiz import nearest, the_one

SETTINGS = {"n_steps": 32, "batch_size": 128, "lr": 1e-2, "discount_factor": 0.9}


def learned(charge, probe, n_updates=6, version=0):
    """Who is guilty of a charge, after it has learned on a probe."""
    name = next(name for name, its_charge in CULPRITS.items() if its_charge == charge)
    return suspect(name, f"{probe}-v{version}", 0, **SETTINGS).train(n_updates)


def ratio_of(run):
    return max(float((a - b).exp().sub(1).abs().max()) for a, b in run.first_minibatches)


def question_1():
    def fits(charge):
        run = learned(charge, "ActionDecides")
        far_below_a_coin = learned(charge, "CartPole", version=1).history[-1]["return"] < 15
        return ratio_of(run) < 1e-5 and run.history[-1]["return"] < -0.9 and far_below_a_coin

    return the_one(
        a=fits("sign of the loss"),
        b=fits("wrong action"),
        c=fits("drawn with replacement"),
        d=fits("leak across truncation"),
    )


def question_2():
    mixed = Minibatch((0.498, 0.502), (0.502, 0.498))
    return nearest(right(mixed), a=0, b=0.00803, c=0.5, d=1)


def question_3():
    value = 0.0
    for _ in range(8):
        value = 1 + 0.9 * value
    return nearest(value, a=10, b=9, c=5.7, d=8)


def question_4():
    generator = torch.Generator().manual_seed(0)
    n, rounds = 1000, 200
    missed = sum(
        n - len(torch.randint(n, (4 * n,), generator=generator).unique()) for _ in range(rounds)
    )
    share = round(100 * missed / (n * rounds))
    return the_one(a=share == 37, b=share == 9, c=share == 2, d=share == 0)


def question_5():
    def gets(probe):
        return learned("stale observation", probe, n_updates=10).history[-1]["return"]

    on_observation = learned("stale observation", "ActionAndObservationDecide")
    used = len(torch.cat(on_observation.last_epoch).unique())
    return the_one(
        a=ratio_of(on_observation) > 1e-5,
        b=used < on_observation.n_transitions,
        c=gets("ActionDecides") < 0.8,
        d=gets("ActionAndObservationDecide") < 0.8,
    )
