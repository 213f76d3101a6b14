"""Advantages: pure functions of tensors, aligned on transitions.

Everywhere `[T, B]` means T transitions of B environments. Transition t leads from row t to row
t+1 of a workspace: `value[t]` comes from row t; `reward[t]`, `next_value[t]`, `terminated[t]`
and `done[t]` from row t+1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # needed only by mypy, and by the tests, which check the shapes
    from jaxtyping import Bool, Float, Shaped


def gae(
    *,
    reward: Float[Tensor, "T B"],
    value: Float[Tensor, "T B"],
    next_value: Float[Tensor, "T B"],
    terminated: Bool[Tensor, "T B"],
    done: Bool[Tensor, "T B"],
    discount_factor: float,
    gae_lambda: float,
) -> Float[Tensor, "T B"]:
    r"""Generalised advantage estimation.

    .. math::
        \delta_t &= r_t + \gamma (1 - \text{terminated}_t) V(s_{t+1}) - V(s_t) \\
        A_t &= \delta_t + \gamma \lambda (1 - \text{done}_t) A_{t+1}

    Source: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation" (2016), equation 16. The paper does not cover time limits; two masks handle them
    here. `terminated` stops the bootstrap: a terminal state has no successor. `done` (terminated
    *or* truncated) cuts the trace: the next row belongs to another episode.

    The step that autoreset adds after `done`, from the final observation to the reset observation,
    is not a transition. Its result is finite and affects no other entry; callers mask it.

    Args:
        reward: `[T, B]`, float.
        value: `[T, B]`, V(s_t).
        next_value: `[T, B]`, V(s_{t+1}); at the end of an episode, the value of its final
            observation.
        terminated: `[T, B]`, bool.
        done: `[T, B]`, bool, terminated or truncated.
        discount_factor: γ in [0, 1].
        gae_lambda: λ in [0, 1]; 0 gives the temporal difference, 1 the Monte Carlo advantage.

    Returns:
        The advantage, `[T, B]`.

    Raises:
        ValueError: if the shapes differ or a mask is not boolean.
    """
    _check_same_shape(
        reward=reward, value=value, next_value=next_value, terminated=terminated, done=done
    )
    _check_masks(terminated=terminated, done=done)
    # masked_fill instead of a product, because 0 × inf is NaN.
    bootstrap = next_value.masked_fill(terminated, 0.0)
    delta = reward + discount_factor * bootstrap - value
    decay = discount_factor * gae_lambda
    if decay == 0.0 or len(delta) == 0:
        return delta
    advantages, cuts = list(delta.unbind(0)), done.unbind(0)
    for t in range(len(advantages) - 2, -1, -1):
        # Even an infinity in a later episode does not cross the cut.
        following = advantages[t + 1].masked_fill(cuts[t], 0.0)
        advantages[t] = torch.add(advantages[t], following, alpha=decay)
    return torch.stack(advantages)


def continuing_gae(
    *,
    reward: Float[Tensor, "T B"],
    value: Float[Tensor, "T B"],
    last_value: Float[Tensor, " B"],
    mask: Bool[Tensor, "T B"],
    discount_factor: float,
    gae_lambda: float,
) -> Float[Tensor, "T B"]:
    r"""Generalised advantage estimation as if no episode ever ended.

    As in `gae` without its two masks: a reward that comes after the end of an episode counts before
    it, too. The step that autoreset adds is no step: what follows the last transition of an episode
    is the first one of the next, and their values and advantages are linked directly.

    Source: Burda et al., "Exploration by Random Network Distillation" (2018), section 2.3.

    Args:
        reward: `[T, B]`, float, that came with row t+1.
        value: `[T, B]`, V(s_t).
        last_value: `[B]`, V of the row after the last step.
        mask: `[T, B]`, bool: which steps are transitions, not autoreset steps.
        discount_factor: γ in [0, 1).
        gae_lambda: λ in [0, 1].

    Returns:
        The advantage, `[T, B]`; callers mask that of autoreset steps.

    Raises:
        ValueError: if the shapes differ or the mask is not boolean.
    """
    _check_same_shape(reward=reward, value=value, mask=mask)
    _check_masks(mask=mask)
    advantage, following = torch.zeros_like(reward), torch.zeros_like(last_value)
    next_value = last_value
    for t in range(len(reward) - 1, -1, -1):
        delta = reward[t] + discount_factor * next_value - value[t]
        advantage[t] = delta + discount_factor * gae_lambda * following
        following = torch.where(mask[t], advantage[t], following)
        next_value = torch.where(mask[t], value[t], next_value)
    return advantage


def lambda_returns(
    *, advantage: Float[Tensor, "T B"], value: Float[Tensor, "T B"]
) -> Float[Tensor, "T B"]:
    r"""The critic's target: :math:`G^\lambda_t = A^{GAE}_t + V(s_t)`.

    Source: Sutton and Barto (2018), equation 12.2; the identity holds for the advantage of `gae`.

    Args:
        advantage: `[T, B]`, as returned by `gae`.
        value: `[T, B]`, the values passed to `gae`.

    Returns:
        The λ-return, `[T, B]`.
    """
    _check_same_shape(advantage=advantage, value=value)
    return advantage + value


def normalise(
    advantage: Float[Tensor, "*shape"],
    *,
    mask: Shaped[Tensor, "*shape"] | None = None,
    eps: float = 1e-8,
) -> Float[Tensor, "*shape"]:
    """Shift to mean 0 and scale to standard deviation 1 (docs/ppo.md#detail-7).

    Args:
        advantage: any shape; the caller leaves out autoreset steps.
        mask: same shape: which entries count for mean and standard deviation; default: all.
        eps: keeps the division finite if all advantages are equal.

    Returns:
        The normalised advantage, same shape. A single number becomes 0.
    """
    if mask is not None:
        count = mask.sum()
        centred = advantage - (advantage * mask).sum() / count
        variance = (centred.square() * mask).sum() / (count - 1).clamp(min=1)
        return centred / (variance.sqrt() + eps)
    centred = advantage - advantage.mean()
    if advantage.numel() < 2:  # the sample standard deviation needs two
        return centred
    return centred / (advantage.std() + eps)


def _check_same_shape(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"these must have the same shape [T, B]: {shapes}")


def _check_masks(**masks: Tensor) -> None:
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise ValueError(f"{name} must be a boolean mask, not {mask.dtype}")
