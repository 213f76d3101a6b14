"""Whether a model's own hooks give each minibatch the one optimiser step that PPO means."""

import warnings
from typing import Any

import lightning as pl
from torch.optim import Optimizer

from ppo_bbrl.errors import UserError


class StepCheck:
    """Watches `optimizer_step` and `optimizer_zero_grad` where a model overrides them.

    Args:
        model: attached to a Trainer that has made its optimisers.
    """

    def __init__(self, model: pl.LightningModule) -> None:
        self._optimizers: list[Optimizer] = model.trainer.optimizers
        automatic = model.automatic_optimization
        self._zeroes = automatic and _overrides(model, "optimizer_zero_grad")
        # With 16-mixed the scaler leaves out steps, which is meant so.
        scales = getattr(model.trainer.precision_plugin, "scaler", None) is not None
        self._steps = automatic and _overrides(model, "optimizer_step") and not scales
        self._made: int | None = None  # steps since the last minibatch began
        if self._steps:
            for optimizer in self._optimizers:
                optimizer.register_step_post_hook(self._count)

    def begin(self) -> None:
        """See how many steps the last minibatch had, as the next one begins: warn once."""
        made, self._made = self._made, 0
        if self._steps and made not in (None, 1):
            self._steps = False
            warnings.warn(
                f"optimizer_step: {made} optimiser steps for a minibatch, where PPO means one; "
                "call super().optimizer_step(…) once each time, and set the sizes by batch_size",
                stacklevel=2,
            )

    def before_backward(self) -> None:
        """See that no gradient of an earlier minibatch is left.

        Raises:
            UserError: if one is.
        """
        if self._zeroes and any(_has_gradient(optimizer) for optimizer in self._optimizers):
            raise UserError(
                "optimizer_zero_grad: gradients of an earlier minibatch are left, and would be "
                "added to those of the next one; leave it to Lightning, or call "
                "optimizer.zero_grad() in it"
            )

    def _count(self, *_: Any) -> None:
        self._made = (self._made or 0) + 1


def _overrides(model: pl.LightningModule, name: str) -> bool:
    return getattr(type(model), name) is not getattr(pl.LightningModule, name)


def _has_gradient(optimizer: Optimizer) -> bool:
    parameters = (one for group in optimizer.param_groups for one in group["params"])
    return any(one.grad is not None and bool(one.grad.any()) for one in parameters)
