"""What is not a finite number in a rollout: in which environment, variable and step it began."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.workspace.table import Workspace

_ROWS_BEFORE = 2  # of those that are kept with a fault


@dataclass(frozen=True)
class Fault:
    """The first value of a rollout that is not finite.

    Attributes:
        message: which it is, in words.
        environment, row: where it is, counted from 0.
    """

    message: str
    environment: int
    row: int

    def rows(self, workspace: Workspace, env: EnvAgent) -> dict[str, Tensor]:
        """The rows of its environment up to it, `[≤ 3, …]` each, by variable."""
        rows = slice(max(0, self.row - _ROWS_BEFORE), self.row + 1)
        return {
            name: workspace.view(name)[rows, self.environment].detach().clone()
            for name in workspace.variables
            if name.startswith(env.output) or name == env.input
        }


def first_fault(
    workspace: Workspace, env: EnvAgent, *, infinity_is_known: bool = False
) -> Fault | None:
    """The first observation, reward or action in time that is NaN or infinite.

    Args:
        workspace: with the rows of a rollout; those that an error kept from being written are old.
        env: which wrote them.
        infinity_is_known: whether infinite observations are allowed, as agents of the user's own
            may have a meaning for them.
    """
    reward = f"{env.output}reward"
    found: list[tuple[int, int, int, str, float]] = []
    for order, name in enumerate((reward, *env.observation_names, env.input)):
        if name not in workspace.variables:
            continue
        values = workspace.view(name).detach()
        if not values.is_floating_point() or np.isfinite(float(values.sum())):
            continue
        may_be_infinite = infinity_is_known and name in env.observation_names
        wrong = values.isnan() if may_be_infinite else ~values.isfinite()
        if wrong.any():
            place = wrong.flatten(2).any(2) if wrong.ndim > 2 else wrong
            row, column = (int(index) for index in place.nonzero()[0])
            value = float(values[row, column][wrong[row, column]].flatten()[0])
            found.append((row, order, column, name, value))
    if not found:
        return None
    row, _, column, name, value = min(found)
    is_action = name == env.input
    step = int(workspace.view(f"{env.output}timestep")[row, column])
    of = f"environment {column} of {env.num_envs} ({env.env_name})"
    when = f"in step {step + is_action} of its episode" if step or is_action else "after a reset"
    what = (
        "the action for it" if is_action else "its reward" if name == reward else "its observation"
    )
    return Fault(f"{of}: {what} is {value:g} {when}: {name}, row {row} of the rollout", column, row)
