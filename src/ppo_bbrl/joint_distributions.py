"""Distributions of actions with several components, whose log-probabilities and entropies add up.

They are for MultiDiscrete, MultiBinary, Dict and Tuple action spaces, for actions as the workspace
stores them, and have the methods of `ActionCategorical` and `ActionGaussian`. Torch only.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import lazy_property

from ppo_bbrl.distributions import (
    ActionCategorical,
    ActionGaussian,
    Source,
    entropy_from,
    from_global,
    gumbel_noise,
)


class Joint(Distribution):
    """The base class, which derives everything from `evaluate`, `noise` and `with_noise`."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support: Any = constraints.real_vector

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`."""
        raise NotImplementedError

    def noise(self, *leading: int) -> Tensor:
        """Standard noise for `with_noise`, `[*leading, …]`."""
        raise NotImplementedError

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """That of one action's noise."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most likely actions, `[..., *event]`."""
        raise NotImplementedError

    def with_noise(self, noise: Tensor) -> Tensor:
        """Turn standard noise into actions, which have this distribution."""
        raise NotImplementedError

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Actions, `[*sample_shape, ..., *event]`, without gradient."""
        return self.with_noise(self.noise(*sample_shape, *self.batch_shape)).detach()

    def log_prob(self, value: Tensor) -> Tensor:
        """log π(a|s), `[...]`: the sum over the components."""
        return self.evaluate(value)[0]

    def entropy(self) -> Tensor:
        """The entropy in nats, `[...]`: the sum over the components."""
        return self.evaluate(self.mode)[1]

    def summed(self, components: Tensor) -> Tensor:
        """The sum over an action's components, `[...]`."""
        event = tuple(range(-len(self.event_shape), 0))
        if not event:
            return components
        return components.sum(event)


class MultiCategorical(Joint):
    """Independent categorical distributions side by side, for MultiDiscrete action spaces.

    Args:
        logits: `[..., sum(sizes)]`, the logits of the first one, then of the second, and so on;
            an action whose logit is -inf is forbidden.
        sizes: the number of values of each of the k, such as `action_space.nvec`.
        shape: the shape of an action, with k entries, such as `nvec.shape`; None: `(k,)`.
        generator: the source of the generator for samples.
        places: the result of `places_of(sizes)`, if it is known already.

    Raises:
        ValueError: for another number of logits.
    """

    support: Any = constraints.independent(  # type: ignore[no-untyped-call] # torch's
        constraints.nonnegative_integer, 1
    )

    def __init__(
        self,
        logits: Tensor,
        sizes: Sequence[int],
        shape: tuple[int, ...] | None = None,
        generator: Source = from_global,
        places: Tensor | None = None,
    ) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        if logits.shape[-1] != sum(self.sizes):
            raise ValueError(
                f"MultiCategorical of sizes {list(self.sizes)} needs {sum(self.sizes)} logits, not "
                f"{logits.shape[-1]}"
            )
        self.unnormalised, self._generator = logits, generator
        self._places = places_of(self.sizes) if places is None else places
        event = torch.Size((len(self.sizes),) if shape is None else shape)
        super().__init__(logits.shape[:-1], event, validate_args=False)

    @lazy_property
    def parts(self) -> ActionCategorical:
        """All k, with batch shape `[..., k]`; values beyond a component's size are forbidden."""
        padded = torch.nn.functional.pad(self.unnormalised, (0, 1), value=-math.inf)
        rows = padded.index_select(-1, self._places.to(padded.device))
        return ActionCategorical(
            rows.reshape((*rows.shape[:-1], *self.noise_shape)), self._generator
        )

    @property
    def mode(self) -> Tensor:
        """The most likely actions, `[..., *shape]`."""
        return self._shaped(self.parts.mode)

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`: sums over the k parts."""
        leading = action.shape[: action.dim() - len(self.event_shape)]
        flat = action.reshape((*leading, len(self.sizes)))
        log_prob, entropy = self.parts.evaluate(flat)
        return log_prob.sum(-1), entropy.sum(-1)

    def entropy(self) -> Tensor:
        """The entropy in nats, `[...]`: the sum over the k parts."""
        return entropy_from(self.parts.logits).sum(-1)

    def noise(self, *leading: int) -> Tensor:
        """Standard Gumbel noise, `[*leading, k, largest size]`."""
        return gumbel_noise((*leading, *self.noise_shape), self._generator())

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of one action's noise."""
        return len(self.sizes), max(self.sizes)

    def with_noise(self, noise: Tensor) -> Tensor:
        """Actions, `[..., *shape]` int64, by the Gumbel-max trick."""
        return self._shaped(self.parts.with_noise(noise))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Expand the batch to a larger shape."""
        logits = self.unnormalised.expand(*batch_shape, sum(self.sizes))
        return type(self)(logits, self.sizes, self.event_shape, self._generator, self._places)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.reshape((*flat.shape[:-1], *self.event_shape))


ActionMultiCategorical = MultiCategorical  # its former name


def places_of(sizes: Sequence[int]) -> Tensor:
    """The index of each component's logits, `[k × largest size]` int64.

    Values that a component does not have get the index after the last logit.
    """
    total, largest, first = sum(sizes), max(sizes), 0
    places = torch.full((len(sizes), largest), total)
    for part, size in enumerate(sizes):
        places[part, :size] = torch.arange(first, first + size)
        first += size
    return places.flatten()


class ActionBernoulli(Joint):
    """Independent bits: each is 1 with probability sigmoid(logit).

    Args:
        logits: `[..., *shape]`.
        event_dims: the number of dimensions of an action.
        generator: the source of the generator for samples.
    """

    def __init__(
        self, logits: Tensor, event_dims: int = 1, generator: Source = from_global
    ) -> None:
        self.logits, self._generator = logits, generator
        n_batch = logits.dim() - event_dims
        super().__init__(logits.shape[:n_batch], logits.shape[n_batch:], validate_args=False)

    @property
    def mode(self) -> Tensor:
        """The most likely bits, `[..., *shape]` floats; 0 for a tie."""
        return (self.logits > 0).to(self.logits.dtype)

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`: sums over the bits."""
        logits = self.logits
        normaliser = torch.nn.functional.softplus(logits)
        log_probs = action * logits - normaliser
        entropies = normaliser - logits * logits.sigmoid()
        return self.summed(log_probs), self.summed(entropies)

    def noise(self, *leading: int) -> Tensor:
        """Standard logistic noise, the difference of two Gumbel noises, `[*leading, *shape]`."""
        both = gumbel_noise((2, *leading, *self.noise_shape), self._generator())
        return both[0] - both[1]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The shape of one action's noise."""
        return tuple(self.event_shape)

    def with_noise(self, noise: Tensor) -> Tensor:
        """Bits as floats, `[..., *shape]`: logit + logistic noise > 0 has the right probability."""
        return (self.logits + noise.to(self.logits.device) > 0).to(self.logits.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Expand the batch to a larger shape."""
        logits = self.logits.expand(*batch_shape, *self.event_shape)
        return type(self)(logits, len(self.event_shape), self._generator)


#: what a composite distribution is made of; others derive from `Joint`
Part = ActionCategorical | ActionGaussian | Joint


class ActionComposite(Joint):
    """Independent distributions of different kinds; an action is one flat vector of floats.

    Args:
        parts: distributions with the same batch shape `[...]`; the vector contains the actions of
            each of them in this order.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self._sizes = [math.prod(part.event_shape) for part in self.parts]
        event = torch.Size((sum(self._sizes),))
        super().__init__(parts[0].batch_shape, event, validate_args=False)

    @property
    def mode(self) -> Tensor:
        """The most likely actions of all parts, `[..., D]`."""
        return self._joined([part.mode for part in self.parts], len(self.batch_shape))

    def evaluate(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy, both `[...]`: sums over the parts."""
        log_prob, entropy = torch.zeros(()), torch.zeros(())
        flat = action.split(self._sizes, -1)  # type: ignore[no-untyped-call] # torch's
        for part, numbers in zip(self.parts, flat, strict=True):
            own = numbers.reshape((*numbers.shape[:-1], *part.event_shape))
            found = part.evaluate(own.long() if _is_discrete(part) else own)
            log_prob, entropy = log_prob + found[0], entropy + found[1]
        return log_prob, entropy

    def noise(self, *leading: int) -> Tensor:
        """The noise of all parts, concatenated: `[*leading, …]`."""
        return self._joined([part.noise(*leading) for part in self.parts], len(leading))

    def with_noise(self, noise: Tensor) -> Tensor:
        """Actions, `[..., D]` floats."""
        shapes = [part.noise_shape for part in self.parts]
        pieces = noise.split([math.prod(shape) for shape in shapes], -1)  # type: ignore[no-untyped-call] # torch's
        actions = [
            part.with_noise(piece.reshape((*piece.shape[:-1], *shape)))
            for part, piece, shape in zip(self.parts, pieces, shapes, strict=True)
        ]
        return self._joined(actions, noise.dim() - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Expand the batch to a larger shape."""
        return type(self)([part.expand(batch_shape) for part in self.parts])

    @staticmethod
    def _joined(tensors: Sequence[Tensor], leading: int) -> Tensor:
        flat = [
            tensor.reshape((*tensor.shape[:leading], math.prod(tensor.shape[leading:])))
            for tensor in tensors
        ]
        return torch.cat(
            [one if one.is_floating_point() else one.to(torch.get_default_dtype()) for one in flat],
            -1,
        )


def _is_discrete(part: Distribution) -> bool:
    return isinstance(part, ActionCategorical | MultiCategorical)
