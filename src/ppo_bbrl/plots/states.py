"""States in the words of a task: which coordinates there are, and what is observed of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppo_bbrl.errors import UserError


@dataclass(frozen=True)
class Coordinate:
    """One number of a state, and the range that a picture shows.

    Attributes:
        name: what it is called.
        low, high: the range.
        unit: of the axis; may be empty.
    """

    name: str
    low: float
    high: float
    unit: str = ""

    @property
    def label(self) -> str:
        """Of an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class StateSpace:
    """The states of a task.

    Attributes:
        coordinates: what a state consists of. A picture shows the last two unless it is told
            otherwise.
        observe: the observation of a state: from the coordinates, `[...]` each, in their order,
            to `[..., observation]`. By default the coordinates themselves, side by side.
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
        raise UserError(f"no coordinate {name!r}; there is {there}")

    def plane(self, x: str, y: str, fixed: Mapping[str, float], points: int) -> Tensor:
        """Observations over two coordinates, `[points, points, observation]`; rows follow y.

        Args:
            x: coordinate that changes along the columns.
            y: coordinate that changes along the rows.
            fixed: values of other coordinates; 0 where nothing is said.
            points: how many values of each coordinate.

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


# Ranges: where an episode of CartPole goes on, and what a pole that is held meets.
CARTPOLE = StateSpace(
    (
        Coordinate("position", -2.4, 2.4, "m"),
        Coordinate("velocity", -2.0, 2.0, "m/s"),
        Coordinate("angle", -0.21, 0.21, "rad"),
        Coordinate("angular velocity", -2.0, 2.0, "rad/s"),
    )
)
# The angle is 0 where the pendulum stands upright; it is observed as its cosine and sine.
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
        UserError: if this task is not known here.
    """
    if isinstance(task, StateSpace):
        return task
    for beginning, space in STATE_SPACES.items():
        if task.startswith(beginning):
            return space
    known = ", ".join(STATE_SPACES)
    raise UserError(
        f"the states of {task!r} are not known; known are {known}. Describe them with a StateSpace"
    )
