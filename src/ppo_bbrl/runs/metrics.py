"""Metrics in TensorBoard, in a CSV file and on the console: a row of scalars per step."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import time
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
import torch

from ppo_bbrl.system.console import say
from ppo_bbrl.system.files import make_folder, open_to_append, refuse_link, write_file
from ppo_bbrl.system.state import check_names


class Metric(NamedTuple):
    """The name of a metric, its meaning (including its sign) and its unit."""

    name: str
    description: str
    unit: str

    @property
    def tag(self) -> str:
        """Its name in TensorBoard, chosen so that alphabetical order puts returns first."""
        if self.name.startswith(("episode/", "reward/")):
            return self.name
        return f"{'time' if self.name == 'steps_per_second' else 'train'}/{self.name}"


_TABLE = (
    ("critic_loss", "Value loss × critic_coef, as the critic minimises it.", "return²"),
    ("entropy_loss", "Mean entropy of the policy: the entropy itself, not its negative.", "nats"),
    ("actor_loss", "Clipped surrogate objective, to be maximised.", "advantage"),
    ("advantage", "Mean advantage in the policy loss, over the minibatches.", "advantage"),
    ("reward/mean", "Mean return of the evaluation episodes, to be maximised.", "return"),
    ("reward/max", "Return of the best evaluation episode.", "return"),
    ("reward/min", "Return of the worst evaluation episode.", "return"),
    ("reward/median", "Median return of the evaluation episodes.", "return"),
    ("approx_kl", "KL divergence from the policy that acted to the new one (k3 estimate).", "nats"),
    ("clip_fraction", "Share of transitions whose ratio leaves the clip range.", "fraction"),
    ("value_clip_fraction", "Share of transitions whose value leaves its clip range.", "fraction"),
    ("explained_variance", "Share of the variance of the returns that the critic predicts.", "≤ 1"),
    ("grad_norm/policy", "Norm of the policy's gradient, before clipping.", "norm"),
    ("grad_norm/critic", "Norm of the critic's gradient, before clipping.", "norm"),
    ("grad_norm/shared", "Norm of both networks' joint gradient, before clipping.", "norm"),
    ("learning_rate", "Learning rate of the optimiser in this update.", "rate"),
    ("clip_range", "Clip range of the probability ratio in this update.", "ratio"),
    ("entropy_coef", "Weight of the entropy bonus in this update.", "nats⁻¹"),
    ("kl_penalty", "Weight β of the KL penalty in this update.", "nats⁻¹"),
    ("kl_divergence", "KL divergence of the whole update, measured after it.", "nats"),
    ("steps_per_second", "Environment steps per second, updates included.", "steps/s"),
    ("episode/return", "Mean return of the training episodes ended in this rollout.", "return"),
    ("episode/length", "Mean length of the training episodes ended in this rollout.", "steps"),
)
METRICS: dict[str, Metric] = {row[0]: Metric(*row) for row in _TABLE}
_NAMES = {metric.tag: name for name, metric in METRICS.items()}


# Names of the same metrics in other libraries (Stable-Baselines3, CleanRL).
_ALIASES = {
    "policy_loss": "actor_loss",
    "policy_gradient_loss": "actor_loss",
    "value_loss": "critic_loss",
    "entropy": "entropy_loss",
    "clipfrac": "clip_fraction",
    "lr": "learning_rate",
    "fps": "steps_per_second",
    "SPS": "steps_per_second",
    "mean_reward": "reward/mean",
    "ep_rew_mean": "episode/return",
    "ep_len_mean": "episode/length",
    "episodic_return": "episode/return",
    "episodic_length": "episode/length",
}


def metric_name(name: str) -> str:
    """The name of a metric in `metrics.csv`.

    Args:
        name: this name, the metric's tag in TensorBoard, or its usual name elsewhere, such as
            `value_loss` or `losses/value_loss` for `critic_loss`; any other name is returned as it
            is. The values keep our signs: `policy_loss` finds the objective, which is maximised.
    """
    return _NAMES.get(name) or _ALIASES.get(name.rpartition("/")[2], name)


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
    """

    def __init__(
        self,
        log_dir: Path | None,
        csv_path: Path | None,
        *,
        verbose: bool = False,
        every_n_seconds: float = 10,
        modulo: int = 1,
    ) -> None:
        if modulo < 1:
            raise ValueError(f"modulo must be at least 1, got {modulo}")
        self._modulo = modulo
        self._newest = -1
        self._rows = _Rows(verbose)
        if csv_path is not None:
            self._rows.outputs.append(_CsvFile(Path(csv_path).absolute(), every_n_seconds))
        if log_dir is not None:
            self._rows.outputs.append(_EventFile(Path(log_dir).absolute(), every_n_seconds))
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
        row.setdefault(_NAMES.get(name, name), []).append(scalar)

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
        pending = {int(step): dict(row) for step, row in state["pending"].items()}
        newest, last = int(state["newest"]), dict(state["last"])
        self._rows.write()
        self._newest, self._rows.pending, self._rows.last = newest, pending, last

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

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self.pending: dict[int, dict[str, list[float | torch.Tensor]]] = {}
        self.last: dict[str, float] = {}  # the value of each metric that was written last
        self.outputs: list[_CsvFile | _EventFile] = []

    def write(self) -> None:
        for step in sorted(self.pending):
            means = _means(self.pending.pop(step))
            self.last.update(means)
            for output in self.outputs:
                output.attempt(output.write, step, means)
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


class _Output:
    """A file that the first row opens. If it cannot be written, the run continues without it."""

    def __init__(self, path: Path, pause: float) -> None:
        self.path = path
        self.pause = pause
        self._file: IO[Any] | None = None
        self._retry_at = 0.0

    def attempt(self, action: Callable[..., None], *args: Any) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            action(*args)
        except OSError as error:
            with contextlib.suppress(OSError):  # closing tries to write the buffer
                self.close()
            self._retry_at = time.monotonic() + self.pause
            message = f"no metrics in {self.path}: {error}; training goes on"
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


class _CsvFile(_Output):
    """A table with a row per step and a column per metric; cells without a value are empty."""

    def write(self, step: int, row: dict[str, float]) -> None:
        if self._file is None or any(name not in self._columns for name in row):
            self._open(list(row))
        # The csv module writes floats with repr, which reads back exactly.
        self._writer.writerow([step, *map(row.get, self._columns)])

    def _open(self, names: list[str]) -> None:
        """Opens the table for appending, after rewriting it atomically if it needs new columns."""
        self.close()
        refuse_link(self.path)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        lines = text[: text.rfind("\n") + 1]  # a killed run or a full disk may leave half a line
        table = list(csv.reader(io.StringIO(lines))) or [["steps", *METRICS]]
        header = table[0]
        new = [name for name in names if name not in header]
        if new or lines != text or not text:
            header += new
            whole = io.StringIO()
            rows = csv.writer(whole, lineterminator="\n")
            rows.writerows(row + [""] * (len(header) - len(row)) for row in table)
            write_file(self.path, whole.getvalue())
        self._columns = header[1:]
        self._file = open_to_append(self.path)  # flushes each line: a killed run keeps its rows
        self._writer = csv.writer(self._file, lineterminator="\n")


class _EventFile(_Output):
    """TensorBoard's event file: one event per step, with all scalars of the step."""

    _flush_at = 0.0

    def write(self, step: int, row: dict[str, float]) -> None:
        if self._file is None:
            self._open()
        event = self._event(wall_time=time.time(), step=step)
        for name, value in row.items():
            tag = METRICS[name].tag if name in METRICS else name
            scalar = event.summary.value.add(tag=tag, simple_value=value)
            if metric := self._undescribed.pop(name, None):
                scalar.metadata.summary_description = metric.description
                scalar.metadata.plugin_data.plugin_name = "scalars"
                scalar.metadata.data_class = 1  # SCALAR: required for showing the description
        self._records.write(event.SerializeToString())
        if time.monotonic() >= self._flush_at:
            self.flush()
            self._flush_at = time.monotonic() + self.pause

    def _open(self) -> None:
        # Imported here because it is slow. EventFileWriter would add a thread, whose errors cannot
        # be caught here, and import TensorFlow if that is installed.
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415

        make_folder(self.path, root=self.path.parent)
        # TensorBoard recognises its files by "tfevents" and reads them in the order of their names.
        name = f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}"
        self._file = (self.path / name).open("xb")
        self._event, self._records = Event, RecordWriter(self._file)
        self._undescribed = METRICS.copy()  # the first event of a tag carries its description
        self._records.write(Event(file_version="brain.Event:2").SerializeToString())
