"""The known ways to write the clipped objective, right and wrong, part by part.

A student's value that is wrong is compared with what combinations of these give.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.nb03_clip.policy_objective_cases import CLIP_RANGE_VF, ENTROPY_COEF, OLD, Inputs


class Choice(NamedTuple):
    """One way to write a part of the formula; right ones have no words."""

    formula: Callable[..., Any]
    wrong: str = ""
    look: str = ""


def _clip(ratio: Tensor, eps: float) -> Tensor:
    return ratio.clamp(1 - eps, 1 + eps)


# The first choice of each part is the right one.

RATIOS = (
    Choice(lambda x: (x.new - x.old).exp()),
    Choice(
        lambda x: (x.old - x.new).exp(),
        "the ratio is upside down: π_old / π_θ instead of π_θ / π_old",
        "the current policy's probability stands above the line of the fraction, the old one's "
        "below it",
    ),
    Choice(
        lambda x: torch.ones_like(x.old),
        "the ratio is always 1: both probabilities come from the same policy",
        f"the numerator comes from `{{prefix}}logprob_predict` of the policy you were given, the "
        f"denominator from `{OLD}`",
    ),
    Choice(
        lambda x: x.new - x.old,
        "the exponential is missing: this is the logarithm of the ratio",
        "log a − log b = log(a / b), and the objective needs a / b itself",
    ),
    Choice(
        lambda x: x.new / x.old,
        "the logarithms are divided by each other",
        "the workspace holds log-probabilities: the ratio of two probabilities is the exponential "
        "of the difference of their logarithms",
    ),
    Choice(
        lambda x: x.new.exp() - x.old.exp(),
        "the probabilities are subtracted instead of divided",
        "the ratio is π_θ / π_old, or the exponential of the difference of the logarithms",
    ),
    Choice(
        lambda x: x.new,
        "there is no ratio, only the log-probability of the current policy (as in A2C)",
        f"PPO compares with the policy that collected the data: `{OLD}`",
    ),
    Choice(
        lambda x: x.new.exp(),
        "there is no ratio, only the probability under the current policy",
        f"divide by the probability under the old policy, whose logarithm is `{OLD}`",
    ),
)

SURROGATES = (
    Choice(lambda r, a, eps: torch.min(r * a, _clip(r, eps) * a)),
    Choice(
        lambda r, a, eps: torch.max(r * a, _clip(r, eps) * a),
        "the larger of the two products is taken, the objective takes the smaller one",
        "max or min; if you turned the sign before, min of the values is −max of the negatives",
    ),
    Choice(
        lambda r, a, _eps: r * a,
        "nothing is clipped",
        "the second product has the ratio clamped to [1 − clip_range, 1 + clip_range]",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, _clip(r * a, eps)),
        "the product ratio × advantage is clipped, not the ratio",
        "clamp the ratio first, multiply by the advantage afterwards",
    ),
    Choice(
        lambda r, a, eps: _clip(r * a, eps),
        "the product ratio × advantage is clipped, not the ratio",
        "clamp the ratio first, multiply by the advantage afterwards; then take the minimum",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, _clip(r * a, eps) * a),
        "the product ratio × advantage is clipped, not the ratio",
        "clamp the ratio first, and multiply by the advantage once",
    ),
    Choice(
        lambda r, a, eps: _clip(r, eps) * a,
        "only the clipped product is there: the minimum with the unclipped one is missing",
        "the minimum keeps the gradient where a step went in the wrong direction",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, r.clamp(-eps, eps) * a),
        "the ratio is clamped around 0",
        "the ratio is 1 where nothing changed: its range is [1 − clip_range, 1 + clip_range]",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, r.clamp(max=1 + eps) * a),
        "the ratio is clamped from above only",
        "with a negative advantage it is the lower bound, 1 − clip_range, that matters",
    ),
    Choice(
        lambda r, a, eps: torch.min(r * a, r.clamp(min=1 - eps) * a),
        "the ratio is clamped from below only",
        "with a positive advantage it is the upper bound, 1 + clip_range, that matters",
    ),
    Choice(
        lambda r, _a, eps: torch.min(r, _clip(r, eps)),
        "the advantage is missing",
        "both ratios, clipped and unclipped, are multiplied by the advantage before the minimum",
    ),
    Choice(
        lambda r, a, eps: torch.min(r, _clip(r, eps)) * a,
        "the minimum is taken of the ratios, before they are multiplied by the advantage",
        "a negative advantage turns the order around: multiply first, then take the minimum",
    ),
    Choice(
        lambda r, a, eps: torch.min((r * a).mean(), (_clip(r, eps) * a).mean()).expand_as(a),
        "the minimum is taken of two means",
        "the minimum is taken for each transition, the mean comes last",
    ),
)

CLIPS = (
    Choice(lambda x: x.clip_range),
    *(
        Choice(
            lambda _x, eps=eps: eps,
            f"the clip range is always {eps}, whatever the configuration says",
            "cfg.algorithm.clip_range",
        )
        for eps in (0.1, 0.2, 0.3)
    ),
    Choice(
        lambda _x: CLIP_RANGE_VF,
        "the clip range is clip_range_vf, the critic's",
        "cfg.algorithm.clip_range",
    ),
)

REDUCTIONS = (
    Choice(lambda s, _x: s.mean()),
    Choice(
        lambda s, _x: s.sum(),
        "the transitions are added up",
        "the objective is an expectation: take the mean",
    ),
    Choice(
        lambda s, x: s.mean() + ENTROPY_COEF * x.entropy.mean(),
        "the entropy bonus is in it already",
        "`run` adds it afterwards: return the entropy beside the objective",
    ),
)

SIGNS = (
    Choice(lambda v: v),
    Choice(
        lambda v: -v,
        "the sign is wrong",
        "`policy_loss` is the objective L of the formula, which is to be maximised: `run` puts "
        "the minus in front of it",
    ),
)

MOST_MISTAKES = 3  # with more, a match would be chance
PARTS = (RATIOS, SURROGATES, CLIPS, REDUCTIONS, SIGNS)
Formula = tuple[Choice, Choice, Choice, Choice, Choice]
RIGHT: Formula = (RATIOS[0], SURROGATES[0], CLIPS[0], REDUCTIONS[0], SIGNS[0])


def formulas() -> list[Formula]:
    """Every combination of a few mistakes, those with fewest first."""

    def mistakes(formula: Formula) -> int:
        return sum(bool(choice.wrong) for choice in formula)

    return sorted((f for f in product(*PARTS) if mistakes(f) <= MOST_MISTAKES), key=mistakes)


def value(formula: Formula, x: Inputs) -> Tensor:
    """What a combination gives."""
    ratio, surrogate, clip, reduction, sign = (choice.formula for choice in formula)
    result: Tensor = sign(reduction(surrogate(ratio(x), x.advantage, clip(x)), x))
    return result
