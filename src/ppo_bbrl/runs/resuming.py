"""Runs that go on after they were interrupted or killed, as if nothing had happened."""

import time
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Self

from omegaconf import OmegaConf

from ppo_bbrl.agents.networks import no_numbers
from ppo_bbrl.config.changes import AT_ANY_TIME
from ppo_bbrl.config.loading import (
    load_config,
    load_episodic_config,
    read_saved_config,
    save_config,
)
from ppo_bbrl.envs.names import check_trusted
from ppo_bbrl.errors import EnvironmentFailedError, StateError, UserError, one_line
from ppo_bbrl.runs.checkpoints import Checkpoint, Checkpoints
from ppo_bbrl.runs.extent import check_layers
from ppo_bbrl.runs.folder import RunFolder, folder_to_go_on_in, run_path
from ppo_bbrl.runs.given_again import check_given_again, evaluate_as_before, own_parts_of
from ppo_bbrl.runs.state import Resumable
from ppo_bbrl.system.signals import Postponed
from ppo_bbrl.system.state import HasState, load_state, state_of
from ppo_bbrl.workspace.table import Workspace

# A checkpoint also is written when the last one is older than this (seconds), unless that would
# take more than a hundredth of the time.
_OLD = 15.0
_SHARE = 0.01

GRACE = 2.5  # seconds that a signal waits for the end of an iteration, so that this can be saved


def _check_events(files: RunFolder, log_dir: str | None, trust: bool) -> None:
    """Refuse to write to a new place because the run's files name it.

    Raises:
        UserError: saying where.
    """
    if log_dir and not trust and not files.tensorboard.is_dir():
        where = PurePath(log_dir)
        if where.is_absolute() or ".." in where.parts or log_dir.startswith("~"):
            raise UserError(
                f"logger.log_dir = {log_dir!r}: the run's files name this place, where it has no "
                "events yet; if you trust the run, add --trust (in a program: trust=True)"
            )


class Checkpointed(Resumable):
    """The part of an algorithm that writes checkpoints, and goes on from them.

    Attributes:
        last_checkpoint: the path of the newest one, None before the first.
    """

    last_checkpoint: Path | None = None
    _schedules: Mapping[str, Any] = MappingProxyType({})  # the user's own, by name
    _own_keys = True  # whether the configuration may have keys of the user's, and lack PPO's
    _given: Sequence[str] = ()  # the names of agents that the user made
    _saved = (0, 0.0)  # iterations at the last checkpoint, and when it was (or the loop began)
    _cost = 0.0  # seconds that it took

    @classmethod
    def resume(
        cls, run: str | Path, overrides: Sequence[str] = (), *, trust: bool = False, **own: Any
    ) -> Self:
        """The algorithm of a run at its last checkpoint: what comes next is as if it never ended.

        `run(PPOClip.resume("outputs/CartPole-v1/…"))` goes on in the same folder. Rows of metrics
        after the checkpoint are removed, and come again.

        Args:
            run: the folder of the run.
            overrides: `key=value` strings for what may change, as `algorithm.max_epochs=500`.
            trust: whether a module that the run's files name (`module:Name-v0`) may be imported.
            own: what was given to the constructor besides the configuration: agents, wrappers.

        Raises:
            UserError: if there is no checkpoint, or another process trains the run.
            StateError: if the agents or environments are others than those of the run.
        """
        folder = run_path(run).absolute()
        checkpoints = cls._checkpoints_in(folder, **own)
        found = checkpoints.newest()
        cfg = read_saved_config(found.config, str(found.path), own_keys=cls._own_keys)
        check_trusted(cfg.gym_env.env_name, trust)
        if not cls._own_keys:  # else the program makes the layers
            check_layers(cfg.algorithm.architecture, found.state)
        check_given_again(found, cls, own)
        # Before anything is made: `load_config` checks what is to be changed.
        files = folder_to_go_on_in(folder, cfg.base_dir, cfg.logger.log_dir)
        if checkpoints.writes:
            _check_events(files, cfg.logger.log_dir, trust)
        cfg.base_dir = files.name
        overrides = [overrides] if isinstance(overrides, str) else overrides
        changed = (load_episodic_config if cls._own_keys else load_config)(cfg, overrides)
        for key in AT_ANY_TIME:
            OmegaConf.update(cfg, key, OmegaConf.select(changed, key))
        if checkpoints.writes:
            checkpoints.lock.claim()
        try:
            algo: Any = cls(cfg, **own)
        except BaseException:
            checkpoints.lock.release()
            raise
        try:
            vars(algo).update(folder=files, _checkpoints=checkpoints)
            algo._go_on_from(found)
            for key in (override.partition("=")[0].strip() for override in overrides):
                OmegaConf.update(algo.cfg, key, OmegaConf.select(changed, key))
            algo._read_config()
            if checkpoints.writes:
                save_config(algo.cfg, algo.folder.config)
        except BaseException:
            algo._is_run = False  # nothing to keep
            algo.close()
            raise
        resumed: Self = algo
        return resumed

    @classmethod
    def _checkpoints_in(cls, folder: Path, **_: Any) -> Checkpoints:
        return Checkpoints(folder)

    @property
    def next_iteration(self) -> int:
        """The number of iterations that the run has made."""
        return self._next_epoch

    @cached_property
    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.folder.path)

    def save_checkpoint(self, *, fresh: str = "") -> Path:
        """Write a checkpoint of the run as it is now, between two iterations; returns its path.

        Args:
            fresh: why episodes cannot go on from it; empty: they can.

        Raises:
            OSError: if it cannot be written.
            StateError: for a part whose state cannot be saved, other than environments.
            EnvironmentFailedError: if the process of one has ended; the checkpoint is written.
        """
        if self.train_policy is not None and (broken := no_numbers(self.train_policy)):
            raise StateError(f"the policy is broken: {broken[0]} is not all numbers")
        begun = time.monotonic()
        position = self.logger.position()
        state, unsaved, ended = state_without(self.state_parts(), fresh)
        content = {
            "config": OmegaConf.to_yaml(self.cfg, resolve=True),
            "state": state,
            "fresh": unsaved,
            "files": position,
            "iterations": self._next_epoch,
            "others": self._others(),
            "own": own_parts_of(self),
        }
        self._claim()
        self.last_checkpoint = self._checkpoints.write(self._next_epoch, content)
        self._saved, self._cost = (self._next_epoch, time.monotonic()), time.monotonic() - begun
        if ended is not None:
            raise ended
        return self.last_checkpoint

    def _others(self) -> list[dict[str, Any]]:
        """What other processes that train with this one have of their own."""
        return []

    def _check_rows(self, workspace: Workspace) -> None:
        """For subclasses: what was collected; after an error, perhaps only a part of it."""

    def _save_what_came_before(self, error: Exception) -> None:
        """Write a checkpoint of the last iteration, if environments fail in this one.

        Episodes have gone on since then, so that whoever goes on from it begins fresh ones.
        """
        every, iterations = self.cfg.get("save_every", 0), self._saved[0]
        if not (isinstance(error, EnvironmentFailedError) and every and self._is_run):
            return
        now, self._next_epoch = self._next_epoch, self._next_epoch - 1
        try:
            if self._next_epoch > iterations:
                self.save_checkpoint(fresh=one_line(error))
        except Exception as reason:  # noqa: BLE001 - the error is what counts
            warnings.warn(f"no checkpoint: {one_line(reason)}", stacklevel=3)
        finally:
            self._next_epoch = now

    def _begin_checkpoints(self, iterations: int) -> None:
        """A loop begins after so many iterations."""
        if "_checkpoints" in vars(self):
            self._checkpoints.lock.begin()
        self._saved = (iterations, time.monotonic())

    def _claim(self) -> None:
        """See that nobody else goes on with this run, once it has a checkpoint."""
        lock = self._checkpoints.lock
        if self._checkpoints.writes and not lock.claimed:
            lock.claim()
            if self._loop is not None:
                lock.begin()

    def _end_checkpoints(self) -> None:
        """The loop has ended."""
        if "_checkpoints" in vars(self):
            self._checkpoints.lock.end()

    def _release_checkpoints(self) -> None:
        if "_checkpoints" in vars(self):
            self._checkpoints.lock.release()

    def _between_iterations(self, stop: Postponed, *, ends: bool) -> None:
        """Write a checkpoint if it is time; then end the loop if a signal has asked for it."""
        if self._due(ends=ends or stop.first is not None):
            self._try_to_save()
        if stop.first is not None:
            self._goes_on = True  # if the program goes on: with the next iteration
            stop.deliver()

    def _due(self, *, ends: bool) -> bool:
        """Whether a checkpoint is to be written between these iterations."""
        every = self.cfg.get("save_every", 0)
        iterations, when = self._saved
        old = time.monotonic() - when >= max(_OLD, self._cost / _SHARE)
        due = ends or old or self._next_epoch - iterations >= every
        return bool(every and due and self._is_run and self._next_epoch > iterations)

    def _try_to_save(self) -> None:
        """Write a checkpoint; neither a full disk nor a part that has no state ends a run."""
        try:
            self.save_checkpoint()
        except EnvironmentFailedError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            self._saved = (self._saved[0], time.monotonic())  # not at once again
            # The same words each time: a disk that stays full is told once.
            why = getattr(error, "strerror", None) or one_line(error)
            place = self._checkpoints.folder
            message = f"no checkpoint in {place}: {why}; training goes on, and tries again"
            warnings.warn(message, stacklevel=4)

    def _go_on_from(self, found: Checkpoint) -> None:
        """Take over a checkpoint of this run, and cut its files back."""
        self._take_over(found)
        self.logger.go_on_at(found.files, self.nb_steps)
        evaluate_as_before(self, found)
        self._checkpoints.remove_after(found)
        self.last_checkpoint = found.path
        self._saved = (found.iterations, time.monotonic())

    def _own_share(self, found: Checkpoint) -> Checkpoint:
        """What this process goes on with; for subclasses, of which several train together."""
        return found.of(0, 1)

    def _take_over(self, found: Checkpoint) -> None:
        found, parts = self._own_share(found), self.state_parts()
        for name in (*found.fresh, *(("workspace",) if "train_env" in found.fresh else ())):
            parts.pop(name, None)
        load_state(parts, found.state, type(self).__name__)
        self._goes_on = True
        if "train_env" in found.fresh:
            self.train_env.seed(self.seeds.sequence("train_env", self._next_epoch))
        if "seeds" in found.fresh:
            self.seeds.begin_anew(self._next_epoch)
            again = "episodes and random streams begin anew, so that this is another continuation"
            warnings.warn(f"{found.fresh['seeds']}: {again}", stacklevel=5)
        elif found.fresh:
            names, reasons = " and ".join(found.fresh), dict.fromkeys(found.fresh.values())
            message = f"{names} begin fresh episodes: {'; '.join(reasons)}"
            warnings.warn(message, stacklevel=5)


def state_without(
    parts: dict[str, HasState], fresh: str = ""
) -> tuple[dict[str, Any], dict[str, str], EnvironmentFailedError | None]:
    """The state of parts; why which environments begin fresh episodes instead; what has ended one.

    Args:
        parts: by name.
        fresh: why those of the training do in any case.

    Raises:
        StateError: for a part whose state cannot be saved, other than environments.
    """
    parts, unsaved = dict(parts), {"train_env": fresh} if fresh else {}
    of_envs: dict[str, Any] = {}
    ended: EnvironmentFailedError | None = None
    for name in ("train_env", "eval_env"):
        part: dict[str, HasState] = {name: parts.pop(name)} if name in parts else {}
        try:
            of_envs |= {} if name in unsaved else state_of(part)
        except StateError as error:
            unsaved[name] = one_line(error)
        except EnvironmentFailedError as error:  # its process has ended
            unsaved[name], ended = one_line(error), error
    if "train_env" in unsaved:
        parts.pop("workspace", None)
    return state_of(parts) | of_envs, unsaved, ended
