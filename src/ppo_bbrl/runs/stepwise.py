"""A policy that is asked for one action after the other, and remembers what it has seen."""

from typing import Any

import torch
from torch import Tensor

from ppo_bbrl.agents.base import MASK, Policy
from ppo_bbrl.agents.memory import memory_name
from ppo_bbrl.agents.observations import Observation, any_part, as_variables
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.workspace.table import one_row


class Stepwise:
    """Acts in one row after the other, each in a workspace of its own.

    Args:
        policy: with memory.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._memory: Tensor | None = None

    def reset(self) -> None:
        """Let episodes begin with the next observations."""
        self._memory = None

    def act(
        self,
        observation: Observation,
        *,
        stochastic: bool,
        begins: Any = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Actions for observations `[N, …]`, each of which follows that of the call before.

        If there were not N of them in the call before, episodes begin.

        Args:
            observation: `[N, …]`.
            stochastic: sample; otherwise take the most likely ones.
            begins: `[N]` bool, or one for all: whose episodes begin. None: none of them.
            mask: `[N, A]` bool, the allowed actions; None: all.

        Raises:
            UserError: if `begins` is something else.
        """
        n_rows, name = len(any_part(observation)), memory_name(self._policy)
        timestep = torch.ones(n_rows, dtype=torch.int64)
        if begins is not None:
            timestep[_booleans(begins, n_rows)] = 0
        row = {**as_variables(observation), "env/timestep": timestep}
        if self._memory is not None and len(self._memory) == n_rows:
            row[name] = self._memory
        if mask is not None:
            row[MASK] = mask
        workspace = one_row(row)
        self._policy(workspace, t=0, stochastic=stochastic)
        self._memory = workspace.get(name, 1)
        return workspace.get("action", 0)


def _booleans(begins: Any, n_rows: int) -> Tensor:
    try:
        given = torch.as_tensor(begins)
    except (TypeError, ValueError, RuntimeError):
        given = torch.empty(0)
    if given.dtype != torch.bool or given.shape not in {(), (n_rows,)}:
        raise UserError(
            f"episode_start = {one_line(repr(begins), 100)}: must be a boolean, or {n_rows} of them"
        )
    return given.expand(n_rows)
