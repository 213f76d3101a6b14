"""Three policies with memory for notebook 07's hunt: one of them is right."""

from collections.abc import Callable
from typing import Any

import bbrl.agents
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from ppo_course.nb07_memory.memories import reset

SIZE = 8

#: (agent, memory [B, H], t) → the memory with which the agent goes into row t
Start = Callable[[bbrl.agents.Agent, Tensor, int], Tensor]


class Suspect(bbrl.agents.Agent):
    """A policy on vectors with a GRU cell.

    Args:
        start: how it treats its memory when it comes to a row.
        n_features: of an observation.
        n_actions: of a discrete action.
    """

    has_memory, memory_size = True, SIZE

    def __init__(self, start: Start, n_features: int, n_actions: int) -> None:
        super().__init__()
        self._start = start
        self.cell, self.head = nn.GRUCell(n_features, SIZE), nn.Linear(SIZE, n_actions)

    def forward(
        self,
        t: int,
        *,
        stochastic: bool = True,
        predict_proba: bool = False,
        compute_entropy: bool = False,
        **_kwargs: Any,
    ) -> None:
        """Act in row t or judge its action, and write the memory of row t + 1."""
        obs, name = self.get(("env/env_obs", t)), f"{self.prefix}memory"
        if t == 0 and name not in self.workspace.variables:
            self.set((name, 0), torch.zeros(len(obs), SIZE))
        memory = self._start(self, self.get((name, t)), t)
        self.set((name, t), memory)
        memory = self.cell(obs, memory)
        self.set((name, t + 1), memory)
        dist: Any = Categorical(logits=self.head(memory))
        if predict_proba:
            action = self.get(("action", t))
            self.set((f"{self.prefix}logprob_predict", t), dist.log_prob(action))
        else:
            self.set(("action", t), dist.sample() if stochastic else dist.probs.argmax(-1))
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), dist.entropy())


def _never(_agent: bbrl.agents.Agent, memory: Tensor, _t: int) -> Tensor:
    return memory


def _at_the_end(agent: bbrl.agents.Agent, memory: Tensor, t: int) -> Tensor:
    return reset(memory, agent.get(("env/done", t)))


def _at_the_beginning(agent: bbrl.agents.Agent, memory: Tensor, t: int) -> Tensor:
    return reset(memory, agent.get(("env/timestep", t)) == 0)


def suspects(n_features: int, n_actions: int, seed: int = 0) -> dict[str, Suspect]:
    """Policies A, B and C, with the same weights."""
    made = {}
    for name, start in (("A", _at_the_end), ("B", _at_the_beginning), ("C", _never)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made[name] = Suspect(start, n_features, n_actions)
    return made
