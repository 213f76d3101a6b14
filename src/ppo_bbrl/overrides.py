"""Checks what a user's own `PPOClip.losses` and `compute_targets` give, before it is used."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.errors import UserError, shown
from ppo_bbrl.minibatches import LossesAndMetrics
from ppo_bbrl.rollout import Rollout


def targets_of(
    rollout: Rollout, compute: Callable[[Rollout], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """The advantages and returns that `compute_targets` gives for a rollout.

    It gets copies of the rewards and flags, so that it may change them in place: the workspace
    keeps what the environment gave.

    Raises:
        UserError: if they are not two tensors of the rollout's shape.
    """
    own = {name: getattr(rollout, name).clone() for name in ("reward", "terminated", "done")}
    given: Any = compute(replace(rollout, **own))
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise UserError(f"compute_targets gives {_kind(given)}: must be (advantages, returns)")
    shape = rollout.mask.shape
    for name, one in zip(("advantages", "returns"), given, strict=True):
        if not isinstance(one, Tensor) or one.shape != shape or not one.is_floating_point():
            raise UserError(
                f"compute_targets gives {name} as {_kind(one)}: must be a tensor of floats of "
                f"shape {list(shape)}, as rollout.reward"
            )
    advantage, returns = given
    return advantage, returns


def checked_losses(given: Any, *, learns: bool) -> LossesAndMetrics:
    """What `losses` gives for a minibatch, if it can be learned from.

    Args:
        given: by `losses`.
        learns: whether a weight is to learn.

    Raises:
        UserError: naming the loss or metric that cannot.
    """
    pair = given if isinstance(given, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(one, Mapping) for one in pair):
        raise UserError(
            f"losses(minibatch) gives {_kind(given)}: must be a pair of dicts: the losses by name, "
            "and the metrics by name"
        )
    losses, metrics = pair
    for kind, named in (("loss", losses), ("metric", metrics)):
        for name, one in named.items():
            scalar = isinstance(one, Tensor) and one.numel() == 1 and one.is_floating_point()
            if not scalar:
                raise UserError(
                    f"losses(minibatch) gives the {kind} {name} as {_kind(one)}: must be a tensor "
                    "of one number, a float"
                )
    if learns and not any(one.requires_grad for one in losses.values()):
        why = (
            "a detach(), item() or no_grad() lies between the weights and each of them"
            if torch.is_grad_enabled()
            else "torch's gradients are turned off (no_grad, inference_mode)"
        )
        raise UserError(
            f"the losses ({', '.join(map(str, losses))}) have no gradient, so that nothing would "
            f"be learned: {why}"
        )
    return losses, metrics


def _kind(value: Any) -> str:
    """A value as messages name it: tensors and arrays by their shape."""
    if isinstance(value, Tensor) or hasattr(value, "dtype"):
        of = str(value.dtype).removeprefix("torch.")
        return f"a {type(value).__name__} of shape {list(value.shape)}, {of}"
    return shown(value)
