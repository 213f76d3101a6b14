"""PPO in several processes, on one machine or many, started by torchrun.

Each process has its share of the environments, with random streams of its own. All have the same
weights: in each minibatch, the gradients are averaged over the transitions of all processes (as in
decentralised PPO, Wijmans et al. 2020). The first process evaluates, logs and saves.
"""

import math
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from omegaconf import DictConfig
from torch import Tensor

from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import ConfigError, Terminated
from ppo_bbrl.minibatches import Minibatch, Transitions, n_minibatches
from ppo_bbrl.ppo import PPOClip
from ppo_bbrl.rollout import Rollout
from ppo_bbrl.runs.metrics import Logger
from ppo_bbrl.seeding import Seeds
from ppo_bbrl.system.console import say
from ppo_bbrl.system.signals import Postponed
from ppo_bbrl.update import (
    NoNumberError,
    Objective,
    Update,
    UpdateReport,
    exceeds,
    means,
    what_is_no_number,
)
from ppo_bbrl.workspace.table import Workspace

_PATIENCE = timedelta(hours=2)  # with an evaluation of the first process; a dead one is noticed
_OWN_STREAMS = ("actions", "learning", "minibatches", "train_env")  # of each process
_EPISODES = ("env/done", "env/cumulated_reward", "env/timestep")


@dataclass(frozen=True)
class Processes:
    """This process and the others; each calls every method in the same order.

    Attributes:
        rank: the number of this process, from 0.
        size: the number of processes.
    """

    rank: int
    size: int

    @classmethod
    def join(cls, device: str = "cpu") -> Self:
        """Join the processes that torchrun has started; its environment variables say how."""
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size())

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, of the same shape in each."""
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def count(self, number: int) -> int:
        """The sum of a number over all processes."""
        return int(self.total(torch.tensor(number)))

    def least(self, number: int) -> int:
        """The smallest of a number over all processes."""
        value = torch.tensor(number)
        dist.all_reduce(value, op=dist.ReduceOp.MIN)
        return int(value)

    def beside(self, values: Tensor) -> Tensor:
        """The `[T, b, …]` of all processes beside each other: `[T, B, …]`."""
        plain = values.to(torch.uint8) if values.dtype == torch.bool else values.contiguous()
        parts = [torch.empty_like(plain) for _ in range(self.size)]
        dist.all_gather(parts, plain)
        return torch.cat(parts, 1).to(values.dtype)

    def after(self, values: Tensor) -> Tensor:
        """The values of all processes one after the other: `[N]` from `[n]`, where n differs."""
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(values)
        sizes = self.total(counts).tolist()
        padded = values.new_zeros(max(sizes))
        padded[: len(values)] = values
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def several() -> bool:
    """Whether torchrun has started this process together with others."""
    return dist.is_available() and int(os.environ.get("WORLD_SIZE", "1")) > 1


class ProcessSeeds(Seeds):
    """The streams of one process: weights and evaluations are those of all, the rest its own."""

    def __init__(self, seed: int, rank: int) -> None:
        self.rank = rank
        super().__init__(seed)

    def sequence(self, stream: str, index: int = 0) -> np.random.SeedSequence:
        """The seed sequence of a stream's use number `index`; the first process has the usual."""
        usual = super().sequence(stream, index)
        if self.rank == 0 or stream not in _OWN_STREAMS:
            return usual
        return np.random.SeedSequence(self.seed, spawn_key=(*usual.spawn_key, self.rank))


class DistributedUpdate(Update):
    """The plain update, whose gradients, statistics and decisions are those of all processes.

    Args:
        processes: that make it.
        normalize_advantage: whether to normalise advantages, by the minibatches of all.
    """

    def __init__(self, processes: Processes, *, normalize_advantage: bool) -> None:
        self.processes, self.normalize_advantage = processes, normalize_advantage

    def __call__(
        self,
        transitions: Transitions,
        objective: Objective,
        *,
        coefficients: Coefficients,
        generator: torch.Generator,
    ) -> UpdateReport:
        """Make an update, as `Update` does with the transitions of all processes."""
        settings, processes = objective.settings, self.processes
        max_norm = torch.inf if settings.max_grad_norm is None else settings.max_grad_norm
        groups = objective.learners.groups()
        clipped = objective.learners.clipped(together=settings.global_grad_norm)
        weights = list({id(w): w for held, _ in groups.values() for w in held}.values())
        history: list[Mapping[str, Tensor]] = []
        n_steps, stopped_early = 0, False
        for part in self._epochs(transitions, objective, generator):
            minibatch = Minibatch.of(part, coefficients)
            if self.normalize_advantage:
                minibatch = replace(minibatch, advantage=self.normalised(minibatch.advantage))
            self.zero_grad(groups)
            terms, metrics = objective.losses(minibatch)
            self.backward(terms)
            metrics = self.average(weights, metrics, len(part))
            history.append(metrics)
            if exceeds(metrics, settings.target_kl):
                stopped_early = True
                break
            norms = self.clip_gradients(clipped, max_norm)
            if not all(math.isfinite(norm) for norm in norms.values()):
                self.finish()
                raise NoNumberError(what_is_no_number(terms, norms), len(history))
            history[-1] = {**metrics, **norms}
            self.step(groups)
            n_steps += 1
        self.finish()
        reported = means(history)
        if n := processes.count(len(transitions)):
            share = transitions.explained_variance() if len(transitions) else torch.tensor(0.0)
            reported["explained_variance"] = processes.total(share * len(transitions)) / n
        return UpdateReport(reported, n_steps, stopped_early)

    def fits(self, objective: Objective, transitions: Transitions) -> bool:
        """Always: it keeps nothing of the agents."""
        return True

    def normalised(self, advantage: Tensor) -> Tensor:
        """Advantages of this process, `[n]`, by mean and standard deviation over all processes."""
        exact = advantage.double()
        sums = torch.stack([torch.tensor(float(len(exact))), exact.sum(), exact.square().sum()])
        n, total, squares = self.processes.total(sums.double()).unbind()
        mean = total / n
        variance = ((squares - n * mean.square()) / (n - 1).clamp(min=1)).clamp(min=0)
        return ((exact - mean) / (variance.sqrt() + 1e-8)).to(advantage.dtype)

    def average(
        self, weights: list[torch.nn.Parameter], metrics: Mapping[str, Tensor], n: int
    ) -> dict[str, Tensor]:
        """Average gradients, in place, and metrics over the transitions of all processes.

        Everything travels in one flat tensor.
        """
        grads = [weight.grad for weight in weights if weight.grad is not None]
        values = [value.detach() for value in metrics.values()]
        flat = torch.cat([each.reshape(-1).to(torch.float64) for each in (*grads, *values)]) * n
        flat = self.processes.total(torch.cat([flat, flat.new_tensor([float(n)])]))
        flat = flat[:-1] / flat[-1]
        start = 0
        for grad in grads:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()
        return dict(zip(metrics, flat[start:].unbind(), strict=True))

    def _epochs(
        self, transitions: Transitions, objective: Objective, generator: torch.Generator
    ) -> Iterator[Transitions]:
        """As many minibatches in each process, none of them empty."""
        settings = objective.settings
        for epoch in range(settings.opt_epochs):
            if epoch and objective.recompute is not None:
                transitions = objective.recompute()
            fewest = self.processes.least(len(transitions))
            if fewest:
                wanted = n_minibatches(self.processes.count(len(transitions)), settings.batch_size)
                yield from transitions.parts(min(wanted, fewest), generator)


class DistributedPPO(PPOClip):
    """PPO in one of several processes; `algorithm.n_envs` and `batch_size` are those of all.

    Args:
        cfg: as for `PPOClip`, the same in each process.
        processes: from `Processes.join()`.

    Raises:
        ConfigError: for what several processes do not do.
    """

    def __init__(self, cfg: DictConfig | dict[str, Any], processes: Processes) -> None:
        self.processes = processes
        super().__init__(cfg)
        if self.cfg.compute.compile == "always":
            self.cfg.compute.compile = "never"
            self._changes.accept(self.cfg)
            say("The update is not compiled: with several processes, gradients travel in between.")
        self._why_compile = ""

    def _load_config(self, cfg: DictConfig | dict[str, Any]) -> DictConfig:
        loaded = super()._load_config(cfg)
        settings, size = loaded.algorithm, self.processes.size
        if settings.n_envs % size:
            raise ConfigError(
                f"algorithm.n_envs = {settings.n_envs}: must be a multiple of the number of "
                f"processes, {size}; it counts the environments of all"
            )
        if settings.architecture.memory != "none" or settings.curiosity != "none":
            key = "architecture.memory" if settings.curiosity == "none" else "curiosity"
            raise ConfigError(f"algorithm.{key}: is not there with several processes; must be none")
        if loaded.save_every:
            loaded.save_every = 0  # streams and environments of the others are not in a checkpoint
        return loaded

    def _make_seeds(self) -> Seeds:
        return ProcessSeeds(self.cfg.algorithm.seed, self.processes.rank)

    def _make_env(self, n_envs: int, wrappers: Any, autoreset: bool = False) -> EnvAgent:
        share = n_envs // self.processes.size if autoreset else n_envs  # else: evaluations
        return super()._make_env(share, wrappers, autoreset)

    def _typed_settings(self) -> AlgorithmConfig:
        """The update normalises advantages itself, by those of all processes."""
        return replace(super()._typed_settings(), normalize_advantage=False)

    @cached_property
    def logger(self) -> Logger:
        """The logger; only that of the first process writes files."""
        return super().logger if self.processes.rank == 0 else Logger(None, None)

    def iter_partial_episodes(self, episode_steps: int | None = None) -> Iterator[Workspace]:
        """As in `PPOClip`; `nb_steps` counts the steps of all processes."""
        rollouts: Any = super().iter_partial_episodes(episode_steps)
        try:
            while True:
                before = self.nb_steps
                try:
                    workspace = next(rollouts)
                except StopIteration:
                    return
                self.nb_steps = before + self.processes.count(self.nb_steps - before)
                yield workspace
        finally:
            rollouts.close()

    def update(self, rollout: Transitions) -> UpdateReport:
        """Improve policy and critic on the rollouts of all processes."""
        self._read_config()
        normalize = bool(self.cfg.algorithm.normalize_advantage)
        self._engine = DistributedUpdate(self.processes, normalize_advantage=normalize)
        return super().update(rollout)

    def _move_statistics(self, rollout: Transitions) -> None:
        assert self._rollout is not None
        self._rollout = self._joined(self._rollout)
        if self._targets_of is not None:
            self._targets_of = self._joined(self._targets_of)
        super()._move_statistics(replace(rollout, returns=self.processes.after(rollout.returns)))

    def _joined(self, rollout: Rollout) -> Rollout:
        """The rollout with the environments of all processes, in the order of their ranks."""
        tensors = {
            name: self.processes.beside(value)
            for name, value in vars(rollout).items()
            if isinstance(value, Tensor)
        }
        variables = {name: self.processes.beside(rows) for name, rows in rollout.variables.items()}
        return replace(rollout, **tensors, variables=variables)

    def _divergence(self, rollout: Transitions, now: Coefficients) -> Tensor:
        sums = torch.stack([super()._divergence(rollout, now).double() * len(rollout)])
        n = self.processes.count(len(rollout))
        return (self.processes.total(sums) / n).squeeze(0).float()

    def log(self, workspace: Workspace, report: UpdateReport, seconds: float, steps: int) -> None:
        """Log one iteration, with the episodes of all processes."""
        episodes = Workspace()
        for name in _EPISODES:
            episodes.set_full(name, self.processes.beside(workspace.view(name)))
        super().log(episodes, report, seconds, steps)

    def evaluate(self, force: bool = False) -> bool:
        """As in `PPOClip`; only the first process plays the episodes, and keeps the best policy."""
        if self.processes.rank == 0:
            return super().evaluate(force)
        self._read_config()
        if force or self.nb_steps - self.last_eval_step > self.cfg.algorithm.eval_interval:
            self.last_eval_step = self.nb_steps
            self._n_evaluations += 1
        return False

    def _between_iterations(self, stop: Postponed, *, ends: bool) -> None:
        """If a signal asks one process to end, all end after this iteration."""
        if self.processes.count(stop.first is not None):
            if stop.first is None:
                raise Terminated(128 + signal.SIGTERM)
            stop.deliver()

    def checksum(self) -> float:
        """The sum of all weights, which is the same in every process."""
        agents = (self.train_policy, self.critic_agent)
        return float(sum(w.double().sum() for agent in agents for w in agent.parameters()))
