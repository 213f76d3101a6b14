"""The workspace: the table of `[T, B]` variables that all agents share.

`Workspace` is bbrl's with other storage. A variable without gradients is stored in one preallocated
`[T, B, …]` tensor, which doubles when it is full; values that require grad are kept row by row,
so that you can backpropagate through the workspace. Reads are copies, which later writes do not
change. Only `view` and `row_array` return the storage itself.

`VARIABLES` lists what the package's own run reads and writes. An observation of a Dict or a Tuple
has a variable for each of its parts, `env/env_obs/<path>`: `env/env_obs/near`, or
`env/env_obs/far/place` in a Dict within a Dict; entries of a Tuple have numbers.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import bbrl.workspace
import torch
from torch import Tensor

from ppo_bbrl.workspace import show
from ppo_bbrl.workspace.storage import Array, NewestRows, RowsGone, TemporalTensor

#: name → (who writes it, shape and type, what it means)
VARIABLES: dict[str, tuple[str, str, str]] = {
    "env/env_obs": ("environment", "[T, B, …] float32, uint8 or int64", "observation"),
    "env/reward": ("environment", "[T, B] float32", "reward of the step that led to this row"),
    "env/terminated": ("environment", "[T, B] bool", "a terminal state was reached"),
    "env/truncated": ("environment", "[T, B] bool", "the episode was cut off here"),
    "env/done": ("environment", "[T, B] bool", "terminated or truncated"),
    "env/timestep": ("environment", "[T, B] int64", "steps since the episode began"),
    "env/cumulated_reward": ("environment", "[T, B] float32", "return of the episode so far"),
    "env/action_mask": ("environment", "[T, B, A] bool", "which actions are allowed, if it says"),
    "action": ("policy", "[T, B, …]", "as sampled, unclipped"),
    "current_policy/memory": (
        "policy with memory",
        "[T, B, …] float32",
        "remembered when the row begins; 0 where env/timestep is",
    ),
    "critic/memory": ("critic with memory", "[T, B, …] float32", "likewise"),
    "current_policy/logprob": ("policy", "[T, B] float32", "log-probability when acting"),
    "critic/v_values": ("critic", "[T, B] float32", "value when acting"),
    "curiosity/reward": ("curiosity", "[T, B] float32", "novelty of this row's observation"),
    "curiosity/v_values": ("curiosity", "[T, B] float32", "its own value, with scaled rewards"),
    "curiosity/advantage": ("algorithm", "[T, B] float32", "of curiosity; 0 in the last row"),
    "curiosity/return": ("algorithm", "[T, B] float32", "target of its value; 0 in the last row"),
    "advantage": ("algorithm", "[T, B] float32", "0 in the last row"),
    "return": ("algorithm", "[T, B] float32", "the critic's target; 0 in the last row"),
}


# In the memo of `copy.deepcopy`, as no object has this id: leave out workspaces that others hold.
LEFT_OUT = -1


class Workspace(bbrl.workspace.Workspace):
    """bbrl's workspace with preallocated storage.

    Args:
        workspace: a workspace to copy, if given.
        capacity: the number of rows to allocate at first.
        newest_only: keep only the two newest rows, so that memory does not grow; reading an
            earlier one raises `RowsGone`.
    """

    variables: dict[str, TemporalTensor]

    def __init__(
        self,
        workspace: bbrl.workspace.Workspace | None = None,
        *,
        capacity: int = 16,
        newest_only: bool = False,
    ) -> None:
        super().__init__()
        self._capacity = capacity
        self._storage = NewestRows if newest_only else TemporalTensor
        if workspace is not None:
            for name in workspace.keys():  # noqa: SIM118 - a workspace is not a mapping
                self.set_full(name, workspace.get_full(name))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self | None:
        """A copy; None if `LEFT_OUT` is in the memo, for who copies an agent that acts."""
        if LEFT_OUT in memo:
            return None
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(vars(self), memo))
        return made

    def __repr__(self) -> str:
        return show.as_text(self._whole())

    def _repr_html_(self) -> str:
        """In a notebook: the T × B grid, and the variables with their writers."""
        return show.as_html(self._whole())

    def _whole(self) -> dict[str, Tensor]:
        """All rows of each variable, or only the newest one if the others were not kept."""
        whole = {}
        for name, variable in self.variables.items():
            try:
                whole[name] = variable.get_full().detach()
            except RowsGone:
                whole[name] = variable.get(variable.time_size() - 1).detach()[None]
        return whole

    def __getitem__(self, key: str | Iterable[str]) -> Tensor | Iterator[Tensor]:
        """A copy of the variable with this name, `[T, B, …]`, or of several, for several names."""
        if isinstance(key, str):
            return self.get_full(key)
        return (self.get_full(name) for name in key)

    def set(self, var_name: str, t: int, v: Tensor, batch_dims: Any = None) -> None:
        """Write row t of a variable, `[B, …]`."""
        variable = self.variables.get(var_name)
        if variable is None:
            variable = self.variables[var_name] = self._storage(var_name, self._capacity)
        variable.set(t, v, batch_dims)

    def get(self, var_name: str, t: int, batch_dims: Any = None) -> Tensor:
        """A copy of row t of a variable, `[B, …]`."""
        return self._variable(var_name).get(t, batch_dims)

    def set_full(self, var_name: str, value: Tensor, batch_dims: Any = None) -> None:
        """Write a whole variable, `[T, B, …]`."""
        if var_name not in self.variables:
            self.variables[var_name] = self._storage(var_name, self._capacity)
        self.variables[var_name].set_full(value, batch_dims)

    def get_full(self, var_name: str, batch_dims: Any = None) -> Tensor:
        """A copy of a whole variable, `[T, B, …]`."""
        return self._variable(var_name).get_full(batch_dims)

    def view(self, var_name: str) -> Tensor:
        """The storage of a variable itself, `[T, B, …]`: later writes show in it."""
        return self._variable(var_name).view()

    def put(self, var_name: str, t: int, row: Array, like: Tensor) -> None:
        """Write row t of a variable in place from an array with the shape and dtype of `like`."""
        variable = self.variables.get(var_name)
        if variable is None:
            variable = self.variables[var_name] = self._storage(var_name, self._capacity)
        variable.put(t, row, like)

    def row_array(self, var_name: str, t: int) -> Array:
        """Row t of a variable's storage itself as an array: later writes show in it."""
        return self._variable(var_name).row_array(t)

    def cut(self, n_rows: int) -> None:
        """Forget what has been written beyond the first n_rows rows."""
        for variable in self.variables.values():
            variable.cut(n_rows)

    def last_row(self) -> dict[str, Tensor]:
        """A copy of the last row, `[B, …]`, of each variable that has the full number of rows.

        The next rollout continues from it. It has no gradients.
        """
        sizes = {name: variable.time_size() for name, variable in self.variables.items()}
        last = max(sizes.values(), default=0) - 1
        return {
            name: self.get(name, last).detach() for name, size in sizes.items() if size == last + 1
        }

    def select_batch(self, batch_indexes: Tensor) -> "Workspace":
        """A new workspace with only the environments at these indices."""
        self.batch_size()  # bbrl's check that all variables agree
        return _with({k: v.select_batch(batch_indexes) for k, v in self.variables.items()})

    def subtime(self, from_t: int, to_t: int) -> "Workspace":
        """A new workspace with rows from_t to to_t - 1."""
        self.time_size()  # bbrl's check that all variables agree
        return _with({k: v.subtime(from_t, to_t) for k, v in self.variables.items()})

    def to(self, device: torch.device) -> "Workspace":
        """A copy of the workspace on a device."""
        return _with({k: v.to(device) for k, v in self.variables.items()})

    def contiguous(self) -> "Workspace":
        """A copy of the workspace."""
        return Workspace(self)

    def get_time_truncated(
        self, var_name: str, from_time: int, to_time: int, batch_dims: Any = None
    ) -> Tensor:
        """A copy of rows from_time to to_time - 1 of a variable."""
        return self._variable(var_name).get_time_truncated(from_time, to_time, batch_dims)

    def get_time_truncated_workspace(self, from_time: int, to_time: int) -> "Workspace":
        """A new workspace with rows from_time to to_time - 1."""
        return _with({k: v.subtime(from_time, to_time) for k, v in self.variables.items()})

    def get_transitions(
        self, no_final_state: bool = False, filter_key: str = "env/done"
    ) -> "Workspace":
        """A new workspace, `[2, N, …]`, with rows t and t+1 of each of the N transitions.

        The step from an episode's last row, where `filter_key` is true, to the reset row is left
        out, unless `no_final_state` is set.
        """
        return Workspace(super().get_transitions(no_final_state, filter_key))

    def select_subtime(self, t: Tensor, window_size: int) -> "Workspace":
        """A new workspace with a window of rows of each environment, which starts at its own t."""
        return Workspace(super().select_subtime(t, window_size))

    def cat_batch(self, workspaces: Sequence[bbrl.workspace.Workspace]) -> "Workspace":
        """A new workspace with the environments of several workspaces of the same length."""
        return Workspace(super().cat_batch(workspaces))

    def _variable(self, name: str) -> TemporalTensor:
        try:
            return self.variables[name]
        except KeyError:
            there = ", ".join(self.variables) or "nothing"
            raise KeyError(f"no variable {name!r} in the workspace; it has {there}") from None


def one_row(tensors: Mapping[str, Tensor]) -> Workspace:
    """A workspace with a single row, t = 0, from tensors `[N, …]`."""
    workspace = Workspace(capacity=1)
    for name, tensor in tensors.items():
        workspace.set(name, 0, tensor)
    return workspace


def _with(variables: dict[str, TemporalTensor]) -> Workspace:
    workspace = Workspace()
    workspace.variables = variables
    return workspace
