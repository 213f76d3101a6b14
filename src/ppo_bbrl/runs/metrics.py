"""Metrics in TensorBoard, in a CSV file and on the console: a row of scalars per step."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from ppo_bbrl.runs.log_files import CsvFile, EventFile
from ppo_bbrl.runs.metric_names import METRICS, NAMES_OF_TAGS, metric_name
from ppo_bbrl.runs.trackers import Followed, status_now
from ppo_bbrl.system.console import say
from ppo_bbrl.system.state import check_names
from ppo_bbrl.workspace.table import Workspace

__all__ = ["METRICS", "Logger", "metric_name"]


class Logger:
    """Writes scalars to TensorBoard and to a CSV file, one row per step.

    Values with the same name and step are averaged. The row of a step is written when a later step
    begins, or by `flush` or `close`. A value that comes after that adds another row (and event)
    for the same step.

    The first row creates the files and folders. Values after `close` are appended. If a file
    cannot be written (because the disk is full, for example), there is a warning, and writing is
    tried again after `every_n_seconds`.

    Args:
        log_dir: folder of the TensorBoard events, or None.
        csv_path: the CSV file, or None.
        verbose: print every row.
        every_n_seconds: seconds between flushes of the events; CSV rows are written immediately.
        modulo: steps are rounded down to a multiple of this, which gives fewer rows.
        trackers: get every row, too.
    """

    def __init__(
        self,
        log_dir: Path | None,
        csv_path: Path | None,
        *,
        verbose: bool = False,
        every_n_seconds: float = 10,
        modulo: int = 1,
        trackers: Sequence[Followed] = (),
    ) -> None:
        if modulo < 1:
            raise ValueError(f"modulo must be at least 1, got {modulo}")
        self._modulo = modulo
        self._newest = -1
        self._rows = _Rows(verbose, trackers)
        if csv_path is not None:
            self._rows.outputs.append(CsvFile(Path(csv_path).absolute(), every_n_seconds))
        if log_dir is not None:
            self._rows.outputs.append(EventFile(Path(log_dir).absolute(), every_n_seconds))
        # A logger that is never closed still writes its last row, at the latest when Python exits.
        weakref.finalize(self, self._rows.close)

    def add_log(self, name: str, value: Any, steps: int) -> None:
        """Adds a scalar to the row of a step.

        Args:
            name: a name in `METRICS` or its tag, or a new name.
            value: a number, or a tensor without dimensions, which is detached.
            steps: environment steps so far.

        Raises:
            ValueError: if the value is not a real scalar, or the name is "steps".
        """
        step = int(steps) // self._modulo * self._modulo
        scalar = _scalar(name, value)
        pending = self._rows.pending
        row = pending.get(step)
        if row is None:
            # Besides the newest row, one earlier row may still collect values.
            if step > self._newest or len(pending) > 1:
                self._rows.write()
                self._newest = max(step, self._newest)
            row = pending[step] = {}
        row.setdefault(NAMES_OF_TAGS.get(name, name), []).append(scalar)

    def log_losses(self, critic_loss: Any, entropy_loss: Any, actor_loss: Any, steps: int) -> None:
        """Logs the three losses, with the signs of `METRICS`."""
        self.add_log("critic_loss", critic_loss, steps)
        self.add_log("entropy_loss", entropy_loss, steps)
        self.add_log("actor_loss", actor_loss, steps)

    def log_reward_losses(self, rewards: Any, steps: int) -> None:
        """Logs mean, max, min and median of the returns of the evaluation episodes."""
        returns = torch.as_tensor(rewards).detach().cpu().double().flatten()
        self.add_log("reward/mean", returns.mean(), steps)
        self.add_log("reward/max", returns.max(), steps)
        self.add_log("reward/min", returns.min(), steps)
        self.add_log("reward/median", returns.quantile(0.5), steps)

    def newest(self) -> dict[str, float]:
        """The newest value of each metric, including rows that are not written yet."""
        return self._rows.newest()

    def state_dict(self) -> dict[str, Any]:
        """The rows that are not written yet, and the newest values."""
        rows = self._rows
        return {"newest": self._newest, "pending": rows.pending, "last": rows.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue as another logger would, after writing this logger's own pending rows."""
        check_names(state, ("newest", "pending", "last"), "the log")
        pending: dict[int, dict[str, list[float | torch.Tensor]]] = {
            int(step): {str(name): list(map(float, values)) for name, values in row.items()}
            for step, row in state["pending"].items()
        }
        newest = int(state["newest"])
        last = {str(name): float(value) for name, value in state["last"].items()}
        self._rows.write()
        self._newest, self._rows.pending, self._rows.last = newest, pending, last

    def position(self) -> dict[str, Any]:
        """The ends of the files, after syncing them to the disk; for `go_on_at`."""
        ends: dict[str, Any] = {}
        for output in self._rows.outputs:
            output.attempt(lambda output=output: ends.update({output.name: output.end()}))
        return ends

    def go_on_at(self, position: dict[str, Any], steps: int = 0) -> None:
        """Cut the files of a resumed run back to an earlier position.

        Args:
            position: a result of `position`; files that it does not contain are not cut.
            steps: environment steps at that position, for the trackers.
        """
        had = max((output.last_step() for output in self._rows.outputs), default=-1)
        for tracker in self._rows.trackers:
            tracker.resumed_at, tracker.had = steps, min(had, steps)
        for output in self._rows.outputs:
            if output.name in position:
                output.attempt(output.cut, position[output.name])

    def flush(self) -> None:
        """Writes all rows, including the current one, and flushes all files."""
        self._rows.write()
        for output in self._rows.outputs:
            output.attempt(output.flush)

    def close(self) -> None:
        """Writes the remaining rows and closes the files. May be called more than once."""
        self._rows.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def episode_metrics(workspace: Workspace) -> dict[str, torch.Tensor]:
    """Means over the episodes that ended in a rollout: return and length; nothing if none did."""
    ended = workspace.view("env/done")[1:]
    if not ended.any():
        return {}
    variables = {"episode/return": "env/cumulated_reward", "episode/length": "env/timestep"}
    return {
        name: workspace.view(variable)[1:][ended].double().mean()
        for name, variable in variables.items()
    }


def _scalar(name: str, value: Any) -> float | torch.Tensor:
    if name == "steps":
        raise ValueError("a metric cannot be named 'steps': that is the column of the step numbers")
    if isinstance(value, (float, int)):
        return float(value)
    if isinstance(value, torch.Tensor) and value.ndim == 0 and not value.is_complex():
        # The value is copied, because its owner may change it in place. Reading a number from a
        # CPU tensor is cheaper than copying it; on an accelerator it would wait for queued work,
        # so there the copy stays a tensor until the row is written.
        return float(value.item()) if value.is_cpu else value.detach().clone()
    is_numpy = isinstance(value, (np.ndarray, np.generic))
    if is_numpy and value.ndim == 0 and value.dtype.kind in "biuf":
        return float(value)
    shape = f" of shape {tuple(value.shape)}, {value.dtype}" if hasattr(value, "dtype") else ""
    raise ValueError(f"metric '{name}' must be a real scalar, got {type(value).__name__}{shape}")


def _floats(values: list[float | torch.Tensor]) -> list[float]:
    """Convert the values to floats, with one transfer per device and dtype."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, value in enumerate(values):
        if isinstance(value, torch.Tensor):
            groups.setdefault((value.device, value.dtype), []).append(index)
    floats: list[Any] = list(values)
    for indices in groups.values():
        numbers = torch.stack([floats[index] for index in indices]).cpu().double()
        for index, number in zip(indices, numbers.tolist(), strict=True):
            floats[index] = number
    return floats


def _means(row: dict[str, list[float | torch.Tensor]]) -> dict[str, float]:
    """The mean of the values of each metric in a row."""
    floats = iter(_floats([value for values in row.values() for value in values]))
    return {name: sum(next(floats) for _ in values) / len(values) for name, values in row.items()}


class _Rows:
    """The rows that are not written yet, and the outputs that they go to."""

    def __init__(self, verbose: bool, trackers: Sequence[Followed]) -> None:
        self.verbose, self.trackers = verbose, trackers
        self.pending: dict[int, dict[str, list[float | torch.Tensor]]] = {}
        self.last: dict[str, float] = {}  # the value of each metric that was written last
        self.outputs: list[CsvFile | EventFile] = []

    def write(self) -> None:
        for step in sorted(self.pending):
            means = _means(self.pending.pop(step))
            self.last.update(means)
            for output in self.outputs:
                output.attempt(output.write, step, means)
            for tracker in self.trackers:
                tracker.write(step, means)
            if self.verbose:
                say(" ".join((f"steps {step}:", *(f"{k}={v:.6g}" for k, v in means.items()))))

    def newest(self) -> dict[str, float]:
        found = dict(self.last)
        for step in sorted(self.pending):
            found.update(_means(self.pending[step]))
        return found

    def close(self) -> None:
        self.write()
        for output in self.outputs:
            output.attempt(output.close)
        status = status_now()
        for tracker in self.trackers:
            tracker.end(status)
