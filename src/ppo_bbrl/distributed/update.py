"""The update whose gradients, statistics and decisions are those of all processes."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.distributed.processes import Processes
from ppo_bbrl.fast.engines import eager_engine
from ppo_bbrl.minibatches import Minibatch, Transitions, n_minibatches
from ppo_bbrl.sequences import Sequences
from ppo_bbrl.update import (
    NoNumberError,
    Objective,
    Update,
    UpdateReport,
    exceeds,
    means,
    what_is_no_number,
)


@dataclass(frozen=True)
class _Part:
    """A minibatch of this process, and what it needs to know of the others'.

    Attributes:
        transitions: of this process; never without a row.
        n: how many of its rows count, maybe 0.
        mean, std: of the advantages of all processes; None: these are not normalised.
    """

    transitions: Transitions
    n: int
    mean: Tensor | None = None
    std: Tensor | None = None

    def minibatch(self, coefficients: Coefficients) -> Minibatch:
        """What the losses are computed from."""
        made = Minibatch.of(self.transitions, coefficients)
        if not self.n and made.mask is not None:  # its losses count nothing, but must be numbers
            made = replace(made, mask=torch.ones_like(made.mask))
        if self.mean is None or self.std is None:
            return made
        normalised = (made.advantage.double() - self.mean) / (self.std + 1e-8)
        return replace(made, advantage=normalised.to(made.advantage.dtype))


class DistributedUpdate(Update):
    """The plain or the flat update, made by several processes together.

    In each minibatch, gradients and metrics travel in one flat tensor. Once an epoch, the sums that
    normalise advantages do.

    Args:
        processes: that make it.
        normalize_advantage: whether to normalise advantages, by the minibatches of all.
        engine: makes the steps; default: the one that fits the agents.
    """

    def __init__(
        self, processes: Processes, *, normalize_advantage: bool, engine: Update | None = None
    ) -> None:
        self.processes, self.normalize_advantage = processes, normalize_advantage
        self._engine = engine

    def __call__(
        self,
        transitions: Transitions,
        objective: Objective,
        *,
        coefficients: Coefficients,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Make an update, as `Update` does with the transitions of all processes."""
        settings = objective.settings
        max_norm = torch.inf if settings.max_grad_norm is None else settings.max_grad_norm
        groups = objective.learners.groups()
        clipped = objective.learners.clipped(together=settings.global_grad_norm)
        weights = list({id(w): w for held, _ in groups.values() for w in held}.values())
        engine = self._engine = self._engine or eager_engine(objective.learners)
        history: list[Mapping[str, Tensor]] = []
        n_steps, stopped_early = 0, False
        for part in self._epochs(transitions, objective, generator):
            engine.zero_grad(groups)
            terms, metrics = objective.computed(part.minibatch(coefficients), history)
            engine.backward(terms)
            averaged = self.average(weights, metrics, part.n)
            if averaged is None:
                continue
            metrics = averaged
            history.append(metrics)
            if exceeds(metrics, settings.target_kl):
                stopped_early = True
                break
            norms = engine.clip_gradients(clipped, max_norm)
            if not all(math.isfinite(norm) for norm in norms.values()):
                engine.finish()
                raise NoNumberError(what_is_no_number(terms, norms), len(history))
            history[-1] = {**metrics, **norms}
            engine.step(groups)
            n_steps += 1
        engine.finish()
        reported = means(history)
        if history:
            reported["explained_variance"] = self.explained_variance(transitions)
        return UpdateReport(reported, n_steps, stopped_early)

    def fits(self, objective: Objective, transitions: Transitions) -> bool:
        """Whether the engine that makes the steps fits."""
        return self._engine is not None and self._engine.fits(objective, transitions)

    def average(
        self, weights: list[torch.nn.Parameter], metrics: Mapping[str, Tensor], n: int
    ) -> dict[str, Tensor] | None:
        """Average gradients and metrics over the transitions of all processes.

        Everything travels in one flat tensor, in the precision of the weights; the gradients become
        views of it.

        Args:
            weights: with the gradients of this process, which are replaced.
            metrics: scalars of this process.
            n: the number of its transitions.

        Returns:
            The metrics; None if no process has a transition.
        """
        held = [(weight, weight.grad) for weight in weights if weight.grad is not None]
        values = [value.detach().reshape(1) for value in metrics.values()]
        kinds = {grad.dtype for _, grad in held}
        kind = kinds.pop() if len(kinds) == 1 else torch.float64
        flat = torch.cat([each.flatten().to(kind) for each in (*(g for _, g in held), *values)])
        flat = self.processes.total(torch.cat([flat * n, flat.new_tensor([float(n)])]))
        if not flat[-1]:
            return None
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

    def _epochs(
        self, transitions: Transitions, objective: Objective, generator: torch.Generator
    ) -> Iterator[_Part]:
        """As many minibatches in each process."""
        settings = objective.settings
        count = self._n_minibatches(transitions, settings.batch_size)
        for epoch in range(settings.opt_epochs if count else 0):
            if epoch and objective.recompute is not None:
                transitions = objective.recompute()
            parts = [_Part(part, len(part)) for part in transitions.parts(count, generator)]
            yield from self._normalised(parts) if self.normalize_advantage else parts

    def _n_minibatches(self, transitions: Transitions, batch_size: int) -> int:
        """Of an epoch: as one process with all transitions has, but none empty anywhere."""
        rows = len(transitions)
        if isinstance(transitions, Sequences):  # minibatches are made of environments
            n_steps, rows = transitions.mask.shape
            batch_size = batch_size and max(1, batch_size // n_steps)
        counts = self.processes.counts(rows)
        return min(n_minibatches(sum(counts), batch_size), *counts)

    def _normalised(self, parts: list[_Part]) -> list[_Part]:
        """With mean and deviation of advantages over the same minibatch of all processes."""
        sums = []
        for part in parts:
            which, exact = part.transitions.which(), part.transitions.advantage.double().flatten()
            exact = exact if which is None else exact[which]
            n = exact.new_tensor(len(exact))
            sums.append(torch.stack([n, exact.sum(), exact.square().sum()]))
        n, total, squares = self.processes.total(torch.stack(sums)).unbind(-1)
        mean = total / n.clamp(min=1)
        variance = ((squares - n * mean.square()) / (n - 1).clamp(min=1)).clamp(min=0)
        return [
            replace(part, mean=each, std=std)
            for part, each, std in zip(parts, mean, variance.sqrt(), strict=True)
        ]
