"""What a run has left in its folder, read for pictures: its configuration and its metrics."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppo_bbrl.config.yaml_files import read_resolved_yaml
from ppo_bbrl.errors import ConfigError, UserError, one_line
from ppo_bbrl.runs.folder import CONFIG_FILE, open_folder

# pandas is imported where it is used: it takes long.
if TYPE_CHECKING:
    import pandas as pd

_MOST_TOLD = 5
_MOST_STEPS = 2**53  # up to which a float counts


class Run(NamedTuple):
    """A run: its folder, its config by dotted key, its metrics as `read_metrics` gives them."""

    folder: Path
    config: dict[str, str]
    metrics: pd.DataFrame


def read_metrics(run: Path) -> pd.DataFrame:
    """Reads a run's `metrics.csv`.

    Args:
        run: the folder of the run.

    Returns:
        A column `steps` and one per metric, sorted by step; NaN where nothing was measured.

    Raises:
        UserError: the folder is not that of a run, or has no metrics yet.
    """
    import pandas as pd  # noqa: PLC0415

    path = open_folder(run).metrics
    if not path.is_file():
        raise UserError(f"{run}: this run has no metrics.csv")
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole = text[: text.rfind("\n") + 1]  # A run that is being killed leaves half a line.
        # Not by pandas, whose parsers of some versions are off by one unit in the last place.
        header, *rows = list(filter(None, csv.reader(io.StringIO(whole)))) or [[""]]
        if header[0] != "steps" or not rows:
            raise UserError(f"{run}: metrics.csv has no rows")
        return pd.DataFrame(_numbers(header, rows), columns=header).astype({"steps": np.int64})
    except UnicodeDecodeError as error:
        raise UserError(f"{run}: metrics.csv is not UTF-8") from error
    except (ValueError, csv.Error) as error:
        if isinstance(error, UserError):
            raise
        reason = one_line(error, 200)
        raise UserError(f"{run}: metrics.csv is not a table of numbers: {reason}") from error


def _numbers(header: list[str], rows: list[list[str]]) -> Any:
    """`[N, C]`: the cells, by step."""
    if len(set(header)) < len(header):
        raise ValueError("two columns have the same name")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row has {len(row)} cells, of {len(header)}: {','.join(row)}")
    cells = np.array([[float(cell or "nan") for cell in row] for row in rows])
    if not (np.abs(cells[:, 0]) < _MOST_STEPS).all():
        raise ValueError("a row has no number of steps")
    return cells[np.argsort(cells[:, 0], kind="stable")]


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """The runs that can be drawn, each once. What cannot be causes a warning.

    Raises:
        UserError: if a path does not exist, or none can be drawn.
    """
    found, reasons = [], []
    for folder in {Path(run).resolve(): Path(run) for run in folders}.values():
        if not folder.exists():  # a slip: the shell's own patterns name what exists
            open_folder(folder)
        try:
            found.append(_read_run(folder))
        except UserError as error:
            reasons.append(str(error))
    if not found and not reasons:
        raise UserError("no run to draw: give at least one run folder")
    leave_out(reasons, some_are_left=bool(found))
    return found


def common_folder(folders: Iterable[Path]) -> Path:
    """Where all runs among the folders lie; the current folder where they have none in common."""
    here = Path.cwd()
    runs = [
        os.path.abspath(run)  # noqa: PTH100 - links are followed by `resolve`, and not wanted here
        for run in folders
        if (run / CONFIG_FILE).is_file()
    ]
    try:
        common = Path(os.path.commonpath(runs))
    except ValueError:  # none, or on several drives
        common = here
    if common == Path(common.anchor):
        common = here
    return common.relative_to(here) if common.is_relative_to(here) else common


def leave_out(reasons: Sequence[str], *, some_are_left: bool) -> None:
    """Warn of what is not drawn; if that is all, it is an error.

    Raises:
        UserError: with the first reason, if nothing is left.
    """
    if reasons and not some_are_left:
        raise UserError(reasons[0])
    for reason in reasons[:_MOST_TOLD]:
        warnings.warn(f"left out of the picture: {reason}", stacklevel=4)
    if len(reasons) > _MOST_TOLD:
        warnings.warn(f"left out too: {len(reasons) - _MOST_TOLD} others", stacklevel=4)


def _read_run(folder: Path) -> Run:
    config = open_folder(folder).config
    try:
        tree = read_resolved_yaml(config)
    except ConfigError as error:
        reason = str(error).partition("configuration: ")[2]
        raise UserError(f"{folder}: config.yaml cannot be read: {reason}") from error
    return Run(folder, dict(_leaves(tree)), read_metrics(folder))


def _leaves(tree: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    """The leaves of a config, by dotted key, as strings."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree if isinstance(tree, str) else json.dumps(tree, default=str)
