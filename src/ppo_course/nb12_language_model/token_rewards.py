"""The check of notebook 12's third exercise: a text's reward and the penalty of each character."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppo_course.formulas import Part
from ppo_course.mistakes import StudentCode
from ppo_course.nb12_language_model.texts import PerCharacter, Texts, cases

EXERCISE = PerCharacter(
    "token_rewards",
    ("reward", "log_prob", "ref_log_prob", "written", "beta"),
    ("log_prob", "ref_log_prob"),
)

PENALTIES = Part(
    lambda x: -x.beta * (x.log_prob - x.ref_log_prob),
    {
        "penalty-sign": lambda x: x.beta * (x.log_prob - x.ref_log_prob),
        "no-beta": lambda x: x.ref_log_prob - x.log_prob,
        "no-penalty": lambda x: 0 * x.log_prob,
        "penalty-k3": lambda x: (
            -x.beta * ((x.ref_log_prob - x.log_prob).expm1() - (x.ref_log_prob - x.log_prob))
        ),
        "penalty-absolute": lambda x: -x.beta * (x.log_prob - x.ref_log_prob).abs(),
        "penalty-of-probabilities": lambda x: -x.beta * (x.log_prob.exp() - x.ref_log_prob.exp()),
        "penalty-of-reference": lambda x: x.beta * x.ref_log_prob,
        "penalty-of-policy": lambda x: -x.beta * x.log_prob,
    },
)


def _in_row(x: Texts, row: Tensor) -> Tensor:
    """The rewards, `[B]`, each in one row of `[T, B]`; row T is none of them."""
    rows = torch.arange(len(x.written))[:, None]
    return x.reward * (rows == row)


PLACES = Part(
    lambda x: x.reward * x.last,
    {
        "in-last-row": lambda x: _in_row(x, torch.tensor(len(x.written) - 1)),
        "everywhere": lambda x: x.reward * x.written,
        "in-every-row": lambda x: x.reward.expand_as(x.log_prob),
        "in-first-row": lambda x: _in_row(x, torch.tensor(0)),
        "row-after": lambda x: _in_row(x, x.written.sum(0)),
        "row-before": lambda x: _in_row(x, x.written.sum(0) - 2),
        "reward-missing": lambda x: 0 * x.log_prob,
        "only-cut-off": lambda x: _in_row(x, torch.tensor(len(x.written) - 1)) * x.written,
        "only-ended": lambda x: x.reward * x.last * ~x.written[-1],
        "reward-shared": lambda x: x.reward * x.written / x.written.sum(0),
    },
)
SUMS = Part(
    lambda penalty, placed, x: penalty * x.written + placed,
    {
        "penalty-of-padding": lambda penalty, placed, _x: penalty + placed,
        "last-without-penalty": lambda penalty, placed, x: torch.where(
            x.last, placed, penalty * x.written
        ),
        "reward-times-beta": lambda penalty, placed, x: penalty * x.written + x.beta * placed,
        "penalty-at-the-end": lambda penalty, placed, x: (
            (penalty * x.written).sum(0) * x.last + placed
        ),
        "penalty-mean": lambda penalty, placed, x: (
            (penalty * x.written).sum(0) / x.written.sum(0) * x.written + placed
        ),
    },
)


def formula(x: Texts, values: Sequence[Any]) -> Tensor:
    """The rewards that a value of each part gives, `[T, B]`."""
    penalty, place, together = values
    result: Tensor = together(penalty(x), place(x), x)
    return result


@EXERCISE.check
def check_token_rewards(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `token_rewards(reward, log_prob, ref_log_prob, written, beta)`.

    It gets the rewards of texts, `[B]`, log-probabilities, `[T, B]`, and where a character was
    written; it returns the reward of each character, `[T, B]`, 0 elsewhere.
    """
    texts = cases(seed)
    parts = EXERCISE.partly(
        the_penalty=lambda: _see(function, [x._replace(reward=0 * x.reward) for x in texts]),
        the_reward_of_the_text=lambda: _see(function, [x._replace(beta=0.0) for x in texts]),
    )
    with parts:
        _see(function, texts)


def _see(function: StudentCode, texts: Sequence[Texts]) -> None:
    results = []
    for x in texts:
        given = (x.reward, x.log_prob, x.ref_log_prob, x.written)
        arguments = (*(tensor.clone() for tensor in given), x.beta)
        results.append(EXERCISE.read(EXERCISE.call(function, *arguments), x))
    EXERCISE.compare(
        texts, results, (PENALTIES, PLACES, SUMS), formula=formula, facts=EXERCISE.facts
    )
