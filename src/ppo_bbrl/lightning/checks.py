"""Checks of arguments, of a model before training starts, and of its hooks while it trains."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import lightning as pl
import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.optim import Optimizer

from ppo_bbrl.agents.answers import (
    asked,
    check_actions,
    check_learns,
    check_one_number_each,
    check_values,
    check_weights,
    dist_and_value,
    seen,
)
from ppo_bbrl.agents.base import remembers
from ppo_bbrl.agents.curiosity import Curiosity
from ppo_bbrl.agents.walking import leaves_behind
from ppo_bbrl.config.optimizers import held_parameters
from ppo_bbrl.config.rules import Rule
from ppo_bbrl.distributions import entropy_of
from ppo_bbrl.errors import UserError
from ppo_bbrl.schedules import Schedule

Forward = Callable[[Tensor], tuple[Distribution, Tensor]]

SCHEDULED = ("clip_range", "clip_range_vf")  # may be functions of the remaining progress

_COUNT, _FRACTION = Rule(int, low=1), Rule(float, low=0, high=1)
_CLIP_RANGE = Rule(float, low=0, low_allowed=False)
RULES = {
    "buffer_length": _COUNT,
    "num_rollouts": _COUNT,
    "batch_size": _COUNT,
    "epochs_per_rollout": _COUNT,
    "num_eval_episodes": Rule(int, low=0),
    "gamma": _FRACTION,
    "gae_lambda": _FRACTION,
    "target_kl": Rule(float, low=0, low_allowed=False, optional=True),
    "value_coef": Rule(float, low=0),
    "entropy_coef": Rule(float),
    "sde_sample_freq": Rule(int, low=1, words=(-1,)),
    "verbose": Rule(int, low=0, high=2),
    "seed": Rule(int, low=0, high=2**63 - 1, optional=True),
}
_OF_ENVIRONMENTS = {
    "step_timeout": Rule(float, low=0, low_allowed=False, optional=True),
    "on_failure": Rule(str, choices=("stop", "restart")),
}


def check_arguments(**values: Any) -> None:
    """Refuse invalid values of arguments.

    Raises:
        UserError: naming the argument, the value and what is allowed.
    """
    for name, value in values.items():
        rule = (RULES | _OF_ENVIRONMENTS)[name]
        if not rule.allows(_number(value)):
            raise UserError(f"{name} = {value!r}: must be {rule.describe('None')}")


def clip_value(name: str, value: float | Schedule | None, progress_remaining: float) -> float:
    """The current value of a clip range.

    Args:
        name: the name of the argument.
        value: a number, a function of the remaining progress, or, for clip_range_vf, None.
        progress_remaining: the fraction of training that is left, from 1 to 0.

    Returns:
        A number > 0; or 0 for None, which means no clipping.

    Raises:
        UserError: if it is not a number > 0.
    """
    if value is None and name == "clip_range_vf":
        return 0.0
    now: Any = value(progress_remaining) if callable(value) else value
    if not _CLIP_RANGE.allows(_number(now)):
        moment = f" at a remaining progress of {progress_remaining:g}" if callable(value) else ""
        none = ", or None" if name == "clip_range_vf" else ""
        raise UserError(
            f"{name} = {now!r}{moment}: must be {_CLIP_RANGE.describe()}, or a function from the "
            f"remaining progress, 1 to 0, to such a number{none}"
        )
    return float(now)


def _number(value: Any) -> Any:
    """Convert a NumPy number to a Python number."""
    return value.item() if isinstance(value, np.generic) else value


def check_model(model: torch.nn.Module, precision: str) -> None:
    """Refuse agents with memory or curiosity, and half precision unless the Trainer has it too.

    Raises:
        UserError: naming the agent, or the precision.
    """
    for module in model.modules():
        if isinstance(module, Curiosity):
            raise UserError(
                "the model has a Curiosity, but nothing here learns from its rewards: use PPOClip "
                "with algorithm.curiosity: rnd (docs/ppo.md)"
            )
        if remembers(module):
            raise UserError(
                f"{type(module).__name__} has memory, but a minibatch here has single transitions: "
                "PPOClip trains agents with memory (docs/memory.md)"
            )
    if precision == "16-true":
        raise UserError(
            "precision = '16-true': Adam's steps become NaN in float16; use 16-mixed or bf16-mixed"
        )
    if "16" not in precision:
        with _errors_name("the model"):
            check_weights(model)


@torch.enable_grad()
def check_forward(
    forward: Forward, observation: Tensor, space: gym.Space[Any], model: torch.nn.Module
) -> list[Tensor]:
    """Refuse a model if PPO cannot learn from what its `forward` returns.

    Args:
        forward: the model's method.
        observation: one row, `[B, …]`.
        space: the action space of one environment.
        model: the model.

    Returns:
        The weights that the losses depend on.

    Raises:
        UserError: saying what was expected, what was returned and, if known, the remedy.
    """
    n = len(observation)
    with _errors_name("forward(x)"):
        dist, value = dist_and_value(asked(lambda: forward(observation), seen(observation)), n)
        check_values(value, n)
        action = dist.sample()
        check_actions(action.cpu(), space, n, dist)
        log_prob = dist.log_prob(action)
        check_one_number_each("log-probability", log_prob, n)
        entropy_of(dist, log_prob)  # refuses a wrong shape
        loss = log_prob.sum() + value.sum()
        check_learns("loss", loss, model)
    if value.requires_grad and not log_prob.requires_grad:
        warnings.warn(
            "forward(x): the log-probability has no gradient, so that the policy never changes: is "
            "there a detach() on the way?",
            stacklevel=2,
        )
    return leaves_behind(loss)


def warn_of_others(model: torch.nn.Module, used: list[Tensor], optimizers: list[Optimizer]) -> None:
    """Say which weights a loss depends on and no optimiser holds, as those of a forgotten head."""
    held = {id(one) for optimizer in optimizers for one in held_parameters(optimizer)}
    in_use = {id(one) for one in used} - held
    names = [name for name, one in model.named_parameters() if id(one) in in_use]
    if names and optimizers:
        warnings.warn(
            f"configure_optimizers: no optimiser holds {', '.join(names[:4])}, which the loss "
            "depends on: they never change (requires_grad_(False) says that this is meant)",
            stacklevel=2,
        )


def check_predict(
    predict: Callable[[Tensor], Any], observation: Tensor, space: gym.Space[Any]
) -> None:
    """Refuse a model whose `predict` does not return actions, by trying it on `[1, …]`.

    Raises:
        UserError: saying what was expected and what was returned.
    """
    with _errors_name("predict(x)"):
        action = asked(lambda: predict(observation), seen(observation))
        action = action.cpu() if isinstance(action, Tensor) else np.asarray(action)
        check_actions(action, space, 1)


class StepCheck:
    """Watches whether a model's own hooks give each minibatch the one step that PPO means.

    It looks at `optimizer_step` and `optimizer_zero_grad` where the model overrides them.

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


@contextmanager
def _errors_name(name: str) -> Iterator[None]:
    """Put a name in front of the messages of errors."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{name}: {error}") from error.__cause__ or error


def _overrides(model: pl.LightningModule, name: str) -> bool:
    return getattr(type(model), name) is not getattr(pl.LightningModule, name)


def _has_gradient(optimizer: Optimizer) -> bool:
    parameters = (one for group in optimizer.param_groups for one in group["params"])
    return any(one.grad is not None and bool(one.grad.any()) for one in parameters)
