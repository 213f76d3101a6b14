"""Environments stepped one after the other in this process.

Every value that they return is checked as it comes: one that does not fit is reported in one line,
with the index of the environment and what was expected.
"""

import warnings
from collections.abc import Iterable, MutableSequence, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from numpy.typing import NDArray

from ppo_bbrl.envs.actions import each_action, leaves
from ppo_bbrl.envs.faults import (
    LARGEST,
    UnfitError,
    name_of,
    number_of,
    reason,
)
from ppo_bbrl.envs.first_steps import draws_told, refusing_masks
from ppo_bbrl.envs.fitting import fitting
from ppo_bbrl.envs.guard import ATTEMPTS, FAILURES, Guard, OnFailure
from ppo_bbrl.envs.masks import MaskReader
from ppo_bbrl.envs.parts import taken_apart
from ppo_bbrl.envs.single import (
    Env,
    MakeEnv,
    Spaces,
    check_spaces,
    close_each,
    itself,
    own_spaces,
    reset,
    spaces_of,
)
from ppo_bbrl.envs.watch import Watch
from ppo_bbrl.errors import EnvironmentFailedError

NOT_RUNNING = -1


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
        masks: whether to look for masks of invalid actions.
        on_failure: what to do about environments that fail or hang.
        clock: a sequence whose item 0 holds when the call being made began; for another process
            that ends this one if the call cannot be interrupted.

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
        on_failure: OnFailure = OnFailure(),  # noqa: B008 - it is frozen
        clock: MutableSequence[float] | None = None,
    ) -> None:
        seconds = on_failure.step_timeout
        watch = None if seconds is None else Watch(seconds, clock, needed=clock is None)
        self._guard = Guard(on_failure, env_fns, watch)
        self._first, self._total = first, len(env_fns) if total is None else total
        self._running: Any = [NOT_RUNNING] if running is None else running
        self._hold, self._n_steps = hold, 0
        made: list[Env] = []
        try:
            for make_env in env_fns:
                self._running[0] = len(made)
                made.append(make_env())
                own_spaces(made[-1])
                like = like or spaces_of(made[0])
                check_spaces(made[-1], like)
            super().__init__([partial(itself, env) for env in made], copy=False)
            for batched in (self.observation_space, self.action_space):
                batched.seed(0)  # nobody draws from it, but it is part of the state
        except BaseException as error:
            self.closed = True
            index = first + self._running[0]
            with self._guard.closing():
                close_each(made, self._running)
            if not isinstance(error, Exception | SystemExit):
                raise
            which = f" (environment {index} of {self._total})" if index else ""
            raise EnvironmentFailedError(f"{reason(error)}{which}") from error
        self._running[0] = NOT_RUNNING
        self._name = name_of(made[0])
        space: Any = self.single_observation_space
        self._spaces = list(leaves(space))  # the parts of a Dict or a Tuple
        self._arrays = taken_apart(space, self._observations)
        #: whether an observation is a single array of any numbers
        self._plain = isinstance(space, Box)
        taken = self.single_action_space
        self._takes_numbers = isinstance(taken, Box) and taken.shape == ()
        self._over = [False] * self.num_envs
        #: whose episode was cut off by a failure in the last step, `[B]`, and what was said of it
        self.failed, self.faults = np.zeros(self.num_envs, np.bool_), list[str]()
        #: which actions are allowed now, `[B, A]`; None: the environments have no masks
        self.action_masks: Any = None
        self._masks = MaskReader(taken if masks else None)
        self._mask_from = ""
        self._mask_rows: Any = None

    @property
    def on_failure(self) -> OnFailure:
        """What is done about environments that fail or hang."""
        return self._guard.on_failure

    def write_into(
        self,
        observation: Any,
        reward: NDArray[np.float64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        *,
        masks: Any = None,
        failed: Any = None,
    ) -> None:
        """Write all further rows into these arrays, `[B, …]` each."""
        self._mask_rows = masks
        self.failed = self.failed if failed is None else failed
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
        if seed is not None:
            self._guard.seeded(seeds)
        self.faults, self.failed[:] = [], False
        told = nullcontext() if self._n_steps or seed is None else self._draws_told()
        with told, self._guard.watching():
            for i, own in enumerate(seeds):
                self._running[0] = i
                try:
                    self._begin(i, all_begin=True, seed=own, options=options)
                except FAILURES as error:
                    self._replace(i, "a reset", error, all_begin=True)
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
        if self.faults:
            self.faults, self.failed[:] = [], False
        if self._n_steps > 1:
            self._advance_all(self.envs, actions)
            return
        maskless = self.action_masks is None and self._masks.sizes
        with self._draws_told():
            self._advance_all(refusing_masks(self.envs) if maskless else self.envs, actions)

    def _draws_told(self) -> AbstractContextManager[None]:
        return draws_told(self._name)

    def _advance_all(self, envs: Sequence[Any], actions: Any) -> None:
        steps = zip(range(self.num_envs), envs, self._each(actions), strict=True)
        with self._guard.watching():
            while True:
                try:
                    self._advance(steps)
                    break
                except FAILURES as error:
                    self._replace(self._running[0], f"step {self._n_steps}", error)
        self._running[0] = NOT_RUNNING

    def _advance(self, steps: Iterable[tuple[int, Env, Any]]) -> None:
        running, over, plain, watch = self._running, self._over, self._plain, self._guard.watch
        rows, rewards = self._arrays[0], self._rewards
        terminations, truncations = self._terminations, self._truncations
        shape, dtype, masks = rows.shape[1:], rows.dtype, self.action_masks
        reward: Any
        terminated: Any
        truncated: Any
        for i, env, action in steps:
            running[0] = i
            if over[i] and self._hold:
                rewards[i] = 0.0
                continue
            if watch is not None:
                watch.start()
            if over[i]:
                observation, info = reset(env)
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

    def _begin(self, i: int, *, all_begin: bool, **kwargs: Any) -> None:
        """Reset environment i and write its row."""
        env = self.envs[i]
        self._guard.start()
        observation, info = reset(env, **kwargs)
        self._guard.stop()
        self._write(i, observation)
        self._over[i] = False
        if all_begin:
            self._look_for_mask(i, env, info)
        elif self.action_masks is not None:
            self.action_masks[i] = self._masks.read(self._mask_from, env, info, over=False)

    def _replace(
        self, i: int, where: str, error: BaseException, *, all_begin: bool = False
    ) -> None:
        """Put another environment in the place of one that failed, at the start of an episode.

        Raises:
            EnvironmentFailedError: if it is not to be replaced, or no other one does better.
        """
        self._guard.stop()
        failed = self._failed(where, error)
        if not self._guard.restart or i == NOT_RUNNING:
            raise failed from error
        self._guard.note(i, self._n_steps, failed)
        taken = self.single_action_space
        for _ in range(ATTEMPTS):
            self.faults.append(str(failed))
            try:
                self.envs[i], seed = self._guard.another(i, self.envs[i])
                check_spaces(self.envs[i], (self.single_observation_space, taken))
                if all_begin or not self._hold:
                    self._begin(i, all_begin=all_begin, seed=seed)
                break
            except FAILURES as again:
                self._guard.stop()
                failed = self._failed("the reset of another one in its place", again)
        else:
            raise EnvironmentFailedError(f"{failed}, {ATTEMPTS} times in a row") from error
        self.failed[i] = not all_begin
        self._over[i] = self._hold and not all_begin
        self._rewards[i], self._terminations[i], self._truncations[i] = 0.0, False, self._over[i]

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
            kwargs: `limited`: whether they have a few seconds alone.
        """
        if self.closed:
            return
        self.closed = True  # already here: an interrupted `close` must not start again at exit
        with self._guard.closing() if kwargs.get("limited", True) else nullcontext():
            problems = close_each(getattr(self, "envs", ()), self._running)
        if problems:
            (i, error), *others = problems
            more = f" (and {len(others)} more)" if others else ""
            warnings.warn(f"{self._who(i)} failed in close(): {reason(error)}{more}", stacklevel=2)

    def _look_for_mask(self, i: int, env: Env, info: Any) -> None:
        """Write the mask of environment i after a reset, if it has one."""
        found = self._masks.found(env, info)
        if i == 0:
            self._mask_from = found
            self.action_masks = self._new_mask_rows() if found else None
        elif found != self._mask_from:
            raise UnfitError("it has an action mask, and others have none, or the other way round")
        if found:
            self.action_masks[i] = self._masks.read(found, env, info, over=False)

    def _new_mask_rows(self) -> Any:
        size = self.num_envs, sum(self._masks.sizes)
        return np.ones(size, np.bool_) if self._mask_rows is None else self._mask_rows

    def _write(self, i: int, observation: Any) -> None:
        """Copy the observation of environment i into its row.

        Raises:
            UnfitError: if it or a part of it is none of its space.
        """
        parts = taken_apart(self.single_observation_space, observation)
        for space, array, part in zip(self._spaces, self._arrays, parts, strict=True):
            array[i] = fitting(part, space)

    def _who(self, i: int) -> str:
        return f"environment {self._first + i} of {self._total} ({self._name})"

    def _failed(self, where: str, error: BaseException) -> EnvironmentFailedError:
        i = self._running[0]
        return EnvironmentFailedError(f"{self._who(i)} failed in {where}: {reason(error)}")
