"""Workspaces that watch what a student's code does with them."""

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.workspace.table import Workspace


class RecordingWorkspace(Workspace):
    """A workspace that remembers what was written, as (name, row); row None is all rows.

    Its variables, `[T, B, …]` each, are there before anything is remembered.
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


class LentWorkspace(Workspace):
    """A workspace that sees whether somebody writes into a whole variable that was read from it.

    Our workspace gives copies, so that it does no harm; BBRL's own may give what it keeps. A row
    that was read is the reader's.
    """

    def __init__(self, *, capacity: int = 16) -> None:
        super().__init__(capacity=capacity)
        self._lent: list[tuple[str, Tensor, Tensor]] = []

    def get_full(self, var_name: str, batch_dims: Any = None) -> Tensor:
        """As in a workspace."""
        tensor = super().get_full(var_name, batch_dims)
        self._lent.append((var_name, tensor, tensor.detach().clone()))
        return tensor

    def written_into(self, names: Container[str] | None = None) -> str | None:
        """A variable of these names that was read and then written into; None if there is none."""
        for name, tensor, before in self._lent:
            if (names is None or name in names) and not torch.equal(tensor.detach(), before):
                return name
        return None
