"""Runs that fail of numbers which are not finite: the error, and a file that shows it again."""

import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ppo_bbrl.config.loading import read_saved_config
from ppo_bbrl.envs.names import check_trusted
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.runs.archives import read_archive, write_archive
from ppo_bbrl.runs.checkpoints import Checkpoint, checkpoint_of
from ppo_bbrl.runs.faults import first_fault
from ppo_bbrl.runs.folder import RunFolder
from ppo_bbrl.runs.given_again import check_given_again
from ppo_bbrl.runs.metric_names import in_words
from ppo_bbrl.runs.resuming import Checkpointed
from ppo_bbrl.system.seals import NewerFormatError
from ppo_bbrl.workspace.table import Workspace

_LOSSES = ("actor_loss", "critic_loss", "entropy_loss")  # the last one's weight may be 0


class TrainingFailedError(UserError):
    """Training cannot continue."""


@dataclass(frozen=True)
class SavedFault:
    """What `save_fault` wrote.

    Attributes:
        message: of the error that ended the run.
        config: the run's configuration, as YAML.
        rows: what led to it, by variable.
        before: the last checkpoint before it, if there was one.
    """

    message: str
    config: str
    rows: dict[str, Tensor]
    before: Checkpoint | None


def read_fault(path: Path) -> SavedFault:
    """Read what `save_fault` wrote.

    Raises:
        UserError: if it is something else, or damaged.
    """
    try:
        read = read_archive(path)
        before = read["before"]
        return SavedFault(
            str(read["message"]),
            str(read["config"]),
            {str(name): torch.as_tensor(rows) for name, rows in read["rows"].items()},
            checkpoint_of(before, path, before["iterations"]) if before else None,
        )
    except NewerFormatError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except Exception as error:  # a damaged file fails in many ways
        raise UserError(f"{path}: not a fault of ppo-bbrl, or a damaged file") from error


class Failing(Checkpointed):
    """The part of an algorithm that looks for numbers which are not finite."""

    _own_agents: list[Any]
    epoch: int

    @classmethod
    def at_fault(cls, fault: SavedFault, place: Path, *, trust: bool = False, **own: Any) -> Self:
        """The algorithm of a run that failed, before it did; `run` makes it fail again.

        Args:
            fault: as `read_fault` gave it.
            place: an empty folder for what this run writes.
            trust: as in `resume`.
            own: as in `resume`.
        """
        cfg = read_saved_config(fault.config, "the configuration of the fault")
        check_trusted(cfg.gym_env.env_name, trust)
        if fault.before is not None:
            check_given_again(fault.before, cls, own)
        cfg.base_dir, cfg.save_every, cfg.logger.log_dir = "replay", 0, None
        algo: Any = cls(cfg, **own)
        folder = place.absolute() / "replay"
        vars(algo)["folder"] = RunFolder("replay", folder, place / "events" / "replay", place)
        try:
            if fault.before is not None:
                algo._take_over(fault.before)
        except BaseException:
            algo.close()
            raise
        made: Self = algo
        return made

    def save_fault(self, message: str, rows: Mapping[str, Tensor]) -> Path:
        """Write what is needed to see an error again, RUN/fault.pt; returns its path.

        Args:
            message: of the error.
            rows: what led to it, by variable.
        """
        path, last = self.folder.path / "fault.pt", self.last_checkpoint
        content = {
            "config": OmegaConf.to_yaml(self.cfg, resolve=True),
            "message": message,
            "rows": {name: rows[name] for name in sorted(rows)},
            "before": {} if last is None else read_archive(last),
        }
        write_archive(path, content, root=self.folder.path)
        return path

    def _check_finite(self, metrics: Mapping[str, Tensor]) -> None:
        """See that losses and gradients of an update were finite.

        Raises:
            TrainingFailedError: naming the first one that is not.
        """
        found = {
            name: value
            for name, value in metrics.items()
            if name in _LOSSES or name.startswith("grad_norm/")
        }
        if found and not bool(torch.stack([*found.values()]).isfinite().all()):
            wrong = [
                f"{in_words(name)} is {float(one):g}"
                for name, one in found.items()
                if not one.isfinite()
            ]
            raise self._failed_update(wrong[0])

    def _failed_update(self, what: str) -> TrainingFailedError:
        message = (
            f"{self.train_env.env_name}: {what}, in the update after {self.nb_steps} steps "
            f"(rollout {self.epoch + 1}): is optimizer.lr too large, or are rewards?"
        )
        return self._noted(TrainingFailedError(message))

    def _noted(
        self, error: TrainingFailedError, rows: Mapping[str, Tensor] | None = None
    ) -> TrainingFailedError:
        """The error, with a note of the file that was written to replay its moment."""
        try:
            path = self.save_fault(str(error), rows or {})
        except Exception as reason:  # noqa: BLE001 - the error is what counts
            warnings.warn(f"no file to replay this: {one_line(reason)}", stacklevel=3)
        else:
            trust = " --trust" if ":" in self.cfg.gym_env.env_name else ""
            command = f"ppo-bbrl replay-fault {shlex.quote(str(path))}{trust}"
            error.add_note(f"To see it again: {command}")
        return error

    def _check_rows(self, workspace: Workspace) -> None:
        """See that what was collected is finite, before anything learns from it.

        Raises:
            TrainingFailedError: naming environment, variable and step.
        """
        env = self.train_env
        found = first_fault(workspace, env, infinity_is_known=bool(self._own_agents))
        if found is not None:
            message = f"{found.message} (rollout {self.epoch + 1})"
            raise self._noted(TrainingFailedError(message), found.rows(workspace, env))
