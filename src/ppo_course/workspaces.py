"""Workspaces that watch what a student's agent does with them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ppo_bbrl.workspace.table import Workspace


class RecordingWorkspace(Workspace):
    """A workspace that remembers what was written, as (name, row); row None is all rows.

    Args:
        variables: `[T, B, …]` each, that are there before anything is remembered.
    """

    def __init__(self, variables: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.written: list[tuple[str, int | None]] = []
        for name, tensor in variables.items():
            self.set_full(name, tensor.clone())
        self.written = []

    def set(self, var_name: str, t: int, v: Tensor, batch_dims: Any = None) -> None:
        """As in a workspace."""
        self.written.append((var_name, t))
        super().set(var_name, t, v, batch_dims)

    def set_full(self, var_name: str, value: Tensor, batch_dims: Any = None) -> None:
        """As in a workspace."""
        self.written.append((var_name, None))
        super().set_full(var_name, value, batch_dims)
