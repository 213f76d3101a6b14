"""The check of notebook 02b's first exercise: the score function of a softmax policy."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ppo_course.feedback import describe, numbers
from ppo_course.formulas import Part
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS, Samples
from ppo_course.nb02b_policy_gradient.bandits import cases as several

EXERCISE = Exercise("score", ("logits", "action"), WORDS)


def _one_hot(x: Samples) -> Tensor:
    return one_hot(x.action, len(x.logits)).float()


def _probs(x: Samples) -> Tensor:
    return x.logits.softmax(-1)


SCORES = Part(
    lambda x: x.score,
    {
        "sign": lambda x: -x.score,
        "no-probabilities": _one_hot,
        "no-one-hot": lambda x: -_probs(x).expand(len(x.action), -1),
        "logits-subtracted": lambda x: _one_hot(x) - x.logits,
        "log-probs-subtracted": lambda x: _one_hot(x) - x.logits.log_softmax(-1),
        "of-the-probability": lambda x: _probs(x)[x.action][:, None] * x.score,
        "of-the-logits": lambda x: _one_hot(x) * x.logits,
        "only-of-the-action": lambda x: _one_hot(x) * x.score,
        "divided-by-probability": lambda x: x.score / _probs(x)[x.action][:, None],
        "uniform": lambda x: _one_hot(x) - 1 / len(x.logits),
        "mean-kept": lambda x: x.score.mean(0, keepdim=True).expand(len(x.action), -1),
    },
)


def cases(seed: int | None) -> list[Samples]:
    """Those of all exercises, and a single action that is not the last one."""
    samples = several(seed)
    one = samples[0]._replace(action=torch.tensor([0]), reward=samples[0].reward[:1])
    return [*samples, one]


@torch.enable_grad()
@EXERCISE.check
def check_score(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `score(logits, action)`.

    It gets scores, `[K]`, and actions, `[N]`; it returns the gradients of the log-probability of
    each action with respect to the logits, `[N, K]`.
    """
    samples = cases(seed)
    results = [
        _read(EXERCISE.call(function, x.logits.clone(), x.action.clone()), x) for x in samples
    ]

    def facts(x: Samples, right: Tensor, seen: Tensor) -> list[str]:
        wrong = (~torch.isclose(right, seen, rtol=1e-4, atol=1e-5)).any(-1)
        n = int(wrong.nonzero()[0])
        return [
            f"  Example: π = {numbers(_probs(x))}, and action {x.action[n]} was drawn.",
            f"  seen      {numbers(seen[n])}",
            f"  expected  {numbers(right[n])}",
        ]

    EXERCISE.compare(samples, results, [SCORES], facts=facts)


def _read(result: Any, x: Samples) -> Tensor:
    n, k = x.score.shape
    mistake = None
    if not isinstance(result, Tensor):
        mistake = "no-tensor"
    elif result.shape != x.score.shape:
        shapes = {(k,): "summed-too-early", (k, n): "transposed", (n,): "one-number-each"}
        mistake = shapes.get(tuple(result.shape), "shape")
    EXERCISE.expect(result, mistake, f"a tensor of shape {[n, k]}", seen=describe(result))
    score: Tensor = result.detach().float()
    return score
