"""Policy and critic on whole sequences: `[T, B]` rows of environments, in the order of time.

A memory of the package takes all rows in one pass. An agent of one's own is led through them row
by row, with gradients, as it acted.
"""

from collections.abc import Mapping
from typing import Any

import bbrl.agents
import torch
from torch import Tensor, nn

from ppo_bbrl.agents.base import evaluate_actions, predict_values, remembers
from ppo_bbrl.agents.memory import is_memory, memory_name, recall
from ppo_bbrl.agents.observations import NAME, Features, is_observation, observation_in
from ppo_bbrl.agents.recurrent import RecurrentCritic, RecurrentPolicy, is_recurrent
from ppo_bbrl.workspace.table import Workspace

#: variables `[T, B, …]`, `env/timestep` among them; of a memory its first row is enough
Rows = Mapping[str, Tensor]


def evaluate_sequences(
    policy: bbrl.agents.Agent, critic: bbrl.agents.Agent, rows: Rows
) -> tuple[Tensor, Tensor, Tensor]:
    """log π(a|s), entropy and V(s), `[T·B]` each, of agents of which one has memory."""
    features: dict[nn.Module, Tensor] = {}  # a module that both agents have is run once
    log_prob, entropy = _evaluated(policy, rows, features)
    return log_prob, entropy, predict_sequences(critic, rows, features)


def remember_rollout(
    critic: bbrl.agents.Agent, workspace: Workspace, rows: Rows, device: torch.device
) -> Tensor:
    """Write what a critic remembers in each row of a rollout, which it has not acted in.

    It goes on from what is in row 0 of `{prefix}memory`, and is there afterwards, `[T, B, size]`.

    Args:
        critic: with memory.
        workspace: of the rollout.
        rows: its variables.
        device: of the critic.
    """
    name, begins = memory_name(critic), rows["env/timestep"] == 0
    weight = next(critic.parameters())
    like = torch.empty(critic.memory_size, dtype=weight.dtype)
    given = {name: tensor.to(device) for name, tensor in rows.items()}
    given[name] = recall(workspace, name, 0, like)[None].to(device)
    (memory,) = step_through(critic, given, ("memory",))
    memory = memory.to(begins.device)
    workspace.set_full(name, memory)
    return memory


def predict_sequences(
    critic: bbrl.agents.Agent, rows: Rows, features: dict[nn.Module, Tensor] | None = None
) -> Tensor:
    """V(s), `[T·B]`, with memory or without; `features` are those of modules already run."""
    if is_recurrent(critic):
        return predict_values(critic.head, _flat(_behind(critic, rows, features or {})))
    if not remembers(critic):
        return predict_values(critic, _flat(rows))
    return step_through(critic, rows, ("v_values",))[0].flatten(0, 1)


def step_through(
    agent: bbrl.agents.Agent, rows: Rows, outputs: tuple[str, ...], **how: Any
) -> list[Tensor]:
    """Run an agent in every row, one after the other; gives what it wrote, `[T, B, …]` each.

    Args:
        agent: writes `{prefix}{output}` for each of `outputs`.
        rows: what there is to read.
        outputs: names without the prefix.
        how: arguments for the agent.
    """
    n_rows = len(rows["env/timestep"])
    workspace = Workspace(capacity=n_rows + 1)
    for name, tensor in rows.items():
        workspace.set_full(name, tensor)
    for t in range(n_rows):
        agent(workspace, t=t, **how)
    return [workspace.get_full(f"{agent.prefix}{output}")[:n_rows] for output in outputs]


def _evaluated(
    policy: bbrl.agents.Agent, rows: Rows, features: dict[nn.Module, Tensor]
) -> tuple[Tensor, Tensor]:
    if is_recurrent(policy):
        return evaluate_actions(policy.head, _flat(_behind(policy, rows, features)))
    if not remembers(policy):
        return evaluate_actions(policy, _flat(rows))
    how = {"stochastic": True, "predict_proba": True, "compute_entropy": True}
    log_prob, entropy = step_through(policy, rows, ("logprob_predict", "entropy"), **how)
    return log_prob.flatten(0, 1), entropy.flatten(0, 1)


def _behind(
    agent: RecurrentPolicy | RecurrentCritic, rows: Rows, features: dict[nn.Module, Tensor]
) -> dict[str, Tensor]:
    """The rows as a head sees them: with features in place of the observation."""
    memory = agent.memory
    if memory not in features:
        if memory.encoder not in features:
            features[memory.encoder] = memory.encoder(observation_in(rows))
        seen, begins = Features(features[memory.encoder]), rows["env/timestep"] == 0
        features[memory] = memory.over(seen, rows[memory_name(agent)][0], begins)
    others = {name: tensor for name, tensor in rows.items() if not is_observation(name)}
    return {**others, NAME: features[memory]}


def _flat(rows: Rows) -> dict[str, Tensor]:
    """Rows one after the other, `[T·B, …]` each, without the first rows of memories."""
    return {name: tensor.flatten(0, 1) for name, tensor in rows.items() if not is_memory(name)}
