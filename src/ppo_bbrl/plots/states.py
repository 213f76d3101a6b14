"""The states of a task: their coordinates, and the observations they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppo_bbrl.errors import UserError


@dataclass(frozen=True)
class Coordinate:
    """One number of a state, and the range that a map shows.

    Attributes:
        name: its name.
        low, high: the range.
        unit: its unit; may be empty.
    """

    name: str
    low: float
    high: float
    unit: str = ""

    @property
    def label(self) -> str:
        """The label of its axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class StateSpace:
    """The states of a task.

    Attributes:
        coordinates: the coordinates of a state. By default, a map shows the last two.
        observe: maps the coordinates, `[...]` each, in order, to the observation,
            `[..., observation]`. By default it stacks the coordinates.
    """

    coordinates: tuple[Coordinate, ...]
    observe: Callable[..., Tensor] = lambda *values: torch.stack(values, dim=-1)

    def coordinate(self, name: str) -> Coordinate:
        """The coordinate of this name.

        Raises:
            UserError: if there is none.
        """
        for coordinate in self.coordinates:
            if coordinate.name == name:
                return coordinate
        there = ", ".join(repr(coordinate.name) for coordinate in self.coordinates)
        raise UserError(f"there is no coordinate {name!r}; allowed are {there}")

    def plane(self, x: str, y: str, fixed: Mapping[str, float], points: int) -> Tensor:
        """Observations over two coordinates, `[points, points, observation]`; rows follow y.

        Args:
            x: coordinate that varies along the columns.
            y: coordinate that varies along the rows.
            fixed: values of the other coordinates; default: 0.
            points: number of values of each coordinate.

        Raises:
            UserError: if a name is unknown or used twice.
        """
        if x == y:
            raise UserError(f"x and y are both {x!r}; choose two different coordinates")
        for name in fixed:
            self.coordinate(name)
            if name in (x, y):
                raise UserError(f"{name!r} is an axis of the map and cannot be fixed")
        horizontal, vertical = (
            torch.linspace(c.low, c.high, points) for c in (self.coordinate(x), self.coordinate(y))
        )
        rows, columns = torch.meshgrid(vertical, horizontal, indexing="ij")
        axes = {x: columns, y: rows}
        values = [
            axes.get(c.name, torch.full_like(rows, fixed.get(c.name, 0.0)))
            for c in self.coordinates
        ]
        return self.observe(*values)


# Ranges: the position and angle at which an episode continues, and the velocities of a good policy.
CARTPOLE = StateSpace(
    (
        Coordinate("position", -2.4, 2.4, "m"),
        Coordinate("velocity", -2.0, 2.0, "m/s"),
        Coordinate("angle", -0.21, 0.21, "rad"),
        Coordinate("angular velocity", -2.0, 2.0, "rad/s"),
    )
)
# The angle is 0 when the pendulum is upright; it is observed as its cosine and sine.
PENDULUM = StateSpace(
    (
        Coordinate("angle", -torch.pi, torch.pi, "rad, 0 is upright"),
        Coordinate("angular velocity", -8.0, 8.0, "rad/s"),
    ),
    lambda angle, velocity: torch.stack((angle.cos(), angle.sin(), velocity), dim=-1),
)
#: by the beginning of the environment's name
STATE_SPACES = {"CartPole": CARTPOLE, "Pendulum": PENDULUM}


def state_space(task: str | StateSpace) -> StateSpace:
    """The states of a task, from the name of its environment.

    Raises:
        UserError: if the task is unknown.
    """
    if isinstance(task, StateSpace):
        return task
    for beginning, space in STATE_SPACES.items():
        if task.startswith(beginning):
            return space
    known = ", ".join(STATE_SPACES)
    raise UserError(
        f"the states of {task!r} are unknown; known are those of {known}. Pass a StateSpace that "
        "describes them"
    )
