"""Ablations: the same training with one detail changed at a time, for several seeds, in processes.

Most details of PPO are keys of the configuration; for those that are not, since nobody would train
without them, there is a class here.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import nn

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import UserError
from ppo_bbrl.minibatches import Transitions
from ppo_bbrl.ppo import PPOClip
from ppo_bbrl.runs.metrics import Logger
from ppo_bbrl.runs.progress import Progress
from ppo_bbrl.workspace.table import Workspace

Floats = NDArray[np.float64]

# A run is too short and its tensors are too small for a compiler or a second thread to pay.
_COMPUTE = ("compute.compile=never", "compute.threads=1")


class TransitionsWithReplacement(Transitions):
    """Transitions whose minibatches are each drawn anew: some transitions twice, others never."""

    def minibatches(self, batch_size: int, generator: torch.Generator) -> Iterator[Transitions]:
        """As many as without replacement, each of batch_size transitions; 0 means all."""
        n = len(self)
        size = min(batch_size or n, n)
        for _ in range(-(-n // size) if n else 0):
            yield self.select(torch.randint(n, (size,), generator=generator))


class PPOWithReplacement(PPOClip):
    """PPO that draws its minibatches with replacement."""

    def record(self, workspace: Workspace) -> Transitions:
        """As in `PPOClip`, with other minibatches."""
        rollout = super().record(workspace)
        return TransitionsWithReplacement(
            **{field.name: getattr(rollout, field.name) for field in fields(rollout)}
        )


class PPOWithTorchInitialisation(PPOClip):
    """PPO whose layers start as torch makes them: uniform weights and biases, none small."""

    def __init__(self, cfg: DictConfig | dict[str, Any]) -> None:
        super().__init__(cfg)
        with self.seeds.weights.active():
            for agent in (self.train_policy, self.critic_agent):
                for layer in agent.modules():
                    if isinstance(layer, nn.Linear):
                        layer.reset_parameters()


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    overrides: tuple[str, ...] = ()  # of the configuration, `key=value` each
    # `PPOClip`, or a subclass that other processes can import: none of a notebook
    algorithm: type[PPOClip] = PPOClip


def train_variants(
    cfg: DictConfig | dict[str, Any],
    variants: Mapping[str, Variant],
    seeds: Sequence[int],
    *,
    processes: int = 2,
) -> dict[str, Floats]:
    """Train every variant with every seed, and show the progress.

    No run evaluates or writes files: what counts is what was collected while learning.

    Args:
        cfg: what all have in common, as for `PPOClip`; never changed.
        variants: by name.
        seeds: of the runs, S of them. All variants use the same ones.
        processes: how many runs go on at the same time, one thread each. 0: one after the other, in
            this process, which saves the seconds that another one takes to start.

    Returns:
        For each variant its learning curves, `[S, max_epochs]`: the mean return of the episodes
        that ended in a rollout, or the one before where none did (NaN before the first).

    Raises:
        ConfigError: for a configuration that cannot be run; nothing has been trained then.
        UserError: if there is no variant or no seed.
    """
    if not variants or not seeds:
        raise UserError(f"{len(variants)} variants, {len(seeds)} seeds: at least one of each")
    configs = {  # checked here, before any process starts
        (name, seed): load_config(cfg, (*variant.overrides, f"algorithm.seed={seed}", *_COMPUTE))
        for seed in seeds
        for name, variant in variants.items()
    }
    progress = Progress(len(configs))
    curves: dict[tuple[str, int], Floats] = {}

    def tell() -> None:
        if progress.due(len(curves)):
            progress.show(len(curves), {"runs": f"{len(curves)} of {len(configs)}"})

    if not processes:
        threads = torch.get_num_threads()
        try:
            for (name, seed), one in configs.items():
                curves[name, seed] = _train(variants[name].algorithm, one)
                tell()
        finally:
            torch.set_num_threads(threads)
        return _stacked(curves, variants, seeds)
    jobs: dict[Future[Floats], tuple[str, int]] = {}
    # Not forked: a notebook has threads, and a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        for (name, seed), one in configs.items():
            jobs[pool.submit(_train, variants[name].algorithm, one)] = name, seed
        left = set(jobs)
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for job in done:
                curves[jobs[job]] = job.result()
                if len(curves) == processes:  # about when the processes have started
                    progress.started_up(len(curves))
            if len(curves) > processes or not left:
                tell()
    finally:
        pool.shutdown(cancel_futures=True)  # also where the reader stops the cell
    return _stacked(curves, variants, seeds)


def _stacked(
    curves: Mapping[tuple[str, int], Floats], names: Iterable[str], seeds: Sequence[int]
) -> dict[str, Floats]:
    """The curves of each variant, `[S, max_epochs]`."""
    return {name: np.stack([curves[name, seed] for seed in seeds]) for name in names}


def _train(algorithm: type[PPOClip], cfg: DictConfig) -> Floats:
    """One run in its process: its learning curve, `[max_epochs]`."""
    torch.set_num_threads(1)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        algo = algorithm(cfg)
        algo.logger = Logger(None, None)  # its own would make the folder of a run
        try:
            return np.array(list(_returns(algo)))
        finally:
            algo.close()


def _returns(algo: PPOClip) -> Iterator[float]:
    """Train; for each rollout the mean return of the latest episodes."""
    latest = float("nan")
    for workspace in algo.iter_partial_episodes(algo.cfg.algorithm.n_steps + 1):
        algo.update(algo.record(workspace))
        ended = workspace.view("env/done")[1:]
        if ended.any():
            latest = float(workspace.view("env/cumulated_reward")[1:][ended].double().mean())
        yield latest
