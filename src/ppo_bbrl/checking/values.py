"""What an environment returns: observations, rewards and ends, one by one."""

import operator
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple

from ppo_bbrl.checking.findings import CheckReport
from ppo_bbrl.envs.faults import UnfitError, described, number_of, unfit_observation
from ppo_bbrl.envs.parts import parts_of, taken_apart
from ppo_bbrl.errors import ConfigError, one_line

_LARGE_REWARD = 1e4
_LARGE_OBSERVATION = 100.0


class ValueChecks:
    """Compares what comes from an environment with its spaces and with what PPO can learn from.

    Args:
        report: for the findings.
        space: of observations.
        rewards_scaled: whether the configuration scales or clips rewards.
        observations_scaled: whether it normalises observations.
    """

    def __init__(
        self,
        report: CheckReport,
        space: Space[Any],
        *,
        rewards_scaled: bool = False,
        observations_scaled: bool = False,
    ) -> None:
        self._report, self._space = report, space
        self._rewards_scaled, self._observations_scaled = rewards_scaled, observations_scaled
        try:
            self._parts = parts_of(space)
        except ConfigError:  # `spaces` is a finding then
            self._parts = {}

    def observation(self, observation: Any, where: str) -> None:
        """Check an observation; `where` says when it came."""
        if not self._parts:
            return
        kind = dict if isinstance(self._space, Dict) else tuple
        if isinstance(self._space, Dict | Tuple) and not isinstance(observation, kind):
            self._report.fault(
                "observation",
                f"{where} it is {described(observation)}",
                f"return a {kind.__name__}",
            )
        try:
            parts = taken_apart(self._space, observation)
        except UnfitError as error:
            text = str(error).removeprefix("its observation ")
            self._report.fault(
                "observation", f"{where} it {text}", "return every part of its space"
            )
            return
        for (path, space), part in zip(self._parts.items(), parts, strict=True):
            at = f"{where}, {path}," if path else where
            if isinstance(space, Discrete):
                self._state(part, space, at)
            else:
                self._array(part, space, at)

    def _state(self, value: Any, space: Discrete[Any], where: str) -> None:
        try:
            index = operator.index(value)
        except TypeError:
            index = int(space.start) - 1
        if not 0 <= index - int(space.start) < space.n:
            self._unfit(value, space, where, "return an integer of its space")

    def _array(self, value: Any, space: Any, where: str) -> None:
        try:
            array = np.asarray(value)
        except Exception:  # noqa: BLE001 - a ragged list, a tensor that requires grad
            self._unfit(value, space, where, "return a NumPy array")
            return
        if array.shape != space.shape:
            self._unfit(value, space, where, "return its shape, or declare the other")
        elif array.dtype.kind not in "biuf":
            self._unfit(value, space, where, "return numbers")
        elif not self._finite("observation", array, where):
            return
        else:
            self._type(value, array, space, where)
            self._bounds(array, space, where)
            self._scale(array, space)

    def _type(self, value: Any, array: Any, space: Any, where: str) -> None:
        if not isinstance(value, np.ndarray | np.generic):
            self._report.fault(
                "observation", f"{where} it is {described(value)}", "return a NumPy array"
            )
        elif array.dtype != space.dtype:
            self._report.fault(
                "observation",
                f"{where} its dtype is {array.dtype}, and its space declares {space.dtype}",
                f"return .astype(np.{space.dtype}), or declare the other",
            )

    def _bounds(self, array: Any, space: Any, where: str) -> None:
        if isinstance(space, MultiDiscrete):
            bounds = [space.start, space.start + space.nvec - 1]
        else:
            bounds = [getattr(space, "low", np.zeros(())), getattr(space, "high", np.ones(()))]
        numbers = array
        if space.dtype.kind == array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                numbers = array.astype(space.dtype)  # a float64 may exceed a bound by rounding
        beyond = (numbers < bounds[0]) | (numbers > bounds[1])
        if beyond.any():
            index = tuple(int(i) for i in np.argwhere(beyond)[0])
            between = " to ".join(
                f"{np.broadcast_to(bound, array.shape)[index]:.6g}" for bound in bounds
            )
            self._report.fault(
                "observation",
                f"{where} it is {array[index]:.6g}{_at(index)}, outside its space's {between}",
                "correct the bounds of observation_space, or clip it",
            )

    def _scale(self, array: Any, space: Any) -> None:
        if not isinstance(space, Box) or not array.size or space.dtype.kind != "f":
            return
        largest = float(np.abs(array).max())
        if array.ndim > 1 and largest > _LARGE_OBSERVATION:
            self._report.note(
                "observation",
                f"an array of shape {list(array.shape)} in {array.dtype} with numbers up to "
                f"{largest:.4g}",
                "images are Boxes from 0 to 255 in uint8: only these get a convolutional network",
            )
        elif largest > _LARGE_OBSERVATION and not self._observations_scaled:
            self._report.note(
                "observation scale",
                f"numbers up to {largest:.4g}; networks learn best from numbers around 1",
                "algorithm.normalize_observation=true",
            )

    def _finite(self, topic: str, array: Any, where: str) -> bool:
        bad = ~np.isfinite(array)
        if not bad.any():
            return True
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        what = "NaN" if np.isnan(array[index]) else f"{array[index]:+}"
        self._report.fault(
            topic,
            f"{where} it is {what}{_at(index)}: not finite",
            "training stops at such a number",
        )
        return False

    def _unfit(self, value: Any, space: Any, where: str, remedy: str) -> None:
        text = str(unfit_observation(value, space)).removeprefix("its observation ")
        self._report.fault("observation", f"{where} it {text}", remedy)

    def reward(self, reward: Any, where: str) -> float:
        """Check a reward; return it, or 0 if it is none."""
        number: Any = reward
        scalar = isinstance(reward, float | int | np.floating | np.integer)
        if scalar and not np.isfinite(number):
            self._finite("reward", np.asarray(number), where)
            return 0.0
        try:
            number = number_of(reward, "reward")
        except UnfitError:
            remedy = "return one number, a float"
            self._report.fault("reward", f"{where} it is {described(reward)}", remedy)
            return 0.0
        if np.isnan(number):
            self._finite("reward", np.asarray(number), where)
            return 0.0
        if not scalar or isinstance(reward, bool):
            self._report.fault(
                "reward",
                f"{where} it is {described(reward)}, a {type(reward).__name__}",
                "return a float: float(reward)",
            )
        if abs(number) > _LARGE_REWARD and not self._rewards_scaled:
            self._report.fault(
                "reward scale",
                f"{where} it is {number:.4g}: the critic learns best from returns around 1",
                "algorithm.normalize_reward=true, or divide it by a constant",
            )
        return float(number)

    def end(self, name: str, value: Any, where: str) -> bool:
        """Check `terminated` or `truncated`; return it."""
        if isinstance(value, bool | np.bool_):
            return bool(value)
        remedy = "return True or False"
        self._report.fault(name, f"{where} it is {described(value)} ({_kind(value)})", remedy)
        try:
            return bool(number_of(value, name))
        except UnfitError:
            return False

    def info(self, info: Any, where: str) -> None:
        """Check an info."""
        if not isinstance(info, dict):
            self._report.fault("info", f"{where} it is {described(info)}", "return a dict: {}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _at(index: tuple[int, ...]) -> str:
    return f" at {one_line(list(index))}" if index else ""
