"""The package's critic."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor

from ppo_bbrl.agents.base import Critic
from ppo_bbrl.agents.encoders import StateDim, encoder
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.system.sizes import shape_of

VALUE_GAIN = 1.0


class VAgent(Critic):
    """The package's critic, a separate network.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_layers: sizes of the hidden layers.
        name: the agent's name, for bbrl.
        activation: a key of `networks.ACTIVATIONS`.
    """

    def __init__(
        self,
        state_dim: StateDim,
        hidden_layers: Sequence[int],
        name: str = "critic",
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__(name)
        self.is_q_function = False
        self.encoder, n_features = encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_layers", hidden_layers), 1],
            activation,
            output_gain=VALUE_GAIN,
        )

    def value(self, obs: Tensor) -> Tensor:
        """V(s): `[..., *observation]` to `[...]`."""
        return cast("Tensor", self.model(self.encoder(obs))).squeeze(-1)
