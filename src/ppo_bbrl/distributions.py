"""What PPO asks of a torch distribution, also where torch has no formula for it. Torch alone."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    TransformedDistribution,
    constraints,
)

from ppo_bbrl.errors import UserError


def as_one_event(dist: Distribution, batch_dims: int) -> Distribution:
    """The distribution whose batch has this many dimensions; those beyond become its event.

    So its log-probability and its entropy are sums over the components of an action.
    """
    beyond = len(dist.batch_shape) - batch_dims
    return Independent(dist, beyond) if beyond > 0 else dist


def entropy_of(dist: Distribution, log_prob: Tensor) -> Tensor:
    r"""The entropy of each distribution, `[N]`; where there is no formula, -log π(a|s).

    The latter is an unbiased estimate for actions of this distribution itself. Its own gradient
    would be 0 on average, a bonus for it do nothing; so it has the one that is the entropy's:

    .. math::
        \nabla H = -\mathbb{E}[\log\pi(a|s) \nabla \log\pi(a|s)]

    Args:
        dist: with batch shape `[N]`.
        log_prob: `[N]`, of one action of each.

    Raises:
        UserError: if the distribution's own entropy has another shape.
    """
    try:
        entropy = dist.entropy()
    except NotImplementedError:
        sampled = log_prob.detach()
        return -sampled - sampled * (log_prob - sampled)
    if entropy.shape != log_prob.shape:
        raise UserError(
            f"the entropy of {type(dist).__name__} has shape {list(entropy.shape)}, its "
            f"log-probability {list(log_prob.shape)}: must both be one number for each action"
        )
    return entropy


def mode_of(dist: Distribution) -> Tensor:
    """The most likely action of each distribution, which is what a greedy policy takes.

    Where torch has no mode for a transformed distribution, the transformed mode of its base, as
    is usual for a Gaussian squashed by tanh. Where the mode is not unique and torch gives NaN
    (Bernoulli at ½, Beta(1, 1)), the mean, which is rounded if actions are discrete.

    Raises:
        UserError: if there is none, as for mixtures.
    """
    try:
        mode = _mode(dist)
    except NotImplementedError as error:
        named = dist.base_dist if isinstance(dist, Independent) else dist
        raise UserError(
            f"{type(named).__name__} has no mode, which acting greedily needs: give a subclass of "
            "it a property `mode`"
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


class MultiCategorical(Distribution):
    """Independent categorical distributions side by side, for MultiDiscrete action spaces.

    Args:
        logits: `[..., sum(sizes)]`, those of the first one, then those of the second, and so on.
        sizes: how many values each has, such as `action_space.nvec`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, logits: Tensor, sizes: Sequence[int]) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        if logits.shape[-1] != sum(self.sizes):
            raise ValueError(
                f"MultiCategorical of sizes {list(self.sizes)} needs {sum(self.sizes)} logits, not "
                f"{logits.shape[-1]}"
            )
        parts = logits.split(list(self.sizes), -1)  # type: ignore[no-untyped-call]
        self._parts = [Categorical(logits=part) for part in parts]
        super().__init__(logits.shape[:-1], torch.Size([len(self.sizes)]), validate_args=False)

    @property
    def support(self) -> Any:
        """What the sampled vectors are made of."""
        return constraints.independent(  # type: ignore[no-untyped-call]
            constraints.nonnegative_integer, 1
        )

    @property
    def mode(self) -> Tensor:
        """The most likely vector, `[..., k]`."""
        return torch.stack([part.mode for part in self._parts], -1)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Vectors of k indices, `[*sample_shape, ..., k]` int64."""
        shape = torch.Size(sample_shape)
        return torch.stack([part.sample(shape) for part in self._parts], -1)  # type: ignore[no-untyped-call]

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum over the k parts, `[...]`."""
        parts = zip(self._parts, value.unbind(-1), strict=True)
        return torch.stack([part.log_prob(index) for part, index in parts]).sum(0)  # type: ignore[no-untyped-call]

    def entropy(self) -> Tensor:
        """The sum over the k parts, `[...]`, in nats."""
        return torch.stack([part.entropy() for part in self._parts]).sum(0)  # type: ignore[no-untyped-call]
