"""The check of notebook 02's second exercise: λ-returns by their recursion."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_course.nb02_values.estimates import Choice, Exercise, backward
from ppo_course.nb02_values.trajectories import Episodes

#: (reward, next_value, terminated, done, discount_factor, gae_lambda) → [T, B]
LambdaReturn = Callable[[Tensor, Tensor, Tensor, Tensor, float, float], Tensor]

# Where the next value counts as 0.
TERMINAL = (
    Choice(lambda x: x.terminated[1:]),
    Choice(
        lambda x: x.done[1:],
        "the next value is left out wherever an episode ends, where its time was up, too",
        "mask the value by `terminated`, and the following return by `done`: after a truncation "
        "V(s_{t+1}) is all that we know of what would have come, and it counts",
    ),
    Choice(
        lambda x: torch.zeros_like(x.done[1:]),
        "the value of a terminal state is added",
        "nothing comes after a terminal state: where `terminated` is set, V(s_{t+1}) counts as 0; "
        "in a workspace it is set in row t+1",
    ),
    Choice(
        lambda x: torch.cat((x.terminated[1:-1], torch.zeros_like(x.done[:1]))),
        "in the last row the value of a terminal state is added",
        "the last transition may end its episode, too: it needs the mask `terminated` as all do",
    ),
)

# Where the return of the next row belongs to another episode.
CUTS = (
    Choice(lambda x: x.done[1:]),
    Choice(
        lambda x: x.terminated[1:],
        "after a truncation the return of the next episode leaks in",
        "the following return belongs to the same episode unless `done` is set: mask it by "
        "`done`, not by `terminated`",
    ),
    Choice(
        lambda x: torch.zeros_like(x.done[1:]),
        "the return of the next episode leaks in wherever an episode ends",
        "the following return belongs to the same episode unless `done` is set",
    ),
    Choice(
        lambda x: ~x.done[1:] | x.terminated[1:],
        "the mask `done` is inverted: what follows counts where an episode ends, only there",
        "torch.where(mask, x, y) has x where the mask is true; ~done is true where it goes on",
    ),
)


class Weights(NamedTuple):
    """Of the next value, and of the following return, as functions of λ."""

    value: Callable[[float], float]
    following: Callable[[float], float]


WEIGHTS = (
    Choice(Weights(lambda lam: 1 - lam, lambda lam: lam)),
    Choice(
        Weights(lambda lam: lam, lambda lam: 1 - lam),
        "λ and 1 - λ are exchanged",
        "λ is the weight of the following return, 1 - λ that of the next value; λ = 0 leaves the "
        "value alone",
    ),
    Choice(
        Weights(lambda _lam: 1.0, lambda lam: lam),
        "the next value counts in full, besides λ times the following return",
        "the two share a weight of 1: the value gets 1 - λ",
    ),
    Choice(
        Weights(lambda _lam: 0.0, lambda _lam: 1.0),
        "λ plays no part: this is the return of the whole episode",
        "mix the next value, with weight 1 - λ, and the following return, with weight λ",
    ),
    Choice(
        Weights(lambda _lam: 1.0, lambda _lam: 0.0),
        "λ plays no part: this is the one-step target",
        "mix the next value, with weight 1 - λ, and the following return, with weight λ",
    ),
)

# What the next value weighs where there is no following return.
ENDS = (
    Choice((True, True)),
    Choice(
        (False, True),
        "after a truncation the next value has the weight 1 - λ alone",
        "where there is no following return of the same episode, the next value takes its place, "
        "so that the weights still add up to 1",
    ),
    Choice(
        (True, False),
        "in the last row the next value has the weight 1 - λ alone",
        "after the last transition nothing was seen: the next value stands for the following "
        "return there",
    ),
    Choice(
        (False, False),
        "in the last row and after a truncation, the next value has the weight 1 - λ alone",
        "where there is no following return of the same episode, the next value takes its place, "
        "so that the weights still add up to 1",
    ),
)

DISCOUNTS = (
    Choice(lambda g: (1.0, g, g)),
    Choice(
        lambda _g: (1.0, 1.0, 1.0), "the discount factor is missing", "γ discounts what follows"
    ),
    Choice(
        lambda g: (1.0, g, 1.0),
        "the following return is not discounted",
        "γ stands before the bracket: it discounts the next value and the following return",
    ),
    Choice(
        lambda g: (1.0, 1.0, g),
        "the next value is not discounted",
        "γ stands before the bracket: it discounts the next value and the following return",
    ),
    Choice(
        lambda g: (g, g, g),
        "the reward is discounted, too",
        "γ discounts what follows; the reward of this transition comes at once",
    ),
)

_ALIGNED = (
    "the tensors are aligned on transitions: reward[t] already is r_{t+1}, next_value[t] is "
    "V(s_{t+1}), done[t] belongs to the same step; only what follows is number t+1"
)

# (first, factor) → G; from the last row back.
LOOPS = (
    Choice(backward),
    Choice(
        lambda first, factor: backward(first, factor).flip(0),
        "the rows come in the reverse order",
        "what a loop from the last row collects begins with it: reverse it at the end",
    ),
    Choice(
        lambda first, factor: backward(torch.cat((first[:-1], 0 * first[-1:])), factor),
        "the return of the last row is 0",
        "the last transition has a return, too: let the loop begin with row T - 1",
    ),
    Choice(
        lambda first, factor: torch.cat((backward(first, factor)[1:], 0 * first[-1:])),
        "the right numbers are there, one row too early",
        _ALIGNED,
    ),
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


def right(case: Episodes) -> Tensor:
    """The λ-returns, `[T, B]`."""
    aligned = case.aligned()
    advantage = gae(**aligned, discount_factor=case.discount_factor, gae_lambda=case.gae_lambda)
    return lambda_returns(advantage=advantage, value=aligned["value"])


def _arguments(case: Episodes) -> dict[str, Any]:
    aligned = case.aligned()
    del aligned["value"]
    return aligned | {"discount_factor": case.discount_factor, "gae_lambda": case.gae_lambda}


EXERCISE = Exercise(
    name="lambda_return",
    arguments=_arguments,
    right=right,
    parts=(TERMINAL, CUTS, WEIGHTS, ENDS, DISCOUNTS, LOOPS),
    formula=formula,
    praise="Weights, discounting, both masks and the last row are all right.",
)


def check_lambda_return(function: LambdaReturn, *, seed: int | None = None) -> None:
    """Check a student's λ-returns.

    The function is called as `lambda_return(reward, next_value, terminated, done,
    discount_factor, gae_lambda)`, with four tensors `[T, B]` that are aligned on transitions as
    for `ppo_bbrl.advantages.gae`. It returns `[T, B]`; the steps from an episode to the next are
    not looked at.

    Prints one line if everything is right. Needs no network and leaves the global random
    streams as they were.

    Args:
        function: the student's.
        seed: draw other episodes from it, and print nothing.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    EXERCISE.check(function, seed)
