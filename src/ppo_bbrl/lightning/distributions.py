"""Distributions: several categorical ones of different sizes, and the entropy of any."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints


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


def entropy_of(dist: Distribution, log_prob: Tensor) -> Tensor:
    """The entropy of each distribution, `[N]`; where there is no formula, -log π(a|s).

    The latter is an unbiased estimate for actions of this distribution itself.
    """
    try:
        return dist.entropy()
    except NotImplementedError:
        return -log_prob
