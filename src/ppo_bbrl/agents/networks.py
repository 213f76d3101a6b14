"""Networks: multilayer perceptrons, and the mode that networks run in."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ppo_bbrl.errors import UserError, shown
from ppo_bbrl.seeding import generator
from ppo_bbrl.system.sizes import shape_of

Array = NDArray[Any]

#: by the name that a configuration has for them
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
}
HIDDEN_GAIN = math.sqrt(2)  # docs/ppo.md#detail-2


class MLP(nn.Sequential):
    """A multilayer perceptron: linear layers with an activation between them.

    It is an `nn.Sequential` that calls the functions of its layers directly: in such small
    networks, module calls cost as much as the arithmetic. Hooks on inner layers are not run.

    Args:
        layers: alternating linear layers and activations, with a linear layer first and last.
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

    @property
    def is_for_arrays(self) -> bool:
        """Whether NumPy has its activation."""
        return self.activation in _ARRAY_FUNCTIONS

    def on_arrays(self) -> Callable[[Array], Array]:
        """The same function on NumPy arrays `[N, inputs]`, with the current weights.

        For a few rows, NumPy takes a third of torch's time, because it has neither gradients nor
        devices. Results differ from `forward` by rounding.
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


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "leaky_relu": nn.functional.leaky_relu,
    "silu": nn.functional.silu,
}
#: those that NumPy has: policies with others act in torch
_ARRAY_FUNCTIONS = {"relu": _relu_, "tanh": _tanh_}


def build_ortho_mlp(
    sizes: Sequence[int],
    activation: nn.Module | str = "relu",
    *,
    output_gain: float = math.sqrt(2),
) -> nn.Sequential:
    """A multilayer perceptron with orthogonal weights and zero biases (docs/ppo.md#detail-2).

    Args:
        sizes: size of each layer, from input to output; at least two.
        activation: used between layers, not after the last: relu, tanh or any module.
        output_gain: gain of the last layer's weights; hidden layers use √2.

    Returns:
        A network from `[..., sizes[0]]` to `[..., sizes[-1]]`.

    Raises:
        UserError: for sizes that are not integers ≥ 1, or another activation.
    """
    sizes = shape_of("sizes", sizes)
    if not (
        activation in ACTIVATIONS
        if isinstance(activation, str)
        else isinstance(activation, nn.Module)
    ):
        raise UserError(
            f"activation = {shown(activation)}: must be one of {', '.join(ACTIVATIONS)}, or a "
            "module, such as nn.Tanh()"
        )
    layers: list[nn.Module] = []
    last = len(sizes) - 2
    for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        device = torch.get_default_device()
        # As torch.nn.utils.skip_init does, which imports a quarter of a second's worth of sympy.
        linear = nn.Linear(fan_in, fan_out, device="meta")
        linear.weight = nn.Parameter(torch.empty(fan_out, fan_in, device=device))
        linear.bias = nn.Parameter(torch.empty(fan_out, device=device))
        # Draw what torch would have drawn for this layer, so that seeds give the same weights.
        for parameter in (linear.weight, linear.bias):
            torch.empty_like(parameter).uniform_(generator=generator())
        gain = output_gain if i == last else HIDDEN_GAIN
        nn.init.orthogonal_(linear.weight, gain, generator=generator())
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if i < last:
            layers.append(ACTIVATIONS[activation]() if isinstance(activation, str) else activation)
    if isinstance(activation, str):
        return MLP(layers, activation)
    return nn.Sequential(*layers)


def no_numbers(network: nn.Module) -> list[str]:
    """The names of weights that are not finite, and of buffers with a NaN (infinities are allowed).

    On the device meta this means all of them.
    """
    weights = [
        name for name, one in network.named_parameters() if one.is_meta or not one.isfinite().all()
    ]
    buffers = network.named_buffers()
    return weights + [name for name, one in buffers if one.is_meta or one.isnan().any()]


@contextmanager
def evaluation_mode(*networks: nn.Module) -> Iterator[None]:
    """Turn off dropout and the like inside the `with` block; then restore each module's mode."""
    modes = {module: module.training for network in networks for module in network.modules()}
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
