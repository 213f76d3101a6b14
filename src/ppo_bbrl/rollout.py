"""Rollouts: agents fill the workspace row by row, then the rows become training data.

Only acting has to go row by row. Values and log-probabilities are computed in one pass over all
rows, which agents see as a single row of T·B entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import bbrl.agents
import torch
from torch import Tensor

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.agents.base import device_of, keeps_own_memory, refuse_unmasked, remembers
from ppo_bbrl.agents.memory import is_memory, memory_name
from ppo_bbrl.agents.observations import Observation, names_in, observation_in
from ppo_bbrl.agents.sequences import predict_sequences, remember_rollout
from ppo_bbrl.agents.shared import evaluate_both, needed
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.minibatches import Minibatch, Transitions  # noqa: F401 - Minibatch was here before
from ppo_bbrl.system.html import table
from ppo_bbrl.workspace.show import summary
from ppo_bbrl.workspace.table import Workspace


def collect(env: EnvAgent, policy: bbrl.agents.Agent, workspace: Workspace, n_rows: int) -> int:
    """Fill rows 0 to n_rows-1 of a workspace, continuing from its last row.

    An empty workspace starts with a reset. Otherwise the last row becomes row 0, with a new action:
    the old one was never executed, and the policy may have learned since. What agents knew when
    they came to that row, in `{prefix}memory`, is carried with it. An agent of your own that
    declares `has_memory` and keeps it elsewhere keeps its row, including the action.

    Returns:
        The number of environment steps, not counting autoreset steps.
    """
    act = row_actor(policy, env.num_envs, n_rows)
    # Without autoreset, ended environments stop; new episodes begin once all have ended.
    if not workspace.variables or (not env.autoreset and env.all_done()):
        env(workspace, t=0)
        refuse_unmasked(policy, workspace)
        act(workspace, 0)
    else:
        workspace.zero_grad()
        everything = keeps_own_memory(policy)
        _carry_last_row(workspace, everything=everything)
        if not everything:
            act(workspace, 0)
    for t in range(1, n_rows):
        env(workspace, t=t)
        act(workspace, t)
    workspace.cut(n_rows)  # what is remembered after the last row, in which they act again
    return int((~workspace.view("env/done")[: n_rows - 1]).sum())


def _carry_last_row(workspace: Workspace, *, everything: bool) -> None:
    last = workspace.variables["env/done"].time_size() - 1
    for name, variable in workspace.variables.items():
        carried = everything or name.startswith("env/") or is_memory(name)
        if carried and variable.time_size() == last + 1:
            variable.copy_time(last, 0, 1)


@dataclass(frozen=True, repr=False)
class Rollout:
    """The steps that start in T consecutive rows of B environments.

    Attributes:
        reward: `[T, B]`, from the next row.
        terminated, done: `[T, B]` bool, from the next row.
        value, next_value: `[T, B]`, of this row and the next, under the weights that acted.
        log_prob: `[T, B]`, of the action in this row, under the weights that acted.
        mask: `[T, B]` bool: whether the step is a transition, not the reset after an episode.
        variables: the variables of the workspace, `[T+1, B, …]` each.
    """

    reward: Tensor
    terminated: Tensor
    done: Tensor
    value: Tensor
    next_value: Tensor
    log_prob: Tensor
    mask: Tensor
    variables: Mapping[str, Tensor]

    def __repr__(self) -> str:
        n_steps, n_envs = self.mask.shape
        return f"Rollout(T={n_steps}, B={n_envs}, {int(self.mask.sum())} transitions)"

    def _repr_html_(self) -> str:
        """A table for notebooks: the number of transitions and episode ends, and statistics."""
        shown = ("reward", "value", "next_value", "log_prob", "terminated", "done")
        rows = [
            (name, list(getattr(self, name).shape), *summary(getattr(self, name)[self.mask]))
            for name in shown
        ]
        ended = f"{int(self.terminated[self.mask].sum())} terminated"
        cut = int((self.done & ~self.terminated)[self.mask].sum())
        header = ("tensor", "[T, B]", "mean", "min", "max")
        return table(header, rows, f"{self!r}: {ended}, {cut} truncated")


def evaluate_rollout(
    workspace: Workspace, policy: bbrl.agents.Agent, critic: bbrl.agents.Agent
) -> Rollout:
    """Compute values and log-probabilities of a collected workspace, under the weights that acted.

    Writes them to the workspace as `{prefix}v_values` and `{prefix}logprob`, `[T, B]` with T rows,
    and what a critic with memory remembers as `{prefix}memory`.
    """
    rows = _inputs(workspace)
    # Networks may be on a GPU; the workspace stays where the environments are.
    device, done = device_of(policy), rows["env/done"]
    if remembers(critic):
        rows[memory_name(critic)] = remember_rollout(critic, workspace, rows, device)
    given = {name: tensor.to(device) for name, tensor in rows.items()}
    if not remembers(policy, critic):
        given = {name: tensor.flatten(0, 1) for name, tensor in given.items()}
    log_prob, _, value = evaluate_both(policy, critic, given)
    log_prob = log_prob.reshape(done.shape).to(done.device)
    value = value.reshape(done.shape).to(done.device)
    workspace.set_full(f"{policy.prefix}logprob", log_prob)
    workspace.set_full(f"{critic.prefix}v_values", value)
    return as_rollout(rows, log_prob=log_prob, value=value)


def with_values(rollout: Rollout, critic: bbrl.agents.Agent) -> Rollout:
    """A rollout with the values of a critic as it is now; the workspace keeps those it has."""
    device = device_of(critic)
    given = {name: rows.to(device) for name, rows in rollout.variables.items()}
    value = predict_sequences(critic, given)
    n_steps, n_envs = rollout.mask.shape
    value = value.reshape(n_steps + 1, n_envs).to(rollout.value.device)
    return replace(rollout, value=value[:-1], next_value=value[1:])


def as_rollout(rows: Mapping[str, Tensor], *, log_prob: Tensor, value: Tensor) -> Rollout:
    """Make a rollout from collected rows and the outputs of policy and critic.

    Args:
        rows: the workspace's variables, `[T+1, B, …]`; the last row only needs those of the
            environment.
        log_prob: `[T+1, B]`, or without the last row.
        value: `[T+1, B]`.
    """
    done = rows["env/done"]
    return Rollout(
        reward=rows["env/reward"][1:],
        terminated=rows["env/terminated"][1:],
        done=done[1:],
        value=value[:-1],
        next_value=value[1:],
        log_prob=log_prob[: len(done) - 1],
        mask=~done[:-1],
        variables=rows,
    )


def gae_targets(
    rollout: Rollout, *, discount_factor: float, gae_lambda: float
) -> tuple[Tensor, Tensor]:
    """Advantages and λ-returns of a rollout, `[T, B]` each."""
    advantage = gae(
        reward=rollout.reward,
        value=rollout.value,
        next_value=rollout.next_value,
        terminated=rollout.terminated,
        done=rollout.done,
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )
    return advantage, lambda_returns(advantage=advantage, value=rollout.value)


def transitions(
    rollout: Rollout,
    policy: bbrl.agents.Agent,
    critic: bbrl.agents.Agent,
    *,
    advantage: Tensor,
    returns: Tensor,
) -> Transitions:
    """The valid transitions of a rollout, on the device of the networks.

    Args:
        rollout: from `evaluate_rollout`.
        policy: determines, with the critic, which variables are needed.
        critic: likewise.
        advantage: `[T, B]`.
        returns: `[T, B]`.
    """
    read = {name: rollout.variables[name] for name in needed(policy, critic, rollout.variables)}
    device = device_of(policy)
    everything = all_rows(rollout, read, advantage=advantage, returns=returns, device=device)
    return everything.select(valid_rows(rollout).to(everything.log_prob.device))


def all_rows(
    rollout: Rollout,
    variables: Mapping[str, Tensor],
    *,
    advantage: Tensor,
    returns: Tensor,
    device: torch.device,
) -> Transitions:
    """All T·B rows of a rollout in one batch, including autoreset steps."""
    return Transitions(
        {name: rows.flatten(0, 1).to(device) for name, rows in variables.items()},
        *(
            tensor.flatten().to(device)
            for tensor in (rollout.log_prob, rollout.value, advantage, returns)
        ),
    )


def valid_rows(rollout: Rollout) -> Tensor:
    """Which of the T·B rows are transitions, `[N]`: all but autoreset steps."""
    return rollout.mask.flatten().nonzero().squeeze(-1)


def valid_observations(rollout: Rollout) -> Observation:
    """The observations of the transitions of a rollout, `[N, …]`."""
    names = names_in(rollout.variables)
    return observation_in({name: rollout.variables[name][:-1][rollout.mask] for name in names})


def _inputs(workspace: Workspace) -> dict[str, Tensor]:
    """What an agent may read when it evaluates a transition, `[T, B, …]` each."""
    rows = workspace.variables["action"].time_size()
    return {
        name: variable.view()
        for name, variable in workspace.variables.items()
        if variable.time_size() == rows
    }
