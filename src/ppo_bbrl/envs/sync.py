"""Environments stepped one after the other in this process.

Every value that they return is checked as it comes: one that does not fit is reported in one line,
with the index of the environment and what was expected.
"""

import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray

from ppo_bbrl.envs.actions import each_action, leaves
from ppo_bbrl.envs.faults import (
    LARGEST,
    RESET,
    UnfitError,
    described,
    name_of,
    narrowed,
    number_of,
    reason,
    unfit_observation,
)
from ppo_bbrl.envs.masks import MaskReader
from ppo_bbrl.envs.parts import taken_apart
from ppo_bbrl.errors import EnvironmentFailedError
from ppo_bbrl.system.signals import time_limit

Env = gym.Env[Any, Any]
MakeEnv = Callable[[], Env]
Spaces = tuple[gym.Space[Any], gym.Space[Any]]  # of observations and of actions

NOT_RUNNING = -1
CLOSE_SECONDS = 3.0  # how long environments may take to close


class SyncEnvs(SyncVectorEnv):  # its type parameters differ between versions of Gymnasium
    """Gymnasium's `SyncVectorEnv` with next-step autoreset, and lenient about return types.

    Rewards and end flags may be anything that holds one number. Observations are copied at once,
    so environments may reuse one array. Infos are dropped, since nothing here uses them. Closing
    closes every environment, even if some of them fail.

    Args:
        env_fns: functions that make the environments. If one fails, those already made are closed.
        hold: whether an ended environment is left alone until the next reset of all, its row
            repeated with reward 0. Otherwise it is reset in the next step.
        first: the index of the first environment among `total`, in messages.
        total: the number of environments, including those in other processes.
        like: the spaces that each environment must have; None: those of the first one.
        running: a sequence whose item 0 always holds the index of the environment being run.

    Raises:
        EnvironmentFailedError: if an environment cannot be made, or fails in a reset or a step; the
            message gives its index and what was expected.
    """

    def __init__(
        self,
        env_fns: Sequence[MakeEnv],
        *,
        hold: bool = False,
        first: int = 0,
        total: int | None = None,
        like: Spaces | None = None,
        running: Any = None,
        masks: bool = True,
    ) -> None:
        self._first, self._total = first, len(env_fns) if total is None else total
        self._running: Any = [NOT_RUNNING] if running is None else running
        self._hold, self._n_steps = hold, 0
        made: list[Env] = []
        try:
            for make_env in env_fns:
                self._running[0] = len(made)
                made.append(make_env())
                like = like or _spaces(made[0])
                _check_spaces(made[-1], like)
            super().__init__([partial(_the, env) for env in made], copy=False)
        except BaseException as error:
            self.closed = True
            index = first + self._running[0]
            with time_limit(CLOSE_SECONDS):
                _close_each(made, self._running)
            if not isinstance(error, Exception | SystemExit):
                raise
            which = f" (environment {index} of {self._total})" if index else ""
            raise EnvironmentFailedError(f"{reason(error)}{which}") from error
        self._running[0] = NOT_RUNNING
        self._name = name_of(made[0])
        space: Any = self.single_observation_space
        self._spaces = list(leaves(space))  # the parts of a Dict or a Tuple
        self._arrays = taken_apart(space, self._observations)
        #: whether an observation is a single array without indices that could be too large
        self._plain = isinstance(space, Box | MultiBinary)
        taken = self.single_action_space
        self._takes_numbers = isinstance(taken, Box) and taken.shape == ()
        self._over = [False] * self.num_envs
        #: which actions are allowed now, `[B, A]`; None: the environments have no masks
        self.action_masks: Any = None
        self._masks = MaskReader(taken if masks else None)
        self._mask_from, self._mask_rows = "", None

    def write_into(
        self,
        observation: Any,
        reward: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        masks: Any = None,
    ) -> None:
        """Write all further rows into these arrays, `[B, …]` each."""
        self._mask_rows = masks
        self._observations = observation
        self._arrays = taken_apart(self.single_observation_space, observation)
        self._rewards, self._terminations, self._truncations = reward, terminated, truncated

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments; return observations `[B, …]`, in a reused array, and no infos.

        Args:
            seed: one seed for each environment, or the first one's, which the others count up from.
            options: passed to each environment's `reset`.
        """
        seeds: Any = [None] * self.num_envs if seed is None else seed
        if isinstance(seeds, int):
            seeds = [seeds + i for i in range(self.num_envs)]
        try:
            for i, (env, own) in enumerate(zip(self.envs, seeds, strict=True)):
                self._running[0] = i
                observation, info = _reset(env, seed=own, options=options)
                self._write(i, observation)
                self._over[i] = False
                self._look_for_mask(i, env, info)
        except (Exception, SystemExit) as error:
            raise self._failed("a reset", error) from error
        self._running[0] = NOT_RUNNING
        return self._observations, {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Like `SyncVectorEnv.step`, without infos; the array of observations is reused."""
        self.advance(actions)
        ends = self._terminations.copy(), self._truncations.copy()
        return self._observations, self._rewards.copy(), *ends, {}

    def advance(self, actions: Any) -> None:
        """Step every environment, or reset it if its episode has ended, and write its row."""
        self._n_steps += 1
        running, over, plain = self._running, self._over, self._plain
        rows, rewards = self._arrays[0], self._rewards
        terminations, truncations = self._terminations, self._truncations
        shape, dtype, masks = rows.shape[1:], rows.dtype, self.action_masks
        reward: Any
        terminated: Any
        truncated: Any
        try:
            for i, (env, action) in enumerate(zip(self.envs, self._each(actions), strict=True)):
                running[0] = i
                if over[i] and self._hold:
                    rewards[i] = 0.0
                    continue
                if over[i]:
                    observation, info = _reset(env)
                    reward, terminated, truncated = 0.0, False, False
                else:
                    observation, reward, terminated, truncated, info = env.step(action)
                if (
                    plain
                    and type(observation) is np.ndarray
                    and observation.dtype is dtype
                    and observation.shape == shape
                ):
                    rows[i] = observation
                else:
                    self._write(i, observation)
                simple = type(reward) is float and -LARGEST <= reward <= LARGEST
                rewards[i] = reward if simple else number_of(reward, "reward")
                if type(terminated) is not bool:
                    terminated = bool(number_of(terminated, "terminated"))
                if type(truncated) is not bool:
                    truncated = bool(number_of(truncated, "truncated"))
                terminations[i], truncations[i] = terminated, truncated
                over[i] = terminated or truncated
                if masks is not None:
                    masks[i] = self._masks.read(self._mask_from, env, info, over[i])
        except (Exception, SystemExit) as error:
            raise self._failed(f"step {self._n_steps}", error) from error
        running[0] = NOT_RUNNING

    def _each(self, actions: Any) -> Any:
        """The action of each environment."""
        if not isinstance(actions, np.ndarray | list):
            return each_action(self.single_action_space, actions, self.num_envs)
        if self._takes_numbers:  # a Box contains only arrays, not numbers
            return map(np.asarray, actions)
        return actions

    def close(self, **kwargs: Any) -> None:
        """Close every environment; warn about those that fail or do not return in time.

        Args:
            kwargs: `seconds`, how long they may take together; None: no limit.
        """
        if self.closed:
            return
        self.closed = True  # already here: an interrupted `close` must not start again at exit
        seconds = kwargs.get("seconds", CLOSE_SECONDS)
        with nullcontext() if seconds is None else time_limit(seconds):
            problems = _close_each(getattr(self, "envs", ()), self._running)
        if problems:
            (i, error), *others = problems
            more = f" (and {len(others)} more)" if others else ""
            warnings.warn(f"{self._who(i)} failed in close(): {reason(error)}{more}", stacklevel=2)

    def _look_for_mask(self, i: int, env: Env, info: Any) -> None:
        """Write the mask of environment i after a reset, if it has one."""
        found = self._masks.found(env, info)
        if i == 0:
            self._mask_from, rows = found, self._mask_rows
            size = self.num_envs, sum(self._masks.sizes)
            if found and rows is None:
                rows = np.ones(size, np.bool_)
            self.action_masks = rows if found else None
        elif found != self._mask_from:
            raise UnfitError("it has an action mask, and others have none, or the other way round")
        if found:
            self.action_masks[i] = self._masks.read(found, env, info, over=False)

    def _write(self, i: int, observation: Any) -> None:
        """Copy the observation of environment i into its row.

        Raises:
            UnfitError: if it or a part of it is none of its space.
        """
        parts = taken_apart(self.single_observation_space, observation)
        for space, array, part in zip(self._spaces, self._arrays, parts, strict=True):
            array[i] = _fitting(part, space)

    def _who(self, i: int) -> str:
        return f"environment {self._first + i} of {self._total} ({self._name})"

    def _failed(self, where: str, error: BaseException) -> EnvironmentFailedError:
        i = self._running[0]
        return EnvironmentFailedError(f"{self._who(i)} failed in {where}: {reason(error)}")


def _fitting(observation: Any, space: Any) -> Any:
    """An observation, or a part of one, as its row takes it.

    Raises:
        UnfitError: if it has another shape or kind, or is no state of a Discrete space.
    """
    if isinstance(space, Discrete):
        try:
            state = operator.index(observation)
        except TypeError:
            raise unfit_observation(observation, space) from None
        if not 0 <= state - int(space.start) < space.n:
            raise unfit_observation(observation, space)
        return state
    try:
        array = np.asarray(observation)
    except Exception:  # noqa: BLE001 - ragged lists, tensors that require grad
        raise unfit_observation(observation, space) from None
    dtype: Any = space.dtype
    any_number = not isinstance(space, MultiDiscrete)
    if array.shape == space.shape and (any_number or _are_states(array, space)):
        if np.can_cast(array.dtype, dtype, "same_kind"):
            return narrowed(array, dtype) if dtype.kind == "f" else array
        if array.dtype.kind in "iu" and dtype.kind in "iub":
            as_stored = array.astype(dtype)
            if np.array_equal(as_stored, array):  # 0 to 255 in an image of int64
                return as_stored
    raise unfit_observation(observation, space)


def _the(env: Env) -> Env:
    return env


def _spaces(env: Env) -> Spaces:
    return env.observation_space, env.action_space


def _check_spaces(env: Env, like: Spaces) -> None:
    for role, own, expected in zip(("observation", "action"), _spaces(env), like, strict=True):
        if own != expected:
            raise UnfitError(
                f"its {role} space {own} differs from that of the first environment, {expected}"
            )


def _are_states(array: NDArray[Any], space: MultiDiscrete) -> bool:
    if array.dtype.kind not in "iub":
        return False
    index = array.astype(np.int64) - space.start
    return bool(((index >= 0) & (index < space.nvec)).all())


def _close_each(envs: Iterable[Env], running: Any) -> list[tuple[int, BaseException]]:
    """Close all environments; return the index and the error of each that failed."""
    problems: list[tuple[int, BaseException]] = []
    for i, env in enumerate(envs):
        running[0] = i
        try:
            env.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - anything may go wrong in there
            problems.append((i, error))
    return problems


def _reset(env: Env, **kwargs: Any) -> Any:
    returned: Any = env.reset(**kwargs)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise UnfitError(f"reset() returned {described(returned)}; expected the pair {RESET}")
    return returned
