"""Policies with a head: for MultiDiscrete, MultiBinary, Dict and Tuple actions, and your own."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.distributions import Distribution

from ppo_bbrl.agents.base import Policy
from ppo_bbrl.agents.encoders import StateDim, encoder
from ppo_bbrl.agents.heads import BernoulliHead, MultiCategoricalHead, head_of
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.agents.observations import encoded
from ppo_bbrl.agents.policies import ACTION_GAIN
from ppo_bbrl.distributions import masked
from ppo_bbrl.system.sizes import shape_of, size_or_shape


class HeadPolicy(Policy):
    """A policy with an MLP and the head of an action space, which may be one of your own.

    A subclass chooses another head by `head_for`, and names its options there.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_size: sizes of the hidden layers.
        actions: what `head_for` takes: the action space, or what describes it.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
        options: of `head_for`.

    Attributes:
        head: the module that turns the network's outputs into a distribution.
    """

    draws_noise_alone: ClassVar[bool] = True
    #: gives the module with `n_outputs` that turns `[..., n_outputs]` into a distribution
    head_for: ClassVar[Callable[..., Any]] = staticmethod(head_of)

    head: Any

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        actions: Any,
        name: str = "policy",
        *,
        activation: str = "relu",
        **options: Any,
    ) -> None:
        super().__init__(name)
        head = self.head_for(actions, **options)
        self.encoder, n_features = encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_size", hidden_size), head.n_outputs],
            activation,
            output_gain=ACTION_GAIN,
        )
        self.head = head

    def outputs(self, obs: Tensor) -> Tensor:
        """The network's outputs, for the head: `[..., head.n_outputs]`."""
        return cast("Tensor", self.model(encoded(self.encoder, obs)))

    def dist(self, obs: Tensor) -> Distribution:
        """π(·|s); its components are one event."""
        return cast("Distribution", self.head(self.outputs(obs)))


class MultiDiscretePolicy(HeadPolicy):
    """Independent categorical components. Writes `action`, `[B, *nvec.shape]` int64.

    Args: those of `HeadPolicy`; `actions` is the number of values of each component, as in
    `action_space.nvec`.
    """

    draws_noise_alone: ClassVar[bool] = True
    takes_mask = True

    @staticmethod
    def head_for(actions: Any) -> nn.Module:
        """A head for `nvec`."""
        return MultiCategoricalHead(actions)

    def dist(self, obs: Tensor, mask: Tensor | None = None) -> Distribution:
        """π(·|s); its components are one event.

        Args:
            obs: `[..., *observation]`.
            mask: `[..., sum(nvec)]` bool, which values are allowed; None: all.
        """
        return cast("Distribution", self.head(masked(self.outputs(obs), mask)))


class MultiBinaryPolicy(HeadPolicy):
    """Independent bits. Writes `action`, `[B, *shape]` float32 of zeros and ones.

    Args: those of `HeadPolicy`; `actions` is the length or the shape of an action.
    """

    draws_noise_alone: ClassVar[bool] = True

    @staticmethod
    def head_for(actions: int | tuple[int, ...]) -> nn.Module:
        """A head for as many bits."""
        shape = size_or_shape("n_actions", actions)
        return BernoulliHead((shape,) if isinstance(shape, int) else shape)


class CompositePolicy(HeadPolicy):
    """Independent components of different kinds. Writes `action`, `[B, D]` float32.

    An action contains the numbers of all parts of the space, one after the other; the environment
    agent converts them to the form that the environment expects.

    Args: those of `HeadPolicy`; `actions` is a Dict or a Tuple, nested or not. Options are those
    of `head_of`, for the parts that are a Box.
    """

    draws_noise_alone: ClassVar[bool] = True
    takes_mask = True

    def dist(self, obs: Tensor, mask: Tensor | None = None) -> Distribution:
        """π(·|s); its components are one event.

        Args:
            obs: `[..., *observation]`.
            mask: `[..., A]` bool, which values are allowed of the parts that are Discrete or
                MultiDiscrete, one after the other; None: all.
        """
        return cast("Distribution", self.head(self.head.masked(self.outputs(obs), mask)))
