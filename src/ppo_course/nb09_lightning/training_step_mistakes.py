"""The loss of PPO, its known mistakes, and the words for them."""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.guesses import Guess

Part = Callable[["Samples", int], Tensor]


class Samples(NamedTuple):
    """M transitions, `[M]` each, then three numbers."""

    log_prob: Tensor
    old_log_prob: Tensor
    advantage: Tensor
    value: Tensor
    old_value: Tensor
    returns: Tensor
    entropy: Tensor
    clip_range: float
    value_coef: float
    entropy_coef: float

    def tell(self) -> list[str]:
        """The example in a message: its first four transitions."""
        rows = [
            ("advantages", self.advantage),
            ("now probable", self.log_prob.exp()),
            ("and before", self.old_log_prob.exp()),
            ("value", self.value),
            ("returns", self.returns),
            ("entropy", self.entropy),
        ]
        more = " …" if len(self.value) > 4 else ""
        numbers_ = ", ".join(
            f"{name} = {getattr(self, name):.3g}"
            for name in ("clip_range", "value_coef", "entropy_coef")
        )
        return [
            f"  An example with {numbers_}:",
            *(f"    {name:<13}{numbers(row[:4])}{more}" for name, row in rows),
        ]

    def ratio(self) -> Tensor:
        """r, `[M]`."""
        return (self.log_prob - self.old_log_prob).exp()

    def normalised(self, correction: int) -> Tensor:
        """The advantages with mean 0 and deviation 1, `[M]`."""
        spread = self.advantage.std(correction=correction)
        return (self.advantage - self.advantage.mean()) / (spread + 1e-8)

    def total(
        self,
        *,
        correction: int = 1,
        policy: Part | None = None,
        value: Part | None = None,
        entropy: float = -1.0,
        coefs: tuple[float | None, float | None] = (None, None),
    ) -> Tensor:
        """The loss; a part of it may be another one, and so may the coefficients."""
        value_coef, entropy_coef = (
            right if other is None else other
            for right, other in zip((self.value_coef, self.entropy_coef), coefs, strict=True)
        )
        policy_loss = (policy or _policy)(self, correction)
        value_loss = (value or _value)(self, correction)
        return policy_loss + value_coef * value_loss + entropy * entropy_coef * self.entropy.mean()


def loss(samples: Samples, *, correction: int = 1, **parts: Any) -> float:
    """The loss as a number."""
    return float(samples.total(correction=correction, **parts).detach())


def _products(
    s: Samples, ratio: Tensor, advantage: Tensor, clip_range: float | None = None
) -> tuple[Tensor, Tensor]:
    epsilon = s.clip_range if clip_range is None else clip_range
    return ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage


def _policy(s: Samples, correction: int) -> Tensor:
    return -torch.min(*_products(s, s.ratio(), s.normalised(correction))).mean()


def _value(s: Samples, _: int) -> Tensor:
    return (s.value - s.returns).square().mean()


def _standard(numbers_: Tensor, correction: int) -> Tensor:
    """With mean 0 and deviation 1."""
    return (numbers_ - numbers_.mean()) / (numbers_.std(correction=correction) + 1e-8)


def _surrogate(
    ratio: Callable[[Samples], Tensor] = Samples.ratio,
    combine: Callable[..., Tensor] = torch.min,
    advantage: Callable[[Samples, int], Tensor] = Samples.normalised,
    clip_range: float | None = None,
) -> Part:
    def part(s: Samples, correction: int) -> Tensor:
        products = _products(s, ratio(s), advantage(s, correction), clip_range)
        return -combine(*products).mean()

    return part


def _clipped_error(s: Samples, _: int) -> Tensor:
    """The larger of two squared errors, as in notebook 08."""
    moved = (s.value - s.old_value).clamp(-s.clip_range, s.clip_range)
    error, clipped = s.value - s.returns, s.old_value + moved - s.returns
    return torch.max(error.square(), clipped.square()).mean()


_RATIO = "r is the exponential of the difference, new log-probability minus old one"
_NORMALISE = "normalise(batch.advantages), over the minibatch"
_BOTH = "take both products, with and without clipping, and of the two the smaller one: torch.min"

#: Of the parts: what is replaced, what is wrong, where to look.
_MISTAKES: tuple[tuple[dict[str, Any], str, str], ...] = (
    (
        {"policy": lambda s, c: -_policy(s, c)},
        "the policy loss has the wrong sign: Lightning would minimise the objective",
        "the objective of notebook 03 is maximised; a loss is minimised, hence the minus",
    ),
    (
        {"policy": _surrogate(advantage=lambda s, _: s.advantage)},
        "the advantages are not normalised",
        _NORMALISE,
    ),
    (
        {
            "policy": _surrogate(
                advantage=lambda s, c: s.advantage / (s.advantage.std(correction=c) + 1e-8)
            )
        },
        "the mean of the advantages is not subtracted",
        _NORMALISE,
    ),
    (
        {"policy": _surrogate(advantage=lambda s, _: s.advantage - s.advantage.mean())},
        "the advantages have mean 0, but are not divided by their deviation",
        _NORMALISE,
    ),
    (
        {"policy": _surrogate(advantage=lambda s, c: _standard(s.returns - s.value, c))},
        "the advantages are computed anew, with the values of now",
        "batch.advantages: they stay the same in all epochs over a rollout",
    ),
    (
        {"policy": _surrogate(advantage=lambda s, c: _standard(s.returns, c))},
        "the returns take the place of the advantages",
        _NORMALISE,
    ),
    (
        {"policy": _surrogate(clip_range=0.2)},
        "the clip range is 0.2, whatever the model says",
        "self.clip_range",
    ),
    (
        {"policy": _surrogate(combine=lambda plain, _: plain)},
        "the ratio is not clipped",
        _BOTH,
    ),
    (
        {"policy": _surrogate(combine=lambda _, clipped: clipped)},
        "only the clipped product is there: a step in the wrong direction could not be undone",
        _BOTH,
    ),
    (
        {"policy": _surrogate(combine=torch.max)},
        "of the two products it takes the larger one",
        _BOTH,
    ),
    (
        {"policy": _surrogate(ratio=lambda s: 1 / s.ratio())},
        "the ratio is turned round",
        _RATIO,
    ),
    (
        {"policy": _surrogate(ratio=lambda s: s.log_prob - s.old_log_prob)},
        "the ratio is a difference of logarithms, without its exponential",
        _RATIO,
    ),
    (
        {"policy": lambda s, c: -(s.log_prob * s.normalised(c)).mean()},
        "the policy loss is that of plain policy gradient, without a ratio",
        _RATIO,
    ),
    (
        {"policy": lambda s, c: len(s.value) * _policy(s, c)},
        "the policy loss is a sum over the minibatch",
        ".mean(), so that the size of a minibatch does not matter",
    ),
    (
        {"value": lambda s, c: 0.5 * _value(s, c)},
        "the value loss has a ½ that the formula has not",
        "value_coef is the only weight of the squared error",
    ),
    (
        {"value": _clipped_error},
        "the change of the values is clipped, which this formula does not do",
        "the mean of (value - batch.returns) ** 2; batch.old_values is not needed",
    ),
    (
        {"value": lambda s, _: (s.old_value - s.returns).square().mean()},
        "the value loss has the old values in the place of the values: the critic would not learn",
        "the second of the two things that self(batch.observations) gives",
    ),
    (
        {"value": lambda s, _: (s.value - s.old_value).square().mean()},
        "the values learn towards the old values",
        "the target is batch.returns",
    ),
    (
        {"value": lambda s, _: (s.value - s.advantage).square().mean()},
        "the values learn towards the advantages",
        "the target is batch.returns",
    ),
    (
        {"value": lambda s, _: (s.value - s.returns).abs().mean()},
        "the value loss is the absolute error, not the squared one",
        "(value - batch.returns) ** 2",
    ),
    (
        {"value": lambda s, _: (s.value[:, None] - s.returns).square().mean()},
        "each value is compared with all returns, not with its own",
        "the shapes: [M, 1] minus [M] is [M, M]",
    ),
    (
        {"value": lambda s, _: (s.value - s.returns).mean().square()},
        "the mean is squared, not the errors",
        "first the square of each error, then the mean",
    ),
    (
        {"value": lambda s, c: len(s.value) * _value(s, c)},
        "the value loss is a sum over the minibatch",
        ".mean(), so that the size of a minibatch does not matter",
    ),
    (
        {"coefs": (1.0, 1.0)},
        "both coefficients are missing",
        "+ self.value_coef * value_loss - self.entropy_coef * the mean entropy",
    ),
    (
        {"coefs": (0.5, None)},
        "the coefficient of the value loss is 0.5, whatever the model says",
        "+ self.value_coef * value_loss",
    ),
    (
        {"coefs": (None, 1.0)},
        "entropy_coef is missing",
        "- self.entropy_coef * the mean entropy",
    ),
    (
        {"coefs": (None, 0.01)},
        "the coefficient of the entropy is 0.01, whatever the model says",
        "- self.entropy_coef * the mean entropy",
    ),
    (
        {"coefs": (1.0, None)},
        "value_coef is missing",
        "+ self.value_coef * value_loss",
    ),
    (
        {"value": lambda s, c: 0 * _value(s, c)},
        "the value loss is missing: the critic would not learn",
        "+ self.value_coef * value_loss",
    ),
    (
        {"value": lambda s, c: -_value(s, c)},
        "the value loss is subtracted: the critic would become worse",
        "+ self.value_coef * value_loss",
    ),
    (
        {"entropy": 1.0},
        "the entropy has the wrong sign: minimising would take the exploration away",
        "- self.entropy_coef * the mean entropy",
    ),
    (
        {"entropy": 0.0},
        "the entropy is missing",
        "dist.entropy() has it for each observation; - self.entropy_coef * its mean",
    ),
    (
        {
            "policy": lambda s, c: (
                _policy(s, c) - (len(s.value) - 1) * s.entropy_coef * s.entropy.mean()
            )
        },
        "the entropy is a sum over the minibatch",
        "dist.entropy().mean(), so that the size of a minibatch does not matter",
    ),
    (
        {"value": lambda s, c: 0 * _value(s, c), "entropy": 0.0},
        "it is the policy loss alone",
        "the other two terms of the formula",
    ),
)


def _guess(parts: dict[str, Any], correction: int, wrong: str, look: str) -> Guess:
    return Guess(lambda samples: loss(samples, correction=correction, **parts), wrong, look)


# The deviation may divide by M - 1 or by M: a mistake is one with either.
GUESSES = tuple(
    _guess(parts, correction, wrong, look)
    for (parts, wrong, look), correction in product(_MISTAKES, (1, 0))
)
