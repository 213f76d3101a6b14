"""Agents with memory: a memory in front of any policy, and in front of any critic.

The head is an agent like any other. In place of an observation it gets what the memory makes of
it and of those before.
"""

from typing import Any, ClassVar, Self, TypeGuard

from torch import Tensor
from torch.distributions import Distribution

from ppo_bbrl.agents.base import Critic, Policy
from ppo_bbrl.agents.memory import Memory, memory_name, recall
from ppo_bbrl.agents.observations import NAME, Observation, any_part, moved, observation_at


class _Behind:
    """A workspace as a head sees it: with features in place of the observation."""

    def __init__(self, workspace: Any, features: Tensor) -> None:
        self._workspace, self._features = workspace, features
        self.set = workspace.set
        self.variables = {**workspace.variables, NAME: features}

    def get(self, var_name: str, t: int) -> Tensor:
        """Row t of a variable."""
        if var_name == NAME:
            return self._features
        row: Tensor = self._workspace.get(var_name, t)
        return row


class _Recurrent:
    """What policy and critic have in common: a memory and a head."""

    has_memory = True
    memory: Memory
    head: Any
    prefix: str
    workspace: Any

    @property
    def memory_size(self) -> int:
        """The width of a row of `{prefix}memory`."""
        return self.memory.width

    def with_prefix(self, prefix: str) -> Self:
        """Write under names that begin with `prefix`, as in `current_policy/`."""
        self.prefix = prefix
        self.head.with_prefix(prefix)
        return self

    def forward(self, t: int, **kwargs: Any) -> None:
        """Let the head act in row t or evaluate it, and write the memory of row t+1."""
        self.head(self.behind(self.workspace, t), t=t, **kwargs)

    def behind(self, workspace: Any, t: int) -> Any:
        """The workspace as the head sees it in row t; writes the memory of row t+1."""
        name = memory_name(self)
        weight = next(self.memory.cells.parameters())
        obs = observation_at(workspace, t)
        device = any_part(obs).device
        state = recall(workspace, name, t, weight.new_empty(self.memory.width))
        state = self.memory.after(moved(obs, weight.device), state)
        workspace.set(name, t + 1, state.to(device))
        return _Behind(workspace, self.memory.features(state).to(device))


class RecurrentPolicy(_Recurrent, Policy):
    """A policy with memory. Writes `action`, and `{prefix}memory` for the row after.

    Args:
        memory: in front of the head.
        head: a policy on `memory.size` features.
        name: the agent's name, for bbrl.
    """

    draws_noise_alone: ClassVar[bool] = True  # if its head does

    def __init__(self, memory: Memory, head: Policy, name: str = "policy") -> None:
        super().__init__(name)
        self.memory, self.head = memory, head

    @property
    def takes_mask(self) -> bool:  # type: ignore[override] # that of the head
        """Whether it takes a mask of the actions that are allowed."""
        return bool(self.head.takes_mask)

    def dist(self, obs: Observation, mask: Tensor | None = None) -> Distribution:
        """π(·|s) where s begins an episode: `[..., *observation]` to batch shape `[...]`."""
        dist: Distribution = self.head._dist(self.memory.at_first(obs), mask)
        return dist


class RecurrentCritic(_Recurrent, Critic):
    """A critic with memory. Writes `{prefix}v_values`, and `{prefix}memory` for the row after.

    Args:
        memory: in front of the head.
        head: a critic on `memory.size` features.
        name: the agent's name, for bbrl.
    """

    def __init__(self, memory: Memory, head: Critic, name: str = "critic") -> None:
        super().__init__(name)
        self.memory, self.head = memory, head

    @property
    def moments(self) -> Any:
        """Of the returns, if the head normalises them; otherwise None."""
        return getattr(self.head, "moments", None)

    def adapt(self, returns: Tensor) -> None:
        """Let the head follow returns `[N]`."""
        self.head.adapt(returns)

    def value(self, obs: Observation) -> Tensor:
        """V(s) where s begins an episode: `[..., *observation]` to `[...]`."""
        value: Tensor = self.head.value(self.memory.at_first(obs))
        return value


def without_memory(agent: Any) -> Any:
    """What acts behind a memory of the package; any other agent itself."""
    if is_recurrent(agent):
        return agent.head
    return agent


def is_recurrent(agent: Any) -> TypeGuard[RecurrentPolicy | RecurrentCritic]:
    """Whether an agent remembers as the package's do; a subclass may do so in its own way."""
    return isinstance(agent, _Recurrent) and type(agent).forward is _Recurrent.forward
