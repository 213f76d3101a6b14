"""Known mistakes in the joint loss of a shared trunk, and the words for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppo_course.guesses import Guess


def _of(formula: Callable[..., Tensor]) -> Callable[[Any], float]:
    return lambda case: float(formula(case).detach())


def _ratio(case: Any) -> Tensor:
    ratio: Tensor = (case.old_neg_log_probs - case.neg_log_probs).exp()
    return ratio


def _products(case: Any, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """-A·r and -A·clip(r), `[N]`."""
    clipped = ratio.clamp(1 - case.clip_range, 1 + case.clip_range)
    return -case.advantages * ratio, -case.advantages * clipped


def _policy(case: Any, ratio: Tensor | None = None) -> Tensor:
    return torch.max(*_products(case, _ratio(case) if ratio is None else ratio))


def _standard(case: Any, correction: int) -> Tensor:
    """The advantages with mean 0 and deviation 1, `[N]`."""
    spread: Tensor = case.advantages - case.advantages.mean()
    return spread / (spread.std(correction=correction) + 1e-8)


def _errors(case: Any) -> tuple[Tensor, Tensor]:
    """(V - R)² and (V_clip - R)², `[N]`."""
    change = (case.value_f - case.old_values).clamp(-case.clip_range, case.clip_range)
    clipped = case.old_values + change
    return (case.value_f - case.returns) ** 2, (clipped - case.returns) ** 2


def _value(case: Any) -> Tensor:
    return 0.5 * torch.max(*_errors(case)).mean()


def _total(case: Any, policy: float = 1, entropy: float = -1, value: float = 1) -> Tensor:
    bonus = entropy * case.ent_coef * case.entropy.mean()
    total: Tensor = policy * _policy(case).mean() + bonus + value * case.vf_coef * _value(case)
    return total


_RATIO = "r = exp(old_neg_log_probs - neg_log_probs)"
_PESSIMISTIC = "of the two *losses* the larger one counts: torch.max"

POLICY = (
    Guess(
        _of(lambda c: -_policy(c).mean()),
        "the policy loss has the wrong sign: a step would make good actions less probable",
        "it is minimised: -advantages * ratio, with a minus, unlike the objective of notebook 03",
    ),
    Guess(
        _of(lambda c: _policy(c, 1 / _ratio(c)).mean()),
        "the ratio is turned round: these are *negative* log-likelihoods",
        f"the probability is exp(-neg_log_probs), so that {_RATIO}",
    ),
    Guess(
        _of(lambda c: torch.min(*_products(c, _ratio(c))).mean()),
        "the policy loss takes the smaller of the two losses",
        f"{_PESSIMISTIC}, with the minus inside; notebook 03's minimum has become a maximum",
    ),
    Guess(
        _of(lambda c: _policy(c._replace(clip_range=0.2)).mean()),
        "the policy loss is clipped by 0.2, whatever clip_range says",
        "torch.clamp(ratio, 1 - clip_range, 1 + clip_range)",
    ),
    *(
        Guess(
            _of(lambda c, n=correction: _policy(c._replace(advantages=_standard(c, n))).mean()),
            "the advantages are normalised, which train_fn has done already",
            "take the advantages as they come",
        )
        for correction in (1, 0)
    ),
    Guess(
        _of(lambda c: _products(c, _ratio(c))[0].mean()),
        "the policy loss is not clipped",
        f"clamp the ratio, and take both products: {_PESSIMISTIC}",
    ),
    Guess(
        _of(lambda c: _products(c, _ratio(c))[1].mean()),
        "the policy loss takes the clipped product only",
        f"a step in the wrong direction must never be clipped: {_PESSIMISTIC}",
    ),
    Guess(
        _of(lambda c: _policy(c).sum()),
        "the policy loss is the sum over the samples, not the mean",
        ".mean()",
    ),
    Guess(
        _of(lambda c: _policy(c, _ratio(c).log()).mean()),
        "the ratio is a difference of logarithms, without its exponential",
        _RATIO,
    ),
    Guess(
        _of(lambda c: _policy(c, c.neg_log_probs / c.old_neg_log_probs).mean()),
        "the ratio is that of the logarithms, not that of the probabilities",
        _RATIO,
    ),
    Guess(
        _of(lambda c: (c.advantages * c.neg_log_probs).mean()),
        "the policy loss is that of plain policy gradient, without a ratio",
        f"{_RATIO}; then the two products of the formula",
    ),
)

VALUE = (
    Guess(
        _of(lambda c: c.vf_coef * _value(c)),
        "the value loss has vf_coef in it already",
        "value_loss is returned without vf_coef, which comes in the total",
    ),
    Guess(
        _of(lambda c: _value(c._replace(clip_range=0.2))),
        "the change of the values is clipped by 0.2, whatever clip_range says",
        "torch.clamp(value_f - old_values, -clip_range, clip_range)",
    ),
    Guess(
        _of(lambda c: 2 * _value(c)),
        "the ½ of the value loss is missing",
        "0.5 * the mean; otherwise vf_coef means twice as much as in the model card",
    ),
    Guess(
        _of(lambda c: 0.5 * _errors(c)[0].mean()),
        "the value loss is not clipped",
        "the second error is that of old_values + torch.clamp(value_f - old_values, -ε, ε)",
    ),
    Guess(
        _of(lambda c: _errors(c)[0].mean()),
        "the value loss is the plain mean squared error: neither clipped nor halved",
        "the larger of the two squared errors of the formula, then 0.5 * the mean",
    ),
    Guess(
        _of(lambda c: 0.5 * _errors(c)[1].mean()),
        "the value loss takes the clipped error only",
        "a value that left the range in the wrong direction would never come back: take the "
        "larger of the two errors in each sample, torch.max",
    ),
    Guess(
        _of(lambda c: 0.5 * torch.min(*_errors(c)).mean()),
        "the value loss takes the smaller of the two errors",
        "the larger one in each sample: torch.max",
    ),
    Guess(
        _of(
            lambda c: (
                0.5
                * torch.max(
                    _errors(c)[0],
                    (c.value_f.clamp(-c.clip_range, c.clip_range) - c.returns) ** 2,
                ).mean()
            )
        ),
        "the value itself is clipped to ±ε, not its change",
        "old_values + torch.clamp(value_f - old_values, -ε, ε)",
    ),
    Guess(
        _of(
            lambda c: (
                0.5
                * torch.max(
                    _errors(c)[0],
                    (
                        (c.value_f - c.old_values).clamp(-c.clip_range, c.clip_range) - c.returns
                    ).square(),
                ).mean()
            )
        ),
        "old_values is not added again after the clipping of the change",
        "old_values + torch.clamp(value_f - old_values, -ε, ε)",
    ),
    Guess(
        _of(lambda c: -_value(c)),
        "the value loss has the wrong sign",
        "squared errors are minimised: no minus",
    ),
    Guess(
        _of(lambda c: torch.max(*_errors(c)).sum() / 2),
        "the value loss is a sum over the samples, not a mean",
        ".mean()",
    ),
)

TOTAL = (
    Guess(
        _of(lambda c: _total(c, entropy=1)),
        "the entropy has the wrong sign: minimising would take the exploration away",
        "we minimise the total and want *much* entropy: - ent_coef * entropy.mean()",
    ),
    Guess(
        _of(lambda c: _total(c, value=-1)),
        "the value loss is subtracted: minimising would make the critic worse",
        "+ vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: _total(c, policy=-1)),
        "the policy loss is subtracted, although it is a loss already",
        "policy_loss - ent_coef * entropy.mean() + vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: -_total(c)),
        "the whole total has the wrong sign",
        "the optimiser minimises: policy_loss - ent_coef * entropy.mean() + vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: _total(c._replace(ent_coef=c.vf_coef, vf_coef=c.ent_coef))),
        "the two coefficients are exchanged",
        "ent_coef belongs to the entropy, vf_coef to the value loss",
    ),
    Guess(
        _of(lambda c: _total(c._replace(ent_coef=0.01, vf_coef=0.5))),
        "the coefficients are 0.01 and 0.5, whatever the arguments say",
        "- ent_coef * entropy.mean() + vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: _total(c, entropy=0)),
        "the entropy is missing in the total",
        "- ent_coef * entropy.mean()",
    ),
    Guess(
        _of(lambda c: _total(c._replace(vf_coef=1.0))),
        "vf_coef is missing",
        "+ vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: _total(c._replace(ent_coef=1.0))),
        "ent_coef is missing",
        "- ent_coef * entropy.mean()",
    ),
    Guess(
        _of(lambda c: _total(c._replace(vf_coef=c.vf_coef / 2))),
        "the value loss is halved a second time in the total",
        "the ½ is in value_loss already: + vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: _total(c, entropy=-len(c.entropy))),
        "the entropy is summed over the samples",
        "- ent_coef * entropy.mean()",
    ),
    Guess(
        _of(lambda c: _policy(c).mean()),
        "the total is the policy loss alone",
        "policy_loss - ent_coef * entropy.mean() + vf_coef * value_loss",
    ),
    Guess(
        _of(lambda c: _total(c, value=0)),
        "the value loss is missing in the total",
        "+ vf_coef * value_loss",
    ),
)
