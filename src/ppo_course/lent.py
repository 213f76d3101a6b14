"""A workspace that an exercise lends to a student's function."""

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.workspace.table import Workspace


class Lent(Workspace):
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
        """A variable that was read and then written into; None if there is none.

        Args:
            names: the variables that matter; by default, all of them.
        """
        for name, tensor, before in self._lent:
            if (names is None or name in names) and not torch.equal(tensor.detach(), before):
                return name
        return None
