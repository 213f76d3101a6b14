"""The check of notebook 02b's second exercise: an estimate of the policy gradient."""

from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import describe, numbers
from ppo_course.formulas import Part
from ppo_course.lending import standing_in
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS, Samples
from ppo_course.nb02b_policy_gradient.bandits import cases as several

ARGUMENTS = ("logits", "action", "reward", "baseline")
EXERCISE = Exercise("policy_gradient", ARGUMENTS, WORDS)

WEIGHTS = Part(
    lambda x: x.reward - x.baseline,
    {
        "no-baseline": lambda x: x.reward,
        "baseline-added": lambda x: x.reward + x.baseline,
        "baseline-times": lambda x: x.reward * x.baseline,
        "baseline-divides": lambda x: x.reward / x.baseline,
        "minus-reward": lambda x: x.baseline - x.reward,
        "mean-for-baseline": lambda x: x.reward - x.reward.mean(),
        "mean-reward": lambda x: (x.reward.mean() - x.baseline).expand_as(x.reward),
        "no-reward": lambda x: torch.ones_like(x.reward),
        "squared": lambda x: (x.reward - x.baseline).square(),
        "sign-only": lambda x: (x.reward - x.baseline).sign(),
    },
)
SCORES = Part(
    lambda x: x.score,
    {
        "of-the-probability": lambda x: x.logits.softmax(-1)[x.action][:, None] * x.score,
        "probability-of-action": lambda x: x.score / x.logits.softmax(-1)[x.action][:, None],
        "only-of-the-action": lambda x: x.score * (x.score > 0),
    },
)
MEANS = Part(
    lambda terms: terms.mean(0),
    {
        "sum": lambda terms: terms.sum(0),
        "mean-of-all": lambda terms: terms.mean().expand(terms.shape[1]),
        "divided-by-actions": lambda terms: terms.sum(0) / terms.shape[1],
    },
)


def formula(x: Samples, values: Any) -> Tensor:
    """The estimate that a value of each part gives, `[K]`."""
    weight, score, mean = values
    result: Tensor = mean(weight(x)[:, None] * score(x))
    return result


def right_score(logits: Tensor, action: Tensor) -> Tensor:
    """What the first exercise writes, `[N, K]`."""
    return Samples(logits, action, action.float(), 0.0).score


def cases(seed: int | None) -> list[Samples]:
    """Those of all exercises, and baselines below 0."""
    samples = several(seed)
    return [*samples, *(samples[1]._replace(baseline=baseline) for baseline in (-1.5, -0.5))]


@torch.enable_grad()
@EXERCISE.check
def check_policy_gradient(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `policy_gradient(logits, action, reward, baseline)`.

    It gets the scores of a policy, `[K]`, and actions and rewards, `[N]`; it returns the mean of
    (reward − baseline) × score, `[K]`.
    """
    samples, results = cases(seed), []
    with standing_in([function], {"score": right_score}):
        for x in samples:
            given = (x.logits.clone(), x.action.clone(), x.reward.clone(), x.baseline)
            results.append(_read(EXERCISE.call(function, *given), x))

    def facts(x: Samples, right: Tensor, seen: Tensor) -> list[str]:
        return [
            *x.tell(),
            f"    baseline {x.baseline:g}:",
            f"  seen      {numbers(seen)}",
            f"  expected  {numbers(right)}",
        ]

    EXERCISE.compare(samples, results, (WEIGHTS, SCORES, MEANS), formula=formula, facts=facts)


def _read(result: Any, x: Samples) -> Tensor:
    n, k = x.score.shape
    mistake = None
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    elif list(result.shape) != [k]:
        shapes = {(n, k): "no-mean", (n,): "one-number-each", (): "one-number"}
        mistake = shapes.get(tuple(result.shape), "shape")
    EXERCISE.expect(result, mistake, f"a tensor of shape {[k]}", seen=describe(result))
    gradient: Tensor = result.detach().float()
    return gradient
