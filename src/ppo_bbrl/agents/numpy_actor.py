"""Acting in NumPy, which is faster than torch for a few rows and a small network."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ppo_bbrl.agents.networks import MLP, Array
from ppo_bbrl.agents.normalisers import Normalised

Network = Callable[[Array], Array]
#: maps observations `[B, …]`, noise (None: the most likely actions) and masks to actions `[B, …]`
ArrayActor = Callable[[Array, Array | None, Array | None], Array]

# Up to this many multiplications in a layer, NumPy's BLAS uses one thread. Beyond that, its threads
# and torch's wait for each other, and every step takes ten times as long.
_MOST_WORK = 2**18


def is_small(policy: nn.Module, n_rows: int) -> bool:
    """Whether acting on n_rows rows is faster in NumPy."""
    work = n_rows * max((parameter.numel() for parameter in policy.parameters()), default=0)
    return work <= _MOST_WORK


def network_on_arrays(policy: nn.Module) -> Network | None:
    """The network of a policy on arrays, if it is an MLP on vectors, of float32 on the CPU."""
    network, encoder = getattr(policy, "model", None), getattr(policy, "encoder", None)
    normaliser = None
    if isinstance(encoder, Normalised):
        normaliser, encoder = encoder.normaliser, encoder.encoder
    if not isinstance(network, MLP) or not network.is_for_arrays:
        return None
    if type(encoder) is not nn.Identity:
        return None
    parameter = next(network.parameters())
    if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
        return None
    function = network.on_arrays()
    if normaliser is None:
        return function
    normalised = normaliser.on_arrays()
    return lambda obs: function(normalised(obs))


def choose(logits: Network) -> ArrayActor:
    """Return a function for discrete actions: the argmax of allowed logits plus Gumbel noise."""

    def act(obs: Array, noise: Array | None, mask: Array | None) -> Array:
        found = logits(obs)
        if mask is not None:
            found = np.where(mask, found, -np.inf)
        actions: Array = (found if noise is None else found + noise).argmax(-1)
        return actions

    return act


def deviate(mean: Network, shape: tuple[int, ...], log_std: Tensor) -> ArrayActor:
    """Return a function for continuous actions: mean + standard deviation × noise."""
    std = log_std.detach().exp().numpy()

    def act(obs: Array, noise: Array | None, mask: Array | None) -> Array:
        del mask
        found = mean(obs).reshape(-1, *shape)
        return found if noise is None else found + std * noise

    return act
