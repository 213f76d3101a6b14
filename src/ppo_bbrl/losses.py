"""PPO's losses: pure functions of tensors of the same shape.

Each returns `(loss, diagnostics)`: a scalar to *minimise*, and detached scalars that describe the
same samples. Callers leave out autoreset steps.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # needed only by mypy, and by the tests, which check the shapes
    from jaxtyping import Float, Shaped

Diagnostics = dict[str, Tensor]

# Policies with a ratio of e^20 have nothing in common any more; e^89 is infinite in float32.
_MAX_LOG_RATIO = 20.0


def clipped_surrogate(
    *,
    log_prob: Float[Tensor, " N"],
    old_log_prob: Float[Tensor, " N"],
    advantage: Float[Tensor, " N"],
    clip_range: float | Tensor | None,
    clip_range_high: float | Tensor | None = None,
    dual_clip: float | None = None,
    mask: Shaped[Tensor, " N"] | None = None,
    max_log_ratio: float = _MAX_LOG_RATIO,
) -> tuple[Float[Tensor, ""], Diagnostics]:
    r"""The policy loss of PPO-clip.

    .. math::
        r &= \exp(\log\pi_\theta(a|s) - \log\pi_{\theta_{old}}(a|s)) \\
        L &= -\mathbb{E}\left[\min(r A, \operatorname{clip}(r, 1-\epsilon, 1+\epsilon) A)\right]

    Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017), equation 7, with
    the opposite sign: the paper maximises, this is minimised. The ratio is computed from
    log-probabilities, since dividing two small probabilities loses precision.

    Two variants: with `clip_range_high` the upper bound is another one, 1 + ε_high ("clip-higher"
    of Yu et al., "DAPO", 2025). With `dual_clip` c the objective of a bad action is bounded, too:
    where A < 0 it is max(min(…), c A), so that a ratio above c has no gradient (Ye et al.,
    "Mastering Complex Control in MOBA Games with Deep Reinforcement Learning", 2020, equation 5).

    Args:
        log_prob: `[N]`, under the policy being optimised; carries the gradient.
        old_log_prob: `[N]`, under the policy that acted; treated as a constant.
        advantage: `[N]`; treated as a constant.
        clip_range: ε > 0, a number or a scalar tensor; None: no clipping, the objective is r A.
        clip_range_high: ε_high > 0, for the upper bound; None: ε.
        dual_clip: c > 1; None: bad actions are bounded on one side only.
        mask: `[N]`: which samples count; default: all.
        max_log_ratio: above this log r, r continues as a straight line, so that it stays finite.

    Returns:
        The loss, a scalar, and diagnostics: `approx_kl`, the estimate k3 = E[(r - 1) - log r] of
        KL(old ‖ new), never negative (Schulman, "Approximating KL Divergence", 2020);
        `clip_fraction`, the fraction of samples whose ratio is outside the bounds.

    Raises:
        ValueError: if the shapes differ: `[N, 1]` must not silently broadcast against `[N]`.
    """
    _check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    advantage = advantage.detach()
    log_ratio = log_prob - old_log_prob.detach()
    ratio = _finite_exp(log_ratio, max_log_ratio)
    objective, clipped = ratio * advantage, ratio
    if clip_range is not None:
        high = clip_range if clip_range_high is None else clip_range_high
        # The minimum: where the clipped one is less, it is a constant, and needs no gradient.
        clipped = _clamp(ratio.detach(), 1 - clip_range, 1 + high)
        bound = clipped * advantage
        objective = torch.where(objective <= bound, objective, bound)
    if dual_clip is not None:
        bounded = torch.max(objective, dual_clip * advantage)
        objective = torch.where(advantage < 0, bounded, objective)
    diagnostics = {
        "approx_kl": _mean(ratio.detach() - 1 - log_ratio.detach(), mask),
        "clip_fraction": _mean(clipped != ratio, mask),
    }
    return -_mean(objective, mask), diagnostics


def kl_divergence(
    *,
    log_prob: Float[Tensor, " N"],
    old_log_prob: Float[Tensor, " N"],
    mask: Shaped[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    r"""KL(old ‖ new) from samples of the old policy: :math:`\mathbb{E}[(r - 1) - \log r]`, k3.

    The penalty of the 2017 paper's other PPO (equation 8), weighted by β. The paper takes the
    divergence of the two distributions; this estimate of it needs no more than log-probabilities,
    is never negative, and its expectation and gradient are the right ones (Schulman,
    "Approximating KL Divergence", 2020).

    Args:
        log_prob: `[N]`, under the policy that is optimised; carries the gradient.
        old_log_prob: `[N]`, under the policy that acted; treated as a constant.
        mask: `[N]`, which samples count; all if left out.

    Returns:
        A scalar, in nats, with gradient.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob)
    log_ratio = log_prob - old_log_prob.detach()
    return _mean(_finite_exp(log_ratio, _MAX_LOG_RATIO) - 1 - log_ratio, mask)


def value_loss(
    *,
    value: Float[Tensor, " N"],
    old_value: Float[Tensor, " N"],
    target: Float[Tensor, " N"],
    clip_range_vf: float | Tensor,
    mask: Shaped[Tensor, " N"] | None = None,
) -> tuple[Float[Tensor, ""], Diagnostics]:
    r"""The critic's mean squared error (without ½), clipped as PPO2 does.

    .. math::
        V^{clip} &= V_{old} + \operatorname{clip}(V - V_{old}, -\epsilon, \epsilon) \\
        L &= \mathbb{E}\left[\max((V - G)^2, (V^{clip} - G)^2)\right]

    Source: OpenAI Baselines, `ppo2/model.py`; docs/ppo.md#detail-9. The maximum matters: the
    clipped error alone has no gradient once V has left the range, even in the wrong direction,
    and so freezes the critic.

    Args:
        value: `[N]`, under the critic being optimised; carries the gradient.
        old_value: `[N]`, under the critic that acted; treated as a constant.
        target: `[N]`, the λ-returns; treated as constants.
        clip_range_vf: ε in units of the return; the number 0 turns clipping off.
        mask: `[N]`: which samples count; default: all.

    Returns:
        The loss, a scalar, and diagnostics: `value_clip_fraction`, the fraction of samples with
        |V - V_old| > ε (0 if clipping is off).

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape(value=value, old_value=old_value, target=target)
    target = target.detach()
    error = (value - target).square()
    if not isinstance(clip_range_vf, Tensor) and clip_range_vf <= 0:
        return _mean(error, mask), {"value_clip_fraction": error.new_zeros(())}
    old_value = old_value.detach()
    change = value - old_value
    clipped = old_value + _clamp(change, -clip_range_vf, clip_range_vf)
    loss = _mean(torch.max(error, (clipped - target).square()), mask)
    return loss, {"value_clip_fraction": _mean(change.detach().abs() > clip_range_vf, mask)}


def entropy_loss(
    *, entropy: Float[Tensor, " N"], mask: Shaped[Tensor, " N"] | None = None
) -> tuple[Float[Tensor, ""], Diagnostics]:
    """The negative mean entropy: minimising it keeps the policy exploring.

    Args:
        entropy: `[N]`, the entropy of the policy in each sample, in nats.
        mask: `[N]`: which samples count; default: all.

    Returns:
        The loss, a scalar, and diagnostics: `entropy`, the mean entropy.
    """
    mean = _mean(entropy, mask)
    return -mean, {"entropy": mean.detach()}


def squared_log_ratio(
    *,
    log_prob: Float[Tensor, " N"],
    old_log_prob: Float[Tensor, " N"],
    mask: Shaped[Tensor, " N"] | None = None,
) -> Float[Tensor, ""]:
    r"""The estimate k2 of KL(old ‖ new): :math:`\mathbb{E}[\tfrac{1}{2} (\log r)^2]`.

    Source: Schulman, "Approximating KL Divergence" (2020); OpenAI Baselines logs it. It is biased
    but never negative, and has less variance than -log r. `clipped_surrogate` reports k3.

    Args:
        log_prob: `[N]`, under the policy being optimised.
        old_log_prob: `[N]`, under the policy that acted.
        mask: `[N]`: which samples count; default: all.

    Returns:
        A scalar without gradient.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob)
    return _mean(0.5 * (log_prob - old_log_prob).detach().square(), mask)


def explained_variance(
    *, value: Float[Tensor, " N"], target: Float[Tensor, " N"]
) -> Float[Tensor, ""]:
    """The fraction of the returns' variance that the critic explains: 1 - Var(G - V) / Var(G).

    1 is perfect, 0 no better than a constant, negative worse. NaN if all returns are equal.

    Args:
        value: `[N]`, the critic's values.
        target: `[N]`, the returns.

    Returns:
        A scalar.
    """
    _check_same_shape(value=value, target=target)
    spread = target.var(correction=0)
    unexplained = (target - value).var(correction=0)
    return torch.where(spread > 0, 1 - unexplained / spread, torch.nan)


def _finite_exp(x: Tensor, limit: float) -> Tensor:
    """The exponential up to a limit, continued by its tangent.

    So it stays finite, and a bad action that has become far too probable still has a gradient.
    """
    if _all_below(x, limit):  # nearly always true, and cheaper than the code below
        return x.exp()
    beyond = (x - limit).relu()
    return torch.add(x.clamp(max=limit).exp(), beyond, alpha=math.exp(limit))


def _all_below(x: Tensor, limit: float) -> bool:
    """Whether every entry is known to be below a limit; False if the values cannot be read."""
    if torch.compiler.is_compiling():
        return False
    try:
        return x.numel() == 0 or x.detach().max().item() < limit
    except RuntimeError:  # inside torch.func.vmap
        return False


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return x.mean(dtype=torch.float32) if x.dtype == torch.bool else x.mean()
    return (x * mask).sum() / mask.sum()


def _clamp(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    return torch.clamp(x, low, high)  # type: ignore[arg-type] # both numbers or both tensors


def _check_same_shape(**tensors: Tensor) -> None:
    first, *others = [tensor.shape for tensor in tensors.values()]
    if any(shape != first for shape in others):
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise ValueError(f"these must have the same shape: {shapes}")
