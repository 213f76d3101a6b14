"""Environments as a BBRL agent, on Gymnasium's vector API.

One row of the workspace is one `VectorEnv.step`. Episodes end as in Gymnasium's next-step
autoreset: the final observation has its own row (`done`), the next row is the reset one, and the
step between the two is not a transition.
"""

import warnings
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from torch import Tensor

from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.envs.actions import action_converter
from ppo_bbrl.envs.faults import UnfitError, check_rows, narrowed, reason
from ppo_bbrl.envs.guard import FAILURES, OnFailure
from ppo_bbrl.envs.masks import AUTO, KEY, NONE, MaskReader, masks_of
from ppo_bbrl.envs.parts import ObservationRows
from ppo_bbrl.envs.saved import SavedEnvs
from ppo_bbrl.envs.spaces import check_supported, size
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import make_vector_env
from ppo_bbrl.envs.watch import Watch
from ppo_bbrl.envs.workers import WorkerVectorEnv
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError
from ppo_bbrl.seeding import env_seeds
from ppo_bbrl.workspace.storage import Array
from ppo_bbrl.workspace.table import Workspace


class EnvAgent(SavedEnvs):
    """Vectorised environments that write their rows into the workspace.

    At t = 0 every environment is reset; at t > 0 the action of row t-1 is executed.

    Args:
        env_name: a registered environment.
        n_envs: B.
        autoreset: whether an ended environment starts anew in the following row. Otherwise its
            last row is repeated with reward 0.
        env_args: keyword arguments of the environment.
        wrappers: applied to each environment in this order.
        vectorization: auto, sync, async, vector_entry_point or envpool.
        action_mask: auto, none, or the key of the observation that masks of invalid actions are in.
        on_failure: what to do about environments that fail or hang.

    Raises:
        ConfigError: if the environment cannot be made or its spaces are not supported.
    """

    _watch: Watch | None = None  # interrupts all at once; those that are checked have their own

    def __init__(
        self,
        env_name: str,
        n_envs: int,
        *,
        autoreset: bool = True,
        env_args: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrapper] = (),
        vectorization: str = "auto",
        action_mask: str = AUTO,
        on_failure: OnFailure = OnFailure(),  # noqa: B008 - it is frozen
    ) -> None:
        envs = make_vector_env(
            env_name,
            n_envs,
            env_args=env_args,
            wrappers=wrappers,
            vectorization=vectorization,
            hold=not autoreset,
            action_mask=action_mask,
            on_failure=on_failure,
        )
        self._act_in(env_name, envs, autoreset=autoreset, action_mask=action_mask)
        if on_failure.step_timeout is not None and not self._checked:
            self._watch = Watch(on_failure.step_timeout)
        if isinstance(envs, AsyncVectorEnv):
            # Fallback if close() is never called: at garbage collection or exit.
            weakref.finalize(self, envs.close)

    def _act_in(
        self,
        env_name: str,
        envs: VectorEnv[Any, Any, Any],
        *,
        autoreset: bool = True,
        action_mask: str = AUTO,
    ) -> None:
        super().__init__()
        self.env_name, self.envs, self.autoreset = env_name, envs, autoreset
        self.num_envs = n_envs = envs.num_envs
        self.observation_space = envs.single_observation_space
        self.action_space = envs.single_action_space
        self._check_spaces()
        #: True once rows are known to have the expected shapes
        self._checked = isinstance(self.envs, SyncEnvs | WorkerVectorEnv)
        #: how many environments took the place of others that failed, and whose episodes, since
        #: all were reset, were cut off by this: [B]
        self.n_replaced, self.was_cut_off = 0, np.zeros(n_envs, np.bool_)
        #: True once rewards are known to fit into float32
        self._plain_rewards = self._checked
        #: whether the environments have masks that were looked at, instead of infos
        self._reads_masks = self._checked
        self._to_env = action_converter(self.action_space, n_envs)
        self._rows_of = ObservationRows(self.observation_space, n_envs)
        observed = self._rows_of.templates
        #: the variables that observations are in: `env/env_obs`, or `env/env_obs/<path>` each
        self.observation_names = tuple(self.output + name for name in observed)
        templates: dict[str, Tensor] = {
            **observed,
            "reward": torch.zeros(n_envs),
            "terminated": torch.zeros(n_envs, dtype=torch.bool),
            "truncated": torch.zeros(n_envs, dtype=torch.bool),
            "done": torch.zeros(n_envs, dtype=torch.bool),
            "timestep": torch.zeros(n_envs, dtype=torch.int64),
            "cumulated_reward": torch.zeros(n_envs),
        }
        #: the row that was written last, as arrays of length B
        self._row = {name: tensor.numpy().copy() for name, tensor in templates.items()}
        #: those of them that hold observations
        self._observed = [self._row[name] for name in observed]
        self._writes = [
            (self.output + name, self._row[name], template) for name, template in templates.items()
        ]
        self._seeds: np.random.SeedSequence | None = None
        self._masks = MaskReader(None if action_mask == NONE else self.action_space)
        self._refuse_unmasked(action_mask)

    def _check_spaces(self) -> None:
        setting = f"gym_env.env_name = {self.env_name!r}"
        try:
            check_supported(setting, self.observation_space, self.action_space)
        except ConfigError:
            self.close()
            raise

    def _refuse_unmasked(self, action_mask: str) -> None:
        space = self.observation_space
        if self._reads_masks or action_mask == NONE:
            return
        if action_mask != AUTO or (isinstance(space, Dict) and KEY in space.spaces):
            self.close()
            raise ConfigError(
                f"gym_env.action_mask = {action_mask!r}: of vectorised environments masks are read "
                "from infos alone, not from observations; use none, or vectorization sync or async"
            )

    def _see_masks(self, infos: Any) -> None:
        """Write the row of masks, if the environments have any."""
        if self._reads_masks:
            found = self.envs.action_masks  # type: ignore[attr-defined] # of SyncEnvs and workers
        else:
            found = masks_of(infos, self._masks, self._row["done"])
        if found is not None:
            if KEY not in self._row:
                self._add_mask_row()
            self._row[KEY][...] = found

    def _add_mask_row(self) -> None:
        template = torch.ones(self.num_envs, sum(self._masks.sizes), dtype=torch.bool)
        self._row[KEY] = template.numpy().copy()
        self._writes.append((self.output + KEY, self._row[KEY], template))

    def seed(self, seed: int | np.random.SeedSequence) -> "EnvAgent":
        """Seed the environments: the next reset (t = 0) restarts their random streams.

        Later resets continue these streams, so episodes do not repeat.
        """
        self._seeds = (
            seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        )
        return self

    def get_obs_and_actions_sizes(self) -> tuple[Any, Any]:
        """Sizes for agents' constructors: n of a discrete space, the length or shape of a Box."""
        return size(self.observation_space), size(self.action_space)

    def __call__(self, workspace: Any, **kwargs: Any) -> None:
        """Run on a workspace."""
        # Not through nn.Module's __setattr__, which looks for parameters: this is a hot path.
        object.__setattr__(self, "workspace", workspace)
        try:
            self.forward(**kwargs)
        finally:
            object.__setattr__(self, "workspace", None)

    def forward(self, t: int = 0, **kwargs: Any) -> None:
        """Write row t."""
        del kwargs
        if t == 0:
            self._reset()
        else:
            workspace = self.workspace
            known = isinstance(workspace, Workspace)
            self._step(
                workspace.row_array(self.input, t - 1) if known else self.get((self.input, t - 1)),
                t,
            )
        self._write(t)

    def counts(self) -> dict[str, float]:
        """What is to be logged, by name: how many environments replaced others, if some have."""
        return {"env_restarts": float(self.n_replaced)} if self.n_replaced else {}

    def all_done(self) -> bool:
        """Whether every episode has ended in the latest row."""
        return bool(self._row["done"].all())

    def close(self) -> None:
        """Close the environments and end their processes, even if one of these hangs or is dead."""
        try:
            self._call(self.envs.close)
        except FAILURES as error:
            self.envs.closed = True  # so that exit does not try again
            warnings.warn(f"{self.env_name} failed in close(): {reason(error)}", stacklevel=2)

    def _reset(self) -> None:
        one_by_one = isinstance(self.envs.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        seeds: Any = None  # one for each environment; a vectorised implementation takes one for all
        if self._seeds is not None:
            seeds = env_seeds(self._seeds, self.num_envs if one_by_one else 1)
        try:
            observation, infos = self._call(
                self.envs.reset, seed=seeds if one_by_one or not seeds else seeds[0]
            )
            if not self._checked:
                self._rows_of.check(observation)
            rows = self._rows_of.of(observation)
        except EnvironmentFailedError:
            raise
        except FAILURES as error:
            raise self._failed("a reset", error) from error
        self._seeds, self.was_cut_off[:] = None, False
        if self._reads_masks and self.envs.faults:  # type: ignore[attr-defined] # as above
            self._cut_off(-1)
        for array in self._row.values():
            array[...] = 0
        for row, seen in zip(self._observed, rows, strict=True):
            row[...] = seen
        if self._masks.sizes:
            self._with_masks("a reset", infos)

    def _with_masks(self, where: str, infos: Any) -> None:
        try:
            self._see_masks(infos)
        except UnfitError as error:
            raise self._failed(where, error) from error

    def _failed(self, where: str, error: BaseException) -> EnvironmentFailedError:
        return EnvironmentFailedError(f"{self.env_name} failed in {where}: {reason(error)}")

    def _call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function of the environments, in the time that they may take."""
        return (
            call(*args, **kwargs)
            if self._watch is None
            else self._watch.call(call, *args, **kwargs)
        )

    def _cut_off(self, t: int) -> None:
        """End the episodes of environments that failed at row t, the last one that they wrote.

        The episode counts as truncated there, so that the value of this observation is what it is
        bootstrapped from. The step to the next row, in which another environment has begun an
        episode, is no transition.
        """
        envs: Any = self.envs
        if not self.n_replaced:
            warnings.warn(
                f"{envs.faults[0]}; another one took its place (gym_env.on_failure = restart). "
                "Further ones are counted in the metric env_restarts",
                stacklevel=2,
            )
        self.n_replaced += len(envs.faults)
        if t < 0:
            return
        row = self._row
        lost = envs.failed & ~row["done"]
        self.was_cut_off |= lost
        for name in ("truncated", "done"):
            row[name] |= lost
        self._write(t, ("truncated", "done"))

    def _step(self, action: Array | Tensor, t: int = 0) -> None:
        to_env = self._to_env(action)
        try:
            observation, reward, terminated, truncated, infos = self._call(self.envs.step, to_env)
            if not self._checked:
                self._rows_of.check(observation)
                check_rows(
                    self.num_envs,
                    rewards=(reward, ()),
                    terminated=(terminated, ()),
                    truncated=(truncated, ()),
                )
                self._checked = True
            if not self._plain_rewards:
                reward = narrowed(
                    np.asarray(reward), np.dtype(np.float32), "rewards have", rows=True
                )
            observed = zip(self._observed, self._rows_of.of(observation), strict=True)
        except EnvironmentFailedError:
            raise
        except FAILURES as error:
            raise self._failed("a step", error) from error
        if self._reads_masks and self.envs.faults:  # type: ignore[attr-defined] # as above
            self._cut_off(t - 1)
        row = self._row
        ended = row["done"].copy() if np.count_nonzero(row["done"]) else None
        if self.autoreset or ended is None:
            for there, seen in observed:
                there[...] = seen
            row["terminated"][...], row["truncated"][...] = terminated, truncated
            row["reward"][...] = reward
            row["timestep"] += 1
            row["cumulated_reward"] += row["reward"]
            if ended is not None:  # their rows are the first of a new episode
                row["reward"][ended] = 0
                row["timestep"][ended] = 0
                row["cumulated_reward"][ended] = 0
        else:
            running = ~ended
            for there, seen in observed:
                there[running] = seen[running]
            row["terminated"] |= running & np.asarray(terminated, np.bool_)
            row["truncated"] |= running & np.asarray(truncated, np.bool_)
            row["reward"][...] = np.where(running, reward, 0)
            row["timestep"] += running
            row["cumulated_reward"] += row["reward"]
        np.logical_or(row["terminated"], row["truncated"], out=row["done"])
        if KEY in row:
            self._with_masks("a step", infos)

    def _write(self, t: int, only: Collection[str] = ()) -> None:
        workspace, writes = self.workspace, self._writes
        if only:
            writes = [one for one in writes if one[0].removeprefix(self.output) in only]
        if isinstance(workspace, Workspace):
            for name, row, template in writes:
                workspace.put(name, t, row, template)
        else:  # bbrl's own workspace
            for name, row, _ in writes:
                self.set((name, t), torch.from_numpy(row.copy()))
