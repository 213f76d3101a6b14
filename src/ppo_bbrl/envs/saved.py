"""The state of an environment agent: its environments, and the row that it wrote last."""

from typing import Any

import numpy as np
import torch
from bbrl.agents.gymnasium import GymAgent
from gymnasium.vector import VectorEnv

from ppo_bbrl.envs.masks import KEY, MaskReader
from ppo_bbrl.envs.state import envs_state, load_envs_state
from ppo_bbrl.errors import StateError
from ppo_bbrl.seeding import sequence_from_state, sequence_state
from ppo_bbrl.system.state import check_names
from ppo_bbrl.workspace.storage import Array


class SavedEnvs(GymAgent):
    """The part of an environment agent that saves and restores its state."""

    env_name: str
    envs: VectorEnv[Any, Any, Any]
    _row: dict[str, Array]
    _seeds: np.random.SeedSequence | None
    _masks: MaskReader

    def _add_mask_row(self) -> None:
        raise NotImplementedError

    def check_row(self, name: str, row: Any) -> None:
        """Refuse what cannot be a row of a workspace of these environments.

        Raises:
            StateError: naming the variable.
        """
        fits = isinstance(row, torch.Tensor)
        if fits and name.startswith(self.output) and name.removeprefix(self.output) in self._row:
            like = torch.from_numpy(self._row[name.removeprefix(self.output)])
            fits = (row.shape, row.dtype) == (like.shape, like.dtype)
        if not fits:
            raise StateError(f"workspace: {name} is no row of {self.envs.num_envs} environments")

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
