"""The check of notebook 02's third exercise: advantages by a loop from the last row back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb02_values.estimates import WRONG_LOOPS, Estimate, backward
from ppo_course.nb02_values.lambda_return import ARGUMENTS as OF_RETURNS
from ppo_course.nb02_values.lambda_return import TERMINAL
from ppo_course.nb02_values.trajectories import Episodes

# Where the trace is cut.
CUTS = Part(
    lambda x: x.done[1:],
    {
        "trace-leaks-after-truncation": lambda x: x.terminated[1:],
        "trace-leaks": lambda x: torch.zeros_like(x.done[1:]),
        "trace-inverted": lambda x: ~x.done[1:],
        "any-environment": lambda x: x.done[1:].any(1, keepdim=True).expand_as(x.done[1:]),
        "cut-late": lambda x: torch.cat((torch.zeros_like(x.done[:1]), x.done[1:-1])),
        "cut-early": lambda x: torch.cat((x.done[2:], torch.zeros_like(x.done[:1]))),
    },
)

DELTAS = Part(
    lambda r, g, v, w: r + g * w - v,
    {
        "delta-no-discount": lambda r, _g, v, w: r + w - v,
        "value-added": lambda r, g, v, w: r + g * w + v,
        "delta-no-value": lambda r, g, _v, w: r + g * w,
        "sign": lambda r, g, v, w: v - r - g * w,
    },
)

DECAYS = Part(
    lambda g, lam: g * lam,
    {
        "fades-by-lambda": lambda _g, lam: lam,
        "fades-by-gamma": lambda g, _lam: g,
        "no-fading": lambda _g, _lam: 1.0,
        "no-trace": lambda _g, _lam: 0.0,
        "lambda-squared": lambda g, lam: g * lam**2,
        "one-minus-lambda": lambda g, lam: g * (1 - lam),
    },
)


def _forward(first: Tensor, factor: Tensor, lag: int) -> Tensor:
    """From the first row on, with the factor of this row or of the one before."""
    rows = list(first.unbind(0))
    for t in range(1, len(rows)):
        rows[t] = rows[t] + factor[t - lag] * rows[t - 1]
    return torch.stack(rows)


# (δ, decay with its cuts, episodes) → A
LOOPS = Part(
    backward,
    {
        "from-a-value": lambda first, factor, x: backward(
            torch.cat((first[:-1], first[-1:] + factor[-1:] * x.value[-1:])), factor
        ),
        **WRONG_LOOPS,
        "first-row-missed": lambda first, factor, _x: torch.cat(
            (0 * first[:1], backward(first, factor)[1:])
        ),
        "forwards~before": lambda first, factor, _x: _forward(first, factor, 0),
        "forwards~at": lambda first, factor, _x: _forward(first, factor, 1),
        "one-step-trace": lambda first, factor, _x: (
            first + factor * torch.cat((first[1:], 0 * first[:1]))
        ),
    },
)

RESULTS = Part(
    lambda advantage, _x: advantage,
    {
        "lambda-returns": lambda advantage, x: advantage + x.value[:-1],
        "last-advantage-0": lambda advantage, x: advantage.masked_fill(x.done[1:], 0.0),
    },
)


def formula(case: Episodes, values: Sequence[Any]) -> Tensor:
    """The advantages that a value of each part gives, `[T, B]`."""
    terminal, cut, delta, decay, loop, result = values
    bootstrap = case.value[1:].masked_fill(terminal(case), 0.0)
    first = delta(case.reward[1:], case.discount_factor, case.value[:-1], bootstrap)
    factor = torch.full_like(first, decay(case.discount_factor, case.gae_lambda))
    advantage: Tensor = result(loop(first, factor.masked_fill(cut(case), 0.0), case), case)
    return advantage


ARGUMENTS = ("reward", "value", *OF_RETURNS[1:])
PARTS = (TERMINAL, CUTS, DELTAS, DECAYS, LOOPS, RESULTS)
EXERCISE = Estimate("gae_by_hand", ARGUMENTS, PARTS, formula)


@EXERCISE.check
def check_gae_by_hand(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `gae_by_hand`.

    The function is called as `gae_by_hand(reward, value, next_value, terminated, done,
    discount_factor, gae_lambda)`, with the tensors `[T, B]` of `ppo_bbrl.advantages.gae`. It
    returns `[T, B]`; the steps from an episode to the next are not looked at.
    """
    EXERCISE.try_out(function, seed)
