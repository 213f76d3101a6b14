"""Learning curves of one or more runs, from the files in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.plots.figures import COLOURS, show_literally
from ppo_bbrl.plots.run_files import Run, leave_out, read_runs
from ppo_bbrl.runs.metrics import METRICS, metric_name

# matplotlib is imported where it is used: with it the start takes twice as long.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

EVALUATION = "reward/mean"
TRAINING = "episode/return"
LABELS = {EVALUATION: "Return of evaluation episodes", TRAINING: "Return of training episodes"}
_LINES = ("-", "--", ":")
_SEED = "algorithm.seed"
_MAX_LEGEND_LINES = 6  # a longer legend goes below the figure
_UNSET = "(unset)"
_MAX_NAME, _MAX_TITLE = 60, 90  # characters


class Curve(NamedTuple):
    """A metric over environment steps: two one-dimensional arrays; steps increase."""

    steps: Floats
    values: Floats


def learning_curve(
    runs: Sequence[Path], *, metric: str = EVALUATION, by: str | None = None
) -> Figure:
    """Draw the learning curves of one or more runs in one figure.

    Runs whose configs differ only in seed and folder form a group. A group is drawn as its mean,
    with a 95 % bootstrap confidence interval, over the steps that all its runs have reached, and
    a thin line for each run. A single run is drawn with the range of its evaluation episodes, and
    its training episodes.

    A path that cannot be drawn (a file, a run that has just started, a run without this metric)
    is skipped with a warning if others can.

    Args:
        runs: folders of runs.
        metric: the metric to draw, by any of its names (docs/metrics.md). If a run has no
            evaluation yet, the returns of training episodes are drawn instead; the label of the
            axis says so.
        by: group the runs by this config key instead, such as `algorithm.clip_range`.

    Raises:
        UserError: if no folder can be drawn, or one does not exist or lacks the key.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    every = read_runs(runs)
    is_column = any(metric in run.metrics.columns for run in every)  # perhaps the user's own
    found, metric, label = _choose_metric(every, metric if is_column else metric_name(metric))

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
    axes.set_title(one_line(", ".join(tasks), _MAX_TITLE))
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
        if lines <= _MAX_LEGEND_LINES:
            axes.legend(framealpha=0.8, edgecolor="none", **style)
        else:
            figure.set_figheight(4.2 + 0.1 * lines)
            figure.legend(loc="outside lower center", ncols=2, frameon=False, **style)
    show_literally(figure)
    return figure


def _choose_metric(runs: Sequence[Run], metric: str) -> tuple[list[Run], str, str]:
    """The runs that have the metric, its name, and the label of its axis."""

    def having(name: str) -> list[Run]:
        return [run for run in runs if len(curve_of(run, name).steps)]

    found = having(metric)
    if metric == EVALUATION and len(found) < len(runs) == len(having(TRAINING)):
        whose = " of all runs" if found else ""
        return list(runs), TRAINING, f"{LABELS[TRAINING]}\n(no evaluation{whose} yet)"
    reasons = []
    for run in runs:
        if run not in found:
            there = [name for name in run.metrics.columns[1:] if len(curve_of(run, name).steps)]
            have = f"it has {', '.join(there)}" if there else "it has no metrics yet"
            reasons.append(f"{run.folder}: this run has no metric {metric}; {have}")
    leave_out(reasons, some_are_left=bool(found))
    unit = METRICS[metric].unit if metric in METRICS else ""
    label = LABELS.get(metric, f"{metric} ({unit})" if unit else metric)
    return found, metric, one_line(label, _MAX_TITLE)


def curve_of(run: Run, metric: str) -> Curve:
    """A metric of a run, where it is finite; empty if the run has none."""
    if metric not in run.metrics.columns[1:]:
        return Curve(np.empty(0), np.empty(0))
    series = run.metrics.set_index("steps")[metric]
    series = series[np.isfinite(series)].groupby(level=0).mean()
    return Curve(series.index.to_numpy(np.float64), series.to_numpy(np.float64))


def _group(runs: Sequence[Run], by: str | None) -> dict[str, list[Run]]:
    """Group runs by the values of their configs, under names that distinguish the groups."""
    if by is None:
        every = dict.fromkeys(key for run in runs for key in run.config)
        keys = [
            key
            for key in every
            if not names_the_run(key) and len({run.config.get(key) for run in runs}) > 1
        ]
    else:
        keys = [by]
        for run in runs:
            if by not in run.config:
                raise UserError(f"{run.folder}: its config has no key {by}")
    groups: dict[str, list[Run]] = {}
    for run in runs:
        name = "\n".join(
            one_line(f"{key}={run.config.get(key, _UNSET)}", _MAX_NAME) for key in keys
        )
        groups.setdefault(name, []).append(run)
    return groups


def names_the_run(key: str) -> bool:
    """Whether a key identifies the run or its folder, rather than how it learns."""
    return key == _SEED or key.startswith("logger.") or key.endswith("_dir")


def _draw_run(axes: Axes, run: Run, metric: str) -> None:
    """One run: its evaluations with their range, in front of its training episodes."""
    steps, values = curve_of(run, metric)
    label = ""
    if metric == EVALUATION:
        label = "evaluation episodes, mean"
        training, low, high = (
            curve_of(run, name) for name in (TRAINING, "reward/min", "reward/max")
        )
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
    axes: Axes, name: str, runs: Sequence[Run], metric: str, *, colour: str, line: str
) -> None:
    """Several runs that differ in their seed: mean, confidence interval, and each run."""
    curves = [curve_of(run, metric) for run in runs]
    seeds = {run.config.get(_SEED, str(index)) for index, run in enumerate(runs)}
    count = f"{len(runs)} {'seed' if len(seeds) == len(runs) else 'run'}{'s' * (len(runs) > 1)}"
    label = f"{name} ({count})" if name else count
    if label.startswith("_"):  # matplotlib hides such labels
        label = f" {label}"
    grid = common_grid(curves)
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


def common_grid(curves: Sequence[Curve], points: int = 400) -> Floats:
    """The steps that all curves cover: those measured, or as many as a figure can show."""
    low = max(curve.steps[0] for curve in curves)
    high = min(curve.steps[-1] for curve in curves)
    grid: Floats = np.unique(np.concatenate([curve.steps for curve in curves]))
    grid = grid[(low <= grid) & (grid <= high)]
    return grid if len(grid) <= points else np.linspace(low, high, points)


def bootstrap_interval(rows: Floats, *, level: float = 0.95, resamples: int = 5000) -> Floats:
    """Percentile bootstrap confidence interval of the mean of the rows; deterministic.

    Args:
        rows: [S, N]: one row per seed.
        level: confidence level.
        resamples: how many times S rows are drawn with replacement.

    Returns:
        [2, N]: lower and upper bound.
    """
    seeds = len(rows)
    generator = np.random.default_rng(0)
    # The number of times each row is drawn is multinomial: all means are one matrix product.
    counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    tail = 100 * (1 - level) / 2
    ends: Floats = np.percentile(counts @ rows / seeds, [tail, 100 - tail], axis=0)
    return ends
