"""Losses and networks for the check of `gradients_into`, with the parameters that are reached."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Actor(nn.Module):
    """A network of a body and a head.

    Args:
        sizes: inputs, features and outputs.
        generator: of the weights.
    """

    def __init__(self, sizes: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        n_inputs, n_features, n_outputs = sizes
        self.body = nn.Linear(n_inputs, n_features)
        self.head = nn.Linear(n_features, n_outputs)
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Case(NamedTuple):
    """A loss, the network that is asked about, and what else is there.

    Attributes:
        told: what it is, in words.
        loss: with its graph.
        module: of which the parameters are asked.
        others: a network that `loss` may reach, too.
        expected: names of parameters of `module`.
        stale: whether an earlier step has left something in `.grad`.
        zeros: whether `loss` reaches all parameters, but some with a gradient of 0.
        overlooked: what a function does that misses parameters here, and where to look.
    """

    told: str
    loss: Tensor
    module: nn.Module
    others: nn.Module
    expected: tuple[str, ...]
    stale: bool = False
    zeros: bool = False
    overlooked: tuple[str, str] | None = None


BODY = ("body.weight", "body.bias")
HEAD = ("head.weight", "head.bias")


def cases(seed: int | None) -> list[Case]:
    """Losses with unusual gradients; then some that reach all, nothing, a part, and zeros."""
    generator = torch.Generator().manual_seed(0 if seed is None else seed)

    def size(low: int) -> int:
        return int(torch.randint(low, low + 3, (), generator=generator))

    sizes = (size(2), size(3), size(2))
    obs = torch.randn(size(4), sizes[0], generator=generator)

    def networks() -> tuple[Actor, nn.Linear]:
        actor = Actor(sizes, generator)
        critic = nn.Linear(sizes[1], 1)
        with torch.no_grad():
            critic.weight.fill_(0.5)
            critic.bias.fill_(0.1)
        return actor, critic

    def case(
        told: str,
        loss_of: Callable[[Actor, nn.Linear], Tensor],
        expected: tuple[str, ...],
        **facts: Any,
    ) -> Case:
        actor, critic = networks()
        told = f"{told}, asked about the actor"
        return Case(told, loss_of(actor, critic), actor, critic, expected, **facts)

    def features(actor: Actor) -> Tensor:
        hidden: Tensor = actor.body(obs).tanh()
        return hidden

    one_each = torch.ones(sizes[2])
    one_each[-1] = 1 - sizes[2]  # adds up to 0, and no entry is 0
    any_entry = "whatever the entries of a gradient are: one that is not 0 is enough, .any()"
    result = [
        case(
            "a loss that rises with some biases of the head, and falls as much with another",
            lambda actor, _: (one_each * actor.head.bias).sum(),
            HEAD[1:],
            overlooked=(
                "the entries of a gradient are added up, and those above and below 0 cancel",
                any_entry,
            ),
        ),
        case(
            "a loss that falls with the biases of the head",
            lambda actor, _: -actor.head.bias.sum(),
            HEAD[1:],
            overlooked=("only gradients above 0 are counted", any_entry),
        ),
        case(
            "a loss of the first feature alone",
            lambda actor, _: features(actor)[:, 0].square().mean(),
            BODY,
            overlooked=(
                "a gradient is counted only if none of its entries is 0: .all()",
                any_entry,
            ),
        ),
        case(
            "a loss of the last feature alone",
            lambda actor, _: features(actor)[:, -1].square().mean(),
            BODY,
            overlooked=("the first entry of a gradient decides alone", any_entry),
        ),
        case(
            "a millionth of the biases of the head",
            lambda actor, _: 1e-6 * actor.head.bias.sum(),
            HEAD[1:],
            overlooked=(
                "small gradients are left out",
                "the question is whether a gradient is 0, and not how large it is: no threshold",
            ),
        ),
        case(
            "the loss of an actor",
            lambda actor, _: actor.head(features(actor)).log_softmax(-1)[:, 0].mean(),
            BODY + HEAD,
        ),
        case(
            "the loss of a critic that reads the actor's features",
            lambda actor, critic: critic(features(actor)).square().mean(),
            BODY,
        ),
        case(
            "the loss of a critic that reads the detached features of the actor",
            lambda actor, critic: critic(features(actor).detach()).square().mean(),
            (),
            stale=True,
        ),
        case(
            "a loss in which the head has the weight 0",
            lambda actor, _: (features(actor).sum() + 0 * actor.head(features(actor)).sum()) ** 2,
            BODY,
            zeros=True,
        ),
    ]
    for one in result:
        if one.stale:
            for parameter in one.module.parameters():
                parameter.grad = torch.ones_like(parameter)
    return result
