"""Environments that tell what was done to them, besides the package's probe environments.

Importing this module registers both: `Logged-v0`, `ConstantReward-v0` and so on.
"""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text

from ppo_course.probes import Probe, box, register_probes


@dataclass
class Log:
    """What happened in all environments of a test, as they themselves saw it.

    Attributes:
        seeds: with which environments were reset.
        first: the first observation of each episode.
        acted_in: state in which each step was taken; a state is never seen twice.
        actions: action of each step.
        returns, lengths: of each ended episode.
        states: of how many states there have been.
        made, closed: how many environments.
    """

    seeds: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    acted_in: list[int] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    states: int = 0
    made: int = 0
    closed: int = 0


LOG = Log()

# States as the networks see them: small numbers that float32 holds exactly.
SCALE = 1 / 1024


def state_ids(observations: Any) -> list[int]:
    """The states in observations `[..., 2]` of `Logged` environments."""
    return [round(float(value) / SCALE) for value in observations[..., 0].flatten()]


class Logged(gym.Env[Any, Any]):
    """Keeps the `LOG`. Episodes of random length end in both ways.

    Observation: the number of the state × SCALE, and the last action. Reward: random.
    """

    observation_space: Any = box(2)
    action_space: Any = Discrete(3)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as in Gymnasium

    def __init__(self, ends: bool = True, render_mode: str | None = None) -> None:
        self.ends, self.render_mode = ends, render_mode
        LOG.made += 1

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            LOG.seeds.append(seed)
        self.t, self.total, self.last = 0, 0.0, 0.0
        seen = self._next_state()
        LOG.first.append(self.state)
        return seen, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        LOG.acted_in.append(self.state)
        LOG.actions.append(np.asarray(action).tolist())
        self.last = float(np.asarray(action).flatten()[0])
        reward = float(np.float32(self.np_random.normal()))
        self.t, self.total = self.t + 1, self.total + reward
        kind = self.np_random.random() if self.ends else 1.0
        terminated, truncated = kind < 0.1, 0.1 <= kind < 0.2
        if terminated or truncated:
            LOG.returns.append(self.total)
            LOG.lengths.append(self.t)
        return self._next_state(), reward, terminated, truncated, {}

    def _next_state(self) -> Any:
        self.state = LOG.states
        LOG.states += 1
        return np.array([self.state * SCALE, self.last], np.float32)

    def render(self) -> Any:
        return np.full((32, 48, 3), self.state % 256, np.uint8)

    def close(self) -> None:
        LOG.closed += 1


class LoggedBox(Logged):
    """The same with actions of two numbers in [-0.5, 0.5]."""

    action_space = box(2, low=-0.5, high=0.5)


class Chance(Probe):
    """Four steps whose observations and rewards are drawn by the environment."""

    length = 4
    observation_space = box(3)

    def observe(self) -> Any:
        return self.np_random.normal(size=3).astype(np.float32)

    def reward(self, action: Any) -> float:
        return float(self.np_random.normal())


class Sampling(Chance):
    """Draws from its spaces, which belong to the class."""

    def observe(self) -> Any:
        return self.observation_space.sample()

    def reward(self, action: Any) -> float:
        return float(self.action_space.sample())


class NotANumber(Probe):
    """Its reward is NaN."""

    def reward(self, action: Any) -> float:
        return float("nan")


class Pixels(Probe):
    """Small pictures."""

    observation_space = Box(0, 255, (3, 8, 8), np.uint8)
    length = 5

    def observe(self) -> Any:
        return self.np_random.integers(0, 256, (3, 8, 8), dtype=np.uint8)


class ManyActions(Probe):
    """An action space that no policy is for."""

    action_space = Text(5)


class TextObservation(Probe):
    """An observation space that no network is for."""

    observation_space = Dict({"near": box(1), "words": Text(5)})


register_probes()
for env in (
    Logged,
    LoggedBox,
    Chance,
    Sampling,
    NotANumber,
    Pixels,
    ManyActions,
    TextObservation,
):
    gym.register(f"{env.__name__}-v0", env, disable_env_checker=True)


def config(env_name: str, /, **algorithm: Any) -> dict[str, Any]:
    """A small configuration without evaluations; for this module's environments leave out -v0."""
    if f"{env_name}-v0" in gym.registry:
        env_name = f"{env_name}-v0"
    base = {
        "seed": 3,
        "n_envs": 4,
        "n_steps": 16,
        "max_epochs": 3,
        "opt_epochs": 2,
        "batch_size": 32,
        "eval_interval": 10**9,
        "nb_evals": 4,
        "architecture": {"actor_hidden_size": [16], "critic_hidden_size": [16]},
    }
    return {
        "base_dir": "run",
        "gym_env": {"env_name": env_name},
        "algorithm": base | algorithm,
        "optimizer": {"classname": "torch.optim.Adam", "lr": 1e-3},
    }


def fresh_log() -> Log:
    """The log, empty."""
    LOG.__init__()  # type: ignore[misc]
    return LOG
