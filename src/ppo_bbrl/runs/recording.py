"""Writes what a run leaves behind: its folder, its log, its best and its last policy."""

import atexit
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import bbrl.agents
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from ppo_bbrl.agents.base import copy_agent
from ppo_bbrl.agents.networks import no_numbers
from ppo_bbrl.config.loading import save_config
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.runs.best_policy import save_policy
from ppo_bbrl.runs.folder import RunFolder, check_events, claim_folder, outputs_dir
from ppo_bbrl.runs.metrics import Logger
from ppo_bbrl.runs.trackers import Followed, Tracker
from ppo_bbrl.system.console import as_return

_RUNNING_WINDOW = 10
_NEVER = -float("inf")  # the reward of a policy that was never evaluated


class Recording:
    """The part of an algorithm that writes files, none of them before there is something to write.

    Args:
        cfg: the resolved configuration.

    Attributes:
        best_policy: a copy of the policy with the best evaluation; None before the first one.
        best_reward: the mean return of that evaluation.
        running_reward: the mean over the last ten evaluations.
        eval_rewards: the returns of each evaluation.
        trackers: get every row of metrics, too; what is added after the first row comes too late.
    """

    _own_policy: bool
    nb_steps: int
    train_env: EnvAgent
    train_policy: Any
    eval_policy: Any

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.best_policy: bbrl.agents.Agent | None = None
        self.best_reward = _NEVER
        self.running_reward = _NEVER
        self.eval_rewards: list[Tensor] = []
        self.trackers: list[Tracker] = []
        self._best_steps = 0  # nb_steps when the best policy was evaluated
        self._last_evaluation = (-1, _NEVER)  # nb_steps and mean return of the latest one
        #: True once the folder is made; an algorithm that only collects a few rows has none to keep
        self._is_run = False
        # The current folder may change before anything is written.
        try:
            self._outputs, self._started_in = outputs_dir().absolute(), Path.cwd()
        except FileNotFoundError as error:
            raise UserError("the current folder has been deleted; change to another") from error
        if cfg.logger.log_dir:
            check_events(self._started_in / cfg.logger.log_dir)

    @cached_property
    def folder(self) -> RunFolder:
        """The folder of this run, created on first use with the configuration in it."""
        log_dir = self.cfg.logger.log_dir
        events = self._started_in / log_dir if log_dir else None
        folder = claim_folder(self.cfg.base_dir, self._outputs, events)
        self.cfg.base_dir = folder.name
        self._is_run = True
        try:
            save_config(self.cfg, folder.config)
        except OSError as error:  # `keep` tries again
            warnings.warn(f"the configuration is not saved: {error}", stacklevel=3)
        return folder

    @property
    def base_dir(self) -> Path:
        """The path of `folder`."""
        return self.folder.path

    @cached_property
    def logger(self) -> Logger:
        """The logger, which writes scalars for TensorBoard and to metrics.csv."""
        settings = self.cfg.logger
        return Logger(
            self.folder.tensorboard,
            self.folder.metrics,
            verbose=settings.verbose,
            every_n_seconds=settings.every_n_seconds,
            modulo=settings.modulo,
            trackers=[Followed(one, self.folder.name, self._plain_config) for one in self.trackers],
        )

    def _plain_config(self) -> dict[str, Any]:
        plain: Any = OmegaConf.to_container(self.cfg, resolve=True)
        return plain  # type: ignore[no-any-return] # the configuration is no list

    def _has_logged(self) -> bool:
        return "logger" in self.__dict__

    def _status(self, steps_per_second: float) -> dict[str, str]:
        """The values that the progress line shows."""
        last = self.logger.newest() if self._has_logged() else {}
        status = {
            "steps": f"{self.nb_steps:,}",
            "steps/s": f"{steps_per_second:,.0f}",
        }
        if "reward/mean" in last:
            status["reward"] = as_return(last["reward/mean"])
            status["best"] = as_return(self.best_reward)
        if "approx_kl" in last:
            status["kl"] = f"{last['approx_kl']:.4f}"
        return status

    def register_evaluation(self, rewards: Tensor, policy: bbrl.agents.Agent | None = None) -> bool:
        """Log the returns of an evaluation, `[N]`, and keep the policy if it is the best so far.

        Args:
            rewards: the return of each episode, `[N]`.
            policy: the policy that was evaluated; default: the one that evaluations use.

        Returns:
            Whether it is the best so far.
        """
        self.logger.log_reward_losses(rewards, self.nb_steps)
        self.eval_rewards.append(rewards)
        mean = float(rewards.mean())
        recent = [float(returns.mean()) for returns in self.eval_rewards[-_RUNNING_WINDOW:]]
        self.running_reward = sum(recent) / len(recent)
        if policy is None:
            self._last_evaluation = (self.nb_steps, mean)
        # Among equals, keep the latest, which has learned from more steps. NaN is never the best.
        if not mean >= self.best_reward:
            return False
        self.best_policy = copy_agent(self._acting_policy if policy is None else policy)
        self.best_reward, self._best_steps = mean, self.nb_steps
        if self.cfg.save_best:
            self._save(self.folder.best, self.best_policy, mean, self.nb_steps)
        return True

    @property
    def _acting_policy(self) -> Any:
        """The policy that evaluations use."""
        raise NotImplementedError

    def save_best(self) -> Path:
        """Write the best policy and its configuration into best/, and return its path.

        Raises:
            OSError: if they cannot be written.
        """
        assert self.best_policy is not None
        self._write(self.folder.best, self.best_policy, self.best_reward, self._best_steps)
        return self.folder.best

    def keep(self) -> list[Path]:
        """Save the last policy in last/ and the best one in best/; write the log's last rows.

        This happens however a run ends: the loops over episodes and `close` call it. Nothing is
        written if nothing was evaluated or logged. Without any evaluation, the last policy counts
        as the best, with reward -∞.

        Returns:
            The folders of the saved policies. A policy that cannot be saved causes a warning.
        """
        try:
            return self._keep_policies() if self._is_run else []
        except UserError as error:  # the folder cannot be created
            warnings.warn(str(error), stacklevel=2)
            return []
        finally:
            if self._has_logged():
                self.logger.flush()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Call `keep` when the loop inside the `with` block ends, for whatever reason."""
        # A loop that is still referenced at exit would be closed too late: little works by then.
        atexit.register(self.keep)
        try:
            yield
        finally:
            atexit.unregister(self.keep)
            if not sys.is_finalizing():
                self.keep()

    def _keep_policies(self) -> list[Path]:
        steps, reward = self._last_evaluation
        if steps != self.nb_steps:
            reward = _NEVER
        best = last = (self._last_policy(), reward, self.nb_steps)
        if self.best_policy is not None:
            best = (self.best_policy, self.best_reward, self._best_steps)
        wanted = {self.folder.best: best, self.folder.last: last}
        return [folder for folder, what in wanted.items() if self._save(folder, *what)]

    def _last_policy(self) -> bbrl.agents.Agent | None:
        """The current policy, if there is one and its weights are finite."""
        if self.train_policy is None and self.eval_policy is None:
            return None
        return None if no_numbers(self._acting_policy) else self._acting_policy

    def _save(
        self, folder: Path, policy: bbrl.agents.Agent | None, reward: float, steps: int
    ) -> bool:
        """Save a policy; return whether that worked. A failure is only a warning (a full disk)."""
        if policy is None:
            return False
        if not self.folder.config.exists():  # writing it failed at first
            with suppress(OSError):  # each policy's folder has its own copy
                save_config(self.cfg, self.folder.config)
        try:
            self._write(folder, policy, reward, steps)
        except Exception as error:  # noqa: BLE001 - a custom policy's state may fail in any way
            warnings.warn(f"{folder}: the policy is not saved: {one_line(error)}", stacklevel=3)
            return False
        return True

    def _write(self, folder: Path, policy: bbrl.agents.Agent, reward: float, steps: int) -> None:
        save_policy(
            folder,
            policy,
            self.cfg,
            reward,
            steps,
            own_agent=self._own_policy,
            env=self.train_env,
        )
