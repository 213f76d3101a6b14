"""Seeds: the same one gives the same episodes, in every environment made; others give others."""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import numpy as np

from ppo_bbrl.checking.findings import CheckReport
from ppo_bbrl.checking.task import Actor, Env, Masks
from ppo_bbrl.errors import one_line

_FEWEST, _MOST = 5, 60  # steps that are compared
_OTHERS = 4
_OWN_STREAM = "draw from self.np_random, which super().reset(seed=seed) seeds"


class _Track:
    """What one environment gave for a seed: an entry for each reset and step."""

    def __init__(self, env: Env, seed: int | None, masks: bool, steps: int) -> None:
        self._steps = steps
        self._env, self._masks = env, Masks(env, masks)
        self._actor = Actor(env.action_space, 0)
        self._over = True
        self._mask: Any = None
        self.rows = [self._reset(seed)]

    def _reset(self, seed: int | None) -> Any:
        observation, info = self._env.reset(seed=seed)
        self._mask, self._over = self._masks.after_reset(info), False
        return ("reset", deepcopy(observation))

    def advance(self) -> None:
        """Make a step, or a reset after the end of an episode."""
        if self._over:
            self.rows.append(self._reset(None))
            return
        observation, reward, terminated, truncated, info = self._env.step(self._actor(self._mask))
        self._over = bool(terminated) or bool(truncated)
        self._mask = self._masks.after_step(info, self._over)
        self.rows.append(("step", deepcopy(observation), deepcopy(reward), bool(terminated)))

    def run(self) -> list[Any]:
        """All rows, and that of one reset without a seed."""
        while len(self.rows) <= self._steps:
            self.advance()
        self.rows.append(self._reset(None))
        return self.rows

    def run_beside(self, other: "_Track") -> list[Any]:
        """As `run`, with a step of another environment after each."""
        while len(self.rows) <= self._steps:
            self.advance()
            other.advance()
        return self.run()


def check_seeds(
    make: Callable[[], Env], report: CheckReport, *, fresh: bool, masks: bool, steps: int
) -> None:
    """Report seeds that are ignored, and environments that share their state.

    Args:
        make: makes an environment.
        report: for the findings.
        fresh: whether `make` gives a new one each time.
        masks: whether masks of invalid actions are read.
        steps: how many there is time for in each episode.
    """

    def track(env: Env, seed: int | None) -> _Track:
        return _Track(env, seed, masks, min(max(steps, _FEWEST), _MOST))

    env = make()
    first = track(env, 0).run()
    if where := _difference(first, track(env, 0).run()):
        text = f"two episodes with the same seed and the same actions differ, {where}"
        report.fault("seed", text, _OWN_STREAM)
        return
    if fresh:
        other = make()
        if where := _difference(first, track(other, 0).run()):
            text = f"two environments with the same seed and the same actions differ, {where}"
            report.fault("seed", text, f"{_OWN_STREAM}, and not in __init__")
        elif where := _difference(first, track(env, 0).run_beside(track(other, 1))):
            report.fault(
                "shared state",
                f"an environment gives something else while another one is stepped, {where}",
                "keep state in self, not in the class, the module or a default argument",
            )
        _close(other)
    if problem := _unpassed(env):
        report.fault("seed", problem, "begin reset() with super().reset(seed=seed)")
        _close(env)
        return
    unseeded = [track(env, None).run() for _ in range(2)]
    others = [track(env, seed).run() for seed in range(1, 1 + _OTHERS)]
    if not any(_difference(first, one) for one in others):
        if _difference(*unseeded):
            report.fault("seed", "every seed gives the same episode", _OWN_STREAM)
        else:
            report.note(
                "seed",
                "every seed gives the same episode: nothing in it is random",
                "if it should be, " + _OWN_STREAM,
            )
    _close(env)


def _unpassed(env: Env) -> str:
    """What shows that the seed does not reach `gymnasium.Env.reset`; empty if it does."""
    base: Any = env.unwrapped
    states = []
    for seed in (1, 2):
        env.reset(seed=seed)
        own = getattr(base, "_np_random", None)
        if own is None:
            return "after reset(seed=1) there is no self.np_random yet: the seed is not used"
        states.append(str(own.bit_generator.state))
    return "after different seeds self.np_random is the same" if states[0] == states[1] else ""


def _difference(rows: list[Any], others: list[Any]) -> str:
    """Where two tracks differ first; empty if they do not."""
    for step, (row, other) in enumerate(zip(rows, others, strict=False)):
        names = ("kind of row", "observation", "reward", "terminated")
        for name, one, two in zip(names, row, other, strict=False):
            if not _same(one, two):
                return f"first in the {name} " + ("of the reset" if not step else f"of row {step}")
    return ""


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, tuple | list) and isinstance(two, tuple | list):
        return len(one) == len(two) and all(map(_same, one, two))
    try:
        return np.array_equal(np.asarray(one), np.asarray(two), equal_nan=True)
    except (TypeError, ValueError):
        return one_line(repr(one)) == one_line(repr(two))


def _close(env: Env) -> None:
    with suppress(Exception):  # `check_closing` reports it
        env.close()
