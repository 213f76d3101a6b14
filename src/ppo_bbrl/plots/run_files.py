"""Reads the files of runs for figures: their configurations and metrics."""

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

from ppo_bbrl.config.yaml_files import leaves, read_resolved_yaml
from ppo_bbrl.errors import ConfigError, UserError, one_line
from ppo_bbrl.runs.folder import CONFIG_FILE, open_folder

# pandas is imported where it is used, because that is slow.
if TYPE_CHECKING:
    import pandas as pd

_MAX_WARNINGS = 5
_MAX_STEPS = 2**53  # floats represent integers exactly up to here


class Run(NamedTuple):
    """A run: its folder, its config by dotted key, its metrics as `read_metrics` gives them."""

    folder: Path
    config: dict[str, str]
    metrics: pd.DataFrame


def read_metrics(run: Path) -> pd.DataFrame:
    """Read a run's `metrics.csv`.

    Args:
        run: the folder of the run.

    Returns:
        A column `steps` and one per metric, sorted by step; NaN if nothing was measured.

    Raises:
        UserError: if the folder is not the folder of a run, or has no metrics yet.
    """
    import pandas as pd

    path = open_folder(run).metrics
    if not path.is_file():
        raise UserError(f"{run}: this run has no metrics.csv")
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole = text[: text.rfind("\n") + 1]  # a run that was killed may leave half a line
        # Not with pandas: the parsers of some versions are off by one unit in the last place.
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
            raise ValueError(f"a row has {len(row)} cells, not {len(header)}: {','.join(row)}")
    cells = np.array([[float(cell or "nan") for cell in row] for row in rows])
    if not (np.abs(cells[:, 0]) < _MAX_STEPS).all():
        raise ValueError("a row has no number of steps")
    return cells[np.argsort(cells[:, 0], kind="stable")]


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """The runs that can be drawn, each once. The others cause warnings.

    Raises:
        UserError: if a path does not exist, or none can be drawn.
    """
    found, reasons = [], []
    for folder in {Path(run).resolve(): Path(run) for run in folders}.values():
        if not folder.exists():  # a typo: shell patterns match only what exists
            open_folder(folder)
        try:
            found.append(_read_run(folder))
        except UserError as error:
            reasons.append(str(error))
    if not found and not reasons:
        raise UserError("no run to draw: give the folder of at least one run")
    leave_out(reasons, some_are_left=bool(found))
    return found


def common_folder(folders: Iterable[Path]) -> Path:
    """The folder that contains all runs among `folders`; the current one if there is none."""
    here = Path.cwd()
    runs = [
        os.path.abspath(run)  # noqa: PTH100 - `resolve` would follow links
        for run in folders
        if (run / CONFIG_FILE).is_file()
    ]
    try:
        common = Path(os.path.commonpath(runs))
    except ValueError:  # no runs, or on different drives
        common = here
    if common == Path(common.anchor):
        common = here
    return common.relative_to(here) if common.is_relative_to(here) else common


def leave_out(reasons: Sequence[str], *, some_are_left: bool) -> None:
    """Warn about what is not drawn; if nothing is drawn, it is an error.

    Raises:
        UserError: with the first reason, if nothing is left.
    """
    if reasons and not some_are_left:
        raise UserError(reasons[0])
    for reason in reasons[:_MAX_WARNINGS]:
        warnings.warn(f"not drawn: {reason}", stacklevel=4)
    if len(reasons) > _MAX_WARNINGS:
        warnings.warn(f"not drawn: {len(reasons) - _MAX_WARNINGS} more", stacklevel=4)


def _read_run(folder: Path) -> Run:
    config = open_folder(folder).config
    try:
        tree = read_resolved_yaml(config)
    except ConfigError as error:
        reason = str(error).partition("configuration: ")[2]
        raise UserError(f"{folder}: config.yaml cannot be read: {reason}") from error
    return Run(folder, as_texts(tree), read_metrics(folder))


def as_texts(tree: Any) -> dict[str, str]:
    """The values of a config, by dotted key, as texts."""
    return {
        key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in leaves(tree)
    }
