"""The workspace as a grid: time runs down, environments are columns, episode ends are marked."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ppo_bbrl.errors import UserError
from ppo_bbrl.plots.figures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from ppo_bbrl.workspace.table import Workspace

Bools = NDArray[np.bool_]

TERMINATED, TRUNCATED = "env/terminated", "env/truncated"
MAX_CELLS = 4096
MAX_NUMBERS = 1024
_EPISODES = ("#E8E8E8", "#FFFFFF")  # alternating
_ENDS: dict[str, tuple[str, Literal["-", "--"]]] = {
    "terminated": (COLOURS[1], "-"),
    "truncated": (COLOURS[5], "--"),
}
_HEIGHT, _GAP = 0.7, 0.3  # of a cell; between two cells
_MAX_ROWS_WITH_ARROWS = 40


def workspace_grid(
    workspace: Workspace,
    numbers: str | Tensor | None = None,
    *,
    form: str = "{:.3g}",
    title: str | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Draw a workspace as a T × B grid.

    A cell is row t of one environment. Border and colour mark the ends of episodes: terminated
    (solid; also if both flags are set) and truncated (dashed). The episodes of an environment
    alternate between grey and white. Between two cells is the step from one to the next: an
    arrow if it is a transition, hatched if it is not because the environment was reset.

    Args:
        workspace: has `env/terminated` and `env/truncated`, `[T, B]` bool.
        numbers: the numbers in the cells: the name of a variable, such as `env/reward`, or a
            tensor of your own, `[T, B]`; `[T-1, B]` leaves the last row empty.
        form: format string for a number; booleans are shown as 1 and 0.
        title: title of the grid; default: the name of the variable.
        axes: draw here instead of in a new figure.

    Raises:
        UserError: if a variable is missing, the numbers have the wrong shape, or the grid has too
            many cells to be readable.
    """
    terminated = _read(workspace, TERMINATED).bool().numpy()
    truncated = _read(workspace, TRUNCATED).bool().numpy()
    n_rows, n_envs = terminated.shape
    written = None if numbers is None else _numbers(workspace, numbers, n_rows, n_envs, form)
    most = MAX_CELLS if written is None else MAX_NUMBERS
    if n_rows * n_envs > most:
        what = "cells" if written is None else "cells with numbers"
        raise UserError(
            f"the workspace has {n_rows} × {n_envs} cells; at most {most} {what} can be drawn: "
            "draw part of it, with workspace.subtime(0, 20) or workspace.select_batch(index)"
        )
    if axes is None:
        axes = _new_axes(n_rows, n_envs, written)
    _draw_cells(axes, terminated, truncated)
    _draw_steps(axes, terminated | truncated)
    if written is not None:
        for (t, b), text in np.ndenumerate(written):
            axes.text(b, t, text, ha="center", va="center", fontsize="small")
    _label(axes, n_rows, n_envs)
    name = numbers if isinstance(numbers, str) else ""
    axes.set_title(title or name, parse_math=bool(title))  # names may have dollar signs
    found = [name for name, is_end in _ends(terminated, truncated).items() if is_end.any()]
    _draw_legend(axes, found, has_reset=bool((terminated | truncated)[:-1].any()))
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def _read(workspace: Workspace, name: str) -> Tensor:
    """A variable, without its gradient."""
    if name not in workspace.variables:
        there = ", ".join(workspace.variables) or "nothing"
        raise UserError(f"the workspace has no variable {name!r}; it has {there}")
    return workspace.get_full(name).detach().cpu()


def _numbers(
    workspace: Workspace, numbers: str | Tensor, n_rows: int, n_envs: int, form: str
) -> NDArray[Any]:
    """The numbers as strings, `[T, B]` or `[T-1, B]`."""
    if isinstance(numbers, str):
        name, tensor = f"{numbers} ", _read(workspace, numbers)
    else:
        name, tensor = "", torch.as_tensor(numbers).detach().cpu()
    shapes = [[n_rows, n_envs], [n_rows - 1, n_envs]]
    if list(tensor.shape) not in shapes:
        raise UserError(
            f"the numbers {name}have shape {list(tensor.shape)}; must be {shapes[0]} (one number "
            f"per cell), or {shapes[1]} (one per step)"
        )
    if tensor.dtype == torch.bool:
        tensor = tensor.int()
    texts = np.empty(tensor.shape, dtype=object)
    for cell in product(*map(range, tensor.shape)):
        texts[cell] = form.format(tensor[cell].item())
    return texts


def _ends(terminated: Bools, truncated: Bools) -> dict[str, Bools]:
    return {"terminated": terminated, "truncated": truncated & ~terminated}


def _new_axes(n_rows: int, n_envs: int, written: NDArray[Any] | None) -> Axes:
    from matplotlib.figure import Figure

    longest = 3 if written is None else max((len(text) for text in written.flat), default=3)
    width = min(n_envs * max(0.45, 0.12 * longest), 14.0)
    height = min(n_rows * 0.36, 8.0 if written is None else 12.0)
    size = (max(width + 0.8, 3.4), height + 1.2)
    return Figure(figsize=size, dpi=110, layout="constrained").add_subplot()


def _draw_cells(axes: Axes, terminated: Bools, truncated: Bools) -> None:
    from matplotlib.patches import Rectangle

    done = terminated | truncated
    # A row after the end of an episode belongs to the next one.
    episode = np.cumsum(np.vstack([np.zeros_like(done[:1]), done[:-1]]), axis=0)
    ends = _ends(terminated, truncated)
    for t, b in product(*map(range, done.shape)):
        style: dict[str, Any] = {
            "facecolor": _EPISODES[episode[t, b] % 2],
            "edgecolor": "0.6",
            "linewidth": 0.6,
        }
        for name, is_end in ends.items():
            if is_end[t, b]:
                colour, line = _ENDS[name]
                style = {"facecolor": colour + "66", "edgecolor": colour} | {
                    "linestyle": line,
                    "linewidth": 1.6,
                }
        cell = Rectangle((b - 0.44, t - _HEIGHT / 2), 0.88, _HEIGHT, **style)
        cell.set_gid(f"row {t}, environment {b}")
        axes.add_patch(cell)


def _draw_steps(axes: Axes, done: Bools) -> None:
    """The steps between rows t and t+1."""
    from matplotlib.patches import Rectangle

    n_rows = len(done)
    for t, b in product(range(n_rows - 1), range(done.shape[1])):
        if done[t, b]:
            corner = (b - 0.44, t + _HEIGHT / 2)
            step = Rectangle(
                corner, 0.88, _GAP, facecolor="white", edgecolor="0.25", hatch="/////", linewidth=0
            )
            step.set_gid(f"no transition from row {t}, environment {b}")
            axes.add_patch(step)
    if n_rows <= _MAX_ROWS_WITH_ARROWS:
        start, column = np.nonzero(~done[:-1])
        axes.scatter(column, start + 0.5, marker="v", s=9, color="0.45", linewidth=0)


def _label(axes: Axes, n_rows: int, n_envs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(-0.6, n_envs - 0.4)
    axes.set_ylim(n_rows - 0.4, -0.6)  # time runs downwards
    for axis, count in ((axes.xaxis, n_envs), (axes.yaxis, n_rows)):
        if count <= _MAX_ROWS_WITH_ARROWS:
            axis.set_ticks(range(count))
        else:
            axis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_label_position("top")  # as in a table
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel("environment")
    axes.set_ylabel("row t")
    axes.spines[:].set_visible(False)


def _draw_legend(axes: Axes, ends: list[str], *, has_reset: bool) -> None:
    from matplotlib.patches import Patch

    entries = []
    for name in ends:
        colour, line = _ENDS[name]
        entries.append(Patch(facecolor=colour + "66", edgecolor=colour, ls=line, label=name))
    if has_reset:
        patch = Patch(facecolor="white", edgecolor="0.25", hatch="/////", label="no transition")
        entries.append(patch)
    if entries:
        axes.legend(
            handles=entries,
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=1 if axes.get_xlim()[1] < 8 else len(entries),
            frameon=False,
            fontsize="small",
        )
