"""Heads: modules that turn a policy network's outputs into a distribution over actions.

`head_of` chooses the head for an action space.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import Tensor, nn

from ppo_bbrl.distributions import ActionCategorical, ActionGaussian, masked
from ppo_bbrl.envs.actions import OwnSpace, leaves
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.gaussian_distributions import (
    ActionDiagonalGaussian,
    ActionSquashed,
    normal_quadrature,
)
from ppo_bbrl.joint_distributions import (
    ActionBernoulli,
    ActionComposite,
    MultiCategorical,
    places_of,
)
from ppo_bbrl.seeding import generator
from ppo_bbrl.system.sizes import shape_of, size_of


class Head(nn.Module):
    """Base class of heads. `head(outputs)` is the distribution for `outputs` `[..., n_outputs]`.

    Attributes:
        n_outputs: the number of network outputs that it needs.
    """

    n_outputs: int

    def noise(self, *leading: int) -> Tensor:
        """Noise for its distributions' `with_noise`, from this thread's stream."""
        noise: Tensor = self(torch.zeros(self.n_outputs)).noise(*leading)
        return noise


class CategoricalHead(Head):
    """For Discrete: `[..., n]` logits."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n_outputs = size_of("n", n)

    def forward(self, outputs: Tensor) -> ActionCategorical:
        """A distribution over 0..n-1."""
        return ActionCategorical(outputs, generator)


class MultiCategoricalHead(Head):
    """For MultiDiscrete: `[..., sum(nvec)]` logits.

    Args:
        nvec: the number of values of each component, nested as the action is.
    """

    places: Tensor

    def __init__(self, nvec: Any) -> None:
        super().__init__()
        sizes = torch.as_tensor(nvec)
        self.shape = tuple(sizes.shape)
        self.sizes = shape_of("nvec", sizes.flatten().tolist())
        self.n_outputs = sum(self.sizes)
        self.register_buffer("places", places_of(self.sizes), persistent=False)

    def forward(self, outputs: Tensor) -> MultiCategorical:
        """A distribution over vectors of indices, 0..n-1 in each component."""
        return MultiCategorical(outputs, self.sizes, self.shape, generator, self.places)


class BernoulliHead(Head):
    """For MultiBinary: a logit for each bit.

    Args:
        shape: of an action.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = shape_of("shape", shape)
        self.n_outputs = math.prod(self.shape)

    def forward(self, outputs: Tensor) -> ActionBernoulli:
        """A distribution over zeros and ones."""
        return ActionBernoulli(_shaped(outputs, self.shape), len(self.shape), generator)


class GaussianHead(Head):
    """For Box: the means; the standard deviations are a parameter.

    Args:
        shape: of an action.
        log_std_init: initial log standard deviation.
    """

    def __init__(self, shape: Sequence[int], log_std_init: float = 0.0) -> None:
        super().__init__()
        self.shape = shape_of("shape", shape)
        self.n_outputs = math.prod(self.shape)
        self.log_std = nn.Parameter(torch.full(self.shape, float(log_std_init)))

    def forward(self, outputs: Tensor) -> ActionGaussian:
        """A distribution over all real numbers."""
        return ActionGaussian(_shaped(outputs, self.shape), self.log_std, generator)


def has_bounds(space: Box) -> bool:
    """Whether every component has finite bounds with numbers between them."""
    low, high = _limits(space)
    return bool(((high - low).isfinite() & (high > low)).all())


def _limits(space: Box) -> list[Tensor]:
    return [torch.as_tensor(bound, dtype=torch.float32) for bound in (space.low, space.high)]


class Squash(nn.Module):
    """Makes a Gaussian one of actions within the bounds of a Box.

    Args:
        space: of actions.

    Raises:
        UserError: if it has no bounds, or no numbers between them.
    """

    low: Tensor
    high: Tensor
    nodes: Tensor
    weights: Tensor

    def __init__(self, space: Box) -> None:
        super().__init__()
        low, high = _limits(space)
        if not has_bounds(space):
            raise UserError(
                "algorithm.squash_actions needs bounds of every component of an action; the "
                f"space is {one_line(space)}"
            )
        nodes, weights = normal_quadrature()
        for name, one in (("low", low), ("high", high), ("nodes", nodes), ("weights", weights)):
            self.register_buffer(name, one.float(), persistent=False)

    def forward(self, base: ActionDiagonalGaussian) -> ActionSquashed:
        """The distribution of squashed actions."""
        return ActionSquashed(base, self.low, self.high, (self.nodes, self.weights))


class BoxHead(Head):
    """For Box: squashed, or with a state-dependent standard deviation, or both.

    Args:
        space: of actions.
        log_std_init: initial log standard deviation, before squashing.
        squash: whether actions are squashed into the bounds.
        state_dependent_std: whether the logarithm of the deviations is an output, too.
    """

    def __init__(
        self,
        space: Box,
        log_std_init: float = 0.0,
        *,
        squash: bool = False,
        state_dependent_std: bool = False,
    ) -> None:
        super().__init__()
        self.shape = shape_of("shape", space.shape)
        self._n, self._log_std_init = math.prod(self.shape), float(log_std_init)
        self.n_outputs = 2 * self._n if state_dependent_std else self._n
        start = None if state_dependent_std else torch.full(self.shape, self._log_std_init)
        self.log_std = None if start is None else nn.Parameter(start)
        self.squash = Squash(space) if squash else None

    def forward(self, outputs: Tensor) -> ActionDiagonalGaussian | ActionSquashed:
        """Over the numbers of the space, or over all."""
        mean = _shaped(outputs[..., : self._n], self.shape)
        if self.log_std is None:
            log_std = _shaped(outputs[..., self._n :], self.shape) + self._log_std_init
        else:
            log_std = self.log_std.expand_as(mean)
        base = ActionDiagonalGaussian(mean, log_std, len(self.shape), generator)
        return base if self.squash is None else self.squash(base)


class CompositeHead(Head):
    """For Dict and Tuple: the outputs of all parts, one after the other.

    Args:
        heads: the heads of the parts, in the order of `leaves`.
    """

    maskable: Tensor

    def __init__(self, heads: Sequence[Head]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self._sizes = [head.n_outputs for head in heads]
        self.n_outputs = sum(self._sizes)
        with_masks = (CategoricalHead, MultiCategoricalHead)
        which = [isinstance(head, with_masks) for head in heads for _ in range(head.n_outputs)]
        self.register_buffer("maskable", torch.tensor(which).nonzero()[:, 0], persistent=False)

    def masked(self, outputs: Tensor, mask: Tensor | None) -> Tensor:
        """Outputs of which the logits of forbidden values are -inf.

        Args:
            outputs: `[..., n_outputs]`.
            mask: `[..., A]` bool, of the parts that have masks, one after the other; None: all.
        """
        if mask is None:
            return outputs
        allowed = torch.ones_like(outputs, dtype=torch.bool)
        return masked(outputs, allowed.index_copy(-1, self.maskable, mask))

    def forward(self, outputs: Tensor) -> ActionComposite:
        """A distribution over flat vectors."""
        pieces = outputs.split(self._sizes, -1)  # type: ignore[no-untyped-call] # torch's
        return ActionComposite(
            [head(piece) for head, piece in zip(self.heads, pieces, strict=True)]
        )


def head_of(
    space: Space[Any],
    *,
    log_std_init: float = 0.0,
    squash: bool = False,
    state_dependent_std: bool = False,
) -> Head:
    """The head for an action space; the options are those of `BoxHead`, for each part that is one.

    Raises:
        UserError: for any other kind of space that has no `action_head` of its own.
    """
    if isinstance(space, OwnSpace):
        own: Head = space.action_head()
        return own
    if isinstance(space, Discrete):
        return CategoricalHead(int(space.n))
    if isinstance(space, MultiDiscrete):
        return MultiCategoricalHead(space.nvec)
    if isinstance(space, MultiBinary):
        return BernoulliHead(space.shape)
    if isinstance(space, Box):
        if squash or state_dependent_std:
            return BoxHead(
                space, log_std_init, squash=squash, state_dependent_std=state_dependent_std
            )
        return GaussianHead(space.shape, log_std_init)
    if isinstance(space, Dict | Tuple):
        options = {"squash": squash, "state_dependent_std": state_dependent_std}
        return CompositeHead(
            [head_of(part, log_std_init=log_std_init, **options) for part in leaves(space)]
        )
    raise UserError(f"there is no policy for the action space {one_line(space)}")


def _shaped(outputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    return outputs.reshape((*outputs.shape[:-1], *shape))
