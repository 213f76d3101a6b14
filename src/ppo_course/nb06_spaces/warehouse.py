"""A grid world: a robot fetches a parcel. Dict observations, MultiDiscrete actions, a mask."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Dict, Discrete, MultiDiscrete
from numpy.typing import NDArray

MAP = (
    ".....",
    ".#.#.",
    ".....",
    ".#.#.",
    ".....",
)
SIDE = len(MAP)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # north, east, south, west
DOOR = (4, 0)
PLACES = ((0, 0), (0, 4), (2, 2), (4, 4))  # where a parcel may lie
IN_HAND = len(PLACES)
KINDS = 8
NOTHING, PUT_DOWN = 0, KINDS + 1  # of the hand; in between is the grip for each kind
SIZES = (len(MOVES), KINDS + 2)
TIME_LIMIT = 40

CELL = 48  # pixels
FLOOR, SHELF, DOOR_COLOUR, ROBOT = (245, 245, 245), (90, 90, 90), (0, 158, 115), (0, 114, 178)
# Of the kinds of parcels.
COLOURS = (
    *((213, 94, 0), (230, 159, 0), (240, 228, 66), (204, 121, 167)),
    *((128, 0, 0), (150, 111, 51), (255, 99, 132), (120, 94, 240)),
)


def free(row: int, column: int) -> bool:
    """Whether a cell is within the warehouse and holds no shelf."""
    return 0 <= row < SIDE and 0 <= column < SIDE and MAP[row][column] == "."


class Warehouse(gym.Env[Any, Any]):
    """Fetch a parcel and put it down at the door, within 40 steps: reward 1, otherwise 0.

    An action is `[move, hand]`. The hand acts first: 0 does nothing, k in 1..8 grips a parcel of
    kind k - 1 in the robot's cell, 9 puts the parcel down at the door. Then the robot moves to the
    north (0), east (1), south (2) or west (3). What is impossible does nothing, and takes its step.

    Observations are a Dict: the `kind` of the parcel, its place `parcel` (4: in the hand), and the
    row and the column of the `robot`. `info["action_mask"]` tells what is possible, `[4 + 10]`.

    Args:
        render_mode: rgb_array or None.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = Dict(
            kind=Discrete(KINDS),
            parcel=Discrete(len(PLACES) + 1),
            robot=MultiDiscrete([SIDE, SIDE]),
        )
        self.action_space = MultiDiscrete(list(SIZES))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Robot and parcel anywhere, the robot not on a shelf."""
        super().reset(seed=seed)
        cells = [(r, c) for r in range(SIDE) for c in range(SIDE) if free(r, c)]
        self.t, self.delivered = 0, False
        self.robot = cells[int(self.np_random.integers(len(cells)))]
        self.kind = int(self.np_random.integers(KINDS))
        self.parcel = int(self.np_random.integers(len(PLACES)))
        return self._observation(), {"action_mask": self.action_mask()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Use the hand, then move."""
        move, hand = (int(part) for part in action)
        allowed = self.action_mask()
        self.t += 1
        if allowed[SIZES[0] + hand]:
            if hand == PUT_DOWN:
                self.delivered = True
            elif hand != NOTHING:
                self.parcel = IN_HAND
        if allowed[move]:
            self.robot = self._beside(move)
        info = {"action_mask": self.action_mask()}
        late = self.t >= TIME_LIMIT
        return self._observation(), float(self.delivered), self.delivered, late, info

    def action_mask(self) -> NDArray[np.bool_]:
        """Which moves, and what the hand can do: `[4 + 10]`."""
        hand = np.zeros(SIZES[1], np.bool_)
        hand[NOTHING] = True
        if self.parcel == IN_HAND:
            hand[PUT_DOWN] = self.robot == DOOR
        else:
            hand[1 + self.kind] = self.robot == PLACES[self.parcel]
        moves = [free(*self._beside(move)) for move in range(len(MOVES))]
        return np.concatenate((moves, hand))

    def render(self) -> Any:
        """The warehouse from above, `[240, 240, 3]` uint8."""
        picture = np.full((SIDE * CELL, SIDE * CELL, 3), FLOOR, np.uint8)
        for row in range(SIDE):
            for column in range(SIDE):
                if not free(row, column):
                    _fill(picture, (row, column), SHELF, 2)
        _fill(picture, DOOR, DOOR_COLOUR, 2)
        _fill(picture, self.robot, ROBOT, 8)
        cell, margin = (self.robot, 17) if self.parcel == IN_HAND else (PLACES[self.parcel], 14)
        _fill(picture, DOOR if self.delivered else cell, COLOURS[self.kind], margin)
        return picture

    def _beside(self, move: int) -> tuple[int, int]:
        (row, column), (down, right) = self.robot, MOVES[move]
        return row + down, column + right

    def _observation(self) -> dict[str, Any]:
        return {
            "kind": np.int64(self.kind),
            "parcel": np.int64(self.parcel),
            "robot": np.array(self.robot, np.int64),
        }


def _fill(picture: NDArray[np.uint8], cell: tuple[int, int], colour: Any, margin: int) -> None:
    """Paint a square within a cell."""
    rows, columns = (slice(at * CELL + margin, (at + 1) * CELL - margin) for at in cell)
    picture[rows, columns] = colour


def register_warehouse() -> None:
    """Tell Gymnasium of `Warehouse-v0`; nothing happens if it is known already."""
    if "Warehouse-v0" not in gym.registry:
        gym.register("Warehouse-v0", f"{__name__}:{Warehouse.__name__}", disable_env_checker=True)
