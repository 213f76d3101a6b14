"""Environments as a BBRL agent, on Gymnasium's vector API.

One row of the workspace is one `VectorEnv.step`. Episodes end as in Gymnasium's next-step
autoreset: the final observation has its own row (`done`), the next row is the reset one, and the
step between the two is not a transition.
"""

import warnings
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from bbrl.agents.gymnasium import GymAgent
from gymnasium.spaces import Dict
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from torch import Tensor

from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.envs.actions import action_converter
from ppo_bbrl.envs.faults import UnfitError, check_rows, narrowed, reason
from ppo_bbrl.envs.masks import AUTO, KEY, NONE, MaskReader, masks_of
from ppo_bbrl.envs.parts import ObservationRows
from ppo_bbrl.envs.spaces import check_supported, size
from ppo_bbrl.envs.state import envs_state, load_envs_state
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import make_vector_env
from ppo_bbrl.envs.workers import WorkerVectorEnv
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError, StateError
from ppo_bbrl.seeding import env_seeds, sequence_from_state, sequence_state
from ppo_bbrl.system.state import check_names
from ppo_bbrl.workspace.storage import Array
from ppo_bbrl.workspace.table import Workspace


class EnvAgent(GymAgent):
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

    Raises:
        ConfigError: if the environment cannot be made or its spaces are not supported.
    """

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
    ) -> None:
        envs = make_vector_env(
            env_name,
            n_envs,
            env_args=env_args,
            wrappers=wrappers,
            vectorization=vectorization,
            hold=not autoreset,
            action_mask=action_mask,
        )
        self._act_in(env_name, envs, autoreset=autoreset, action_mask=action_mask)
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
                workspace.row_array(self.input, t - 1) if known else self.get((self.input, t - 1))
            )
        self._write(t)

    def all_done(self) -> bool:
        """Whether every episode has ended in the latest row."""
        return bool(self._row["done"].all())

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The state of the environments and the latest row.

        Called with arguments, as by a parent module's `state_dict`, it returns weights: none.

        Raises:
            StateError: if something's state cannot be saved; the message names it.
        """
        if args or kwargs:
            weights: dict[str, Any] = super().state_dict(*args, **kwargs)
            return weights
        return {
            "env_name": self.env_name,
            "row": {name: torch.from_numpy(array.copy()) for name, array in self._row.items()},
            "seeds": None if self._seeds is None else sequence_state(self._seeds),
            "envs": envs_state(self.envs, self.env_name),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of other environments.

        Raises:
            StateError: if they differ from these; nothing has been changed then.
        """
        check_names(state, ("env_name", "row", "seeds", "envs"), self.env_name)
        if state["env_name"] != self.env_name:
            raise StateError(f"the state belongs to {state['env_name']}, not to {self.env_name}")
        if KEY in state["row"] and KEY not in self._row and self._masks.sizes:
            self._add_mask_row()
        check_names(state["row"], self._row, self.env_name)
        rows = {name: row.numpy() for name, row in state["row"].items()}
        for name, row in rows.items():
            there, here = row.shape, self._row[name].shape
            if there != here:
                raise StateError(f"{self.env_name}: {name} is {there} in the state, {here} here")
        seeds = None if state["seeds"] is None else sequence_from_state(state["seeds"])
        load_envs_state(self.envs, state["envs"], self.env_name)
        self._seeds = seeds
        for name, row in rows.items():
            self._row[name][...] = row

    def close(self) -> None:
        """Close the environments and end their processes, even if one of these hangs or is dead."""
        try:
            self.envs.close()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the run is over anyway
            self.envs.closed = True  # so that exit does not try again
            warnings.warn(f"{self.env_name} failed in close(): {reason(error)}", stacklevel=2)

    def _reset(self) -> None:
        one_by_one = isinstance(self.envs.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        seeds: Any = None  # one for each environment; a vectorised implementation takes one for all
        if self._seeds is not None:
            seeds = env_seeds(self._seeds, self.num_envs if one_by_one else 1)
        try:
            observation, infos = self.envs.reset(
                seed=seeds if one_by_one or not seeds else seeds[0]
            )
            if not self._checked:
                self._rows_of.check(observation)
            rows = self._rows_of.of(observation)
        except EnvironmentFailedError:
            raise
        except (Exception, SystemExit) as error:
            raise self._failed("a reset", error) from error
        self._seeds = None
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

    def _step(self, action: Array | Tensor) -> None:
        to_env = self._to_env(action)
        try:
            observation, reward, terminated, truncated, infos = self.envs.step(to_env)
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
                reward = narrowed(np.asarray(reward), np.dtype(np.float32), "rewards have")
            observed = zip(self._observed, self._rows_of.of(observation), strict=True)
        except EnvironmentFailedError:
            raise
        except (Exception, SystemExit) as error:
            raise self._failed("a step", error) from error
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

    def _write(self, t: int) -> None:
        workspace = self.workspace
        if isinstance(workspace, Workspace):
            for name, row, template in self._writes:
                workspace.put(name, t, row, template)
        else:  # bbrl's own workspace
            for name, row, _ in self._writes:
                self.set((name, t), torch.from_numpy(row.copy()))
