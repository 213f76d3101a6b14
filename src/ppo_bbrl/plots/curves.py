"""Learning curves of one or several runs, from the files in their folders."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from ppo_bbrl.errors import UserError
from ppo_bbrl.metrics import METRICS
from ppo_bbrl.plots.figures import COLOURS
from ppo_bbrl.runs import open_folder

# matplotlib and pandas are imported where they are used: with them the start takes twice as long.
if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

EVALUATION = "reward/mean"
TRAINING = "episode/return"
_LABELS = {EVALUATION: "Return of evaluation episodes", TRAINING: "Return of training episodes"}
_LINES = ("-", "--", ":")
_SEED = "algorithm.seed"
_MOST_LINES = 6  # of a legend that has room inside the picture
_UNSET = "(unset)"


class Curve(NamedTuple):
    """A metric over environment steps: both one-dimensional, steps increasing."""

    steps: Floats
    values: Floats


class _Run(NamedTuple):
    folder: Path
    config: dict[str, str]  # by dotted key
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
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]  # A run that is being killed leaves half a line.
    # Not by pandas, whose parsers of some versions are off by one unit in the last place.
    header, *rows = csv.reader(io.StringIO(whole)) if whole else [[""]]
    if header[0] != "steps" or not rows:
        raise UserError(f"{run}: metrics.csv has no rows")
    try:
        cells = np.array([[float(cell or "nan") for cell in row] for row in rows])
        frame = pd.DataFrame(cells, columns=header).astype({"steps": np.int64})
    except ValueError as error:
        raise UserError(f"{run}: metrics.csv is not a table of numbers: {error}") from error
    return frame.sort_values("steps", kind="stable", ignore_index=True)


def learning_curve(
    runs: Sequence[Path], *, metric: str = EVALUATION, by: str | None = None
) -> Figure:
    """Draws the learning curves of one or several runs in one picture.

    Runs whose configs differ only in their seed and folder form a group: its mean, with a 95 %
    bootstrap interval of the mean, over the steps that all its runs have reached, and a thin line
    for each run. A single run shows the range of its evaluation episodes, and its training
    episodes.

    Args:
        runs: folders of runs.
        metric: what to draw, a column of `metrics.csv`. Where a run has no evaluation yet, the
            returns of the training episodes are drawn instead, which the axis says.
        by: group the runs by this config key instead, such as `algorithm.clip_range`.

    Raises:
        UserError: a folder is not that of a run, or lacks the metric or the key.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import EngFormatter  # noqa: PLC0415

    found = [
        _read_run(folder) for folder in {Path(run).resolve(): Path(run) for run in runs}.values()
    ]
    if not found:
        raise UserError("no run to draw: give at least one run folder")
    metric, label = _choose_metric(found, metric)

    figure = Figure(figsize=(7.0, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    groups = _group(found, by)
    if len(found) == 1:
        _draw_run(axes, found[0], metric)
    else:
        for index, (name, group) in enumerate(groups.items()):
            colour = COLOURS[index % len(COLOURS)]
            line = _LINES[index // len(COLOURS) % len(_LINES)]
            _draw_group(axes, name, group, metric, colour=colour, line=line)
    tasks = sorted({run.config.get("gym_env.env_name", "") for run in found} - {""})
    axes.set_title(", ".join(tasks))
    axes.set_xlabel("Environment steps")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    names = axes.get_legend_handles_labels()[1]
    if names:
        title = "mean, 95 % interval of the mean" if len(found) > len(groups) else None
        style: dict[str, Any] = {"title": title, "fontsize": "small", "title_fontsize": "small"}
        lines = sum(name.count("\n") + 1 for name in names)
        if lines <= _MOST_LINES:
            axes.legend(framealpha=0.8, edgecolor="none", **style)
        else:
            figure.set_figheight(4.2 + 0.1 * lines)
            figure.legend(loc="outside lower center", ncols=2, frameon=False, **style)
    return figure


def _read_run(folder: Path) -> _Run:
    config = open_folder(folder).config
    try:
        tree = OmegaConf.to_container(OmegaConf.load(config))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder}: config.yaml cannot be read: {reason}") from error
    return _Run(folder, dict(_leaves(tree)), read_metrics(folder))


def _leaves(tree: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    """The leaves of a config, by dotted key, as text."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree if isinstance(tree, str) else json.dumps(tree)


def _choose_metric(runs: Sequence[_Run], metric: str) -> tuple[str, str]:
    """The metric that all runs have, and the label of its axis."""

    def lacking(name: str) -> list[_Run]:
        return [run for run in runs if not len(_curve(run, name).steps)]

    without = lacking(metric)
    if not without:
        unit = METRICS[metric].unit if metric in METRICS else ""
        return metric, _LABELS.get(metric, f"{metric} ({unit})" if unit else metric)
    if metric == EVALUATION and not lacking(TRAINING):
        whose = "" if len(without) == len(runs) else " of all runs"
        return TRAINING, f"{_LABELS[TRAINING]}\n(no evaluation{whose} yet)"
    run = without[0]
    there = [name for name in run.metrics.columns[1:] if len(_curve(run, name).steps)]
    have = f"it has {', '.join(there)}" if there else "it has no metric yet"
    raise UserError(f"{run.folder}: this run has no {metric}; {have}")


def _curve(run: _Run, metric: str) -> Curve:
    if metric not in run.metrics:
        return Curve(np.empty(0), np.empty(0))
    series = run.metrics.set_index("steps")[metric].dropna().groupby(level=0).mean()
    return Curve(series.index.to_numpy(np.float64), series.to_numpy(np.float64))


def _group(runs: Sequence[_Run], by: str | None) -> dict[str, list[_Run]]:
    """Runs by what their configs have in common, under a name that tells the groups apart."""
    if by is None:
        every = dict.fromkeys(key for run in runs for key in run.config)
        keys = [
            key
            for key in every
            if not _names_the_run(key) and len({run.config.get(key) for run in runs}) > 1
        ]
    else:
        keys = [by]
        for run in runs:
            if by not in run.config:
                raise UserError(f"{run.folder}: its config has no key {by}")
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        name = "\n".join(f"{key}={run.config.get(key, _UNSET)}" for key in keys)
        groups.setdefault(name, []).append(run)
    return groups


def _names_the_run(key: str) -> bool:
    """Whether a key says which run it is and where it lies, rather than how it learns."""
    return key == _SEED or key.startswith("logger.") or key.endswith("_dir")


def _draw_run(axes: Axes, run: _Run, metric: str) -> None:
    """One run: its evaluations with their range, before its training episodes."""
    steps, values = _curve(run, metric)
    label = ""
    if metric == EVALUATION:
        label = "evaluation episodes, mean"
        training, low, high = (_curve(run, name) for name in (TRAINING, "reward/min", "reward/max"))
        if len(training.steps):
            episodes = "training episodes, mean"
            axes.plot(*training, color="0.55", linewidth=0.8, alpha=0.6, label=episodes)
        if np.array_equal(low.steps, steps) and np.array_equal(high.steps, steps):
            area = axes.fill_between(steps, low.values, high.values, color=COLOURS[0], alpha=0.2)
            area.set(linewidth=0, label="evaluation episodes, min to max")
    marker = "o" if len(steps) <= 40 else None
    (line,) = axes.plot(steps, values, color=COLOURS[0], marker=marker, ms=3.5, label=label)
    line.set_linewidth(1.8 if len(steps) <= 200 else 1.0)


def _draw_group(
    axes: Axes, name: str, runs: Sequence[_Run], metric: str, *, colour: str, line: str
) -> None:
    """Several runs that differ in their seed: mean, interval of the mean, single runs."""
    curves = [_curve(run, metric) for run in runs]
    seeds = {run.config.get(_SEED, str(index)) for index, run in enumerate(runs)}
    count = f"{len(runs)} {'seed' if len(seeds) == len(runs) else 'run'}{'s' * (len(runs) > 1)}"
    label = f"{name} ({count})" if name else count
    grid = _common_grid(curves)
    if len(curves) > 1 and len(grid):
        for steps, values in curves:
            axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.35)
        rows = np.stack([np.interp(grid, steps, values) for steps, values in curves])
        low, high = bootstrap_interval(rows)
        axes.fill_between(grid, low, high, color=colour, alpha=0.2, linewidth=0)
        curves = [Curve(grid, rows.mean(0))]
    for index, (steps, values) in enumerate(curves):
        marker = "o" if len(steps) == 1 else None
        what = "" if index else label
        axes.plot(
            steps, values, color=colour, linestyle=line, linewidth=1.8, marker=marker, label=what
        )


def _common_grid(curves: Sequence[Curve], points: int = 400) -> Floats:
    """The steps that all curves cover: those measured, or as many as a picture can show."""
    low = max(curve.steps[0] for curve in curves)
    high = min(curve.steps[-1] for curve in curves)
    grid: Floats = np.unique(np.concatenate([curve.steps for curve in curves]))
    grid = grid[(low <= grid) & (grid <= high)]
    return grid if len(grid) <= points else np.linspace(low, high, points)


def bootstrap_interval(rows: Floats, *, level: float = 0.95, resamples: int = 5000) -> Floats:
    """Percentile bootstrap interval of the mean of the rows, the same at each call.

    Args:
        rows: [S, N]: one row per seed.
        level: probability that the interval is meant to cover.
        resamples: how many times S rows are drawn with replacement.

    Returns:
        [2, N]: lower and upper end.
    """
    seeds = len(rows)
    generator = np.random.default_rng(0)
    # How often each row is drawn is multinomial, so that every resampled mean is a product.
    counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    tail = 100 * (1 - level) / 2
    ends: Floats = np.percentile(counts @ rows / seeds, [tail, 100 - tail], axis=0)
    return ends
