"""Figures: learning curves, the workspace as a grid, maps of a policy and of a critic.

Importing the package loads nothing: each module is imported when one of its names is first used,
and matplotlib when something is drawn.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_bbrl.plots.curves import Curve, bootstrap_interval, learning_curve
    from ppo_bbrl.plots.figures import save_figure
    from ppo_bbrl.plots.grid import workspace_grid
    from ppo_bbrl.plots.maps import critic_map, policy_map
    from ppo_bbrl.plots.run_files import read_metrics
    from ppo_bbrl.plots.states import Coordinate, StateSpace

_HOME = {
    "Coordinate": "ppo_bbrl.plots.states",
    "Curve": "ppo_bbrl.plots.curves",
    "StateSpace": "ppo_bbrl.plots.states",
    "bootstrap_interval": "ppo_bbrl.plots.curves",
    "critic_map": "ppo_bbrl.plots.maps",
    "learning_curve": "ppo_bbrl.plots.curves",
    "policy_map": "ppo_bbrl.plots.maps",
    "read_metrics": "ppo_bbrl.plots.run_files",
    "save_figure": "ppo_bbrl.plots.figures",
    "workspace_grid": "ppo_bbrl.plots.grid",
}

__all__ = [
    "Coordinate",
    "Curve",
    "StateSpace",
    "bootstrap_interval",
    "critic_map",
    "learning_curve",
    "policy_map",
    "read_metrics",
    "save_figure",
    "workspace_grid",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ppo_bbrl.plots' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
