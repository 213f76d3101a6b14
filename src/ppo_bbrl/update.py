"""One optimisation phase: epochs × minibatches over a rollout, in plain torch.

`fast/` has other engines for the same update, which give the same weights faster.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ppo_bbrl.advantages import normalise
from ppo_bbrl.agents.learners import Learners
from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.config.optimizers import held_parameters
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.losses import (
    clipped_surrogate,
    entropy_loss,
    kl_divergence,
    value_loss,
)
from ppo_bbrl.minibatches import LossesAndMetrics, Minibatch, Transitions
from ppo_bbrl.overrides import checked_losses
from ppo_bbrl.runs.metric_names import in_words
from ppo_bbrl.runs.metrics import METRICS
from ppo_bbrl.system.html import number, table

KL_TOLERANCE = 1.5  # × target_kl, as in Stable-Baselines3 and Spinning Up

#: as `PPOClip.losses`
Losses = Callable[[Minibatch], LossesAndMetrics]
#: what is stepped separately, from `Learners.groups`
Groups = Mapping[str, tuple[list[nn.Parameter], Optimizer]]
#: what is clipped separately, from `Learners.clipped`
Parts = Mapping[str, list[nn.Parameter]]


class NoNumberError(UserError):
    """A loss or a gradient is not a finite number; no step has been made with it.

    Args:
        what: it is, as in "the value loss is nan".
        minibatch: in which, counted from 1.
    """

    def __init__(self, what: str, minibatch: int) -> None:
        super().__init__(f"{what} in minibatch {minibatch}")


@dataclass(frozen=True)
class Objective:
    """What an engine optimises.

    Attributes:
        learners: policy, critic and their optimisers; updated in place.
        settings: the `algorithm` section of the configuration.
        losses: `PPOClip.losses`.
        recompute: gives the transitions anew for each epoch but the first, with values,
            advantages and returns of the critic as it is then; None: they stay.
    """

    learners: Learners
    settings: AlgorithmConfig
    losses: Losses
    recompute: Callable[[], Transitions] | None = None


@dataclass(frozen=True, repr=False)
class UpdateReport:
    """The result of an update.

    Attributes:
        metrics: scalars, each the mean over the minibatches it describes; see docs/metrics.md.
        n_minibatches: number of optimiser steps made.
        stopped_early: whether `target_kl` ended the update.
    """

    metrics: dict[str, Tensor]
    n_minibatches: int
    stopped_early: bool

    def __repr__(self) -> str:
        end = ", stopped early" if self.stopped_early else ""
        numbers = ", ".join(f"{name}={number(value)}" for name, value in self.metrics.items())
        return f"UpdateReport({self.n_minibatches} steps{end}: {numbers})"

    def _repr_html_(self) -> str:
        """A table for notebooks: each metric and its meaning."""
        rows = [
            (name, number(value), METRICS[name].description if name in METRICS else "")
            for name, value in self.metrics.items()
        ]
        end = ", stopped early: the policy had moved too far" if self.stopped_early else ""
        caption = f"{self.n_minibatches} optimiser steps{end}"
        return table(("metric", "mean", "meaning"), rows, caption)


class Update:
    """Trains policy and critic on the transitions of a rollout.

    Both networks learn in each minibatch. Their gradients are clipped separately, or jointly if
    both have the same optimiser because they share weights.
    """

    def __call__(
        self,
        transitions: Transitions,
        objective: Objective,
        *,
        coefficients: Coefficients,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Make an update.

        Args:
            transitions: with log-probabilities and values under the weights that acted.
            objective: what to optimise.
            coefficients: of this update.
            generator: shuffles the minibatches.
        """
        settings = objective.settings
        max_norm = torch.inf if settings.max_grad_norm is None else settings.max_grad_norm
        groups = objective.learners.groups()
        clipped = objective.learners.clipped(together=settings.global_grad_norm)
        history: list[Mapping[str, Tensor]] = []
        n_steps, stopped_early = 0, False

        for minibatch in self.minibatches(transitions, objective, coefficients, generator):
            terms, metrics = self.losses(minibatch, objective, first=not history)
            history.append(metrics)
            if exceeds(metrics, settings.target_kl):
                stopped_early = True
                break
            self.zero_grad(groups)
            self.backward(terms)
            norms = self.clip_gradients(clipped, max_norm)
            if not all(math.isfinite(norm) for norm in norms.values()):
                self.finish()
                raise NoNumberError(_what_is_no_number(terms, norms), len(history))
            metrics.update(norms)
            self.step(groups)
            n_steps += 1

        self.finish()
        metrics = _means(history)
        if history:
            metrics["explained_variance"] = self.explained_variance(transitions)
        return UpdateReport(metrics, n_steps, stopped_early)

    def fits(self, objective: Objective, transitions: Transitions) -> bool:
        """Whether this engine can also make the next update; otherwise another one is chosen."""
        return False

    def minibatches(
        self,
        transitions: Transitions,
        objective: Objective,
        coefficients: Coefficients,
        generator: torch.Generator,
    ) -> Iterator[Minibatch]:
        """The minibatches of all epochs."""
        settings = objective.settings
        for epoch in range(settings.opt_epochs):
            if epoch and objective.recompute is not None:
                transitions = objective.recompute()
            for part in transitions.minibatches(settings.batch_size, generator):
                yield Minibatch.of(part, coefficients)

    def losses(
        self, minibatch: Minibatch, objective: Objective, *, first: bool
    ) -> LossesAndMetrics:
        """The losses by name, and metrics; those of an update's first minibatch are checked."""
        given = objective.losses(minibatch)
        return checked_losses(given, learns=objective.learners.learn()) if first else given

    def zero_grad(self, groups: Groups) -> None:
        """Discard the gradients of the previous minibatch."""
        for parameters, optimizer in groups.values():
            for parameter in (*parameters, *held_parameters(optimizer)):
                parameter.grad = None

    def backward(self, terms: Mapping[str, Tensor]) -> None:
        """Compute the gradient of the sum of the losses, if they depend on any weight."""
        loss: Any = sum(terms.values())
        if loss.requires_grad:
            loss.backward()

    def clip_gradients(self, parts: Parts, max_norm: float) -> dict[str, Tensor]:
        """Clip the norm of each part's gradient; returns the norms before clipping."""
        return {
            f"grad_norm/{name}": nn.utils.clip_grad_norm_(parameters, max_norm)
            for name, parameters in parts.items()
        }

    def step(self, groups: Groups) -> None:
        """Make one step of each optimiser."""
        for name, (_, optimizer) in groups.items():
            try:
                optimizer.step()
            except Exception as error:
                raise UserError(
                    f"{type(optimizer).__name__}, the {name} optimiser, cannot make a step: "
                    f"{one_line(error)}"
                ) from error

    def finish(self) -> None:
        """Called after the last step of an update."""

    def explained_variance(self, transitions: Transitions) -> Tensor:
        """How much of the variation of the returns the values explain, a scalar."""
        return transitions.explained_variance()


def _what_is_no_number(terms: Mapping[str, Tensor], norms: Mapping[str, Tensor]) -> str:
    """The first loss that is not finite, or else the first gradient, by its name and value."""
    named = [(f"the {name} loss", term.detach()) for name, term in terms.items()]
    named += [(in_words(name), norm) for name, norm in norms.items()]
    return next(f"{name} is {float(one):g}" for name, one in named if not math.isfinite(one))


def exceeds(metrics: Mapping[str, Tensor], target_kl: float | None) -> bool:
    """Whether the policy has moved too far; a NaN does not stop the update."""
    return target_kl is not None and bool(measured_kl(metrics) > KL_TOLERANCE * target_kl)


def measured_kl(metrics: Mapping[str, Tensor]) -> Tensor:
    """The KL divergence among the metrics of a loss.

    Raises:
        UserError: if there is none, because the loss is one of the user's own.
    """
    if "approx_kl" not in metrics:
        raise UserError(
            "losses(minibatch) gives no metric approx_kl, which target_kl, kl_penalty and "
            "adaptive_kl need: add it, or leave them out"
        )
    return metrics["approx_kl"]


def ppo_losses(
    minibatch: Minibatch,
    *,
    log_prob: Tensor,
    entropy: Tensor,
    value: Tensor,
    settings: AlgorithmConfig,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weighted losses of a minibatch, and metrics.

    Args:
        minibatch: `[N]`, with log-probabilities and values under the weights that acted.
        log_prob: `[N]`, log-probabilities of the actions under the current policy.
        entropy: `[N]`, of the current policy.
        value: `[N]`, of the current critic.
        settings: coefficients, and whether to normalise advantages.

    Returns:
        The losses `policy`, `entropy`, `value` and, with a KL penalty, `kl`, whose sum is
        minimised, and the metrics.

    Raises:
        UserError: if an entropy, log-probability or value is not `[N]`. Averaging an entropy
            `[N, A]` would go unnoticed.
    """
    advantage, mask = minibatch.advantage, minibatch.mask
    for name, tensor in (("log-probability", log_prob), ("entropy", entropy), ("value", value)):
        if tensor.shape != advantage.shape:
            raise UserError(
                f"the {name} has shape {list(tensor.shape)}: must be {list(advantage.shape)}, one "
                "number for each decision; torch.distributions.Independent makes the components "
                "of an action one event"
            )
    if settings.normalize_advantage:
        advantage = normalise(advantage, mask=mask)
    policy_loss, policy_metrics = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=minibatch.log_prob,
        advantage=advantage,
        clip_range=minibatch.clip_range,
        clip_range_high=minibatch.clip_range_high,
        dual_clip=settings.dual_clip,
        mask=mask,
    )
    exploration_loss, exploration_metrics = entropy_loss(entropy=entropy, mask=mask)
    old_value, target = minibatch.value, minibatch.returns
    if minibatch.value_scale is not None:
        value, old_value, target = (
            one / minibatch.value_scale for one in (value, old_value, target)
        )
    critic_loss, critic_metrics = value_loss(
        value=value,
        old_value=old_value,
        target=target,
        clip_range_vf=minibatch.clip_range_vf,
        mask=mask,
    )
    entropy_coef = minibatch.entropy_coef
    if entropy_coef is None:
        entropy_coef = settings.entropy_coef
    losses = {
        "policy": _weighted(policy_loss, settings.policy_coef),
        "entropy": _weighted(exploration_loss, entropy_coef),
        "value": _weighted(critic_loss, settings.critic_coef),
    }
    if minibatch.kl_coef is not None:
        divergence = kl_divergence(log_prob=log_prob, old_log_prob=minibatch.log_prob, mask=mask)
        losses["kl"] = minibatch.kl_coef * divergence
    mean_advantage = advantage.mean() if mask is None else (advantage * mask).sum() / mask.sum()
    metrics = {
        "critic_loss": losses["value"].detach(),
        "actor_loss": -policy_loss.detach(),
        "entropy_loss": exploration_metrics["entropy"],
        "advantage": mean_advantage,
        **policy_metrics,
        **critic_metrics,
    }
    return losses, metrics


def _weighted(loss: Tensor, weight: float | Tensor) -> Tensor:
    if not isinstance(weight, Tensor) and weight == 1:
        return loss  # saves an operation, forward and backward
    return weight * loss


def _means(history: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each metric over the minibatches that have it."""
    names = dict.fromkeys(name for metrics in history for name in metrics)
    rows = [[metrics[name] for metrics in history if name in metrics] for name in names]
    if len({(len(row), one.dtype) for row in rows for one in row}) == 1:  # nearly always
        every = torch.stack([one for row in rows for one in row])
        return dict(zip(names, every.view(len(rows), -1).mean(1).unbind(), strict=True))
    return {name: torch.stack(row).mean() for name, row in zip(names, rows, strict=True)}
