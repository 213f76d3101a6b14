"""Generalised state-dependent exploration (gSDE): noise that is a function of the state.

Source: Raffin, Kober and Stulp, "Smooth Exploration for Robotic Reinforcement Learning" (2021).
"""

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from ppo_bbrl.system.sizes import size_of

_MIN_VARIANCE = 1e-6  # if all features are 0


class StateDependentNormal(Independent):  # type: ignore[type-arg] # not generic at run time
    r"""The policy of gSDE: a diagonal Gaussian whose standard deviation depends on the state.

    .. math::
        a &= \mu(s) + \epsilon^\top \phi(s), \quad \epsilon_{ij} \sim \mathcal{N}(0, \sigma_{ij}) \\
        \pi(a_j|s) &= \mathcal{N}\big(\mu_j(s), \textstyle\sum_i \sigma_{ij}^2 \phi_i(s)^2\big)

    `sample()` uses the given matrices ε, so that between two draws of ε the action is a smooth
    function of the state. Density and entropy are those of the Gaussian.

    Args:
        mean: μ(s), `[N, A]`.
        features: φ(s), `[N, F]`; treated as constants, as the paper does for PPO.
        std: σ, `[F, A]`.
        noise: ε, `[N, F, A]`, one matrix per row; None: sample each row independently.
    """

    def __init__(
        self, mean: Tensor, features: Tensor, std: Tensor, noise: Tensor | None = None
    ) -> None:
        features = features.detach()
        variance = features.square() @ std.square() + _MIN_VARIANCE
        super().__init__(Normal(mean, variance.sqrt()), 1)
        self._perturbation = (
            None if noise is None else torch.einsum("nf,nfa->na", features, noise).detach()
        )

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """μ(s) + ε^T φ(s), `[N, A]`; independent samples if there is no ε or a shape is given."""
        if self._perturbation is None or len(sample_shape):
            return super().sample(torch.Size(sample_shape))
        return self.mean.detach() + self._perturbation


class StateDependentNoise(nn.Module):
    """Makes the distributions of gSDE: holds σ, a parameter, and the matrices ε.

    `PPO(use_sde=True)` draws new matrices, one per environment, at the start of each rollout and
    every `sde_sample_freq` steps. They are not part of a checkpoint.

    Args:
        n_features: F, the length of φ(s).
        n_actions: A, the length of an action.
        log_std_init: initial log σ. The standard deviation of an action is about σ·‖φ(s)‖.
    """

    def __init__(self, n_features: int, n_actions: int, log_std_init: float = -2.0) -> None:
        super().__init__()
        sizes = size_of("n_features", n_features), size_of("n_actions", n_actions)
        self.log_std = nn.Parameter(torch.full(sizes, float(log_std_init)))
        # Not a buffer: DDP would give every process the noise of the first one.
        self._noise: Tensor | None = None

    @torch.no_grad()
    def reset_noise(self, n_envs: int) -> None:
        """Draw new matrices, `[n_envs, F, A]`, from torch's global generator."""
        self._noise = torch.randn(n_envs, *self.log_std.shape).to(self.log_std) * self.log_std.exp()

    def forward(self, features: Tensor, mean: Tensor) -> StateDependentNormal:
        """π(·|s) for `features` `[N, F]` and `mean` `[N, A]`.

        It samples with the matrices only if there is one for each row, as when PPO acts; the rows
        of a minibatch have none.
        """
        noise = self._noise
        matching = noise is not None and len(noise) == len(features)
        return StateDependentNormal(mean, features, self.log_std.exp(), noise if matching else None)
