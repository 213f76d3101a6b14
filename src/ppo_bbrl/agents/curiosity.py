"""Curiosity: an agent that pays for what it has rarely seen, by random network distillation.

It is part of the critic (`critic.curiosity`), so that its weights learn, are clipped, copied and
saved with the critic's, in every engine of the update. A policy does not know of it.
"""

from collections.abc import Sequence
from typing import Any, cast

import bbrl.agents
from gymnasium import Space
from torch import Tensor, nn

from ppo_bbrl.agents.base import Agent, device_of
from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.encoders import Encoded, encoder
from ppo_bbrl.agents.networks import build_ortho_mlp
from ppo_bbrl.agents.normalisers import Normalised, ObservationNormaliser
from ppo_bbrl.agents.observations import Observation, moved, observation_at

CLIP = 5.0  # largest absolute value of what the networks see of normalised observations
N_FEATURES = 64  # that are predicted

#: what it learns from, beside observations: its returns, and the observations of the next row
RETURN, NEXT = "curiosity/return", "curiosity/next/"
LEARNED = (RETURN, NEXT)


class Curiosity(Agent):
    """Random network distillation (Burda et al., 2018).

    A network with random weights that never learn gives features of an observation; another one
    learns to predict them, from the observations that have been seen. Its error is the novelty of
    an observation. Writes for row t

    - `curiosity/reward`, `[B]`: the novelty of its observation, the reward that came with it;
    - `curiosity/v_values`, `[B]`: a critic's value of what such rewards will follow.

    Observations are normalised and clipped to ±5; images are scaled to [0, 1], and discrete parts
    are one-hot codes.

    Args:
        space: of the observations.
        hidden_layers: sizes of the hidden layers of its three networks; the predictor has one more.
        activation: a key of `networks.ACTIVATIONS`.
        features: how images are seen, one of `encoders.FEATURES`.
        channels: of images, as in `convolutional.layout_of`.

    Attributes:
        normaliser: of what the networks see; `PPOClip` moves its statistics.
        target, predictor: the two networks, `[..., *observation]` to `[..., N_FEATURES]`.
        critic: the value of curiosity.
    """

    def __init__(
        self,
        space: Space[Any],
        hidden_layers: Sequence[int],
        *,
        activation: str = "relu",
        features: str = "auto",
        channels: str = "auto",
    ) -> None:
        super().__init__("curiosity")
        self.prefix = "curiosity/"
        self.normaliser = ObservationNormaliser(space, clip=CLIP)
        hidden = list(hidden_layers) or [N_FEATURES]

        def seen() -> Encoded:
            own, n_features = encoder(space, features, activation, channels)
            return Normalised(self.normaliser, own), n_features

        def network(*sizes: int) -> nn.Module:
            first, n_features = seen()
            sizes = (n_features, *sizes, N_FEATURES)
            return nn.Sequential(first, build_ortho_mlp(sizes, activation))

        self.target = _fixed(network(*hidden))
        self.predictor = network(*hidden, hidden[-1])
        self.critic = VAgent(seen(), hidden, activation=activation)

    def novelty(self, obs: Observation) -> Tensor:
        """The mean squared error of the prediction: `[..., *observation]` to `[...]`."""
        error = self.predictor(obs) - self.target(obs).detach()
        return cast("Tensor", error.square().mean(-1))

    def value(self, obs: Any) -> Tensor:
        """The discounted sum of the scaled rewards to come: `[..., *observation]` to `[...]`."""
        return self.critic.value(obs)

    def forward(self, t: int, **kwargs: Any) -> None:
        """Write reward and value of row t."""
        del kwargs
        obs = moved(observation_at(self.workspace, t), device_of(self))
        self.set((f"{self.prefix}reward", t), self.novelty(obs))
        self.set((f"{self.prefix}v_values", t), self.value(obs))


def make_curious(critic: nn.Module, settings: Any, space: Space[Any]) -> None:
    """Give a critic the curiosity that the configuration asks for.

    Args:
        critic: any agent.
        settings: the `algorithm` section.
        space: of the observations.
    """
    if settings.curiosity == "rnd" and isinstance(critic, bbrl.agents.Agent):
        net = settings.architecture
        critic.curiosity = Curiosity(
            space,
            net.critic_hidden_size,
            activation=net.activation,
            features=net.features,
            channels=net.channels,
        )


def curiosity_of(critic: nn.Module | None) -> Curiosity | None:
    """The curiosity of a critic, if it has one."""
    found = getattr(critic, "curiosity", None)
    return found if isinstance(found, Curiosity) else None


def hand_on_curiosity(before: nn.Module | None, now: nn.Module) -> None:
    """Let the critic that takes the place of another one have its curiosity."""
    found = curiosity_of(before)
    if found is not None:
        now.curiosity = found


def _fixed(network: nn.Module) -> nn.Module:
    """Make all weights buffers: no optimiser sees them, and they are saved nevertheless."""
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, weight.detach())
    return network
