"""Watches the networks of a PPO while it learns: what they see, and each step of an optimiser."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class Step(NamedTuple):
    """One step of an optimiser, from the point of view of one network."""

    network: str
    obs: Tensor  # `[N, D]`: what the network saw last, with a gradient
    weights: dict[str, Tensor]  # before the step
    gradient: Tensor  # flat; zeros where there is none


def flat_gradient(model: nn.Module) -> Tensor:
    """What stands in `.grad` of all weights, as one vector; zeros where there is nothing."""
    parts = (torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters())
    return torch.cat([part.detach().flatten() for part in parts])


class Watch:
    """A context in which the steps of some optimisers on some networks are noted down.

    Args:
        models: networks by name, each a function of observations alone.
        optimizers: of their weights.

    Attributes:
        steps: in the order in which they were made.
        reached: of each network, the weights after each of its steps.
    """

    def __init__(self, models: Mapping[str, nn.Module], optimizers: Iterable[Optimizer]) -> None:
        self.models, self._optimizers = dict(models), list(optimizers)
        self.steps: list[Step] = []
        self.reached: dict[str, list[dict[str, Tensor]]] = {name: [] for name in models}
        self._seen: dict[str, Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> "Watch":
        for name, model in self.models.items():
            self._hooks.append(model.register_forward_pre_hook(self._looking(name)))
        for optimizer in self._optimizers:
            self._hooks.append(optimizer.register_step_pre_hook(self._stepping))
            self._hooks.append(optimizer.register_step_post_hook(self._stepped))
        return self

    def __exit__(self, *_: object) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def of(self, network: str) -> list[Step]:
        """The steps of a network."""
        return [step for step in self.steps if step.network == network]

    def _looking(self, name: str) -> Any:
        def look(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if torch.is_grad_enabled() and inputs and isinstance(inputs[0], Tensor):
                self._seen[name] = inputs[0].detach().clone()

        return look

    def _of(self, optimizer: Optimizer) -> Iterator[tuple[str, nn.Module, dict[str, Tensor]]]:
        """The networks of an optimiser, with their weights as they are now."""
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, model in self.models.items():
            if any(id(p) in own for p in model.parameters()):
                yield name, model, {k: p.detach().clone() for k, p in model.named_parameters()}

    def _stepped(self, optimizer: Optimizer, *_: Any) -> None:
        for name, _model, weights in self._of(optimizer):
            self.reached[name].append(weights)

    def _stepping(self, optimizer: Optimizer, *_: Any) -> None:
        for name, model, weights in self._of(optimizer):
            seen = self._seen.get(name, torch.empty(0, 1))
            obs = seen.reshape(-1, seen.shape[-1])
            self.steps.append(Step(name, obs, weights, flat_gradient(model)))
