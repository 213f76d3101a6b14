"""One optimisation phase: epochs × minibatches over a rollout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.advantages import normalise
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.flat import FlatWeights, held_parameters
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, explained_variance, value_loss
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.shared_trunk import assessor

KL_TOLERANCE = 1.5  # × target_kl, as in Stable-Baselines3 and Spinning Up


@dataclass(frozen=True)
class UpdateReport:
    """What an update did.

    Attributes:
        metrics: scalars, each the mean over the minibatches it describes; see docs/metrics.md.
        n_minibatches: optimiser steps that were made.
        stopped_early: whether `target_kl` ended the update.
    """

    metrics: dict[str, Tensor]
    n_minibatches: int
    stopped_early: bool


def update(
    rollout: Rollout,
    *,
    policy: nn.Module,
    critic: nn.Module,
    policy_optimizer: torch.optim.Optimizer,
    critic_optimizer: torch.optim.Optimizer,
    settings: Any,
    clip_factor: float = 1.0,
    generator: torch.Generator,
    flat: FlatWeights | None = None,
) -> UpdateReport:
    """Improve policy and critic on a rollout.

    Both networks learn in each minibatch. Their gradients are clipped apart, or as one where both
    have the same optimiser, because they share weights.

    Args:
        rollout: the transitions; log-probabilities and values are those of the weights that acted.
        policy: writes log-probability and entropy when asked; updated in place.
        critic: writes values; updated in place.
        policy_optimizer: of the policy.
        critic_optimizer: of the critic; the policy's own where both share weights.
        settings: the `algorithm` section of the configuration.
        clip_factor: of both clip ranges, from their schedule.
        generator: draws the minibatches.
        flat: the weights of both, where they are laid out flat: then Adam works on them directly.
    """
    # Read once: looking a key up in a configuration costs more than a small tensor operation.
    clip_range = settings.clip_range * clip_factor
    clip_range_vf = settings.clip_range_vf * clip_factor
    critic_coef, target_kl = settings.critic_coef, settings.target_kl
    normalize_advantage = settings.normalize_advantage
    max_norm = torch.inf if settings.max_grad_norm is None else settings.max_grad_norm
    device = rollout.log_prob.device
    weights = tuple(torch.tensor(weight, device=device) for weight in loss_weights(settings))
    count, rate = (flat.count, flat.rate) if flat is not None else (0.0, 0.0)
    assess = assessor(policy, critic)
    learners = _learners(policy, critic, policy_optimizer, critic_optimizer)
    names = [f"grad_norm/{name}" for name in learners]
    owned = {
        parameter: None
        for parameters, optimizer in learners.values()
        for parameter in (*parameters, *held_parameters(optimizer))
    }
    history: list[Mapping[str, Tensor]] = []
    stopped_early = False

    for minibatch in _epochs(rollout, settings.opt_epochs, settings.batch_size, generator):
        log_prob, entropy, value = assess(minibatch.variables)
        losses, facts = minibatch_losses(
            log_prob=log_prob,
            entropy=entropy,
            value=value,
            old_log_prob=minibatch.log_prob,
            old_value=minibatch.value,
            advantage=minibatch.advantage,
            target=minibatch.target,
            clip_range=clip_range,
            clip_range_vf=clip_range_vf,
            critic_coef=critic_coef,
            normalize_advantage=normalize_advantage,
        )
        history.append(facts)
        if target_kl is not None and facts["approx_kl"] > KL_TOLERANCE * target_kl:
            stopped_early = True
            break
        for parameter in owned:
            parameter.grad = None
        _backward(losses, weights)
        if flat is not None and not flat.take_gradients():
            flat.give_up(count)  # torch's optimisers pass over a parameter without gradient
            flat = None
        if flat is not None:
            norms = flat.clip_gradients(max_norm)
            count += 1
            flat.step(count, rate)
        else:
            norms = [
                nn.utils.clip_grad_norm_(parameters, max_norm)
                for parameters, _ in learners.values()
            ]
            for name, (_, optimizer) in learners.items():
                _step(optimizer, name)
        facts.update(zip(names, norms, strict=True))

    if flat is not None and count > flat.count:
        flat.count = count
        flat.give_gradients()
    metrics = _means(history)
    if len(rollout):
        metrics["explained_variance"] = explained_variance(
            value=rollout.value, target=rollout.target
        )
    return UpdateReport(metrics, len(history) - stopped_early, stopped_early)


def _learners(
    policy: nn.Module,
    critic: nn.Module,
    policy_optimizer: torch.optim.Optimizer,
    critic_optimizer: torch.optim.Optimizer,
) -> dict[str, tuple[list[nn.Parameter], torch.optim.Optimizer]]:
    """What is clipped and stepped apart, by the names that `FlatWeights.parts` has."""
    if policy_optimizer is critic_optimizer:
        both = nn.ModuleList((policy, critic))  # has each parameter once
        return {"shared": (list(both.parameters()), policy_optimizer)}
    return {
        "policy": (list(policy.parameters()), policy_optimizer),
        "critic": (list(critic.parameters()), critic_optimizer),
    }


def _backward(losses: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """The gradient of the weighted sum of the losses; one that nothing moves has none."""
    moved = [(loss, weight) for loss, weight in zip(losses, weights, strict=True) if loss.grad_fn]
    if moved:
        torch.autograd.backward([loss for loss, _ in moved], [weight for _, weight in moved])


def _step(optimizer: torch.optim.Optimizer, name: str) -> None:
    try:
        optimizer.step()
    except Exception as error:
        raise UserError(
            f"{type(optimizer).__name__}, the {name} optimiser, cannot make a step: "
            f"{one_line(error)}"
        ) from error


def loss_weights(settings: Any) -> tuple[float, float, float]:
    """The weights of the losses of `minibatch_losses`, in its order."""
    return settings.policy_coef, settings.entropy_coef, settings.critic_coef


def minibatch_losses(
    *,
    log_prob: Tensor,
    entropy: Tensor,
    value: Tensor,
    old_log_prob: Tensor,
    old_value: Tensor,
    advantage: Tensor,
    target: Tensor,
    clip_range: float | Tensor,
    clip_range_vf: float | Tensor,
    critic_coef: float,
    normalize_advantage: bool,
    mask: Tensor | None = None,
) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
    """The three losses of a minibatch and what they say.

    Args:
        log_prob: `[N]`, of the actions under the policy that learns.
        entropy: `[N]`, of the policy that learns.
        value: `[N]`, of the critic that learns.
        old_log_prob: `[N]`, under the weights that acted.
        old_value: `[N]`, under the weights that acted.
        advantage: `[N]`.
        target: `[N]`, λ-returns.
        clip_range: ε of the policy.
        clip_range_vf: ε of the critic; the number 0 switches its clipping off.
        critic_coef: scales the logged critic loss, as it scales the one that is minimised.
        normalize_advantage: to mean 0 and deviation 1 in this minibatch.
        mask: `[N]`, which samples count; all if left out.

    Returns:
        (policy loss, exploration loss, value loss), each to minimise and not yet weighted; metrics.

    Raises:
        UserError: for an entropy, log-probability or value that is not `[N]`. The mean of an
            entropy `[N, A]` would be taken without a word.
    """
    for name, tensor in (("log-probability", log_prob), ("entropy", entropy), ("value", value)):
        if tensor.shape != advantage.shape:
            raise UserError(
                f"the {name} has shape {list(tensor.shape)}: must be {list(advantage.shape)}, one "
                "number for each decision; torch.distributions.Independent makes the components "
                "of an action one event"
            )
    if normalize_advantage:
        advantage = normalise(advantage, mask=mask)
    policy_loss, policy_facts = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=old_log_prob,
        advantage=advantage,
        clip_range=clip_range,
        mask=mask,
    )
    exploration_loss, exploration_facts = entropy_loss(entropy=entropy, mask=mask)
    critic_loss, critic_facts = value_loss(
        value=value, old_value=old_value, target=target, clip_range_vf=clip_range_vf, mask=mask
    )
    mean_advantage = advantage.mean() if mask is None else (advantage * mask).sum() / mask.sum()
    facts = {
        "critic_loss": critic_coef * critic_loss.detach(),
        "actor_loss": -policy_loss.detach(),
        "entropy_loss": exploration_facts["entropy"],
        "advantage": mean_advantage,
        **policy_facts,
        **critic_facts,
    }
    return (policy_loss, exploration_loss, critic_loss), facts


def _epochs(rollout: Rollout, epochs: int, batch_size: int, generator: torch.Generator) -> Any:
    for _ in range(epochs):
        yield from rollout.minibatches(batch_size, generator)


def _means(history: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each metric over the minibatches that have it."""
    names = dict.fromkeys(name for facts in history for name in facts)
    return {
        name: torch.stack([facts[name] for facts in history if name in facts]).mean()
        for name in names
    }
