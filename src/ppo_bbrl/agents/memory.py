"""Memory: an LSTM or a GRU that stands in front of a policy's or a critic's network.

What an agent remembers is a variable of the workspace, `{prefix}memory`, `[T, B, size]`. Row t
holds what it knows when it comes to row t, before it sees the observation there: zeros where an
episode begins, else what it wrote when it acted in row t-1. So a row can be carried into the next
rollout and acted in again, with other weights. See docs/memory.md.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ppo_bbrl.agents.encoders import StateDim, encoder
from ppo_bbrl.agents.observations import Observation, encoded
from ppo_bbrl.errors import UserError
from ppo_bbrl.seeding import generator
from ppo_bbrl.system.sizes import size_of

KINDS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class Memory(nn.Module):
    """Turns observations, and what is remembered of earlier ones, into features.

    Weights are orthogonal with gain 1, biases 0 (docs/ppo.md#detail-32).

    Args:
        kind: lstm or gru.
        state_dim: number of features, shape of an observation, or the observation space.
        size: H, the number of features that it gives.

    Attributes:
        size: H.
        width: of a row of the workspace: H, or 2·H for an LSTM, whose hidden state and cell state
            lie side by side.
    """

    def __init__(self, kind: str, state_dim: StateDim, size: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise UserError(f"memory = {kind!r}: must be one of {', '.join(KINDS)}")
        self.kind, self.size = kind, size_of("memory_size", size)
        self.width = 2 * self.size if kind == "lstm" else self.size
        self.encoder, n_features = encoder(state_dim)
        self.cells = _orthogonal(KINDS[kind], n_features, self.size)

    def after(self, obs: Observation, state: Tensor) -> Tensor:
        """What is remembered after one more observation.

        Args:
            obs: `[B, …]`.
            state: `[B, width]`, what was remembered before.

        Returns:
            `[B, width]`.
        """
        return self._step(self._encoded(obs), state)

    def at_first(self, obs: Observation) -> Tensor:
        """The features of observations that begin an episode each: `[..., *obs]` to `[..., H]`."""
        seen = self._encoded(obs)
        rows = seen.reshape(-1, seen.shape[-1])
        state = self._step(rows, rows.new_zeros(len(rows), self.width))
        return self.features(state).reshape(*seen.shape[:-1], self.size)

    def features(self, state: Tensor) -> Tensor:
        """What a head gets of a state, `[..., width]` to `[..., H]`: an LSTM's hidden state."""
        return state[..., : self.size]

    def over(self, obs: Any, state: Tensor, begins: Tensor) -> Tensor:
        """The features of T rows in one pass.

        Between two rows in which any episode begins all environments go on, so that one call of
        torch's LSTM takes them together. Nothing is padded.

        Args:
            obs: `[T, B, …]`, or their `Features`.
            state: `[B, width]`, what was remembered before row 0.
            begins: `[T, B]` bool, where an episode begins and nothing is remembered.

        Returns:
            `[T, B, H]`.
        """
        seen = self._encoded(obs)
        hidden: Any = tuple(part[None] for part in self._parts(state))
        features = []
        for first, last in _spans(begins):
            fresh = begins[first].unsqueeze(-1)
            hidden = tuple(part.masked_fill(fresh, 0.0) for part in hidden)
            given = hidden if self.kind == "lstm" else hidden[0]
            rows, hidden = self.cells(seen[first:last], given)
            hidden = hidden if self.kind == "lstm" else (hidden,)
            features.append(rows)
        return torch.cat(features)

    def _step(self, seen: Tensor, state: Tensor) -> Tensor:
        weights: Any = self.cells._flat_weights
        if self.kind == "gru":
            return torch.gru_cell(seen, state, *weights)
        return torch.cat(torch.lstm_cell(seen, self._parts(state), *weights), -1)

    def _parts(self, state: Tensor) -> list[Tensor]:
        """Hidden state and cell state of an LSTM; of a GRU the one that there is."""
        return [state[..., first : first + self.size] for first in range(0, self.width, self.size)]

    def _encoded(self, obs: Any) -> Tensor:
        return encoded(self.encoder, obs).to(next(self.cells.parameters()).dtype)


def _orthogonal(kind: Any, n_features: int, size: int) -> nn.RNNBase:
    cells: nn.RNNBase = kind(n_features, size, device="meta")
    device = torch.get_default_device()
    for name, parameter in list(cells.named_parameters()):
        made = nn.Parameter(torch.zeros(parameter.shape, device=device))
        if made.dim() > 1:
            nn.init.orthogonal_(made, 1.0, generator=generator())
        setattr(cells, name, made)
    return cells


def _spans(begins: Tensor) -> Iterator[tuple[int, int]]:
    """From each row in which an episode begins to the next such row; the first is row 0."""
    cuts = [t for t in begins.any(1).nonzero().flatten().tolist() if t]
    yield from zip([0, *cuts], [*cuts, len(begins)], strict=True)


def memory_name(agent: Any) -> str:
    """The variable of the workspace in which an agent keeps its memory."""
    return f"{agent.prefix}memory"


def is_memory(variable: str) -> bool:
    """Whether some agent keeps its memory in a variable of this name."""
    return variable == "memory" or variable.endswith("/memory")


def recall(workspace: Any, name: str, t: int, like: Tensor) -> Tensor:
    """What an agent remembers when it comes to row t, `[B, width]`; zero where episodes begin.

    Row t of the variable is made so, where it is not.

    Args:
        workspace: in which `env/timestep` says where episodes begin.
        name: of the variable.
        t: the row.
        like: `[width]`, of the agent's type and on its device.

    Raises:
        UserError: if nobody has written row t > 0.
    """
    begins = workspace.get("env/timestep", t) == 0
    variable = workspace.variables.get(name)
    if variable is not None and t < variable.time_size():
        there: Tensor = workspace.get(name, t)
        if there.shape == (len(begins), *like.shape) and there.dtype == like.dtype:
            if begins.any():
                there = there.masked_fill(begins.unsqueeze(-1), 0.0)
                workspace.set(name, t, there)
            return there.to(like.device)
        if t == 0:
            del workspace.variables[name]  # of another agent, which was replaced
    if t > 0:
        raise UserError(f"{name} has no row {t}: an agent with memory acts in row {t - 1} first")
    there = torch.zeros(len(begins), *like.shape, dtype=like.dtype)
    workspace.set(name, t, there)
    return there.to(like.device)
