"""The picture of a tuning study: how good the trials were, and with which values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppo_bbrl.plots.figures import COLOURS, show_literally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4


def study_figure(
    scores: Mapping[int, float], values: Mapping[str, Sequence[Any]], logarithmic: set[str]
) -> Figure:
    """Draw the trials that came to their end.

    Args:
        scores: of N trials, by number.
        values: of each tuned key, in the order of the trials, N each.
        logarithmic: the keys whose axis is logarithmic.
    """
    from matplotlib.figure import Figure

    panels = 1 + len(values)
    rows = math.ceil(panels / _COLUMNS)
    columns = min(panels, _COLUMNS)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), dpi=150, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    numbers, points = np.array(list(scores)), np.array(list(scores.values()))
    first = grid[0]
    first.plot(numbers, points, "o", color=COLOURS[0], markersize=3.5, alpha=0.7)
    first.step(numbers, np.maximum.accumulate(points), where="post", color=COLOURS[1])
    first.set(xlabel="Trial", title="Score, and the best so far")
    for axes, (key, chosen) in zip(grid[1:], values.items(), strict=False):
        _draw_values(axes, chosen, points, log=key in logarithmic)
        axes.set_title(key.removeprefix("algorithm."), fontsize="small")
    for axes in grid[:panels]:
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid[panels:]:
        axes.set_visible(False)
    show_literally(figure)
    return figure


def _draw_values(axes: Axes, chosen: Sequence[Any], points: Any, *, log: bool) -> None:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in chosen):
        axes.plot(chosen, points, "o", color=COLOURS[0], markersize=3.5, alpha=0.7)
        if log:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.xaxis.set_minor_formatter(lambda *_: "")
        return
    labels = list(dict.fromkeys(map(str, chosen)))
    places = [labels.index(str(value)) for value in chosen]
    axes.plot(places, points, "o", color=COLOURS[0], markersize=3.5, alpha=0.7)
    axes.set_xticks(range(len(labels)), labels, fontsize="x-small")
    axes.set_xlim(-0.5, len(labels) - 0.5)
