"""Probe environments: each isolates one thing, and its values are known in advance.

When an algorithm fails on one of them, it says where to look: the critic (`ConstantReward`), its
use of observations (`RewardByObservation`), discounting and the alignment in time (`Discounting`),
ends of episodes that are none (`TruncatedOnly`, `Corridor`), the policy's gradient
(`ActionDecides`), all of it together (`ActionAndObservationDecide`), actions that are numbers
(`ContinuousTarget`).

`register_probes()` tells Gymnasium of them, as `ConstantReward-v0` and so on.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor


def box(*shape: int, low: float = -np.inf, high: float = np.inf) -> Box:
    """A space of float32 arrays of a shape, every number in [low, high]."""
    return Box(low, high, shape, np.float32)


class Probe(gym.Env[Any, Any]):
    """`length` steps to an episode, then a terminal state. Subclasses say what is seen and earned.

    Attributes:
        length: steps of an episode.
        time_is_up: whether its end is no terminal state.
        t: steps since the episode began.
        seen: the observation that was last given.
    """

    observation_space: Any = box(1)
    action_space: Any = Discrete(2)
    length = 1
    time_is_up = False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.t = 0
        self.seen = self.observe()
        return self.seen, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Earn the reward of an action in what was last seen."""
        self.t += 1
        reward = self.reward(action)
        self.seen = self.observe()
        over = self.t >= self.length
        return self.seen, reward, over and not self.time_is_up, over and self.time_is_up, {}

    def observe(self) -> Any:
        """The next observation."""
        return np.ones(1, np.float32)

    def reward(self, action: Any) -> float:
        """What an action earns in what was last seen."""
        return 1.0


class ConstantReward(Probe):
    """V = 1."""


class RewardByObservation(Probe):
    """The observation is -1 or 1, and so is the reward: V(o) = o."""

    def observe(self) -> Any:
        """-1 or 1, by chance."""
        return np.array([self.np_random.choice([-1.0, 1.0])], np.float32)

    def reward(self, action: Any) -> float:
        """What was seen."""
        return float(self.seen[0])


class Discounting(Probe):
    """Two steps, of which the second earns 1: V(0) = γ, V(1) = 1."""

    length = 2

    def observe(self) -> Any:
        """The number of steps."""
        return np.array([float(self.t)], np.float32)

    def reward(self, action: Any) -> float:
        """1 for the last step."""
        return float(self.t == self.length)


class ActionDecides(Probe):
    """Action 1 earns 1, action 0 earns -1: the best policy takes action 1, its V = 1."""

    def reward(self, action: Any) -> float:
        """1 or -1."""
        return 1.0 if action == 1 else -1.0


class ActionAndObservationDecide(RewardByObservation):
    """The observation is -1 or 1; its sign as an action (0 or 1) earns 1, the other -1: V = 1."""

    def reward(self, action: Any) -> float:
        """1 or -1."""
        return 1.0 if action == (self.seen[0] > 0) else -1.0


class ContinuousTarget(Probe):
    """An action in [-2, 2] costs its squared distance to ½."""

    action_space = box(1, low=-2.0, high=2.0)

    def reward(self, action: Any) -> float:
        """Minus the squared distance."""
        return -float((np.asarray(action).reshape(()) - 0.5) ** 2)


class TruncatedOnly(Probe):
    """Reward 1 at each of `length` steps; then the time is up, which is no terminal state.

    So V = 1 / (1 - γ) everywhere.
    """

    time_is_up = True

    def __init__(self, length: int = 8) -> None:
        self.length = length


class Corridor(gym.Env[Any, Any]):
    """A corridor with a hole at its left end and a wall at its right end; each step earns 1.

    The observation is the cell: 0 is the hole, 1 to `length` are the corridor. Action 0 steps to
    the left, action 1 to the right, where the wall leaves the walker in cell `length`. Episodes
    begin in one of the first `starts` cells. In the hole they are terminated; after `time_limit`
    steps they are truncated. The walker sees the cell and not the clock, so that the values are
    those of a corridor without time limit: `corridor_values`.

    Args:
        length: number of cells, without the hole.
        starts: in how many cells, counted from the hole, an episode may begin.
        time_limit: the longest episode, in steps.
    """

    action_space: Any = Discrete(2)

    def __init__(self, length: int = 8, starts: int = 4, time_limit: int = 20) -> None:
        if not 1 <= starts <= length or time_limit < 1:
            raise ValueError(
                f"starts = {starts}, length = {length}, time_limit = {time_limit}: "
                "there must be 1 ≤ starts ≤ length and 1 ≤ time_limit"
            )
        self.length, self.starts, self.time_limit = length, starts, time_limit
        self.observation_space = Discrete(length + 1)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        """Begin in one of the cells 1 to `starts`."""
        super().reset(seed=seed)
        self.t, self.cell = 0, int(self.np_random.integers(1, self.starts + 1))
        return self.cell, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Go one cell to the left (0) or to the right (1)."""
        self.t += 1
        self.cell = min(self.cell + (1 if action == 1 else -1), self.length)
        # As with Gymnasium's TimeLimit, both ends may come at once.
        return self.cell, 1.0, self.cell == 0, self.t >= self.time_limit, {}


def corridor_values(
    discount_factor: float, *, to_the_right: float = 0.5, length: int = 8
) -> Tensor:
    r"""The values of the corridor's cells, for a walker who goes at random.

    The Bellman equation :math:`V = r + \gamma P V` is linear, so that
    :math:`V = (I - \gamma P)^{-1} r`; Sutton and Barto (2018), section 4.1.

    Args:
        discount_factor: γ in [0, 1).
        to_the_right: probability of action 1, in every cell.
        length: that of the `Corridor`.

    Returns:
        `[length + 1]`, float32. The hole comes first and is worth 0: nothing comes after it.
    """
    transitions = np.zeros((length + 1, length + 1))
    for cell in range(1, length + 1):
        transitions[cell, cell - 1] += 1 - to_the_right
        transitions[cell, min(cell + 1, length)] += to_the_right
    reward = np.ones(length + 1)
    reward[0] = 0
    value = np.linalg.solve(np.eye(length + 1) - discount_factor * transitions, reward)
    return torch.tensor(value, dtype=torch.float32)


PROBES: tuple[Any, ...] = (
    ConstantReward,
    RewardByObservation,
    Discounting,
    ActionDecides,
    ActionAndObservationDecide,
    ContinuousTarget,
    TruncatedOnly,
    Corridor,
)


def register_probes() -> None:
    """Tell Gymnasium of the probe environments, `ConstantReward-v0` to `Corridor-v0`.

    Nothing happens to those that it knows already.
    """
    for probe in PROBES:
        name = f"{probe.__name__}-v0"
        if name not in gym.registry:
            gym.register(name, probe, disable_env_checker=True)
