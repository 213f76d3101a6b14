"""The package's policies for MultiDiscrete, MultiBinary, Dict and Tuple action spaces."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from gymnasium.spaces import Dict, Tuple
from torch import Tensor
from torch.distributions import Distribution

from ppo_bbrl.agents.base import Policy
from ppo_bbrl.agents.encoders import StateDim, encoder
from ppo_bbrl.agents.heads import BernoulliHead, Head, MultiCategoricalHead, head_of
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.agents.policies import ACTION_GAIN
from ppo_bbrl.distributions import masked
from ppo_bbrl.system.sizes import shape_of, size_or_shape


class HeadPolicy(Policy):
    """A policy with an MLP and a head; subclasses choose the head for their action space.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_size: sizes of the hidden layers.
        head: the module that turns the network's outputs into a distribution.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
    """

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        head: Head,
        name: str = "policy",
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__(name)
        self.encoder, n_features = encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_size", hidden_size), head.n_outputs],
            activation,
            output_gain=ACTION_GAIN,
        )
        self.head = head

    def outputs(self, obs: Tensor) -> Tensor:
        """The network's outputs, for the head: `[..., head.n_outputs]`."""
        return cast("Tensor", self.model(self.encoder(obs)))

    def dist(self, obs: Tensor) -> Distribution:
        """π(·|s); its components are one event."""
        return cast("Distribution", self.head(self.outputs(obs)))


class MultiDiscretePolicy(HeadPolicy):
    """Independent categorical components. Writes `action`, `[B, *nvec.shape]` int64.

    Args:
        state_dim: as in `HeadPolicy`.
        hidden_size: likewise.
        nvec: the number of values of each component, as `action_space.nvec`.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
    """

    draws_noise_alone: ClassVar[bool] = True
    takes_mask = True

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        nvec: Any,
        name: str = "policy",
        *,
        activation: str = "relu",
    ) -> None:
        head = MultiCategoricalHead(nvec)
        super().__init__(state_dim, hidden_size, head, name, activation=activation)

    def dist(self, obs: Tensor, mask: Tensor | None = None) -> Distribution:
        """π(·|s); its components are one event.

        Args:
            obs: `[..., *observation]`.
            mask: `[..., sum(nvec)]` bool, which values are allowed; None: all.
        """
        return cast("Distribution", self.head(masked(self.outputs(obs), mask)))


class MultiBinaryPolicy(HeadPolicy):
    """Independent bits. Writes `action`, `[B, *shape]` float32 of zeros and ones.

    Args:
        state_dim: as in `HeadPolicy`.
        hidden_size: likewise.
        n_actions: length or shape of an action.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
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
    ) -> None:
        shape = size_or_shape("n_actions", n_actions)
        head = BernoulliHead((shape,) if isinstance(shape, int) else shape)
        super().__init__(state_dim, hidden_size, head, name, activation=activation)


class CompositePolicy(HeadPolicy):
    """Independent components of different kinds. Writes `action`, `[B, D]` float32.

    An action contains the numbers of all parts of the space, one after the other; the environment
    agent converts them to the form that the environment expects.

    Args:
        state_dim: as in `HeadPolicy`.
        hidden_size: likewise.
        action_space: a Dict or a Tuple, nested or not.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
        log_std_init: initial log standard deviation of the parts that are a Box.
        squash: whether these are squashed into their bounds.
        state_dependent_std: whether the network gives their standard deviations, too.
    """

    draws_noise_alone: ClassVar[bool] = True

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        action_space: Dict | Tuple[Any],
        name: str = "policy",
        *,
        activation: str = "relu",
        log_std_init: float = 0.0,
        squash: bool = False,
        state_dependent_std: bool = False,
    ) -> None:
        head = head_of(
            action_space,
            log_std_init=log_std_init,
            squash=squash,
            state_dependent_std=state_dependent_std,
        )
        super().__init__(state_dim, hidden_size, head, name, activation=activation)
