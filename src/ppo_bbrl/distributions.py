"""What PPO needs of torch distributions, including what torch has no formula for. Torch only."""

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Self, cast

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    Normal,
    TransformedDistribution,
)
from torch.distributions.utils import lazy_property

from ppo_bbrl.errors import UserError

#: a function that returns the generator to draw from; None stands for torch's global one
Source = Callable[[], torch.Generator | None]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_NEVER = -1e4  # a log-probability below which the probability is 0, in every precision


def from_global() -> None:
    """The source that stands for torch's global generator."""
    return


class ActionCategorical(Categorical):
    """Categorical over actions, from logits: finite results for logits of any distance.

    An action whose logit is -inf is forbidden. Normalisation and validation happen only when they
    are needed; sampling needs neither.

    Args:
        logits: `[..., A]`, unnormalised.
        generator: the source of the generator for samples.
    """

    def __init__(self, logits: Tensor, generator: Source = from_global) -> None:
        self.unnormalised = self._param = logits
        self._num_events = logits.shape[-1]
        self._generator = generator
        Distribution.__init__(self, logits.shape[:-1], validate_args=False)

    @lazy_property
    def logits(self) -> Tensor:
        """Log-probabilities, `[..., A]`."""
        return self.unnormalised.log_softmax(-1)

    @property
    def mode(self) -> Tensor:
        """The most likely actions, `[...]`."""
        return self.unnormalised.argmax(-1)

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`."""
        log_probs = self.unnormalised.log_softmax(-1)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return log_prob, entropy_from(log_probs)

    def noise(self, *leading: int) -> Tensor:
        """Standard Gumbel noise, `[*leading, A]`."""
        return gumbel_noise((*leading, self._num_events), self._generator())

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of one action's noise."""
        return (self._num_events,)

    def with_noise(self, noise: Tensor) -> Tensor:
        """The Gumbel-max trick: argmax(logits + Gumbel noise) has this distribution."""
        return (self.unnormalised + noise.to(self.unnormalised.device)).argmax(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Actions, `[*sample_shape, ...]`."""
        return self.with_noise(self.noise(*sample_shape, *self.batch_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Expand the batch to a larger shape."""
        logits = self.unnormalised.expand(*batch_shape, self._num_events)
        return type(self)(logits, self._generator)


class ActionGaussian(Independent):  # type: ignore[type-arg] # a class without arguments in torch
    """A diagonal Gaussian over actions, whose components are one event.

    Args:
        mean: `[..., *shape]`.
        log_std: `[*shape]`, logarithm of the standard deviations, the same everywhere.
        generator: the source of the generator for samples.
    """

    def __init__(self, mean: Tensor, log_std: Tensor, generator: Source = from_global) -> None:
        self.location, self.log_std, self._generator = mean, log_std, generator
        self.reinterpreted_batch_ndims = log_std.dim()
        batch = mean.shape[: mean.dim() - log_std.dim()]
        Distribution.__init__(self, batch, log_std.shape, validate_args=False)

    @lazy_property
    def base_dist(self) -> Normal:
        """The components as independent distributions."""
        return Normal(self.location, self.log_std.exp().expand_as(self.location))

    @property
    def mode(self) -> Tensor:
        """The mean, `[..., *shape]`."""
        return self.location

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`: sums over the components."""
        event = self.reinterpreted_batch_ndims
        error = (action - self.location) * (-self.log_std).exp()
        log_probs = -0.5 * error.square() - self.log_std - _HALF_LOG_2PI
        log_prob = log_probs.flatten(-event).sum(-1) if event else log_probs
        entropy = (self.log_std + 0.5 + _HALF_LOG_2PI).sum()
        return log_prob, entropy.expand_as(log_prob)

    def noise(self, *leading: int) -> Tensor:
        """Standard normal noise, `[*leading, *shape]`."""
        return normal_noise((*leading, *self.event_shape), self._generator(), self.log_std.dtype)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of one action's noise."""
        return tuple(self.event_shape)

    def with_noise(self, noise: Tensor) -> Tensor:
        """Mean + standard deviation × noise."""
        return self.location + self.log_std.exp() * noise.to(self.location.device)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Actions, `[*sample_shape, ..., *shape]`, without gradient."""
        return self.with_noise(self.noise(*sample_shape, *self.batch_shape)).detach()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Expand the batch to a larger shape."""
        mean = self.location.expand(*batch_shape, *self.event_shape)
        return type(self)(mean, self.log_std, self._generator)


def entropy_from(log_probs: Tensor) -> Tensor:
    """The entropy of categorical distributions, `[...]`, from log-probabilities `[..., A]`.

    0·log 0 counts as 0, and its gradient is 0, whatever factor an entropy has in a loss. (A large
    number in place of log 0 would have an infinite gradient beyond a factor of 1, and 0·∞ is NaN.)
    """
    probs = log_probs.exp()
    if _forbids(log_probs):
        log_probs = log_probs.masked_fill(probs == 0, 0.0)
    return -(probs * log_probs).sum(-1)


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits of which forbidden ones are -inf: their actions have probability 0.

    Args:
        logits: `[..., A]`.
        mask: `[..., A]` bool, true where an action is allowed; None: everywhere.
    """
    return logits if mask is None else logits.masked_fill(~mask, -math.inf)


def gumbel_noise(shape: Sequence[int], generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise."""
    return torch.empty(*shape).exponential_(generator=generator).log_().neg_()


def normal_noise(
    shape: Sequence[int], generator: torch.Generator | None, dtype: torch.dtype
) -> Tensor:
    """Standard normal noise."""
    return torch.randn(tuple(shape), generator=generator, dtype=dtype)


def evaluate_actions(dist: Distribution, action: Tensor) -> tuple[Tensor, Tensor]:
    """log π(a|s) and the entropy of π(·|s), both `[...]`, with their gradients.

    Args:
        dist: a distribution with batch shape `[...]`. If it has a method `evaluate`, that computes
            both at once.
        action: `[..., *event]`.
    """
    evaluate = getattr(dist, "evaluate", None)
    if evaluate is not None:
        return cast("tuple[Tensor, Tensor]", evaluate(action))
    log_prob = dist.log_prob(action)
    return log_prob, entropy_of(dist, log_prob)


def as_one_event(dist: Distribution, batch_dims: int) -> Distribution:
    """Reduce a distribution's batch to this many dimensions; the others become its event.

    So log-probability and entropy are sums over the components of an action.
    """
    beyond = len(dist.batch_shape) - batch_dims
    return Independent(dist, beyond) if beyond > 0 else dist


def entropy_of(dist: Distribution, log_prob: Tensor) -> Tensor:
    r"""The entropy of each distribution, `[N]`; without a formula, -log π(a|s).

    The latter is an unbiased estimate if the actions come from this distribution. Its own gradient
    would be 0 on average, so that an entropy bonus did nothing; so it gets the entropy's gradient:

    .. math::
        \nabla H = -\mathbb{E}[\log\pi(a|s) \nabla \log\pi(a|s)]

    Args:
        dist: a distribution with batch shape `[N]`.
        log_prob: `[N]`, the log-probability of one action of each.

    Raises:
        UserError: if the distribution's own entropy has a different shape.
    """
    try:
        entropy = _entropy(dist)
    except NotImplementedError:
        sampled = log_prob.detach()
        return -sampled - sampled * (log_prob - sampled)
    if entropy.shape != log_prob.shape:
        raise UserError(
            f"the entropy of {type(dist).__name__} has shape {list(entropy.shape)}, its "
            f"log-probability {list(log_prob.shape)}: both must be one number for each action"
        )
    return entropy


def _entropy(dist: Distribution) -> Tensor:
    """Its entropy; of torch's own Categorical with forbidden actions, one with a gradient."""
    base, n = dist, 0
    while type(base) is Independent:
        base, n = base.base_dist, n + base.reinterpreted_batch_ndims
    if type(base) is not Categorical or not _forbids(base.logits):
        return dist.entropy()
    entropy = entropy_from(base.logits)
    return entropy.flatten(-n).sum(-1) if n else entropy


def _forbids(log_probs: Tensor) -> bool:
    """Whether some action never happens. Looking is not possible in compiled code."""
    if torch.compiler.is_compiling():
        return True
    return bool(log_probs.numel() and log_probs.detach().min().item() < _NEVER)


def mode_of(dist: Distribution) -> Tensor:
    """The most likely action of each distribution, which a greedy policy takes.

    For a transformed distribution, for which torch has no mode, it is the transformed mode of its
    base, as is usual for a Gaussian squashed by tanh. If the mode is not unique, so that torch
    returns NaN (Bernoulli at ½, Beta(1, 1)), it is the mean, rounded for discrete actions.

    Raises:
        UserError: if there is no mode, as for mixtures.
    """
    try:
        mode = _mode(dist)
    except NotImplementedError as error:
        named = dist.base_dist if isinstance(dist, Independent) else dist
        raise UserError(
            f"{type(named).__name__} has no mode, which greedy actions need: define a property "
            "`mode` in a subclass"
        ) from error
    unknown = mode.isnan()
    if not unknown.any():
        return mode
    mean = dist.mean.round() if dist.support.is_discrete else dist.mean  # type: ignore[union-attr]
    return torch.where(unknown, mean, mode)


def _mode(dist: Distribution) -> Tensor:
    try:
        return dist.mode
    except NotImplementedError:
        if isinstance(dist, Independent):
            return _mode(dist.base_dist)
        if not isinstance(dist, TransformedDistribution):
            raise
    action = _mode(dist.base_dist)
    for transform in dist.transforms:
        action = transform(action)
    return action


def __getattr__(name: str) -> Any:
    if name == "MultiCategorical":  # has moved to where the other joint distributions are
        return import_module("ppo_bbrl.joint_distributions").MultiCategorical
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
