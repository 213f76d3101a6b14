"""The package's other policies for Box actions: squashed, state-dependent noise, gSDE."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.distributions import Distribution

from ppo_bbrl.agents.encoders import StateDim
from ppo_bbrl.agents.heads import BoxHead, Squash
from ppo_bbrl.agents.multi import HeadPolicy
from ppo_bbrl.agents.observations import encoded
from ppo_bbrl.gaussian_distributions import ActionStateDependentNoise
from ppo_bbrl.seeding import generator


class ContinuousPolicy(HeadPolicy):
    """A Gaussian policy with bounded actions, or a state-dependent standard deviation, or both.

    Writes `action`, `[B, *shape]` float32.

    Args: those of `HeadPolicy`; `actions` is a Box. Options are those of `BoxHead`.
    """

    draws_noise_alone: ClassVar[bool] = True

    @staticmethod
    def head_for(actions: Box, **options: Any) -> nn.Module:
        """A head for a Box."""
        return BoxHead(actions, **options)


class SDEPolicy(HeadPolicy):
    """A Gaussian policy with state-dependent exploration (gSDE). Writes `action`, `[B, *shape]`.

    While a rollout is collected, each environment has a noise matrix ε, drawn when the rollout
    begins and every `sample_freq` steps, so that actions are smooth in between. `act` and `forward`
    alone draw a matrix for each action.

    The last hidden layer gives the features of the noise. The other arguments are those of
    `HeadPolicy`, where `actions` is a Box.

    Args:
        log_std_init: initial log σ; an action's standard deviation is about σ·‖φ(s)‖.
        sample_freq: steps after which new matrices are drawn; -1: only when a rollout begins.
        squash: whether actions are squashed into the bounds of the space by tanh.
    """

    draws_noise_alone: ClassVar[bool] = True

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        actions: Box,
        name: str = "policy",
        *,
        log_std_init: float = 0.0,
        sample_freq: int = -1,
        squash: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(state_dim, hidden_size, actions, name, **options)
        self.sample_freq, self.shape = sample_freq, actions.shape
        *_, last = self.model.children()
        shape = cast("nn.Linear", last).in_features, self.head.n_outputs
        self.log_std = nn.Parameter(torch.full(cast("Any", shape), float(log_std_init)))
        self.squash = Squash(actions) if squash else None

    @staticmethod
    def head_for(actions: Box) -> nn.Module:
        """For the number of its outputs alone; it has no weights, which are the policy's."""
        head = BoxHead(actions, state_dependent_std=True)
        head.n_outputs //= 2
        return head

    def dist(self, obs: Any) -> Distribution:
        """π(·|s); the components of an action are one event."""
        x = encoded(self.encoder, obs)
        *hidden, last = self.model.children()
        x = x.to(cast("nn.Linear", last).weight.dtype)
        for layer in hidden:
            x = layer(x)
        flat = ActionStateDependentNoise(last(x), x, self.log_std, self.shape, generator)
        return flat if self.squash is None else self.squash(flat)

    def noise(self, *leading: int) -> Tensor:
        """Standard normal matrices ε, `[*leading, F, A]`, from this thread's stream."""
        return torch.randn(
            (*leading, *self.log_std.shape), generator=generator(), dtype=self.log_std.dtype
        )
