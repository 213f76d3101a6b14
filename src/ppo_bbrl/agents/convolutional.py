"""Convolutional networks for images: small ones, and that of the Nature paper on Atari.

Images stay bytes in the workspace; here they are scaled to 0…1. Their channels may come first or
last, and frames may be stacked in front: a space does not say where channels are. `auto` takes the
smaller one of the first and the last axis, as Stable-Baselines3 does, and the last one if both are
equal. It is wrong for more frames, or channels, than there are pixels in a row.
"""

import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from ppo_bbrl.agents.networks import ACTIVATIONS, HIDDEN_GAIN
from ppo_bbrl.errors import UserError
from ppo_bbrl.seeding import generator

#: what is below has no number left after the Nature network's three layers
NATURE_SIDE = 36
_AXES = (2, 3, 4)  # of an image: [H, W], with channels, and with stacked frames


def layout_of(
    shape: Sequence[int], channels: str = "auto"
) -> tuple[list[int], tuple[int, int, int]] | None:
    """Where the channels of an image are.

    Args:
        shape: `[H, W]`, `[H, W, C]`, `[C, H, W]`, or one of the latter with frames in front.
        channels: first or last of the last three axes; auto: the smaller one.

    Returns:
        The order of its axes that brings frames and channels to the front, and `(C, H, W)` then,
        with all frames among the channels; None if there is no image of such a shape.
    """
    if len(shape) not in _AXES or min(shape) < 1:
        return None
    if len(shape) == 2:
        return [0, 1], (1, shape[0], shape[1])
    first = len(shape) - 3
    frames, inner = math.prod(shape[:first]), shape[first:]
    are_first = inner[0] < inner[2] if channels == "auto" else channels == "first"
    order = [0, 1, 2] if are_first else [2, 0, 1]
    n_channels, height, width = (inner[axis] for axis in order)
    axes = [*range(first), *(first + axis for axis in order)]
    return axes, (frames * n_channels, height, width)


def looks_otherwise(shape: Sequence[int]) -> bool:
    """Whether `auto` takes for channels an axis other than the one beside a square."""
    if len(shape) not in _AXES[1:]:
        return False
    first, middle, last = shape[-3:]
    return first > last == middle  # as in 16 frames of 10 × 10


class Convolutional(nn.Module):
    """Images as features: `[..., *shape]` to `[..., n_features]`, floats ≥ 0.

    Weights are orthogonal with gain √2, biases zero (docs/ppo.md#detail-2).

    Args:
        shape: of one image; see `layout_of`.
        layers: `(channels, side, stride, padding)` of each convolution.
        n_hidden: size of a linear layer after them; None: no such layer.
        scale: divisor of each number; 255 for bytes.
        activation: a key of ACTIVATIONS, after each layer.
        channels: see `layout_of`.

    Attributes:
        n_features: numbers per image.
    """

    def __init__(
        self,
        shape: Sequence[int],
        layers: Sequence[tuple[int, int, int, int]],
        n_hidden: int | None,
        *,
        scale: float,
        activation: str = "relu",
        channels: str = "auto",
    ) -> None:
        super().__init__()
        layout = layout_of(shape, channels)
        assert layout is not None
        self.axes, self.image = layout
        self.shape, self.scale = tuple(shape), scale
        n_before, *sides = self.image
        modules: list[nn.Module] = []
        for n, side, stride, padding in layers:
            conv = nn.Conv2d(n_before, n, side, stride, padding, device="meta")
            modules += [_orthogonal(conv), ACTIVATIONS[activation]()]
            n_before = n
            sides = [(length + 2 * padding - side) // stride + 1 for length in sides]
        modules.append(nn.Flatten())
        self.n_features = n_before * math.prod(sides)
        if n_hidden is not None:
            linear = nn.Linear(self.n_features, n_hidden, device="meta")
            modules += [_orthogonal(linear), ACTIVATIONS[activation]()]
            self.n_features = n_hidden
        self.layers = nn.Sequential(*modules)

    def forward(self, observation: Tensor) -> Tensor:
        """Features of images, in the precision of the weights."""
        leading = observation.shape[: observation.dim() - len(self.shape)]
        images = observation.reshape(-1, *self.shape)
        images = images.permute(0, *(1 + axis for axis in self.axes)).reshape(-1, *self.image)
        images = images.to(
            next(chain(self.parameters(), self.buffers())).dtype
        )  # fixed ones are buffers
        if self.scale != 1.0:
            images = images / self.scale
        features: Tensor = self.layers(images)
        return features.reshape(*leading, self.n_features)


def small_cnn(
    shape: Sequence[int], scale: float, activation: str = "relu", channels: str = "auto"
) -> Convolutional:
    """Two layers of 3 × 3, for images of a few pixels: a grid world, MinAtar.

    Every pixel counts in these: the first layer keeps the size, the second halves it.
    """
    layers = ((16, 3, 1, 1), (32, 3, 2, 1))
    how = {"activation": activation, "channels": channels}
    return Convolutional(shape, layers, None, scale=scale, **how)


def nature_cnn(
    shape: Sequence[int], scale: float, activation: str = "relu", channels: str = "auto"
) -> Convolutional:
    """The network of Mnih et al., "Human-level control through deep reinforcement learning" (2015).

    For images of at least 36 × 36; details 20 to 22 in docs/ppo.md.

    Raises:
        UserError: for smaller ones.
    """
    layout = layout_of(shape, channels)
    if layout is None or min(layout[1][1:]) < NATURE_SIDE:
        raise UserError(
            f"images must have at least {NATURE_SIDE} × {NATURE_SIDE} pixels, and these are "
            f"{list(shape)}"
        )
    layers = ((32, 8, 4, 0), (64, 4, 2, 0), (64, 3, 1, 0))
    how = {"activation": activation, "channels": channels}
    return Convolutional(shape, layers, 512, scale=scale, **how)


def _orthogonal(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """A layer of the device meta with weights: orthogonal, from this thread's stream."""
    device = torch.get_default_device()
    weight = torch.empty(layer.weight.shape, device=device)
    nn.init.orthogonal_(weight, HIDDEN_GAIN, generator=generator())
    layer.weight = nn.Parameter(weight)
    layer.bias = nn.Parameter(torch.zeros(weight.shape[0], device=device))
    return layer
