"""The files of a log: a CSV table and TensorBoard's events.

Both can be cut back to an earlier position, from which a run goes on.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ppo_bbrl.runs.metric_names import METRICS, OF_SOME_RUNS
from ppo_bbrl.system.files import make_folder, open_to_append, refuse_link, write_file


class Output:
    """A file opened by its first row. When it cannot be written, the run goes on without it."""

    def __init__(self, path: Path, pause: float) -> None:
        self.path = path
        self.pause = pause
        self._file: IO[Any] | None = None
        self._retry_at = 0.0

    def attempt(self, action: Callable[..., None], *args: Any) -> None:
        """Call a method; if the disk refuses it, warn, and do without it for a while."""
        if time.monotonic() < self._retry_at:
            return
        try:
            action(*args)
        except OSError as error:
            with contextlib.suppress(OSError):  # Closing tries to write what is buffered.
                self.close()
            self._retry_at = time.monotonic() + self.pause
            message = f"no metrics in {self.path}: {error}; training goes on"
            warnings.warn(message, RuntimeWarning, stacklevel=4)

    name: str  # in the position of the log

    def end(self) -> Any:
        """Where the file ends; all before that is on the disk."""
        raise NotImplementedError

    def cut(self, end: Any) -> None:
        """Remove what was written after the file ended there."""
        raise NotImplementedError

    def last_step(self) -> int:
        """Steps of the last row in the file; -1 if that is not known."""
        return -1

    def flush(self) -> None:
        """Bring the file up to date."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Close the file; the next row opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


class CsvFile(Output):
    """A wide table: a row per step, a column per metric, an empty cell where not measured.

    Metrics that only some runs have get a column with their first value.
    """

    name = "rows"
    _n_rows = 0

    def end(self) -> int:
        """The number of rows."""
        if self._file is None:
            return max(0, len(self._table()) - 1)
        os.fsync(self._file.fileno())
        return self._n_rows

    def last_step(self) -> int:
        """Steps of the last row; -1 if there is none that can be read."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(self._table()[1:][-1][0])
        return -1

    def cut(self, end: int) -> None:
        """Keep so many rows."""
        self.close()
        table = self._table()
        if len(table) - 1 < end:
            warnings.warn(f"{self.path}: some rows are lost", RuntimeWarning, stacklevel=5)
        if table and (len(table) - 1 > end or not self._ends_in_a_line()):
            self._rewrite(table[: end + 1])

    def write(self, step: int, row: dict[str, float]) -> None:
        """Write the row of a step."""
        if self._file is None or any(name not in self._columns for name in row):
            self._open(list(row))
        # The csv module writes floats with repr, which reads back exactly.
        self._writer.writerow([step, *map(row.get, self._columns)])
        self._n_rows += 1

    def _open(self, names: list[str]) -> None:
        """Opens the table for more rows, rewritten at once or not at all if it must change."""
        self.close()
        columns = [name for name in METRICS if name in names or name not in OF_SOME_RUNS]
        table = self._table() or [["steps", *columns]]
        header = table[0]
        new = [name for name in names if name not in header]
        if new or not self._ends_in_a_line():
            header += new
            self._rewrite([row + [""] * (len(header) - len(row)) for row in table])
        self._columns, self._n_rows = header[1:], len(table) - 1
        self._file = open_to_append(self.path)  # by lines: a killed run keeps its rows
        self._writer = csv.writer(self._file, lineterminator="\n")

    def _text(self) -> str:
        refuse_link(self.path)
        if not self.path.exists():
            return ""
        if not self.path.is_file():
            raise OSError(errno.EINVAL, "not a regular file", str(self.path))
        try:
            return self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return self._begin_anew()

    def _begin_anew(self) -> str:
        """Put a damaged table aside; the text of the new one, which is empty."""
        aside = self.path.with_name(f"{self.path.stem}.damaged{self.path.suffix}")
        self.path.replace(aside)
        message = f"{self.path}: a damaged table, which is now {aside.name}; a new one begins"
        warnings.warn(message, RuntimeWarning, stacklevel=5)
        return ""

    def _ends_in_a_line(self) -> bool:
        return self._text().endswith("\n")

    def _table(self) -> list[list[str]]:
        """The rows with the header, without half a line that a killed run or a full disk left."""
        text = self._text()
        try:
            table = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1])))
        except csv.Error:
            table = [[]]
        if table and table[0][:1] != ["steps"]:
            self._begin_anew()
            return []
        return table

    def _rewrite(self, table: list[list[str]]) -> None:
        whole = io.StringIO()
        csv.writer(whole, lineterminator="\n").writerows(table)
        write_file(self.path, whole.getvalue())


class EventFile(Output):
    """TensorBoard's event file: one event per step, with all its scalars."""

    name = "events"
    _flush_at = 0.0

    def end(self) -> dict[str, int]:
        """The size of each event file in the folder, by name."""
        if self._file is None:
            self._open()  # so that what belongs to the run is known
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        return {file.name: file.stat().st_size for file in self._files()}

    def cut(self, end: dict[str, int]) -> None:
        """Cut the files back to these sizes, and remove others, if these are still there."""
        self.close()
        files = self._files()
        if not any(file.name in end for file in files):
            return
        for file in files:
            if file.name not in end:
                file.unlink()
            elif file.stat().st_size > end[file.name]:
                os.truncate(file, end[file.name])

    def _files(self) -> list[Path]:
        if not self.path.is_dir():
            return []
        refuse_link(self.path)
        found = self.path.glob("events.out.tfevents.*")
        return [file for file in found if file.is_file() and not file.is_symlink()]

    def write(self, step: int, row: dict[str, float]) -> None:
        """Write the row of a step."""
        if self._file is None:
            self._open()
        event = self._event(wall_time=time.time(), step=step)
        for name, value in row.items():
            tag = METRICS[name].tag if name in METRICS else name
            scalar = event.summary.value.add(tag=tag, simple_value=value)
            if metric := self._undescribed.pop(name, None):
                scalar.metadata.summary_description = metric.description
                scalar.metadata.plugin_data.plugin_name = "scalars"
                scalar.metadata.data_class = 1  # SCALAR; else a description is not shown.
        self._records.write(event.SerializeToString())
        if time.monotonic() >= self._flush_at:
            self.flush()
            self._flush_at = time.monotonic() + self.pause

    def _open(self) -> None:
        # Imported late, because it takes long. EventFileWriter would add a thread, whose errors
        # cannot be caught here, and import TensorFlow where that is installed.
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 - slow to import
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415 - likewise

        make_folder(self.path, root=self.path.parent)
        # TensorBoard finds the files of a folder by "tfevents" and reads them in order of name.
        name = f"events.out.tfevents.{time.time():017.6f}.{os.getpid()}"
        self._file = (self.path / name).open("xb")
        self._event, self._records = Event, RecordWriter(self._file)
        self._undescribed = METRICS.copy()  # A tag's first event carries its description.
        self._records.write(Event(file_version="brain.Event:2").SerializeToString())
