"""Random numbers and weights for the cases of a check, from a source of their own."""

import torch
from torch import nn


def source_of(seed: int | None) -> torch.Generator:
    """A source of random numbers; without a seed it is always the same."""
    return torch.Generator().manual_seed(0 if seed is None else seed)


def integer(source: torch.Generator, low: int, high: int) -> int:
    """A number drawn from a source: low, or up to high - 1."""
    return int(torch.randint(low, high, (), generator=source))


@torch.no_grad()
def draw_weights(module: nn.Module, source: torch.Generator, scale: float = 1.0) -> None:
    """Give a module weights that are normal, with a deviation of `scale`."""
    for parameter in module.parameters():
        parameter.copy_(scale * torch.randn(parameter.shape, generator=source))
