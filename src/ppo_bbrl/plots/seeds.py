"""The learning curves of several seeds, with their interquartile mean and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.plots.curves import EVALUATION, LABELS, TRAINING, common_grid, curve_of
from ppo_bbrl.plots.figures import COLOURS, show_literally
from ppo_bbrl.plots.run_files import read_runs
from ppo_bbrl.plots.statistics import interquartile_mean

# matplotlib is imported where it is used: with it the start takes twice as long.
if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_TITLE = 80


def seed_curves(runs: Sequence[Path], *, metric: str = EVALUATION) -> Figure:
    """Draw one thin line for each run, their interquartile mean, and its 95 % interval.

    Args:
        runs: folders of runs that differ in their seed.
        metric: a column of metrics.csv; training returns where the runs have no evaluations.

    Raises:
        UserError: if no run has the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    every = read_runs(runs)
    if metric == EVALUATION and not any(len(curve_of(run, metric).steps) for run in every):
        metric = TRAINING
    curves = [curve for run in every if len((curve := curve_of(run, metric)).steps)]
    if not curves:
        raise UserError(f"{runs[0]}: this run has no metric {metric}")
    figure = Figure(figsize=(7.0, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for index, (steps, values) in enumerate(curves):
        label = "" if index else f"each of {len(curves)} seeds"
        axes.plot(steps, values, color="0.55", linewidth=0.7, alpha=0.6, label=label)
    grid = common_grid(curves)
    if len(grid):
        rows = np.stack([np.interp(grid, steps, values) for steps, values in curves])
        mean = interquartile_mean(rows)
        label = "interquartile mean"
        axes.plot(grid, mean.value, color=COLOURS[0], linewidth=1.8, label=label)
        area = axes.fill_between(grid, mean.low, mean.high, color=COLOURS[0], alpha=0.2)
        area.set(linewidth=0, label="95 % bootstrap interval")
    axes.set_title(one_line(every[0].config.get("gym_env.env_name", ""), _MAX_TITLE))
    axes.set_xlabel("Environment steps")
    axes.set_ylabel(LABELS.get(metric, metric))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.01)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(framealpha=0.8, edgecolor="none", fontsize="small")
    show_literally(figure)
    return figure
