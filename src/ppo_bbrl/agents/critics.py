"""The package's critic."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from ppo_bbrl.agents.base import Critic
from ppo_bbrl.agents.encoders import StateDim, encoder
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.agents.normalisers import RunningMoments, rescale
from ppo_bbrl.agents.observations import encoded
from ppo_bbrl.system.sizes import shape_of

VALUE_GAIN = 1.0


class VAgent(Critic):
    """The package's critic, a separate network.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_layers: sizes of the hidden layers.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
        normalise: let the network give values normalised by the statistics of returns.

    Attributes:
        moments: of the returns, or None.
    """

    def __init__(
        self,
        state_dim: StateDim,
        hidden_layers: Sequence[int],
        name: str = "critic",
        *,
        activation: str = "relu",
        normalise: bool = False,
    ) -> None:
        super().__init__(name)
        self.is_q_function = False
        self.encoder, n_features = encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_layers", hidden_layers), 1],
            activation,
            output_gain=VALUE_GAIN,
        )
        self.moments = RunningMoments() if normalise else None

    def value(self, obs: Tensor) -> Tensor:
        """V(s): `[..., *observation]` to `[...]`, in units of the return."""
        value = cast("Tensor", self.model(encoded(self.encoder, obs))).squeeze(-1)
        if self.moments is None:
            return value
        mean, std = (one.to(value.dtype) for one in (self.moments.mean, self.moments.std))
        return mean + std * value

    def adapt(self, returns: Tensor) -> None:
        """Move the statistics by returns `[N]`; all but the first ones leave the values alone."""
        if self.moments is not None:
            rescale(cast("nn.Linear", self.model[-1]), self.moments, returns)
