"""Rollouts of agents with memory as training data: whole columns, steps in the order of time.

The memory with which a rollout begins is where the update begins, too; what follows is made anew
with the weights that learn (docs/ppo.md#detail-36). So minibatches are made of environments, and
nothing is padded; autoreset steps stay in their places, and a mask leaves them out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import bbrl.agents
import torch
from torch import Tensor

from ppo_bbrl.agents.base import device_of, remembers
from ppo_bbrl.agents.memory import memory_name
from ppo_bbrl.agents.shared import needed
from ppo_bbrl.losses import explained_variance
from ppo_bbrl.minibatches import Transitions, n_minibatches
from ppo_bbrl.rollout import Rollout, transitions


@dataclass(frozen=True, repr=False)
class Sequences(Transitions):
    """T steps of each of B environments, in the order of time.

    Attributes:
        variables: what agents read, `[T, B, …]` each; of memories the first row, `[1, B, …]`.
        log_prob: `[T, B]`, of the actions, under the weights that acted.
        value: `[T, B]`, under the weights that acted.
        advantage: `[T, B]`.
        returns: `[T, B]`, λ-returns.
        mask: `[T, B]` bool, which steps are transitions.
    """

    mask: Tensor

    def __len__(self) -> int:
        """The number of transitions."""
        return int(self.mask.sum())

    def __repr__(self) -> str:
        n_steps, n_envs = self.mask.shape
        return f"Sequences(T={n_steps}, B={n_envs}, {len(self)} transitions)"

    def flat(self) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor, Tensor]:
        """Variables as they are; log_prob, value, advantage and returns as `[T·B]`."""
        tensors = (self.log_prob, self.value, self.advantage, self.returns)
        log_prob, value, advantage, returns = (tensor.flatten() for tensor in tensors)
        return self.variables, log_prob, value, advantage, returns

    def which(self) -> Tensor:
        """The mask, `[T·B]`."""
        return self.mask.flatten()

    def valid_returns(self) -> Tensor:
        """The returns of the transitions, `[N]`."""
        return self.returns[self.mask]

    def explained_variance(self) -> Tensor:
        """How much of the variation of the returns the values explain, a scalar."""
        return explained_variance(value=self.value[self.mask], target=self.returns[self.mask])

    def select(self, index: Tensor) -> "Sequences":
        """The sequences of these environments, `[M]`."""
        return Sequences(
            {name: rows[:, index] for name, rows in self.variables.items()},
            self.log_prob[:, index],
            self.value[:, index],
            self.advantage[:, index],
            self.returns[:, index],
            self.mask[:, index],
        )

    def minibatches(self, batch_size: int, generator: torch.Generator) -> Iterator["Sequences"]:
        """Each environment exactly once, shuffled; in minibatches of at most batch_size steps.

        A minibatch has one environment at least. Those without any transition are left out: their
        losses would be means of nothing. batch_size 0 means everything.
        """
        n_steps, n_envs = self.mask.shape
        at_once = max(1, batch_size // n_steps)
        count = n_minibatches(n_envs, at_once if batch_size else 0)
        yield from (part for part in self.parts(count, generator) if part.mask.any())

    def parts(self, count: int, generator: torch.Generator) -> Iterator["Sequences"]:
        """Each environment exactly once, shuffled, in `count` minibatches."""
        if count == 1:
            yield self
            return
        shuffled = torch.randperm(self.mask.shape[1], generator=generator)
        for index in shuffled.to(self.mask.device).tensor_split(count):
            yield self.select(index)


def learnable(
    rollout: Rollout,
    policy: bbrl.agents.Agent,
    critic: bbrl.agents.Agent,
    *,
    advantage: Tensor,
    returns: Tensor,
) -> Transitions:
    """What there is to learn from in a rollout: sequences for agents with memory, or transitions.

    Args:
        rollout: from `evaluate_rollout`.
        policy: determines, with the critic, which variables are needed.
        critic: likewise.
        advantage: `[T, B]`.
        returns: `[T, B]`.
    """
    gather = sequences if remembers(policy, critic) else transitions
    return gather(rollout, policy, critic, advantage=advantage, returns=returns)


def sequences(
    rollout: Rollout,
    policy: bbrl.agents.Agent,
    critic: bbrl.agents.Agent,
    *,
    advantage: Tensor,
    returns: Tensor,
) -> Sequences:
    """The steps of a rollout, on the device of the networks, for agents with memory.

    Args:
        rollout: from `evaluate_rollout`.
        policy: determines, with the critic, which variables are needed.
        critic: likewise.
        advantage: `[T, B]`.
        returns: `[T, B]`.
    """
    device, n_steps = device_of(policy), len(rollout.mask)
    memories = [memory_name(agent) for agent in (policy, critic) if remembers(agent)]
    variables = {}
    for name in {*needed(policy, critic, rollout.variables), "env/timestep", *memories}:
        rows = rollout.variables[name]
        variables[name] = rows[: 1 if name in memories else n_steps].to(device)
    tensors = (rollout.log_prob, rollout.value, advantage, returns, rollout.mask)
    return Sequences(variables, *(tensor.to(device) for tensor in tensors))
