"""Made-up episodes with every kind of end, on which the checks of notebook 02 run a function."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ppo_course.workspaces import LentWorkspace

TERMINATED, TRUNCATED, BOTH = "terminated", "truncated", "both"

# Of each environment the row that ends an episode, and how; some rollouts begin with such a row.
_ENDS: tuple[dict[int, str], ...] = (
    {},
    {2: TERMINATED},
    {2: TRUNCATED},
    {3: BOTH},
    {5: TRUNCATED},
    {0: TRUNCATED, 5: TERMINATED},
)
_REWARDS = (
    (0, 1, 2, -1, 3, 2),
    (0, 2, 3, 0, 1, -2),
    (0, 3, 1, 0, 2, 4),
    (0, -1, 2, 4, 0, 3),
    (0, 2, -3, 1, 4, 1),
    (5, 0, 2, 1, -1, 3),
)
_VALUES = (
    (4, 8, 2, 6, 10, 3),
    (6, 3, 9, 5, 2, 8),
    (2, 7, 6, 3, 9, 4),
    (5, 2, 8, 7, 4, 6),
    (3, 9, 4, 2, 7, 8),
    (7, 4, 6, 9, 3, 5),
)


class Episodes(NamedTuple):
    """The rows of B environments, `[T + 1, B]` each, and what estimates of them depend on."""

    reward: Tensor
    value: Tensor
    terminated: Tensor
    truncated: Tensor
    discount_factor: float
    gae_lambda: float

    @property
    def done(self) -> Tensor:
        """Terminated or truncated, of each row."""
        return self.terminated | self.truncated

    @property
    def valid(self) -> Tensor:
        """Which of the T steps are transitions, `[T, B]`: all but those that follow an end."""
        return ~self.done[:-1]

    def aligned(self) -> dict[str, Tensor]:
        """The arguments of the package's `gae`, `[T, B]` each, fresh at every call."""
        return {
            "reward": self.reward[1:].clone(),
            "value": self.value[:-1].clone(),
            "next_value": self.value[1:].clone(),
            "terminated": self.terminated[1:].clone(),
            "done": self.done[1:].clone(),
        }

    def workspace(self) -> LentWorkspace:
        """The same rows in a workspace; every observation is another number."""
        workspace = LentWorkspace(capacity=len(self.reward))
        variables = {
            "env/env_obs": torch.arange(self.reward.numel()).reshape(self.reward.shape),
            "env/reward": self.reward,
            "env/terminated": self.terminated,
            "env/truncated": self.truncated,
            "env/done": self.done,
            "critic/v_values": self.value,
        }
        for name, tensor in variables.items():
            workspace.set_full(name, tensor)
        return workspace


def cases(seed: int | None) -> list[Episodes]:
    """What a function is run on: drawn episodes, or without a seed those to follow by hand."""
    chosen = _by_hand() if seed is None else _by_chance(torch.Generator().manual_seed(seed))
    return [*chosen, *_edges(chosen[0])]


def _edges(x: Episodes) -> list[Episodes]:
    """γ = 0; λ = 0 in one environment; λ = 1 in one transition of it."""
    b = int((x.terminated.any(0) & ~x.done[0]).nonzero()[-1])

    def cut(rows: int) -> Episodes:
        return x._replace(
            reward=x.reward[:rows, b : b + 1],
            value=x.value[:rows, b : b + 1],
            terminated=x.terminated[:rows, b : b + 1],
            truncated=x.truncated[:rows, b : b + 1],
        )

    return [
        x._replace(discount_factor=0.0),
        cut(len(x.reward))._replace(gae_lambda=0.0),
        cut(2)._replace(gae_lambda=1.0),
    ]


def _by_chance(generator: torch.Generator) -> list[Episodes]:
    return [_drawn(generator), _drawn(generator)]


def _by_hand() -> list[Episodes]:
    terminated, truncated = _masks(_ENDS, len(_REWARDS[0]))
    rows = [torch.tensor(rows, dtype=torch.float32).T for rows in (_REWARDS, _VALUES)]
    return [
        Episodes(rows[0], rows[1], terminated, truncated, discount_factor, gae_lambda)
        for discount_factor, gae_lambda in ((0.5, 0.8), (0.9, 0.25))
    ]


def _masks(ends: Sequence[Mapping[int, str]], n_rows: int) -> tuple[Tensor, Tensor]:
    terminated = torch.zeros(n_rows, len(ends), dtype=torch.bool)
    truncated = torch.zeros_like(terminated)
    for b, rows in enumerate(ends):
        for t, kind in rows.items():
            terminated[t, b] = kind in (TERMINATED, BOTH)
            truncated[t, b] = kind in (TRUNCATED, BOTH)
    return terminated, truncated


def _drawn(generator: torch.Generator) -> Episodes:
    """Random episodes with every kind of end in the middle, at the last row and in row 0."""

    def below(n: int, shape: Sequence[int] = (1,)) -> Tensor:
        return torch.randint(n, list(shape), generator=generator)

    # Fewer rows than environments, so that no shape looks like its transpose.
    n_rows = 6 + int(below(3))
    ends: list[dict[int, str]] = [
        {},
        *({2 + int(below(n_rows - 5)): kind} for kind in (TERMINATED, TRUNCATED, BOTH)),
        {n_rows - 1: TRUNCATED},
        {0: TRUNCATED, n_rows - 1: TERMINATED},
        {1: TERMINATED, n_rows - 2: TRUNCATED},
        *({2 + int(below(n_rows - 5)): TRUNCATED} for _ in range(2 + int(below(3)))),
    ]
    order = torch.randperm(len(ends), generator=generator).tolist()
    terminated, truncated = _masks([ends[b] for b in order], n_rows)
    done = terminated | truncated
    reward = below(12, done.shape) / 2 - 2.25  # never 0
    reward[0] = reward[1:][done[:-1]] = 0  # a row of a reset has no reward
    value = 1 + below(40, done.shape) / 4
    one, two = torch.rand(2, generator=generator).tolist()
    constants = round(0.6 + 0.35 * one, 2), round(0.55 + 0.35 * two, 2)
    return Episodes(reward, value, terminated, truncated, *constants)
