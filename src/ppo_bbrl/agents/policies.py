"""The package's policies, and their random streams."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ppo_bbrl.agents.base import Policy
from ppo_bbrl.agents.convolutional import Convolutional
from ppo_bbrl.agents.encoders import (
    FlatOrOneHot,
    Flatten,
    MultiOneHot,
    OneHot,
    Parts,
    StateDim,
    encoder,
)
from ppo_bbrl.agents.heads import (
    BernoulliHead,
    BoxHead,
    CategoricalHead,
    CompositeHead,
    GaussianHead,
    MultiCategoricalHead,
    Squash,
)
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.networks import ACTIVATIONS, MLP, build_ortho_mlp
from ppo_bbrl.agents.normalisers import Normalised, ObservationNormaliser, RunningMoments
from ppo_bbrl.agents.observations import encoded
from ppo_bbrl.distributions import ActionCategorical, ActionGaussian, masked
from ppo_bbrl.seeding import RandomStream, generator
from ppo_bbrl.system.sizes import shape_of, size_of, size_or_shape

ACTION_GAIN = 0.01  # docs/ppo.md#detail-2: makes all actions about equally likely at first

_WITHOUT_CHANCE = {
    MLP, nn.Linear, nn.Identity, nn.ModuleList, Flatten, OneHot, MultiOneHot, FlatOrOneHot, Parts,
    Convolutional, nn.Conv2d, nn.Flatten, nn.Sequential, *ACTIVATIONS.values(),
    BernoulliHead, BoxHead, CategoricalHead, CompositeHead, GaussianHead, MultiCategoricalHead,
    Squash,
    Normalised, ObservationNormaliser, RunningMoments,
    Memory, nn.LSTM, nn.GRU,
}  # fmt: skip


class DiscretePolicy(Policy):
    """A categorical policy, for Discrete action spaces. Writes `action`, `[B]` int64.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_size: sizes of the hidden layers.
        n_actions: number of actions.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
    """

    draws_noise_alone: ClassVar[bool] = True
    takes_mask = True

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        n_actions: int,
        name: str = "policy",
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__(name)
        self.n_actions = size_of("n_actions", n_actions)
        self.encoder, n_features = encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_size", hidden_size), self.n_actions],
            activation,
            output_gain=ACTION_GAIN,
        )

    def logits(self, obs: Tensor) -> Tensor:
        """Unnormalised log-probabilities, `[..., n_actions]`."""
        return cast("Tensor", self.model(encoded(self.encoder, obs)))

    def dist(self, obs: Tensor, mask: Tensor | None = None) -> ActionCategorical:
        """π(·|s) over 0..n_actions-1.

        Args:
            obs: `[..., *observation]`.
            mask: `[..., n_actions]` bool, which actions are allowed; None: all.
        """
        return ActionCategorical(masked(self.logits(obs), mask), generator)


class GaussianPolicy(Policy):
    """A diagonal Gaussian policy, for Box action spaces. Writes `action`, `[B, …]` float32.

    The standard deviation is a separate parameter, the same in every state
    (docs/ppo.md#detail-24). Actions are unbounded here; the environment agent clips them for the
    environment.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_size: sizes of the hidden layers.
        n_actions: length or shape of an action.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
        log_std_init: initial log standard deviation.
    """

    draws_noise_alone: ClassVar[bool] = True

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        n_actions: int | tuple[int, ...],
        name: str = "policy",
        *,
        activation: str = "relu",
        log_std_init: float = 0.0,
    ) -> None:
        super().__init__(name)
        shape = size_or_shape("n_actions", n_actions)
        self.action_shape = (shape,) if isinstance(shape, int) else shape
        self.encoder, n_features = encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_size", hidden_size), math.prod(self.action_shape)],
            activation,
            output_gain=ACTION_GAIN,
        )
        self.log_std = nn.Parameter(torch.full(self.action_shape, float(log_std_init)))

    def mean(self, obs: Tensor) -> Tensor:
        """The mean action, `[..., *action_shape]`."""
        flat = cast("Tensor", self.model(encoded(self.encoder, obs)))
        return flat.reshape((*flat.shape[:-1], *self.action_shape))

    def dist(self, obs: Tensor) -> ActionGaussian:
        """π(·|s); the components of an action are one event."""
        return ActionGaussian(self.mean(obs), self.log_std, generator)


def draws_noise_alone(policy: nn.Module) -> bool:
    """Whether all randomness comes from `seeding.generator()`.

    True for the package's policies, with memory or without: their classes say so, each for itself.
    A subclass may draw otherwise.
    """
    policy = getattr(policy, "wrapped", policy)
    inner = {type(module) for module in policy.modules()}
    saying = {kind for kind in inner if vars(kind).get("draws_noise_alone")}
    return type(policy) in saying and not inner - saying - _WITHOUT_CHANCE


def drawing_from(stream: RandomStream, policy: nn.Module) -> AbstractContextManager[None]:
    """The context in which a policy draws from a stream."""
    return stream.direct() if draws_noise_alone(policy) else stream.active()
