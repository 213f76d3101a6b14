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


class Line(NamedTuple):
    """What the loop has at hand for a row, `[B]` each, and the two numbers."""

    reward: Tensor
    next_value: Tensor
    terminated: Tensor
    done: Tensor
    gamma: float
    lam: float


def _following(x: Line, later: Tensor) -> Tensor:
    """The return that follows; where an episode ends, the next value in its place."""
    return torch.where(x.done, x.next_value, later)


def _return(x: Line, later: Tensor) -> Tensor:
    bracket = (1 - x.lam) * x.next_value + x.lam * later
    return x.reward + x.gamma * bracket.masked_fill(x.terminated, 0.0)


def _loop(
    case: Episodes,
    line: Callable[[Line, Tensor], Tensor] = lambda x, later: _return(x, _following(x, later)),
    *,
    forwards: bool = False,
    last: int = 0,
    stored: Callable[[int, Tensor, Tensor], tuple[int, Tensor]] = lambda t, _later, now: (t, now),
    begin: Callable[[Episodes], Tensor] = lambda case: case.value[-1],
) -> Tensor:
    """The λ-returns of a loop as students write it, `[T, B]`."""
    rows = range(len(case.reward) - 1 - last)
    columns = (case.reward, case.value, case.terminated, case.done)
    returns, later = torch.zeros_like(case.reward[1:]), begin(case)
    for t in rows if forwards else reversed(rows):
        reward, value, terminated, done = (x[t + 1] for x in columns)
        here = Line(reward, value, terminated, done, case.discount_factor, case.gae_lambda)
        now = line(here, later)
        row, what = stored(t, later, now)
        returns[row], later = what, now
    return returns


#: loops that are wrong as a whole; None: the parts of the formula above say what they compute
LOOPS_OF_STUDENTS = Part(
    None,
    {
        "forwards": lambda x: _loop(x, forwards=True),
        "last-row-missed": lambda x: _loop(x, last=1),
        "stored-before": lambda x: _loop(x, stored=lambda t, later, _now: (t, later)),
        "stored-in-row-before": lambda x: _loop(x, stored=lambda t, _later, now: (t - 1, now)),
        "any-environment": lambda x: _loop(
            x, lambda here, later: _return(here, here.next_value if here.done.any() else later)
        ),
        "reward-masked": lambda x: _loop(
            x,
            lambda here, later: _return(here, _following(here, later)).masked_fill(
                here.terminated, 0.0
            ),
        ),
        "one-term-masked~next value": lambda x: _loop(
            x,
            lambda here, later: (
                here.reward
                + here.gamma * (1 - here.lam) * here.next_value.masked_fill(here.terminated, 0)
                + here.gamma * here.lam * _following(here, later)
            ),
        ),
        "one-term-masked~following return": lambda x: _loop(
            x,
            lambda here, later: (
                here.reward
                + here.gamma * (1 - here.lam) * here.next_value
                + here.gamma * here.lam * _following(here, later).masked_fill(here.terminated, 0)
            ),
        ),
        "discounted-by-lambda": lambda x: _loop(
            x,
            lambda here, later: _return(
                here._replace(gamma=here.gamma * here.lam), _following(here, later)
            ),
        ),
        "weights-above-1": lambda x: _loop(
            x,
            lambda here, later: (
                here.reward
                + here.gamma
                * (here.next_value + here.lam * _following(here, later)).masked_fill(
                    here.terminated, 0.0
                )
            ),
        ),
        "from-a-reward": lambda x: _loop(x, begin=lambda case: case.reward[-1]),
    },
)


def formula(case: Episodes, values: Sequence[Any]) -> Tensor:
    """The λ-returns that a value of each part gives, `[T, B]`."""
    terminal, cut, weights, ends, discount, loop, whole = values
    if whole is not None:
        made: Tensor = whole(case)
        return made
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
PARTS = (
    *(TERMINAL, CUTS, WEIGHTS, ENDS, DISCOUNTS),
    *(Part(backward, WRONG_LOOPS), LOOPS_OF_STUDENTS),
)
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
