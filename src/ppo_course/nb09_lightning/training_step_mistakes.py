"""The loss of PPO, its known mistakes, and the words for them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.feedback import numbers
from ppo_course.formulas import Part

Term = Callable[["Samples", int], Tensor]


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
        return _standard(self.advantage, correction)

    def total(
        self,
        *,
        correction: int = 1,
        policy: Term | None = None,
        value: Term | None = None,
        entropy: float = -1.0,
        coefs: tuple[float | None, float | None] = (None, None),
    ) -> Tensor:
        """The loss; a part of it may be another one, and so may the coefficients."""
        value_coef = self.value_coef if coefs[0] is None else coefs[0]
        entropy_coef = self.entropy_coef if coefs[1] is None else coefs[1]
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
) -> Term:
    def part(s: Samples, correction: int) -> Tensor:
        products = _products(s, ratio(s), advantage(s, correction), clip_range)
        return -combine(*products).mean()

    return part


def _clipped_error(s: Samples, _: int) -> Tensor:
    """The larger of two squared errors, as in notebook 08."""
    moved = (s.value - s.old_value).clamp(-s.clip_range, s.clip_range)
    error, clipped = s.value - s.returns, s.old_value + moved - s.returns
    return torch.max(error.square(), clipped.square()).mean()


# Of each mistake: what is replaced. A way that ends in M is the same mistake with a deviation that
# divides by M, not by M - 1.
_MISTAKES: dict[str, dict[str, Any]] = {
    "policy-sign": {"policy": lambda s, c: -_policy(s, c)},
    "not-normalised": {"policy": _surrogate(advantage=lambda s, _: s.advantage)},
    "mean-not-subtracted": {
        "policy": _surrogate(
            advantage=lambda s, c: s.advantage / (s.advantage.std(correction=c) + 1e-8)
        )
    },
    "mean-0-only": {"policy": _surrogate(advantage=lambda s, _: s.advantage - s.advantage.mean())},
    "advantages-of-new-values": {
        "policy": _surrogate(advantage=lambda s, c: _standard(s.returns - s.value, c))
    },
    "returns-for-advantages": {
        "policy": _surrogate(advantage=lambda s, c: _standard(s.returns, c))
    },
    "clip-fixed": {"policy": _surrogate(clip_range=0.2)},
    "values-limited": {"value": lambda s, c: _value(s._replace(value=s.value.clamp(-10, 10)), c)},
    "not-clipped": {"policy": _surrogate(combine=lambda plain, _: plain)},
    "clipped-only": {"policy": _surrogate(combine=lambda _, clipped: clipped)},
    "larger": {"policy": _surrogate(combine=torch.max)},
    "ratio-inverted": {"policy": _surrogate(ratio=lambda s: 1 / s.ratio())},
    "ratio-no-exponential": {"policy": _surrogate(ratio=lambda s: s.log_prob - s.old_log_prob)},
    "no-ratio": {"policy": lambda s, c: -(s.log_prob * s.normalised(c)).mean()},
    "policy-sum": {"policy": lambda s, c: len(s.value) * _policy(s, c)},
    "value-halved": {"value": lambda s, c: 0.5 * _value(s, c)},
    "value-clipped": {"value": _clipped_error},
    "old-values": {"value": lambda s, _: (s.old_value - s.returns).square().mean()},
    "towards-old-values": {"value": lambda s, _: (s.value - s.old_value).square().mean()},
    "towards-advantages": {"value": lambda s, _: (s.value - s.advantage).square().mean()},
    "absolute": {"value": lambda s, _: (s.value - s.returns).abs().mean()},
    "all-returns": {"value": lambda s, _: (s.value[:, None] - s.returns).square().mean()},
    "mean-squared": {"value": lambda s, _: (s.value - s.returns).mean().square()},
    "value-sum": {"value": lambda s, c: len(s.value) * _value(s, c)},
    "no-coefs": {"coefs": (1.0, 1.0)},
    "value-coef-fixed": {"coefs": (0.5, None)},
    "entropy-coef-missing": {"coefs": (None, 1.0)},
    "entropy-coef-fixed": {"coefs": (None, 0.01)},
    "value-coef-missing": {"coefs": (1.0, None)},
    "value-missing": {"value": lambda s, c: 0 * _value(s, c)},
    "value-subtracted": {"value": lambda s, c: -_value(s, c)},
    "entropy-sign": {"entropy": 1.0},
    "entropy-missing": {"entropy": 0.0},
    "entropy-sum": {
        "policy": lambda s, c: (
            _policy(s, c) - (len(s.value) - 1) * s.entropy_coef * s.entropy.mean()
        )
    },
    "policy-alone": {"value": lambda s, c: 0 * _value(s, c), "entropy": 0.0},
}
FORMULAS = Part(
    loss,
    {
        f"{key}~{way}": partial(loss, correction=correction, **parts)
        for key, parts in _MISTAKES.items()
        for way, correction in (("M - 1", 1), ("M", 0))
    },
)
