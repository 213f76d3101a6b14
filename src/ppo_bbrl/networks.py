"""Networks: multilayer perceptrons, what comes before them, and the mode they are run in."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ppo_bbrl.seeding import generator
from ppo_bbrl.sizes import shape_of, size_of

Array = NDArray[Any]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


class MLP(nn.Sequential):
    """A multilayer perceptron: linear layers with an activation between them.

    An `nn.Sequential` that calls the functions of its layers directly: for networks this small
    the calls through modules cost as much as the arithmetic. Hooks on inner layers are not run.

    Args:
        layers: linear layers and activations in turn, a linear layer first and last.
        activation: a key of ACTIVATIONS.
    """

    def __init__(self, layers: Sequence[nn.Module], activation: str) -> None:
        super().__init__(*layers)
        self.activation = activation
        self._linear = [str(index) for index in range(0, len(layers), 2)]

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., outputs]`, in the precision of the weights."""
        *hidden, last = [cast("nn.Linear", self._modules[name]) for name in self._linear]
        if x.dtype != last.weight.dtype:
            x = x.to(last.weight.dtype)
        activate = _FUNCTIONS[self.activation]
        for layer in hidden:
            x = activate(nn.functional.linear(x, layer.weight, layer.bias))
        return nn.functional.linear(x, last.weight, last.bias)

    def on_arrays(self) -> Callable[[Array], Array]:
        """The same function on NumPy arrays `[N, inputs]`, of the weights as they are when called.

        On a handful of rows NumPy's operations take a third of the time of torch's, as they know
        neither gradients nor devices. Differs from `forward` by rounding.
        """
        *hidden, last = [
            (layer.weight.detach().numpy().T, layer.bias.detach().numpy())
            for layer in (cast("nn.Linear", self._modules[name]) for name in self._linear)
        ]
        activate = _ARRAY_FUNCTIONS[self.activation]

        def function(x: Array) -> Array:
            for weight, bias in hidden:
                x = x @ weight
                x += bias
                activate(x)
            x = x @ last[0]
            x += last[1]
            return x

        return function


def _relu_(x: Array) -> None:
    np.maximum(x, 0, out=x)


def _tanh_(x: Array) -> None:
    np.tanh(x, out=x)


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}
_ARRAY_FUNCTIONS = {"relu": _relu_, "tanh": _tanh_}


def build_ortho_mlp(
    sizes: Sequence[int],
    activation: nn.Module | str = "relu",
    *,
    output_gain: float = math.sqrt(2),
) -> nn.Sequential:
    """A multilayer perceptron with orthogonal weights and zero biases (detail 2 of the 37).

    Args:
        sizes: neurons of each layer, from input to output: at least two numbers.
        activation: between the layers, not after the last: relu, tanh or any module.
        output_gain: scale of the last layer's weights. The hidden layers use √2.

    Returns:
        A network from `[..., sizes[0]]` to `[..., sizes[-1]]`.

    Raises:
        UserError: for sizes that are no integers ≥ 1.
    """
    sizes = shape_of("sizes", sizes)
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        device = torch.get_default_device()
        linear: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Linear, fan_in, fan_out, device=device
        )
        # What torch would have drawn for this layer at first: the same seed, the same weights.
        for parameter in (linear.weight, linear.bias):
            torch.empty_like(parameter).uniform_(generator=generator())
        gain = output_gain if i == last else math.sqrt(2)
        nn.init.orthogonal_(linear.weight, gain, generator=generator())
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if i < last:
            layers.append(ACTIVATIONS[activation]() if isinstance(activation, str) else activation)
    if isinstance(activation, str):
        return MLP(layers, activation)
    return nn.Sequential(*layers)


def no_numbers(network: nn.Module) -> list[str]:
    """Its weights that are not finite, and its buffers with a NaN (a mask may have infinities).

    On the device meta there are no numbers.
    """
    weights = [
        name for name, one in network.named_parameters() if one.is_meta or not one.isfinite().all()
    ]
    buffers = network.named_buffers()
    return weights + [name for name, one in buffers if one.is_meta or one.isnan().any()]


@contextmanager
def evaluation_mode(*networks: nn.Module) -> Iterator[None]:
    """Inside the `with` block dropout and the like are off; then each module is as it was."""
    modes = {module: module.training for network in networks for module in network.modules()}
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class Flatten(nn.Module):
    """An array observation as features: `[..., *shape]` to `[..., prod(shape)]`, floats.

    Args:
        shape: the shape of one observation.
        scale: by which each entry is divided; 255 for images.
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
        sizes: of each of the k observations, how many values it has: 0..n-1.
    """

    first: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        sizes = shape_of("sizes", sizes)
        self.total = sum(sizes)
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("first", offsets, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """The one-hot codes, one after the other."""
        leading = observation.shape[: observation.dim() - 1]
        index = observation.reshape(*leading, len(self.first)) + self.first
        return torch.zeros(*leading, self.total, device=index.device).scatter_(-1, index, 1.0)


class FlatOrOneHot(nn.Module):
    """Features when only their number n is known, as in `VAgent(state_dim, …)`.

    Vectors `[..., n]` of floats pass; integers `[...]`, which the environment agent writes for
    discrete observations alone, become one-hot codes.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self.one_hot = OneHot(n)

    def forward(self, observation: Tensor) -> Tensor:
        """Pass vectors, encode integers."""
        return observation if observation.is_floating_point() else self.one_hot(observation)
