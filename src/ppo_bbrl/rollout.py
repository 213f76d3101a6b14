"""Rollouts: agents fill the workspace row by row, then what was seen becomes a `Rollout`.

Only acting needs one row after the other. Values and log-probabilities come from one pass over
all rows, which is shown to any agent as a single row of T·B entries.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import bbrl.agents
import torch
from torch import Tensor

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_bbrl.agents import (
    Policy,
    device_of,
    estimates_tensors,
    has_memory,
    judges_tensors,
)
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.shared_trunk import assessor
from ppo_bbrl.workspace import Workspace


def collect(env: EnvAgent, policy: bbrl.agents.Agent, workspace: Workspace, n_rows: int) -> int:
    """Fill rows 0 to n_rows-1 of a workspace; it continues where its last row stood.

    An empty workspace starts with a reset. Otherwise the last row becomes row 0, with a fresh
    action: the policy may have learned since it chose the old one, which was never executed. An
    agent with memory keeps its row, action included.

    Returns:
        The number of environment steps, autoreset steps not counted.
    """
    with ExitStack() as prepared:
        if isinstance(policy, Policy):
            prepared.enter_context(policy.noise_for(n_rows, env.num_envs))
            prepared.enter_context(policy.on_arrays(env.num_envs))
        # Without autoreset, ended environments stand still: when all do, new episodes begin.
        if not workspace.variables or (not env.autoreset and env.all_done()):
            env(workspace, t=0)
            policy(workspace, t=0)
        else:
            workspace.zero_grad()
            memory = has_memory(policy)
            _carry_last_row(workspace, everything=memory)
            if not memory:
                policy(workspace, t=0)
        for t in range(1, n_rows):
            env(workspace, t=t)
            policy(workspace, t=t)
    return int((~workspace.view("env/done")[: n_rows - 1]).sum())


def _carry_last_row(workspace: Workspace, *, everything: bool) -> None:
    last = workspace.variables["env/done"].time_size() - 1
    for name, variable in workspace.variables.items():
        if (everything or name.startswith("env/")) and variable.time_size() == last + 1:
            variable.copy_time(last, 0, 1)


@dataclass(frozen=True)
class Rollout:
    """The N valid transitions of a workspace; autoreset steps are left out.

    Attributes:
        variables: what agents read, `[N, …]` each, `env/env_obs` and `action` among them.
        log_prob: `[N]`, of the action under the weights that acted.
        value: `[N]`, under the weights that acted.
        advantage: `[N]`.
        target: `[N]`, λ-returns.
    """

    variables: dict[str, Tensor]
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor

    def __len__(self) -> int:
        """N."""
        return self.log_prob.shape[0]

    def select(self, index: Tensor) -> "Rollout":
        """The transitions of an index, `[M]`."""
        return Rollout(
            {name: tensor[index] for name, tensor in self.variables.items()},
            self.log_prob[index],
            self.value[index],
            self.advantage[index],
            self.target[index],
        )

    def minibatches(self, batch_size: int, generator: torch.Generator) -> Iterator["Rollout"]:
        """Each transition exactly once, shuffled, in minibatches of at most batch_size.

        The minibatches are equally large, up to one transition: no small rest gets a step of its
        own. batch_size 0 means everything.
        """
        if len(self) == 0:
            return  # every episode had just ended: there is nothing to learn from
        count = 1 if batch_size == 0 else -(-len(self) // batch_size)
        if count == 1:
            yield self  # its order has no meaning
            return
        shuffled = torch.randperm(len(self), generator=generator)
        for index in shuffled.to(self.log_prob.device).tensor_split(count):
            yield self.select(index)


@torch.no_grad()
def record(
    workspace: Workspace,
    policy: bbrl.agents.Agent,
    critic: bbrl.agents.Agent,
    *,
    discount_factor: float,
    gae_lambda: float,
) -> Rollout:
    """Complete a collected workspace: log-probabilities, values, advantages, returns.

    Writes `{prefix}logprob`, `{prefix}v_values`, `advantage` and `return` into the workspace,
    `[T, B]` with T rows; the last row of the latter two is 0, as no transition starts there.

    Returns:
        The valid transitions.
    """
    rows = _inputs(workspace)
    # Networks may be on an accelerator; workspace and advantages stay where the environments are.
    device = device_of(policy)
    as_one_row = {name: tensor.flatten(0, 1).to(device) for name, tensor in rows.items()}
    done = rows["env/done"]
    log_prob, _, value = assessor(policy, critic)(as_one_row)
    log_prob = log_prob.reshape(done.shape).to(done.device)
    value = value.reshape(done.shape).to(done.device)
    advantage = gae(
        reward=rows["env/reward"][1:],
        value=value[:-1],
        next_value=value[1:],
        terminated=rows["env/terminated"][1:],
        done=done[1:],
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    target = lambda_returns(advantage=advantage, value=value[:-1])
    last = advantage.new_zeros(1, advantage.shape[1])
    workspace.set_full(f"{policy.prefix}logprob", log_prob)
    workspace.set_full(f"{critic.prefix}v_values", value)
    workspace.set_full("advantage", torch.cat((advantage, last)))
    workspace.set_full("return", torch.cat((target, last)))

    # A transition starts in every row but the last, unless an episode has ended there.
    valid = (~done[:-1]).flatten().nonzero().squeeze(-1)
    needed = _needed(policy, critic, as_one_row)
    return Rollout(
        {name: as_one_row[name][valid.to(device)] for name in needed},
        *(tensor.flatten()[valid].to(device) for tensor in (log_prob, value, advantage, target)),
    )


def _inputs(workspace: Workspace) -> dict[str, Tensor]:
    """What an agent may read when it judges a transition, `[T, B, …]` each."""
    rows = workspace.variables["action"].time_size()
    return {
        name: variable.view()
        for name, variable in workspace.variables.items()
        if variable.time_size() == rows
    }


def _needed(
    policy: bbrl.agents.Agent, critic: bbrl.agents.Agent, variables: dict[str, Tensor]
) -> Iterable[str]:
    """What the agents may read when they learn: an agent of your own may read anything."""
    known = judges_tensors(policy) and estimates_tensors(critic)
    return ("env/env_obs", "action") if known else variables
