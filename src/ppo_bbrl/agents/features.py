"""What stands in front of the heads of the package's agents, as the configuration says it."""

import math
import warnings
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from ppo_bbrl.agents.convolutional import Convolutional, looks_otherwise
from ppo_bbrl.agents.encoders import Encoded, encoder
from ppo_bbrl.agents.networks import ACTIVATIONS, HIDDEN_GAIN, build_ortho_mlp
from ppo_bbrl.agents.seen_parts import space_seen
from ppo_bbrl.envs.spaces import HasSpaces
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.seeding import generator


def features_of(cfg: DictConfig, env: HasSpaces, role: str) -> Encoded:
    """How the policy or the critic sees observations; agents take it as `state_dim`.

    With `shared_trunk`, the hidden layers of the policy are part of it.

    Raises:
        ConfigError: if `features` asks for a network that the observations do not fit.
    """
    architecture, space = cfg.algorithm.architecture, space_seen(cfg, env, role)
    try:
        how = architecture.features, architecture.activation, architecture.channels
        module, n = encoder(space, *how)
    except UserError as error:
        key = f"algorithm.architecture.features = {architecture.features!r}"
        raise ConfigError(f"{key}: {cfg.gym_env.env_name}: {error}") from None
    if role == "policy" and architecture.channels == "auto":
        _tell_of_channels(module, cfg.gym_env.env_name)
    hidden = list(architecture.actor_hidden_size)
    if architecture.shared_trunk:
        if list(architecture.critic_hidden_size) != hidden:
            raise ConfigError(
                f"algorithm.architecture.critic_hidden_size = {architecture.critic_hidden_size}: "
                f"with shared_trunk, must be that of the policy, {hidden}"
            )
        if hidden:
            activation = ACTIVATIONS[architecture.activation]()
            module = nn.Sequential(
                module, build_ortho_mlp([n, *hidden], architecture.activation), activation
            )
            n = hidden[-1]
        if next(module.parameters(), None) is None:
            raise ConfigError(
                "algorithm.architecture.shared_trunk = True: there is nothing to share without a "
                "hidden layer"
            )
    initialise(module, architecture)
    return module, n


def _tell_of_channels(encoder: nn.Module, env_name: str) -> None:
    """Say so where `auto` may have taken the wrong axis of an image for its channels."""
    for module in encoder.modules():
        if isinstance(module, Convolutional) and looks_otherwise(module.shape):
            warnings.warn(
                f"{env_name}: the last axis of images {list(module.shape)} is taken for their "
                "channels: algorithm.architecture.channels: first, or last, says which it is",
                stacklevel=2,
            )


def head_sizes(architecture: Any, role: str) -> list[int]:
    """The hidden layers of the actor or the critic; none of them if they are in a shared trunk."""
    return [] if architecture.shared_trunk else list(architecture[f"{role}_hidden_size"])


def initialise(module: nn.Module, architecture: Any, output_gain: float | None = None) -> None:
    """Give the weights of a network another size than that which they were made with.

    Orthogonal weights are proportional to their gain. Without `ortho_init`, weights and biases are
    drawn anew as torch does it, uniformly in ±1/√inputs, and there are no gains.

    Args:
        module: of the package: its linear and convolutional layers have orthogonal weights.
        architecture: with `ortho_init` and `hidden_gain`.
        output_gain: by how much the weights of the last layer are multiplied; None: it is hidden.
    """
    layers = [one for one in module.modules() if isinstance(one, nn.Linear | nn.Conv2d)]
    factor = architecture.hidden_gain / HIDDEN_GAIN
    with torch.no_grad():
        for layer in layers:
            last = output_gain is not None and layer is layers[-1]
            if not architecture.ortho_init:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                for tensor in (layer.weight, layer.bias):
                    assert tensor is not None
                    tensor.uniform_(-bound, bound, generator=generator())
            elif last and output_gain is not None:
                layer.weight *= output_gain
            elif not last and factor != 1:
                layer.weight *= factor
