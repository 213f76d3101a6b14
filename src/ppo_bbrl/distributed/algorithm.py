"""`DistributedPPO`: PPO in one of several processes."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.config.yaml_files import leaves
from ppo_bbrl.distributed.checkpoints import SharedCheckpoints
from ppo_bbrl.distributed.processes import Processes
from ppo_bbrl.distributed.update import DistributedUpdate
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import ConfigError, Terminated, UserError
from ppo_bbrl.fast.engines import eager_engine
from ppo_bbrl.minibatches import Transitions
from ppo_bbrl.ppo import PPOClip
from ppo_bbrl.runs.checkpoints import Checkpoint, own_parts, shared_parts
from ppo_bbrl.runs.failing import TrainingFailedError
from ppo_bbrl.runs.folder import RunFolder
from ppo_bbrl.runs.metrics import Logger
from ppo_bbrl.runs.resuming import state_without
from ppo_bbrl.seeding import Seeds
from ppo_bbrl.system.console import say
from ppo_bbrl.system.signals import Postponed
from ppo_bbrl.update import Objective, UpdateReport
from ppo_bbrl.workspace.table import Workspace

_OWN_STREAMS = ("actions", "learning", "minibatches", "train_env")  # of each process
_MAY_DIFFER = ("base_dir", "save_", "logger.", "compute.", "extra")


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


class DistributedPPO(PPOClip):
    """PPO in one of several processes; `algorithm.n_envs` and `batch_size` are those of all.

    Each process makes one and calls its methods in the same order as the others. Only the first
    writes files, evaluates and has a `best_policy`.

    Args:
        cfg: as for `PPOClip`, the same in each process.
        processes: from `Processes.join()`.
        own: other arguments of `PPOClip`.

    Raises:
        ConfigError: if the environments cannot be shared out, or if the first process has another
            configuration.
        ProcessLostError: here and in all methods, if another process has gone.
    """

    def __init__(self, cfg: DictConfig | dict[str, Any], processes: Processes, **own: Any) -> None:
        self.processes = processes
        super().__init__(cfg, **own)
        try:
            self._check_same()
        except Exception:
            self.close()
            raise
        if self.cfg.compute.compile == "always":
            self.cfg.compute.compile = "never"
            self._changes.accept(self.cfg)
            say("The update is not compiled: with several processes, gradients travel in between.")
        self._why_compile = ""

    @classmethod
    def start(cls, cfg: DictConfig | dict[str, Any], processes: Processes, **own: Any) -> Self:
        """A new run; or, if torchrun has restarted the processes, the run from its last checkpoint.

        Args:
            cfg: as for the class.
            processes: likewise.
            own: likewise.
        """
        run = processes.recall()
        if not run:
            return cls(cfg, processes, **own)
        algo = cls.resume(run, trust=True, processes=processes, **own)  # this job has written it
        say(f"Restarted: going on after {algo.next_iteration:,} rollouts, {algo.nb_steps:,} steps.")
        return algo

    @classmethod
    def _checkpoints_in(cls, folder: Path, **own: Any) -> SharedCheckpoints:
        return SharedCheckpoints(folder, own["processes"])

    @cached_property
    def _checkpoints(self) -> SharedCheckpoints:
        folder = self.folder.path if self.processes.rank == 0 else Path()
        return SharedCheckpoints(folder, self.processes)

    def _load_config(self, cfg: DictConfig | dict[str, Any]) -> DictConfig:
        loaded = super()._load_config(cfg)
        n_envs, size = loaded.algorithm.n_envs, self.processes.size
        if n_envs % size:
            raise ConfigError(
                f"algorithm.n_envs = {n_envs}: must be a multiple of the number of processes, "
                f"{size}; it counts the environments of all"
            )
        if loaded.compute.device == "cuda":
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        if self.processes.rank:
            loaded.logger.log_dir = None  # only the first writes there, or looks whether it can
        return loaded

    def _check_same(self) -> None:
        """See that the first process has the same configuration.

        Raises:
            ConfigError: naming a key in which they differ.
        """
        mine = {
            key: str(value)
            for key, value in leaves(OmegaConf.to_container(self.cfg))
            if not key.startswith(_MAY_DIFFER)
        }
        first = self.processes.told(mine)
        for key in {**first, **mine}:
            if first.get(key) != mine.get(key):
                raise ConfigError(
                    f"{key} = {mine.get(key)}: the first process has {first.get(key)}; give all "
                    "processes the same configuration"
                )

    def _make_seeds(self) -> Seeds:
        return ProcessSeeds(self.cfg.algorithm.seed, self.processes.rank)

    def _make_env(self, n_envs: int, wrappers: Any, autoreset: bool = False) -> EnvAgent:
        share = n_envs // self.processes.size if autoreset else n_envs  # else: evaluations
        return super()._make_env(share, wrappers, autoreset)

    def _typed_settings(self) -> AlgorithmConfig:
        """The update normalises advantages itself, by those of all processes."""
        return replace(super()._typed_settings(), normalize_advantage=False)

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of the run, which the first process alone has."""
        if self.processes.rank:
            raise UserError("the folder of the run is the first process's: ask where rank is 0")
        return super().folder

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

    # What the update learns from: the data of all processes.

    def update(self, rollout: Transitions) -> UpdateReport:
        """Improve policy and critic on the rollouts of all processes."""
        self._read_config()
        normalize, engine = bool(self.cfg.algorithm.normalize_advantage), self._engine
        if isinstance(engine, DistributedUpdate) and engine.normalize_advantage != normalize:
            self._engine = None
        return super().update(rollout)

    def _choose_engine(self, objective: Objective, *_: Any) -> DistributedUpdate:
        engine = eager_engine(objective.learners)
        normalize = bool(self.cfg.algorithm.normalize_advantage)
        return DistributedUpdate(self.processes, engine, normalize_advantage=normalize)

    def _summary(self, samples: Tensor) -> Any:
        return self.processes.summary(samples)

    def _move_statistics(self, rollout: Transitions) -> None:
        if self._settings.normalize_value:
            joined = self.processes.after(rollout.valid_returns())
            rollout = Transitions({}, joined, joined, joined, joined)
        super()._move_statistics(rollout)

    def _divergence(self, rollout: Transitions, now: Coefficients) -> Tensor:
        sums = torch.zeros(2, dtype=torch.float64)  # of the divergence, of transitions
        if len(rollout):  # its environments may just have begun, all of them
            sums[0] = super()._divergence(rollout, now).cpu() * len(rollout)
            sums[1] = len(rollout)
        total, n = self.processes.total(sums).unbind()
        return (total / n).float()

    def _episodes(self, workspace: Workspace) -> dict[str, Tensor]:
        """Mean return and length of the episodes of all processes, and how many failed."""
        ended = workspace.view("env/done")[1:]
        names = ("env/cumulated_reward", "env/timestep")
        own = [workspace.view(name)[1:][ended].double().sum() for name in names]
        replaced = self.train_env.counts().get("env_restarts", 0.0)
        sums = torch.stack([ended.sum().double(), torch.tensor(replaced).double(), *own])
        n, restarts, returns, lengths = self.processes.total(sums).unbind()
        found = {"env_restarts": restarts} if restarts else {}
        if n:
            found |= {"episode/return": returns / n, "episode/length": lengths / n}
        return found

    def evaluate(self, force: bool = False) -> bool:
        """As in `PPOClip`; only the first process plays the episodes, and keeps the best policy."""
        if self.processes.rank == 0:
            return super().evaluate(force)
        self._read_config()
        if force or self.nb_steps - self.last_eval_step > self.cfg.algorithm.eval_interval:
            self.last_eval_step = self.nb_steps
            self._n_evaluations += 1
        return False

    # Checkpoints: the first process writes them, with what each has of its own.

    def state_parts(self) -> dict[str, Any]:
        """As in `PPOClip`; processes after the first have no best policy, log and the like."""
        parts = super().state_parts()
        return shared_parts(parts) if self.processes.rank else parts

    def save_checkpoint(self, *, fresh: str = "") -> Path:
        """Write a checkpoint; all processes call this, and the first one writes.

        Returns:
            The path, in the first process; in the others its name alone.
        """
        if self.processes.rank == 0:
            path = super().save_checkpoint(fresh=fresh)
            self.processes.remember(str(self.folder.path))
            return path
        self._others(fresh)
        self._saved = (self._next_epoch, self._saved[1])
        return Path(f"iteration-{self._next_epoch:09d}.pt")

    def _others(self, fresh: str = "") -> list[dict[str, Any]]:
        state, unsaved, ended = state_without(own_parts(self.state_parts()), fresh)
        others = self.processes.gathered({"state": state, "fresh": unsaved})[1:]
        if ended is not None and self.processes.rank:  # the first one raises it when it has written
            raise ended
        return others

    def _save_what_came_before(self, error: Exception) -> None:
        """Nothing: the others do not know of the error, and the last checkpoint is there."""

    def _own_share(self, found: Checkpoint) -> Checkpoint:
        return found.of(self.processes.rank, self.processes.size)

    def _noted(self, error: TrainingFailedError, rows: Any = None) -> TrainingFailedError:
        """Without a file to replay: one process alone would not come there again."""
        del rows
        return error

    def _between_iterations(self, stop: Postponed, *, ends: bool) -> None:
        """As in `PPOClip`; if a signal asks one process to end, all end after this iteration."""
        due, at_end = self._due(ends=ends), self._due(ends=True)
        asked = torch.tensor([stop.first is not None, due, at_end]).int()
        stopping, due, at_end = (self.processes.total(asked) > 0).tolist()
        if due or (stopping and at_end):
            self._try_to_save()
        if stopping:
            self._goes_on = True
            if stop.first is None:
                raise Terminated(128 + signal.SIGTERM)
            stop.deliver()

    def checksum(self) -> float:
        """The sum of all weights, which is the same in every process."""
        agents = (self.train_policy, self.critic_agent)
        return float(sum(w.detach().double().sum() for one in agents for w in one.parameters()))
