"""The check of notebook 02b's third exercise: the baseline with the smallest variance."""

import torch

from ppo_course.formulas import Part
from ppo_course.lending import standing_in
from ppo_course.mistakes import Exercise, StudentCode
from ppo_course.nb02b_policy_gradient.bandits import WORDS, Samples, cases
from ppo_course.nb02b_policy_gradient.policy_gradient import right_score
from ppo_course.one_number import check_numbers

EXERCISE = Exercise("best_baseline", ("logits", "action", "reward"), WORDS)


def right(x: Samples) -> float:
    """The mean reward, weighted by the squared lengths of the scores."""
    squares = x.score.square().sum(-1)
    return float((squares * x.reward).sum() / squares.sum())


def _weighted(x: Samples, weight: torch.Tensor) -> float:
    return float((weight * x.reward).sum() / weight.sum())


BASELINES = Part(
    right,
    {
        "mean-reward": lambda x: float(x.reward.mean()),
        "lengths-not-squared": lambda x: _weighted(x, x.score.norm(dim=-1)),
        "not-divided": lambda x: float((x.score.square().sum(-1) * x.reward).mean()),
        "summed": lambda x: float((x.score.square().sum(-1) * x.reward).sum()),
        "weighted-by-probability": lambda x: _weighted(x, x.logits.softmax(-1)[x.action]),
        "weighted-by-own-entry": lambda x: _weighted(
            x, x.score.gather(-1, x.action[:, None]).squeeze(-1).square()
        ),
        "rewards-squared": lambda x: float(
            (x.score.square().sum(-1) * x.reward.square()).sum() / x.score.square().sum()
        ),
        "upside-down": lambda x: 1 / right(x),
        "expected-reward": lambda x: float(
            sum(
                p * x.reward[x.action == a].mean()
                for a, p in enumerate(x.logits.softmax(-1))
                if (x.action == a).any()
            )
        ),
        "median": lambda x: float(x.reward.median()),
        "divided-by-lengths": lambda x: float(
            (x.score.square().sum(-1) * x.reward).sum() / x.score.norm(dim=-1).sum()
        ),
    },
)


@torch.enable_grad()
@EXERCISE.check
def check_best_baseline(function: StudentCode, *, seed: int | None = None) -> None:
    """Check a student's `best_baseline(logits, action, reward)`.

    It gets what `policy_gradient` gets, and returns the number b for which the estimate's variance
    is smallest: the mean reward, weighted by the squared lengths of the scores.
    """
    with standing_in([function], {"score": right_score}):
        check_numbers(
            EXERCISE,
            function,
            cases(seed),
            BASELINES,
            arguments=lambda x: (x.logits.clone(), x.action.clone(), x.reward.clone()),
            returned="the baseline",
        )
