"""Normalisers: running statistics, as buffers of the agents that use them.

They stand in front of the encoders of policy and critic, which share them, and are saved with the
weights. Nothing here moves while an agent acts or learns: `PPOClip` moves the statistics once for
each rollout, after its update, so that every ratio of the first minibatch is 1.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, cast

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import Tensor, nn

from ppo_bbrl.agents.observations import Observation
from ppo_bbrl.agents.walking import modules_in
from ppo_bbrl.envs.parts import parts_of
from ppo_bbrl.envs.spaces import is_image

Array = NDArray[Any]
#: number, mean and variance of samples, of shape `[*shape]`, in float64
Summary = tuple[int, Tensor, Tensor]
Summarise = Callable[[Tensor], Summary]

_FIRST_COUNT = 1e-4  # what the initial mean 0 and variance 1 weigh, in samples, as in Baselines
_EPSILON = 1e-8  # added to the variance


def summary(samples: Tensor) -> Summary:
    """Number, mean and variance of samples `[N, *shape]`, which are float64."""
    if not len(samples):
        return 0, *samples.new_zeros(2, *samples.shape[1:])
    return len(samples), samples.mean(0), samples.var(0, correction=0)


class RunningMoments(nn.Module):
    """Mean and variance of all samples so far; before the first one 0 and 1.

    Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (1983): two sets
    of samples are combined by their counts, means and variances. In float64, whatever the
    precision of the weights around it.

    Args:
        shape: of a sample.

    Attributes:
        mean, var: `[*shape]`.
        count: of the samples, a scalar.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: Iterable[int] = ()) -> None:
        super().__init__()
        shape = tuple(shape)
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(_FIRST_COUNT, dtype=torch.float64))

    @torch.no_grad()
    def update(self, samples: Tensor, summarise: Summarise = summary) -> None:
        """Take more samples into account, `[N, *shape]`.

        Args:
            samples: of this process.
            summarise: their number, mean and variance; those of all processes, if there are others.
        """
        n, mean, var = summarise(samples.to(self.mean.device, torch.float64))
        if n == 0:
            return
        total = self.count + n
        change = mean - self.mean
        spread = self.var * self.count + var * n
        spread += change.square() * self.count * n / total
        self.mean.add_(change * n / total)
        self.var.copy_(spread / total)
        self.count.copy_(total)

    @property
    def std(self) -> Tensor:
        """The standard deviation, `[*shape]`, never 0."""
        return (self.var + _EPSILON).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Shift and scale `[..., *shape]` to mean 0 and standard deviation 1."""
        return (x - self.mean.to(x.dtype)) / self.std.to(x.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        del recurse
        for name, buffer in self._buffers.items():
            assert buffer is not None
            moved = fn(buffer)
            # Only the device follows: `agent.float()` is about the weights.
            same = moved.dtype == buffer.dtype
            self._buffers[name] = moved if same else buffer.to(moved.device)
        return self


class ObservationNormaliser(nn.Module):
    """Normalises observations by running statistics, and clips them.

    Each part of a Dict or Tuple observation has its own. Images and discrete parts stay as they
    are. An agent of your own may have one in front of its network: `PPOClip` finds it and moves
    its statistics.

    Args:
        space: the observation space.
        scale: whether to normalise.
        clip: the largest absolute value of what comes out; None: no limit.
    """

    def __init__(self, space: Space[Any], *, scale: bool = True, clip: float | None = None) -> None:
        super().__init__()
        parts = {path: one for path, one in parts_of(space).items() if isinstance(one, Box)}
        self.paths = tuple(path for path, one in parts.items() if not is_image(one))
        self.clip = clip
        self.moments = nn.ModuleList(
            RunningMoments(parts[path].shape) if scale else nn.Identity() for path in self.paths
        )

    def forward(self, observation: Any) -> Any:
        """The normalised observation, `[..., *shape]`; of a dict by path, its parts."""
        if isinstance(observation, Mapping):
            new = {
                path: self._normalised(moments, observation[path])
                for path, moments in zip(self.paths, self.moments, strict=True)
            }
            return {**observation, **new}
        return self._normalised(self.moments[0], observation) if self.paths else observation

    def update(self, observations: Observation, summarise: Summarise = summary) -> None:
        """Move the statistics by the observations `[N, *shape]` of a rollout."""
        parts = {"": observations} if isinstance(observations, Tensor) else observations
        for path, moments in zip(self.paths, self.moments, strict=True):
            if isinstance(moments, RunningMoments):
                moments.update(parts[path], summarise)

    def on_arrays(self) -> Callable[[Array], Array]:
        """The same function on NumPy arrays `[N, *shape]`, with the current statistics."""
        (moments,), clip = self.moments, self.clip
        mean, std = np.zeros((), np.float32), np.ones((), np.float32)
        if isinstance(moments, RunningMoments):
            mean, std = (one.float().numpy() for one in (moments.mean, moments.std))

        def function(x: Array) -> Array:
            x = (x - mean) / std
            return x if clip is None else np.clip(x, -clip, clip, out=x)

        return function

    def _normalised(self, moments: nn.Module, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            x = x.to(torch.get_default_dtype())
        x = moments(x)
        return x if self.clip is None else x.clamp(-self.clip, self.clip)


class Normalised(nn.Module):
    """An encoder behind a normaliser.

    Args:
        normaliser: may be another agent's, too.
        encoder: turns observations into features.
    """

    def __init__(self, normaliser: ObservationNormaliser, encoder: nn.Module) -> None:
        super().__init__()
        self.normaliser, self.encoder = normaliser, encoder

    def forward(self, observation: Any) -> Tensor:
        """Observations to features."""
        return cast("Tensor", self.encoder(self.normaliser(observation)))


def normalisers_of(*agents: nn.Module) -> list[ObservationNormaliser]:
    """The normalisers of observations in agents, each once."""
    return [module for module in modules_in(*agents) if isinstance(module, ObservationNormaliser)]


def share_normaliser(policy: nn.Module | None, critic: nn.Module) -> None:
    """Let a critic use the statistics of a policy, where both have some."""
    of_policy, of_critic = (getattr(agent, "encoder", None) for agent in (policy, critic))
    if isinstance(of_policy, Normalised) and isinstance(of_critic, Normalised):
        of_critic.normaliser = of_policy.normaliser


def rescale(layer: nn.Linear, moments: RunningMoments, returns: Tensor) -> None:
    """Move the statistics of returns, and a layer with them, so that its values stay as they are.

    Source: PopArt, van Hasselt et al., "Learning values across many orders of magnitude" (2016).
    The first returns are the exception: the layer stays, so that values begin near their mean.

    Args:
        layer: gives normalised values.
        moments: of returns.
        returns: `[N]`.
    """
    mean, std, begins = moments.mean.clone(), moments.std, bool(moments.count < 1)
    moments.update(returns)
    if begins:
        return
    with torch.no_grad():
        factor = std / moments.std
        shift = (mean - moments.mean) / moments.std
        layer.weight.mul_(factor.to(layer.weight.dtype))
        layer.bias.mul_(factor.to(layer.bias.dtype)).add_(shift.to(layer.bias.dtype))
