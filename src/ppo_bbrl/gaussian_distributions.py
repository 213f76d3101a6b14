"""Gaussian distributions beside `ActionGaussian`, with its methods. Torch only.

With state-dependent standard deviations, with the noise of gSDE, and squashed into bounds.
"""

import math
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution

from ppo_bbrl.distributions import Source, from_global, normal_noise
from ppo_bbrl.joint_distributions import Joint

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LEAST_VARIANCE = 1e-6  # of gSDE, if all features are 0
_NEAREST = 1e-6  # how near to its bounds, in (-1, 1), an action has a density


class ActionDiagonalGaussian(Joint):
    """A Gaussian of independent components, whose standard deviations depend on the state.

    Args:
        mean: `[..., *shape]`.
        log_std: `[..., *shape]`, logarithm of the standard deviations.
        event_dims: the number of dimensions of an action.
        generator: from which samples are drawn.
    """

    def __init__(
        self, mean: Tensor, log_std: Tensor, event_dims: int = 1, generator: Source = from_global
    ) -> None:
        self.location, self.log_std, self._generator = mean, log_std, generator
        n_batch = mean.dim() - event_dims
        Distribution.__init__(self, mean.shape[:n_batch], mean.shape[n_batch:], validate_args=False)

    @property
    def mode(self) -> Tensor:
        """The mean, `[..., *shape]`."""
        return self.location

    def log_probs(self, action: Tensor) -> Tensor:
        """log π of each component, `[..., *shape]`."""
        error = (action - self.location) * (-self.log_std).exp()
        return -0.5 * error.square() - self.log_std - _HALF_LOG_2PI

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`: sums over the components."""
        entropies = self.log_std + (0.5 + _HALF_LOG_2PI)
        return self.summed(self.log_probs(action)), self.summed(entropies)

    def noise(self, *leading: int) -> Tensor:
        """Standard normal noise, `[*leading, *noise_shape]`."""
        return normal_noise((*leading, *self.noise_shape), self._generator(), self.location.dtype)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """That of one action's noise."""
        return tuple(self.event_shape)

    def with_noise(self, noise: Tensor) -> Tensor:
        """Mean + standard deviation × noise."""
        return self.location + self.log_std.exp() * noise.to(self.location.device)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same in a larger batch."""
        shape = (*batch_shape, *self.event_shape)
        own = self.location.expand(shape), self.log_std.expand(shape)
        return type(self)(*own, len(self.event_shape), self._generator)


class ActionStateDependentNoise(ActionDiagonalGaussian):
    r"""The Gaussian of gSDE: noise is a function of the state, by a matrix ε that may stay.

    .. math::
        a = \mu(s) + (\sigma \circ \epsilon)^\top \phi(s), \qquad
        \pi(a_j|s) = \mathcal{N}\big(\mu_j(s), \textstyle\sum_i \sigma_{ij}^2 \phi_i(s)^2\big)

    Source: Raffin, Kober and Stulp, "Smooth Exploration for Robotic Reinforcement Learning" (2021).

    Args:
        mean: μ(s), `[..., A]`.
        features: φ(s), `[..., F]`; constants for the gradient, as in the paper's PPO.
        log_std: log σ, `[F, A]`.
        shape: of an action, with A components.
        generator: from which samples are drawn.
    """

    def __init__(
        self,
        mean: Tensor,
        features: Tensor,
        log_std: Tensor,
        shape: tuple[int, ...],
        generator: Source = from_global,
    ) -> None:
        self._features, self._matrix, self._mean = features.detach(), log_std, mean
        variance = self._features.square() @ (2 * log_std).exp() + _LEAST_VARIANCE
        whole = (*mean.shape[:-1], *shape)
        log_stds = (0.5 * variance.log()).reshape(whole)
        super().__init__(mean.reshape(whole), log_stds, len(shape), generator)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """That of one matrix ε, `[F, A]`."""
        return tuple(self._matrix.shape)

    def with_noise(self, noise: Tensor) -> Tensor:
        """μ(s) + (σ ∘ ε)ᵀ φ(s), with standard normal ε `[..., F, A]`."""
        scaled = self._matrix.exp() * noise.to(self._matrix.device)
        perturbation = torch.einsum("...f,...fa->...a", self._features, scaled)
        moved = self._mean + perturbation
        return moved.reshape((*moved.shape[:-1], *self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same in a larger batch."""
        mean = self._mean.expand(*batch_shape, self._mean.shape[-1])
        features = self._features.expand(*batch_shape, self._features.shape[-1])
        return type(self)(mean, features, self._matrix, self.event_shape, self._generator)


class ActionSquashed(Joint):
    r"""A Gaussian whose samples are squashed by tanh and scaled into bounds.

    .. math::
        a = l + \tfrac{h-l}{2}(1 + \tanh u), \qquad
        \log\pi(a) = \log\mathcal{N}(u) - \log\tfrac{h-l}{2} - \log(1 - \tanh^2 u)

    with :math:`\log(1 - \tanh^2 u) = 2(\log 2 - u - \mathrm{softplus}(-2u))`, which is exact where
    the tanh is 1 (Haarnoja et al., 2018). Of an action on its bounds, the density is that of one
    beside them. There is no formula for the entropy: it is computed by Gauss-Hermite quadrature.

    Args:
        base: of u.
        low: `[*shape]`.
        high: `[*shape]`, finite as `low` is.
        quadrature: `normal_quadrature()`, for those who have it already.
    """

    def __init__(
        self,
        base: ActionDiagonalGaussian,
        low: Tensor,
        high: Tensor,
        quadrature: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.base, self.low, self.high = base, low, high
        self._quadrature = quadrature or normal_quadrature()
        Distribution.__init__(self, base.batch_shape, base.event_shape, validate_args=False)

    @property
    def mode(self) -> Tensor:
        """The squashed mean, as is usual: `[..., *shape]`."""
        return self._squashed(self.base.mode)

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`: sums over the components."""
        half = (self.high - self.low) / 2
        inside = ((action - self.low) / half - 1).clamp(_NEAREST - 1, 1 - _NEAREST)
        before = torch.atanh(inside)
        log_probs = self.base.log_probs(before) - half.log() - _log_slope(before)
        nodes, weights = (one.to(before) for one in self._quadrature)
        std = self.base.log_std.exp()
        points = self.base.location.unsqueeze(-1) + std.unsqueeze(-1) * nodes
        entropies = self.base.log_std + (0.5 + _HALF_LOG_2PI) + half.log()
        entropies = entropies + (_log_slope(points) * weights).sum(-1)
        return self.summed(log_probs), self.summed(entropies)

    def noise(self, *leading: int) -> Tensor:
        """That of the base."""
        return self.base.noise(*leading)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """That of one action's noise."""
        return self.base.noise_shape

    def with_noise(self, noise: Tensor) -> Tensor:
        """The base's action, squashed."""
        return self._squashed(self.base.with_noise(noise))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same in a larger batch."""
        base = self.base.expand(batch_shape)
        return type(self)(base, self.low, self.high, self._quadrature)

    def _squashed(self, before: Tensor) -> Tensor:
        scaled = self.low + (self.high - self.low) / 2 * (1 + before.tanh())
        return scaled.clamp(self.low, self.high)  # but for rounding it is


def _log_slope(before: Tensor) -> Tensor:
    """log(1 - tanh² u), also where tanh u is 1 in floating point."""
    return 2 * (math.log(2) - before - torch.nn.functional.softplus(-2 * before))


def normal_quadrature() -> tuple[Tensor, Tensor]:
    """Nodes and weights for the mean of a function of a standard normal variable, `[32]` each."""
    # The roots of the Hermite polynomial are the eigenvalues of its recurrence (Golub and Welsch).
    off = torch.arange(1, 32, dtype=torch.float64, device="cpu").sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return nodes, vectors[0].square()
