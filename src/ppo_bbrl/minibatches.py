"""Minibatches: transitions in any order, and the coefficients that the losses need beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.losses import explained_variance
from ppo_bbrl.system.html import table
from ppo_bbrl.workspace.show import summary

#: the losses of a minibatch by name (their sum is minimised), and its metrics
LossesAndMetrics = tuple[dict[str, Tensor], dict[str, Tensor]]


@dataclass(frozen=True, repr=False)
class Transitions:
    """N transitions in any order, without autoreset steps.

    Attributes:
        variables: what agents read, `[N, …]` each, including `env/env_obs` and `action`.
        log_prob: `[N]`, log-probabilities of the actions under the weights that acted.
        value: `[N]`, under the weights that acted.
        advantage: `[N]`.
        returns: `[N]`, λ-returns.
    """

    variables: dict[str, Tensor]
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    returns: Tensor

    def __len__(self) -> int:
        """The number of transitions, N."""
        return self.log_prob.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(N={len(self)}, variables: {', '.join(self.variables)})"

    def _repr_html_(self) -> str:
        """A table for notebooks: the shape and statistics of each tensor."""
        own = {name: getattr(self, name) for name in ("log_prob", "value", "advantage", "returns")}
        rows = [
            (name, list(tensor.shape), *summary(tensor))
            for name, tensor in {**own, **self.variables}.items()
        ]
        return table(("tensor", "shape", "mean", "min", "max"), rows, f"{len(self)} transitions")

    @property
    def target(self) -> Tensor:
        """The former name of `returns`."""
        return self.returns

    def flat(self) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, Tensor]:
        """What a minibatch has of them: the attributes in their order, `[N]` each."""
        return self.variables, self.log_prob, self.value, self.advantage, self.returns

    def which(self) -> Tensor | None:
        """Which of the `flat` entries are transitions, `[N]`; None: all."""
        return None

    def valid_returns(self) -> Tensor:
        """The returns of the transitions, `[N]`."""
        return self.returns

    def explained_variance(self) -> Tensor:
        """How much of the variation of the returns the values explain, a scalar."""
        return explained_variance(value=self.value, target=self.returns)

    def select(self, index: Tensor) -> "Transitions":
        """The transitions with these indices, `[M]`."""
        return Transitions(
            {name: tensor[index] for name, tensor in self.variables.items()},
            self.log_prob[index],
            self.value[index],
            self.advantage[index],
            self.returns[index],
        )

    def minibatches(self, batch_size: int, generator: torch.Generator) -> Iterator["Transitions"]:
        """Yield each transition exactly once, shuffled, in minibatches of at most batch_size.

        batch_size 0 means the whole rollout.
        """
        if len(self):  # empty if every episode has just ended: then there is nothing to learn from
            yield from self.parts(n_minibatches(len(self), batch_size), generator)

    def parts(self, count: int, generator: torch.Generator) -> Iterator["Transitions"]:
        """Yield each transition exactly once, shuffled, in `count` minibatches.

        Their sizes differ by at most one, so no small remainder gets a step of its own. If there
        are fewer transitions than minibatches, the last ones are empty.
        """
        if count == 1:
            yield self  # the order does not matter
            return
        shuffled = torch.randperm(len(self), generator=generator)
        for index in shuffled.to(self.log_prob.device).tensor_split(count):
            yield self.select(index)


def n_minibatches(n_rows: int, batch_size: int) -> int:
    """The number of minibatches for n_rows rows; batch_size 0 means one for all of them."""
    return -(-n_rows // batch_size) if batch_size else 1


@dataclass(frozen=True, repr=False)
class Minibatch(Transitions):
    """Transitions as the losses receive them.

    Attributes:
        clip_range, clip_range_vf, clip_range_high, entropy_coef, kl_coef, value_scale: as in
            `Coefficients`.
        mask: `[N]`, which transitions count; None: all. (Compiled steps pad minibatches.)
    """

    clip_range: float | Tensor | None
    clip_range_vf: float | Tensor
    mask: Tensor | None = None
    clip_range_high: float | Tensor | None = None
    entropy_coef: float | Tensor | None = None
    kl_coef: float | Tensor | None = None
    value_scale: float | Tensor | None = None

    @classmethod
    def of(cls, part: Transitions, coefficients: Coefficients) -> Self:
        """Add coefficients to transitions."""
        return cls(*part.flat(), **vars(coefficients), mask=part.which())
