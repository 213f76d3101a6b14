"""One minibatch step as a pure function of tensors, for a compiler: losses, gradients, Adam."""

from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.agents import Critic, Policy
from ppo_bbrl.flat import Adam, FlatWeights
from ppo_bbrl.shared_trunk import have_one_model
from ppo_bbrl.update import loss_weights, minibatch_losses


class Pair(nn.Module):
    """Policy and critic as one function of observations and actions."""

    def __init__(self, policy: Policy, critic: Critic) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log π(a|s), entropy and V(s), `[N]` each."""
        if have_one_model(self.policy, self.critic):
            return self.policy.assess(obs, action)
        log_prob, entropy = self.policy.log_prob_and_entropy(obs, action)
        return log_prob, entropy, self.critic.value(obs)


def _places(pair: Pair) -> dict[str, int]:
    """Which of the parameters each name of the networks stands for; several where it is shared.

    `functional_call` would find that out by itself, but not while it is compiled.
    """
    order = {parameter: place for place, parameter in enumerate(pair.parameters())}
    return {
        f"{path}.{name}": order[parameter]
        for path, module in pair.named_modules()  # a shared module once: it has one place to fill
        for name, parameter in module.named_parameters(recurse=False)
    }


def bias_corrections(adam: Adam, done: float, n: int) -> Tensor:
    """What Adam divides its moments by in the next n steps, `[n, 2]`, after `done` steps.

    In float64, as in torch's Adam: 1 - 0.999 has only three digits left in float32.
    """
    step = done + torch.arange(1, n + 1, dtype=torch.float64)
    corrections = (1 - adam.beta1**step, (1 - adam.beta2**step).sqrt())
    return torch.stack(corrections, 1).float()


def make_step(pair: Pair, flat_weights: FlatWeights, settings: Any, *, whole: bool) -> Any:
    """The minibatch step as a pure function of tensors, which updates the first four in place.

    `changing` holds learning rate, clip ranges, limit of the KL and `bias_corrections`. With
    `whole`, a minibatch is the rollout as it is, and the index is not read.
    """
    shapes = [parameter.shape for parameter in pair.parameters()]
    sizes, places = [shape.numel() for shape in shapes], _places(pair)
    parts, adam = flat_weights.parts, flat_weights.adam
    weights = loss_weights(settings)
    clips_values, max_norm = settings.clip_range_vf > 0, settings.max_grad_norm
    critic_coef, normalize_advantage = settings.critic_coef, settings.normalize_advantage

    def total_loss(
        flat: Tensor, batch: dict[str, Tensor], mask: Tensor, clip_range: Tensor, clip_vf: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        views = [
            part.view(shape) for shape, part in zip(shapes, torch.split(flat, sizes), strict=True)
        ]
        parameters = {name: views[place] for name, place in places.items()}
        batch = dict(batch)
        inputs = (batch.pop("obs"), batch.pop("action"))
        log_prob, entropy, value = torch.func.functional_call(
            pair, parameters, inputs, tie_weights=False
        )
        losses, facts = minibatch_losses(
            log_prob=log_prob,
            entropy=entropy,
            value=value,
            **batch,
            clip_range=clip_range,
            clip_range_vf=clip_vf if clips_values else 0.0,
            critic_coef=critic_coef,
            normalize_advantage=normalize_advantage,
            mask=mask,
        )
        total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return total, facts  # type: ignore[return-value] # three losses: never the int 0

    def clip(gradient: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(gradient)
        if max_norm is None:
            return gradient, norm
        return gradient * (max_norm / (norm + 1e-6)).clamp(max=1.0), norm

    def step(
        *,
        flat: Tensor,
        kept_gradient: Tensor,
        moment1: Tensor,
        moment2: Tensor,
        changing: Tensor,
        index: Tensor,
        mask: Tensor,
        data: dict[str, Tensor],
    ) -> Tensor:
        rate, clip_range, clip_vf, kl_limit, correction1, correction2 = changing.unbind()
        batch = data if whole else {name: tensor[index] for name, tensor in data.items()}
        gradient, (_, facts) = torch.func.grad_and_value(total_loss, has_aux=True)(
            flat, batch, mask, clip_range, clip_vf
        )
        clipped = []
        for name, part in parts.items():
            one, facts[f"grad_norm/{name}"] = clip(gradient[part])
            clipped.append(one)
        gradient = clipped_gradient = torch.cat(clipped)

        # Adam (Kingma and Ba, 2015), with decoupled weight decay (Loshchilov and Hutter, 2019).
        decayed = flat
        if adam.decoupled:
            decayed = flat * (1 - rate * adam.weight_decay)
        else:
            gradient = gradient + adam.weight_decay * flat
        new1 = moment1.lerp(gradient, 1 - adam.beta1)
        new2 = adam.beta2 * moment2 + (1 - adam.beta2) * gradient.square()
        mean = new1 / correction1
        deviation = new2.sqrt() / correction2
        new_flat = decayed - rate * mean / (deviation + adam.eps)

        go_on = ~(facts["approx_kl"] > kl_limit)  # otherwise this step is not made; NaN is no stop
        flat.copy_(torch.where(go_on, new_flat, flat))
        kept_gradient.copy_(torch.where(go_on, clipped_gradient, kept_gradient))
        moment1.copy_(torch.where(go_on, new1, moment1))
        moment2.copy_(torch.where(go_on, new2, moment2))
        return torch.stack([fact.detach().float() for fact in facts.values()])

    # torch.compile finds what it compiled by the code object. Without guards a second algorithm
    # in the same process would be handed the first one's step: each has a code object of its own.
    step.__code__ = step.__code__.replace()
    return step
