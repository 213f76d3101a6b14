"""All weights of policy and critic in one flat tensor, and Adam on it.

The parameters become views of the flat tensor, the moments in the optimisers' state likewise. So
clipping and Adam take a dozen operations, however many layers there are; torch's own optimisers
and whoever reads the parameters see the same numbers as ever.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class NotFlatError(ValueError):
    """These weights or this optimiser cannot be laid out flat; the message says why."""


class Adam(NamedTuple):
    """The constants of Adam or AdamW."""

    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    decoupled: bool  # weight decay as in AdamW


class FlatWeights:
    """Weights, gradients and Adam's moments of two agents, flat, `[P]` each.

    Args:
        policy: its parameters come first.
        critic: its parameters come second; those that it shares with the policy count as the
            policy's.
        policy_optimizer: Adam or AdamW.
        critic_optimizer: the same, with the same settings; the policy's own where the two share
            parameters. Then their gradients are clipped together.

    Raises:
        NotFlatError: if that cannot be; nothing has been changed then.

    Attributes:
        weights, gradient, moment1, moment2: `[P]`.
        parts: what is clipped apart, by name: policy and critic, or both together as "shared".
        adam: the constants of the optimisers.
    """

    def __init__(
        self,
        policy: nn.Module,
        critic: nn.Module,
        policy_optimizer: torch.optim.Optimizer,
        critic_optimizer: torch.optim.Optimizer,
    ) -> None:
        for agent in (policy, critic):
            for parameter in agent.parameters():
                if not parameter.requires_grad or parameter.dtype != torch.float32:
                    raise NotFlatError(
                        f"{type(agent).__name__} has parameters that are fixed or not float32"
                    )
        policys = list(policy.parameters())
        known = set(policys)
        critics = [parameter for parameter in critic.parameters() if parameter not in known]
        together = policy_optimizer is critic_optimizer
        if len(critics) < len(list(critic.parameters())) and not together:
            raise NotFlatError("policy and critic share parameters, but not their optimiser")
        self.adam = _adam(policy_optimizer)
        if self.adam != _adam(critic_optimizer):
            raise NotFlatError("the two optimisers have different settings")
        self._optimizers = (policy_optimizer, critic_optimizer)
        self.parameters = [*policys, *critics]
        self._states = [
            *(policy_optimizer.state[parameter] for parameter in policys),
            *(critic_optimizer.state[parameter] for parameter in critics),
        ]
        self.weights = torch.cat([parameter.detach().flatten() for parameter in self.parameters])
        self.gradient, self.moment1, self.moment2 = self.weights.new_zeros(3, len(self.weights))
        self._gradients: list[Tensor] = []
        start = 0
        for parameter, state in zip(self.parameters, self._states, strict=True):
            part = slice(start, start + parameter.numel())
            parameter.data = self.weights[part].view_as(parameter)
            self._gradients.append(self.gradient[part].view_as(parameter))
            for name, moment in (("exp_avg", self.moment1), ("exp_avg_sq", self.moment2)):
                view = moment[part].view_as(parameter)
                if name in state:
                    view.copy_(state[name])
                state[name] = view
            state.setdefault("step", torch.zeros((), device=parameter.device))
            start = part.stop
        n_policy = sum(parameter.numel() for parameter in policys)
        self.parts = (
            {"shared": slice(0, start)}
            if together
            else {"policy": slice(0, n_policy), "critic": slice(n_policy, start)}
        )
        self._parts = [self.gradient[part] for part in self.parts.values()]

    @property
    def rate(self) -> float:
        """The learning rate, as the policy's optimiser has it now."""
        rate: float = self._optimizers[0].param_groups[0]["lr"]
        return rate

    @property
    def count(self) -> float:
        """The steps that the optimisers have made; kept in their state."""
        return float(self._states[0]["step"])

    @count.setter
    def count(self, steps: float | Tensor) -> None:
        for state in self._states:
            state["step"].fill_(steps)

    def zero_gradient(self) -> None:
        """Let backpropagation add to the flat gradient, from 0."""
        self.gradient.zero_()
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def clip_gradients(self, max_norm: float) -> list[Tensor]:
        """Clip the gradient of each of `parts` to a norm; returns the norms from before."""
        norms = [torch.linalg.vector_norm(part) for part in self._parts]
        if max_norm < torch.inf:
            for part, norm in zip(self._parts, norms, strict=True):
                part.mul_((max_norm / (norm + 1e-6)).clamp_(max=1.0))
        return norms

    def step(self, count: float, rate: float) -> None:
        """Step number `count` of Adam, in place.

        Sources: Kingma and Ba (2015); with decoupled weight decay Loshchilov and Hutter (2019).
        """
        weights, gradient, adam = self.weights, self.gradient, self.adam
        if adam.decoupled:
            weights.mul_(1 - rate * adam.weight_decay)
        elif adam.weight_decay:
            gradient = gradient.add(weights, alpha=adam.weight_decay)
        self.moment1.lerp_(gradient, 1 - adam.beta1)
        self.moment2.mul_(adam.beta2).addcmul_(gradient, gradient, value=1 - adam.beta2)
        deviation = self.moment2.sqrt().div_((1 - adam.beta2**count) ** 0.5).add_(adam.eps)
        weights.addcdiv_(self.moment1, deviation, value=-rate / (1 - adam.beta1**count))


def _adam(optimizer: torch.optim.Optimizer) -> Adam:
    kind = type(optimizer)
    if kind not in (torch.optim.Adam, torch.optim.AdamW) or len(optimizer.param_groups) != 1:
        raise NotFlatError(f"{kind.__name__} has no flat step, only Adam and AdamW have")
    group = optimizer.param_groups[0]
    if group["amsgrad"] or group["maximize"]:
        raise NotFlatError("amsgrad and maximize have no flat step")
    decoupled = kind is torch.optim.AdamW or bool(group.get("decoupled_weight_decay"))
    beta1, beta2 = group["betas"]
    return Adam(beta1, beta2, group["eps"], group["weight_decay"], decoupled)
