"""The check of notebook 12's fourth exercise: the advantage of each character of a text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb02_values.estimates import WRONG_LOOPS, backward
from ppo_course.nb12_language_model.texts import PerCharacter, Texts, cases

EXERCISE = PerCharacter(
    "token_advantages",
    ("reward", "value", "written", "gae_lambda"),
    ("token_reward", "value"),
)


def _next(tensor: Tensor) -> Tensor:
    """The rows below, and zeros for the last one."""
    return torch.cat((tensor[1:], torch.zeros_like(tensor[:1])))


def _following(x: Texts) -> Tensor:
    return _next(x.written.float())


NEXT_VALUES = Part(
    lambda x: _next(x.value) * _following(x),
    {
        "value-of-padding": lambda x: _next(x.value),
        "no-next-value": lambda x: 0 * x.value,
        "value-not-shifted": lambda x: x.value,
        "value-of-row-before": lambda x: torch.cat((0 * x.value[:1], x.value[:-1])),
        "last-row-bootstrapped": lambda x: (
            torch.cat((x.value[1:], x.value[-1:])) * torch.cat((x.written[1:], x.written[-1:]))
        ),
    },
)
DELTAS = Part(
    lambda r, w, v: r + w - v,
    {
        "value-not-subtracted": lambda r, w, _v: r + w,
        "sign": lambda r, w, v: v - r - w,
        "reward-of-next-row": lambda r, w, v: _next(r) + w - v,
        "no-reward": lambda _r, w, v: w - v,
        "next-value-subtracted": lambda r, w, v: r - w - v,
        "value-added": lambda r, w, v: r + w + v,
    },
)
DECAYS = Part(
    lambda lam: lam,
    {
        "no-lambda": lambda _lam: 1.0,
        "no-trace": lambda _lam: 0.0,
        "one-minus-lambda": lambda lam: 1 - lam,
        "lambda-squared": lambda lam: lam * lam,
    },
)
# What of the next row's advantage is taken.
TRACES = Part(_following, {"trace-of-padding": lambda x: torch.ones_like(x.value)})
LOOPS = Part(
    backward,
    {
        **{key: WRONG_LOOPS[key] for key in ("reversed", "last-row-0", "row-early")},
        "forwards": lambda first, factor: backward(first.flip(0), factor.flip(0)).flip(0),
    },
)
RESULTS = Part(
    lambda advantage, x: advantage * x.written,
    {
        "padding-not-0": lambda advantage, _x: advantage,
        "returns": lambda advantage, x: (advantage + x.value) * x.written,
    },
)


def formula(x: Texts, values: Sequence[Any]) -> Tensor:
    """The advantages that a value of each part gives, `[T, B]`."""
    next_value, delta, decay, trace, loop, result = values
    first = delta(x.token_reward, next_value(x), x.value)
    factor = decay(x.gae) * trace(x)
    advantage: Tensor = result(loop(first, factor), x)
    return advantage


@EXERCISE.check
def check_token_advantages(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `token_advantages(reward, value, written, gae_lambda)`.

    It gets the reward and the value of each row, `[T, B]`, and where a character was written; it
    returns generalised advantages without discount, `[T, B]`, 0 where nothing was written.
    """
    texts = cases(seed)
    results = []
    for x in texts:
        arguments = (x.token_reward.clone(), x.value.clone(), x.written.clone(), x.gae)
        results.append(EXERCISE.read(EXERCISE.call(function, *arguments), x))
    parts = (NEXT_VALUES, DELTAS, DECAYS, TRACES, LOOPS, RESULTS)
    EXERCISE.compare(texts, results, parts, formula=formula, facts=EXERCISE.facts)
