"""The check of notebook 02's third exercise: GAE by a loop from the last row back."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.advantages import gae
from ppo_course.nb02_values.estimates import Choice, Exercise, backward
from ppo_course.nb02_values.lambda_return import CUTS as CUTS_OF_RETURNS
from ppo_course.nb02_values.lambda_return import TERMINAL
from ppo_course.nb02_values.trajectories import Episodes

#: (reward, value, next_value, terminated, done, discount_factor, gae_lambda) → [T, B]
GAE = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float, float], Tensor]

_LEAK = (
    "the following advantage belongs to the same episode unless `done` is set: there the trace is "
    "cut, by `done` and not by `terminated`"
)


def _later(x: Episodes) -> Tensor:
    """`done` of the transition after each."""
    return torch.cat((x.done[2:], torch.zeros_like(x.done[:1])))


# Where the trace is cut.
CUTS = (
    CUTS_OF_RETURNS[0],
    Choice(
        CUTS_OF_RETURNS[1].value, "the trace leaks into the next episode after a truncation", _LEAK
    ),
    Choice(
        CUTS_OF_RETURNS[2].value, "the trace leaks into the next episode wherever one ends", _LEAK
    ),
    Choice(
        lambda x: ~x.done[1:],
        "the mask `done` is inverted: the trace goes on where an episode ends, only there",
        "~done is true where the episode goes on",
    ),
    Choice(
        _later,
        "the trace is cut one step too early",
        "A_t keeps nothing of A_{t+1} where done[t] is set, not where done[t+1] is",
    ),
)

DELTAS = (
    Choice(lambda r, g, v, w: r + g * w - v),
    Choice(
        lambda r, _g, v, w: r + w - v,
        "in the TD error the discount factor is missing",
        "δ_t = r_{t+1} + γ V(s_{t+1}) - V(s_t)",
    ),
    Choice(
        lambda r, g, _v, w: r + g * w,
        "in the TD error V(s_t) is not subtracted",
        "δ_t = r_{t+1} + γ V(s_{t+1}) - V(s_t)",
    ),
    Choice(
        lambda r, g, v, w: v - r - g * w,
        "the sign is wrong",
        "an advantage is positive where things went better than V(s_t) had said",
    ),
)

DECAYS = (
    Choice(lambda g, lam: g * lam),
    Choice(
        lambda _g, lam: lam,
        "from row to row the trace fades by λ, not by γλ",
        "the factor of the following advantage is discount_factor * gae_lambda",
    ),
    Choice(
        lambda g, _lam: g,
        "from row to row the trace fades by γ, not by γλ: λ plays no part",
        "the factor of the following advantage is discount_factor * gae_lambda",
    ),
    Choice(
        lambda _g, _lam: 1.0,
        "the trace does not fade: the TD errors are added up",
        "the factor of the following advantage is discount_factor * gae_lambda",
    ),
    Choice(
        lambda _g, _lam: 0.0,
        "there is no trace: these are the TD errors alone",
        "a loop from the last row to the first adds γλ times the advantage of the following row",
    ),
    Choice(
        lambda g, lam: g * (1 - lam),
        "1 - λ stands where λ belongs",
        "λ = 0 leaves the TD error alone, λ = 1 adds them all",
    ),
)


def _forward(first: Tensor, factor: Tensor, _x: Episodes) -> Tensor:
    rows = list(first.unbind(0))
    for t in range(1, len(rows)):
        rows[t] = rows[t] + factor[t] * rows[t - 1]
    return torch.stack(rows)


def _of_the_row_before(first: Tensor, factor: Tensor, _x: Episodes) -> Tensor:
    rows = list(first.unbind(0))
    for t in range(1, len(rows)):
        rows[t] = rows[t] + factor[t - 1] * rows[t - 1]
    return torch.stack(rows)


def _from_a_value(first: Tensor, factor: Tensor, x: Episodes) -> Tensor:
    return backward(torch.cat((first[:-1], first[-1:] + factor[-1:] * x.value[-1:])), factor)


# (δ, decay with its cuts, episodes) → A
LOOPS = (
    Choice(lambda first, factor, _x: backward(first, factor)),
    Choice(
        _from_a_value,
        "the loop begins with the last next value, as for λ-returns",
        "after the last transition no advantage is known: `following` is 0 before the loop; the "
        "next value is in the TD error already",
    ),
    Choice(
        lambda first, factor, _x: backward(torch.cat((first[:-1], 0 * first[-1:])), factor),
        "the advantage of the last row is 0",
        "the last transition has a TD error, too: let the loop begin with row T - 1",
    ),
    Choice(
        lambda first, factor, _x: torch.cat((backward(first, factor)[1:], 0 * first[-1:])),
        "the right numbers are there, one row too early",
        "the tensors are aligned on transitions: delta[t] and done[t] belong to the same step; "
        "only the following advantage is number t+1",
    ),
    Choice(
        _forward,
        "the loop runs forwards: each row sums up what was before it",
        "an action is judged by what comes after it: begin with the last row, for t in "
        "reversed(range(T))",
    ),
    Choice(
        _of_the_row_before,
        "the loop runs forwards: each row sums up what was before it",
        "an action is judged by what comes after it: begin with the last row, for t in "
        "reversed(range(T))",
    ),
    Choice(
        lambda first, factor, _x: backward(first, factor).flip(0),
        "the rows come in the reverse order",
        "what a loop from the last row collects begins with it: reverse it at the end",
    ),
    Choice(
        lambda first, factor, _x: first + factor * torch.cat((first[1:], 0 * first[:1])),
        "the trace is one step long: the following TD error is added, not the following advantage",
        "A_t is made of A_{t+1}, which has its own followers in it already",
    ),
)

RESULTS = (
    Choice(lambda advantage, _x: advantage),
    Choice(
        lambda advantage, x: advantage + x.value[:-1],
        "V(s_t) is added: that makes λ-returns",
        "the sum of the TD errors is the advantage already",
    ),
    Choice(
        lambda advantage, x: advantage.masked_fill(x.done[1:], 0.0),
        "the advantage of an episode's last transition is 0",
        "`done` takes away what follows, γλ A_{t+1}, and leaves the TD error: the last action was "
        "an action, too",
    ),
)


def formula(case: Episodes, values: Sequence[Any]) -> Tensor:
    """The advantages that a value of each part gives, `[T, B]`."""
    terminal, cut, delta, decay, loop, result = values
    bootstrap = case.value[1:].masked_fill(terminal(case), 0.0)
    first = delta(case.reward[1:], case.discount_factor, case.value[:-1], bootstrap)
    factor = torch.full_like(first, decay(case.discount_factor, case.gae_lambda))
    advantage: Tensor = result(loop(first, factor.masked_fill(cut(case), 0.0), case), case)
    return advantage


def right(case: Episodes) -> Tensor:
    """The advantages, `[T, B]`."""
    return gae(**case.aligned(), discount_factor=case.discount_factor, gae_lambda=case.gae_lambda)


EXERCISE = Exercise(
    name="gae_by_hand",
    arguments=lambda case: (
        case.aligned() | {"discount_factor": case.discount_factor, "gae_lambda": case.gae_lambda}
    ),
    right=right,
    parts=(TERMINAL, CUTS, DELTAS, DECAYS, LOOPS, RESULTS),
    formula=formula,
    praise="TD errors, the trace, and what each of the two masks does are all right.",
)


def check_gae_by_hand(function: GAE, *, seed: int | None = None) -> None:
    """Check a student's GAE.

    The function is called as `gae_by_hand(reward, value, next_value, terminated, done,
    discount_factor, gae_lambda)`, with the tensors `[T, B]` of `ppo_bbrl.advantages.gae`. It
    returns `[T, B]`; the steps from an episode to the next are not looked at.

    Prints one line if everything is right. Needs no network and leaves the global random
    streams as they were.

    Args:
        function: the student's.
        seed: draw other episodes from it, and print nothing.

    Raises:
        ExerciseError: with the likely mistake, what was seen and expected, and where to look.
    """
    EXERCISE.check(function, seed)
