"""The picture of a comparison: sample efficiency, performance profiles, improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ppo_bbrl.errors import one_line
from ppo_bbrl.plots.curves import EVALUATION, LABELS, Curve, common_grid
from ppo_bbrl.plots.figures import COLOURS, show_literally
from ppo_bbrl.plots.statistics import Estimate, interquartile_mean, performance_profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Groups = Mapping[str, tuple[Sequence[Curve], Floats]]
_MAX_NAME = 40


def draw(groups: Groups, probability: Estimate, task: str) -> Figure:
    """Draw two groups of runs side by side.

    Args:
        groups: by name, the learning curves and the last evaluation of each run, `[S]`.
        probability: that a run of the first group ends better than one of the second.
        task: the environment's name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 4.0), dpi=150, layout="constrained")
    curves, profiles, chances = figure.subplots(1, 3, width_ratios=(3, 2.4, 1.2))
    for colour, (name, (runs, last)) in zip(COLOURS, groups.items(), strict=False):
        label = f"{one_line(name, _MAX_NAME)} ({len(runs)} seeds)"
        _draw_curves(curves, runs, colour, label)
        _draw_profile(profiles, [scores for _, scores in groups.values()], last, colour)
    curves.legend(framealpha=0.8, edgecolor="none", fontsize="small")
    curves.set(xlabel="Environment steps", ylabel=LABELS[EVALUATION], title=one_line(task, 40))
    profiles.set(xlabel="Return of the last evaluation, r", ylabel="Fraction of runs ≥ r")
    profiles.set(title="Performance profiles", ylim=(-0.02, 1.02))
    first, second = (one_line(name, 24) for name in groups)
    _draw_probability(chances, probability)
    chances.set_title(f"P({first}\n> {second})", fontsize="small")
    for axes in (curves, profiles, chances):
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    show_literally(figure)
    return figure


def _draw_curves(axes: Axes, runs: Sequence[Curve], colour: str, label: str) -> None:
    from matplotlib.ticker import EngFormatter

    grid = common_grid(runs)
    if not len(grid):
        return
    rows = np.stack([np.interp(grid, steps, values) for steps, values in runs])
    mean = interquartile_mean(rows)
    axes.plot(grid, mean.value, color=colour, linewidth=1.8, label=label)
    axes.fill_between(grid, mean.low, mean.high, color=colour, alpha=0.2, linewidth=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _draw_profile(axes: Axes, every: Sequence[Floats], last: Floats, colour: str) -> None:
    low, high = min(map(np.min, every)), max(map(np.max, every))
    margin = 0.05 * (high - low) or 1.0
    thresholds = np.linspace(low - margin, high + margin, 400)
    shares = performance_profile(last, thresholds)
    axes.plot(thresholds, shares, color=colour, linewidth=1.8, drawstyle="steps-post")


def _draw_probability(axes: Axes, found: Estimate) -> None:
    value, low, high = (float(each) for each in found)
    axes.errorbar([0], [value], [[value - low], [high - value]], fmt="o", color="black", capsize=4)
    axes.axhline(0.5, color="0.5", linewidth=0.8, linestyle="--")
    axes.text(0.12, value, f"{value:.2f}", va="center", fontsize="small")
    axes.set(xlim=(-0.5, 0.5), ylim=(-0.02, 1.02), xticks=[])
