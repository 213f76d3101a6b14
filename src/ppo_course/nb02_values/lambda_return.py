"""The check of notebook 02's second exercise: λ-returns by their recursion."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb02_values.estimates import WRONG_LOOPS, Estimate, backward
from ppo_course.nb02_values.trajectories import Episodes

# Where the next value counts as 0.
TERMINAL = Part(
    lambda x: x.terminated[1:],
    {
        "no-value-at-truncation": lambda x: x.done[1:],
        "value-of-terminal": lambda x: torch.zeros_like(x.done[1:]),
        "last-row-not-masked": lambda x: torch.cat(
            (x.terminated[1:-1], torch.zeros_like(x.done[:1]))
        ),
    },
)

# Where the return of the next row belongs to another episode.
CUTS = Part(
    lambda x: x.done[1:],
    {
        "leak-after-truncation": lambda x: x.terminated[1:],
        "leak": lambda x: torch.zeros_like(x.done[1:]),
        "done-inverted": lambda x: ~x.done[1:] | x.terminated[1:],
    },
)


class Weights(NamedTuple):
    """Of the next value, and of the following return, as functions of λ."""

    value: Callable[[float], float]
    following: Callable[[float], float]


WEIGHTS = Part(
    Weights(lambda lam: 1 - lam, lambda lam: lam),
    {
        "weights-exchanged": Weights(lambda lam: lam, lambda lam: 1 - lam),
        "full-value": Weights(lambda _lam: 1.0, lambda lam: lam),
        "episode-return": Weights(lambda _lam: 0.0, lambda _lam: 1.0),
        "one-step-target": Weights(lambda _lam: 1.0, lambda _lam: 0.0),
    },
)

# What the next value weighs where there is no following return.
ENDS = Part(
    (True, True),
    {
        "weight-after-truncation": (False, True),
        "weight-in-last-row": (True, False),
        "weight-at-ends": (False, False),
    },
)

DISCOUNTS = Part(
    lambda g: (1.0, g, g),
    {
        "no-discount": lambda _g: (1.0, 1.0, 1.0),
        "following-not-discounted": lambda g: (1.0, g, 1.0),
        "value-not-discounted": lambda g: (1.0, 1.0, g),
        "reward-discounted": lambda g: (g, g, g),
    },
)


def formula(case: Episodes, values: Sequence[Any]) -> Tensor:
    """The λ-returns that a value of each part gives, `[T, B]`."""
    terminal, cut, weights, ends, discount, loop = values
    full_at_cut, full_in_last_row = ends
    of_reward, of_value, of_following = discount(case.discount_factor)
    bootstrap = case.value[1:].masked_fill(terminal(case), 0.0)
    value_weight = torch.full_like(bootstrap, weights.value(case.gae_lambda))
    nothing_follows = cut(case)
    if full_in_last_row:
        value_weight[-1] = 1.0
    value_weight[nothing_follows] = 1.0 if full_at_cut else weights.value(case.gae_lambda)
    first = of_reward * case.reward[1:] + of_value * value_weight * bootstrap
    factor = torch.full_like(first, of_following * weights.following(case.gae_lambda))
    returns: Tensor = loop(first, factor.masked_fill(nothing_follows, 0.0))
    return returns


ARGUMENTS = ("reward", "next_value", "terminated", "done", "discount_factor", "gae_lambda")
PARTS = (TERMINAL, CUTS, WEIGHTS, ENDS, DISCOUNTS, Part(backward, WRONG_LOOPS))
EXERCISE = Estimate("lambda_return", ARGUMENTS, PARTS, formula)


@EXERCISE.check
def check_lambda_return(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's λ-returns.

    The function is called as `lambda_return(reward, next_value, terminated, done,
    discount_factor, gae_lambda)`, with four tensors `[T, B]` that are aligned on transitions as
    for `ppo_bbrl.advantages.gae`. It returns `[T, B]`; the steps from an episode to the next are
    not looked at.
    """
    EXERCISE.try_out(function, seed)
