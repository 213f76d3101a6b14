"""Encoders: turn observations of any space into features for a network."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import Tensor, nn

from ppo_bbrl.agents.convolutional import (
    NATURE_SIDE,
    Convolutional,
    layout_of,
    nature_cnn,
    small_cnn,
)
from ppo_bbrl.envs.parts import parts_of
from ppo_bbrl.envs.spaces import is_image
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.system.sizes import shape_of, size_of, size_or_shape

#: how an agent's constructor may describe its observations
StateDim = Any  # int | tuple[int, ...] | Space[Any] | Encoded
#: an encoder with the number of its features
Encoded = tuple[nn.Module, int]

#: `auto` takes the Nature network for images of at least 36 × 36, for smaller ones the small CNN
FEATURES = ("auto", "mlp", "cnn", "nature_cnn")


def encoder(
    state_dim: StateDim,
    features: str = "mlp",
    activation: str = "relu",
    channels: str = "auto",
) -> Encoded:
    """The module that turns observations into features, and the number of features.

    Args:
        state_dim: description of the observations: a number of features, a shape, or the space
            itself (which is needed to distinguish images from other arrays). An encoder that is
            made already, with the number of its features, is returned as it is.
        features: one of FEATURES, how images are seen. `mlp` flattens them. `cnn` and `nature_cnn`
            take any Box of a shape that an image can have, `auto` only bytes.
        activation: of a convolutional network.
        channels: first, last or auto, the axis of an image that they are in.

    Raises:
        UserError: for anything else; if no part is an image, or one is too small for the network.
    """
    if isinstance(state_dim, tuple) and state_dim and isinstance(state_dim[0], nn.Module):
        return state_dim[0], state_dim[1]
    if isinstance(state_dim, Dict | Tuple):
        parts = parts_of(state_dim)
        images = {path for path, part in parts.items() if _convolution(part, features, channels)}
        own = {
            path: encoder(part, features if path in images else "mlp", activation, channels)
            for path, part in parts.items()
        }
        if features in ("cnn", "nature_cnn") and not images:
            raise UserError(f"none of its parts {', '.join(parts)} is an image")
        together = Parts(own)
        return together, together.n_features
    convolution = _convolution(state_dim, features, channels)
    if convolution is not None:
        scale = 255.0 if is_image(state_dim) else 1.0
        module = convolution(state_dim.shape, scale, activation, channels)
        return module, module.n_features
    if features in ("cnn", "nature_cnn"):
        raise UserError(f"its observations {one_line(state_dim, 200)} are no images")
    if isinstance(state_dim, Discrete):
        return OneHot(int(state_dim.n)), int(state_dim.n)
    if isinstance(state_dim, MultiDiscrete):
        sizes = state_dim.nvec.flatten().tolist()
        return MultiOneHot(sizes, state_dim.nvec.ndim), sum(sizes)
    if isinstance(state_dim, MultiBinary):
        return Flatten(state_dim.shape), math.prod(state_dim.shape)
    if isinstance(state_dim, Box):
        if len(state_dim.shape) == 1 and not is_image(state_dim):
            return nn.Identity(), state_dim.shape[0]
        scale = 255.0 if is_image(state_dim) else 1.0
        return Flatten(state_dim.shape, scale), math.prod(state_dim.shape)
    shape = size_or_shape(
        "state_dim",
        state_dim,
        "must be a number, a shape, a Box or a Discrete, a MultiDiscrete or a MultiBinary, or a "
        "Dict or a Tuple of these",
    )
    if isinstance(shape, int):
        return FlatOrOneHot(shape), shape
    return Flatten(shape), math.prod(shape)


def _convolution(space: Any, features: str, channels: str) -> Callable[..., Convolutional] | None:
    """What makes the network for an image; None where numbers are flattened."""
    layout = layout_of(space.shape, channels) if isinstance(space, Box) else None
    if layout is None or features == "mlp":
        return None
    if features != "auto":
        return nature_cnn if features == "nature_cnn" else small_cnn
    if not is_image(space):
        return None
    _, (_, *sides) = layout
    return nature_cnn if min(sides) >= NATURE_SIDE else small_cnn


class Parts(nn.Module):
    """The parts of a Dict or Tuple observation as features, side by side.

    Args:
        encoders: by path, the encoder of each part and the number of its features.

    Attributes:
        n_features: of all parts together.
    """

    def __init__(self, encoders: Mapping[str, tuple[nn.Module, int]]) -> None:
        super().__init__()
        self.paths = tuple(encoders)
        self.encoders = nn.ModuleList(one for one, _ in encoders.values())
        self.n_features = sum(n for _, n in encoders.values())

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """`[..., *shape]` by path to `[..., n_features]` floats."""
        parts = zip(self.paths, self.encoders, strict=True)
        features = [encode(observation[path]) for path, encode in parts]
        dtype = torch.get_default_dtype()
        return torch.cat([one.to(dtype) for one in features], -1)


class Flatten(nn.Module):
    """Flattens array observations to features: `[..., *shape]` to `[..., prod(shape)]`, floats.

    Args:
        shape: the shape of one observation.
        scale: divisor of each entry; 255 for images.
    """

    def __init__(self, shape: Sequence[int], scale: float = 1.0) -> None:
        super().__init__()
        self.shape = shape_of("shape", shape)
        self.scale = scale

    def forward(self, observation: Tensor) -> Tensor:
        """Flatten the last `len(shape)` dimensions."""
        leading = observation.shape[: observation.dim() - len(self.shape)]
        features = observation.reshape(*leading, math.prod(self.shape))
        if not features.is_floating_point():
            features = features.to(torch.get_default_dtype())
        return features if self.scale == 1.0 else features / self.scale


class OneHot(nn.Module):
    """A discrete observation as features: `[...]` int64 in 0..n-1 to `[..., n]` floats."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = size_of("n", n)

    def forward(self, observation: Tensor) -> Tensor:
        """One-hot code."""
        code = torch.nn.functional.one_hot(observation, self.n)
        return code.to(torch.get_default_dtype())


class MultiOneHot(nn.Module):
    """Several discrete observations as features: `[..., k]` int64 to `[..., sum(sizes)]` floats.

    Args:
        sizes: the number of values n of each of the k observations, 0..n-1.
        n_axes: of one array of observations, which has k numbers.
    """

    first: Tensor

    def __init__(self, sizes: Sequence[int], n_axes: int = 1) -> None:
        super().__init__()
        sizes = shape_of("sizes", sizes)
        self.n_axes = n_axes
        self.total = sum(sizes)
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("first", offsets, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Concatenated one-hot codes."""
        leading = observation.shape[: observation.dim() - self.n_axes]
        index = observation.reshape(*leading, len(self.first)) + self.first
        return torch.zeros(*leading, self.total, device=index.device).scatter_(-1, index, 1.0)


class FlatOrOneHot(nn.Module):
    """Encoder for when only the number of features n is known, as in `VAgent(state_dim, …)`.

    Float vectors `[..., n]` pass through; integers `[...]`, which the environment agent writes
    only for discrete observations, become one-hot codes.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.one_hot = OneHot(n)

    def forward(self, observation: Tensor) -> Tensor:
        """Pass vectors through, encode integers."""
        return observation if observation.is_floating_point() else self.one_hot(observation)
