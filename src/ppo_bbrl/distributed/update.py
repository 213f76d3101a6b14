"""The update whose gradients, statistics and decisions are those of all processes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.distributed.processes import Processes
from ppo_bbrl.minibatches import LossesAndMetrics, Minibatch, Transitions, n_minibatches
from ppo_bbrl.sequences import Sequences
from ppo_bbrl.update import Groups, Objective, Parts, Update


@dataclass(frozen=True, repr=False)
class _Share(Minibatch):
    """This process's share of a minibatch; never without a row.

    Attributes:
        n: how many of its rows count, maybe 0; but not in all processes.
    """

    n: float = 0.0


class DistributedUpdate(Update):
    """The plain or the flat update, made by several processes together.

    In each minibatch, gradients and metrics travel in one flat tensor. Once an epoch, the sums that
    normalise advantages do.

    Args:
        processes: that make it.
        engine: makes the steps, the same in each.
        normalize_advantage: whether to normalise advantages, by the minibatches of all.
    """

    def __init__(self, processes: Processes, engine: Update, *, normalize_advantage: bool) -> None:
        self.processes, self.normalize_advantage = processes, normalize_advantage
        self._engine = engine

    def fits(self, objective: Objective, transitions: Transitions) -> bool:
        """Whether the engine that makes the steps fits."""
        return self._engine.fits(objective, transitions)

    def minibatches(
        self,
        transitions: Transitions,
        objective: Objective,
        coefficients: Coefficients,
        generator: torch.Generator,
    ) -> Iterator[Minibatch]:
        """The shares of this process; as many in each process, and none where nobody has any."""
        settings = objective.settings
        count = self._n_minibatches(transitions, settings.batch_size)
        for epoch in range(settings.opt_epochs if count else 0):
            if epoch and objective.recompute is not None:
                transitions = objective.recompute()
            yield from self._shares([*transitions.parts(count, generator)], coefficients)

    def losses(
        self, minibatch: Minibatch, objective: Objective, *, first: bool
    ) -> LossesAndMetrics:
        """The losses of this process; the metrics of all, whose gradients the weights get, too."""
        assert isinstance(minibatch, _Share)
        groups = objective.learners.groups()
        self._engine.zero_grad(groups)
        terms, metrics = super().losses(minibatch, objective, first=first)
        self._engine.backward(terms)
        return terms, self._average(groups, metrics, minibatch.n)

    def zero_grad(self, groups: Groups) -> None:
        """Nothing, as the gradients are those of this minibatch."""

    def backward(self, terms: Mapping[str, Tensor]) -> None:
        """Nothing, likewise."""

    def clip_gradients(self, parts: Parts, max_norm: float) -> dict[str, Tensor]:
        """As the engine does."""
        return self._engine.clip_gradients(parts, max_norm)

    def step(self, groups: Groups) -> None:
        """As the engine does."""
        self._engine.step(groups)

    def finish(self) -> None:
        """As the engine does."""
        self._engine.finish()

    def _average(
        self, groups: Groups, metrics: Mapping[str, Tensor], n: float
    ) -> dict[str, Tensor]:
        """Average gradients and metrics over the transitions of all processes.

        Everything travels in one flat tensor, in the precision of the weights; the gradients become
        views of it.

        Args:
            groups: whose weights have the gradients of this process, which are replaced.
            metrics: scalars of this process.
            n: the number of its transitions.

        Returns:
            The metrics.
        """
        weights = dict.fromkeys(weight for held, _ in groups.values() for weight in held)
        held = [(weight, weight.grad) for weight in weights if weight.grad is not None]
        values = [value.detach().reshape(1) for value in metrics.values()]
        kinds = {grad.dtype for _, grad in held}
        kind = kinds.pop() if len(kinds) == 1 else torch.float64
        flat = torch.cat([each.flatten().to(kind) for each in (*(g for _, g in held), *values)])
        flat = self.processes.total(torch.cat([flat * n, flat.new_tensor([n])]))
        flat = flat[:-1] / flat[-1]
        sizes = [*(grad.numel() for _, grad in held), len(values)]
        *grads, numbers = torch.split(flat, sizes)
        for (weight, before), grad in zip(held, grads, strict=True):
            weight.grad = grad.view_as(before).to(before.dtype)
        return dict(zip(metrics, numbers.unbind(), strict=True))

    def explained_variance(self, transitions: Transitions) -> Tensor:
        """As `losses.explained_variance`, over the transitions of all processes: a scalar."""
        which = transitions.which()
        _, _, value, _, returns = transitions.flat()
        if which is not None:
            value, returns = value[which], returns[which]
        _, _, (spread, unexplained) = self.processes.summary(
            torch.stack([returns, returns - value], -1)
        )
        return torch.where(spread > 0, 1 - unexplained / spread, torch.nan)

    def _n_minibatches(self, transitions: Transitions, batch_size: int) -> int:
        """Of an epoch: as one process with all transitions has, but none empty anywhere."""
        rows = len(transitions)
        if isinstance(transitions, Sequences):  # minibatches are made of environments
            n_steps, rows = transitions.mask.shape
            batch_size = batch_size and max(1, batch_size // n_steps)
        counts = self.processes.counts(rows)
        return min(n_minibatches(sum(counts), batch_size), *counts)

    def _shares(self, parts: list[Transitions], coefficients: Coefficients) -> Iterator[_Share]:
        """With advantages normalised over the same minibatch of all processes."""
        own = torch.stack([_sums(part) for part in parts])
        masked = isinstance(parts[0], Sequences)  # then a minibatch may be empty everywhere
        of_all = self.processes.total(own) if masked or self.normalize_advantage else own
        n, total, squares = of_all.unbind(-1)
        means = total / n.clamp(min=1)
        variance = ((squares - n * means.square()) / (n - 1).clamp(min=1)).clamp(min=0)
        columns = (parts, own[:, 0].tolist(), n.tolist(), means, variance.sqrt())
        for part, mine, counted, mean, std in zip(*columns, strict=True):
            if not counted:
                continue
            share = replace(_Share.of(part, coefficients), n=mine)
            if not mine and share.mask is not None:  # its losses count nothing, but must be numbers
                share = replace(share, mask=torch.ones_like(share.mask))
            if self.normalize_advantage:
                normalised = (share.advantage.double() - mean) / (std + 1e-8)
                share = replace(share, advantage=normalised.to(share.advantage.dtype))
            yield share


def _sums(part: Transitions) -> Tensor:
    """The number of transitions, and the sums of their advantages and of the squares: `[3]`."""
    which, exact = part.which(), part.advantage.double().flatten()
    exact = exact if which is None else exact[which]
    return torch.stack([exact.new_tensor(len(exact)), exact.sum(), exact.square().sum()])
