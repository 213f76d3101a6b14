"""Maps of a critic or policy over two coordinates of the state, with the others fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch.distributions import Categorical

from ppo_bbrl.agents.base import device_of, predict_values
from ppo_bbrl.errors import UserError
from ppo_bbrl.plots.states import StateSpace, state_space

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

POINTS = 81
MAX_PANELS = 8


class _Panel(NamedTuple):
    """One map: its values over the plane, `[points, points]`."""

    title: str
    values: Tensor
    colours: str = "viridis"
    low: float | None = None
    high: float | None = None


def critic_map(
    critic: nn.Module,
    task: str | StateSpace,
    *,
    x: str | None = None,
    y: str | None = None,
    fixed: Mapping[str, float] | None = None,
    points: int = POINTS,
) -> Figure:
    """Draw a critic's values of states.

    Args:
        critic: the package's, or any agent that writes `{prefix}v_values` from `env/env_obs`.
        task: name of the environment, such as CartPole-v1 or Pendulum-v1, or a `StateSpace` that
            describes the states of another one.
        x: coordinate along the horizontal axis; default: the task's second to last.
        y: coordinate along the vertical axis; default: the task's last.
        fixed: values of the other coordinates; default: 0.
        points: resolution in both directions.

    Raises:
        UserError: if the task or a coordinate is unknown.
    """
    space = state_space(task)
    x, y = _axes_of(space, x, y)
    fixed = fixed or {}
    observations = space.plane(x, y, fixed, points)
    with torch.no_grad():
        flat = observations.flatten(0, 1).to(device_of(critic))
        values = predict_values(critic, {"env/env_obs": flat}).reshape(points, points).cpu()
    return _draw([_Panel("V(s)", values)], space, x, y, fixed)


def policy_map(
    policy: nn.Module,
    task: str | StateSpace,
    *,
    x: str | None = None,
    y: str | None = None,
    fixed: Mapping[str, float] | None = None,
    points: int = POINTS,
) -> Figure:
    """Draw a policy's actions in states.

    For discrete actions it draws the probabilities, one map per action (or one for two actions,
    as the other is its complement); for continuous actions the mean, one map per component, not
    clipped to the bounds of the environment.

    Args:
        policy: an agent with `dist(obs)`: from observations `[N, …]` to a distribution.
        task: as for `critic_map`.
        x: as for `critic_map`.
        y: as for `critic_map`.
        fixed: as for `critic_map`.
        points: as for `critic_map`.

    Raises:
        UserError: if the task or a coordinate is unknown, or the policy has no `dist`.
    """
    space = state_space(task)
    x, y = _axes_of(space, x, y)
    fixed = fixed or {}
    while not hasattr(policy, "dist") and hasattr(policy, "wrapped"):
        policy = cast("nn.Module", policy.wrapped)  # the greedy version of a policy wraps it
    if not hasattr(policy, "dist"):
        raise UserError(f"{type(policy).__name__} has no method dist(obs), which the map needs")
    observations = space.plane(x, y, fixed, points)
    with torch.no_grad():
        dist = cast("Any", policy).dist(observations.flatten(0, 1).to(device_of(policy)))
        panels = _panels(dist, points)
    if len(panels) > MAX_PANELS:
        raise UserError(
            f"the policy needs {len(panels)} maps, one per action or component; at most "
            f"{MAX_PANELS} can be drawn"
        )
    return _draw(panels, space, x, y, fixed)


def _axes_of(space: StateSpace, x: str | None, y: str | None) -> tuple[str, str]:
    """The given axes; missing ones are filled from the last two coordinates."""
    first, second = (coordinate.name for coordinate in space.coordinates[-2:])
    if x is None:
        x = second if y == first else first
    if y is None:
        y = first if x == second else second
    return x, y


def _panels(dist: Any, points: int) -> list[_Panel]:
    if isinstance(dist, Categorical):
        maps = dist.probs.reshape(points, points, -1).cpu().unbind(-1)
        first = 1 if len(maps) == 2 else 0
        return [
            _Panel(f"π({action} | s)", maps[action], "PuOr_r", 0.0, 1.0)
            for action in range(first, len(maps))
        ]
    components = dist.mean.reshape(points, points, -1).cpu().unbind(-1)
    panels = []
    for index, mean in enumerate(components):
        size = max(mean.abs().max().item(), 1e-6)
        name = "mean action" if len(components) == 1 else f"mean action, component {index}"
        panels.append(_Panel(name, mean, "PuOr_r", -size, size))
    return panels


def _draw(
    panels: list[_Panel], space: StateSpace, x: str, y: str, fixed: Mapping[str, float]
) -> Figure:
    from matplotlib.figure import Figure

    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1.0 + 3.6 * columns, 3.4 * rows), dpi=110, layout="constrained")
    horizontal, vertical = space.coordinate(x), space.coordinate(y)
    extent = (horizontal.low, horizontal.high, vertical.low, vertical.high)
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        image = axes.imshow(
            panel.values.numpy(),
            origin="lower",
            extent=extent,
            aspect="auto",
            cmap=panel.colours,
            vmin=panel.low,
            vmax=panel.high,
        )
        figure.colorbar(image, ax=axes)
        axes.set_title(panel.title)
        axes.set_xlabel(horizontal.label)
        axes.set_ylabel(vertical.label)
    others = [c.name for c in space.coordinates if c.name not in (x, y)]
    if others:
        text = ", ".join(f"{name} = {fixed.get(name, 0.0):g}" for name in others)
        figure.suptitle(text, fontsize="small")
    return figure
