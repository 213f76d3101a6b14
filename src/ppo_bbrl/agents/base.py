"""Base classes of agents: policies and critics. They read observations and write their outputs.

`policy.dist(obs)` and `critic.value(obs)` are pure functions of tensors with any leading
dimensions (of a dict of them, by path, where observations are a Dict or a Tuple); `forward(t)`
reads the workspace, calls them and writes the results.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Self, TypeGuard, TypeVar

import bbrl.agents
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from ppo_bbrl import distributions
from ppo_bbrl.agents.observations import (
    Observation,
    any_part,
    moved,
    observation_at,
    observation_in,
)
from ppo_bbrl.distributions import mode_of
from ppo_bbrl.errors import ConfigError, one_line
from ppo_bbrl.workspace.table import LEFT_OUT, one_row

MASK = "env/action_mask"


class Agent(bbrl.agents.Agent):
    """bbrl's agent, except that it releases its workspace even if it is interrupted."""

    prefix: str
    #: whether its rows depend on earlier rows, by the variable `{prefix}memory` (docs/memory.md)
    has_memory: bool = False

    def __call__(self, workspace: Any, **kwargs: Any) -> None:
        """Run on a workspace."""
        if workspace is None:
            raise ValueError(f"{type(self).__name__} needs a workspace")
        # Not through nn.Module's __setattr__, which looks for parameters: this is a hot path.
        object.__setattr__(self, "workspace", workspace)
        try:
            self.forward(**kwargs)
        finally:
            object.__setattr__(self, "workspace", None)

    def with_prefix(self, prefix: str) -> Self:
        """Write under names that begin with `prefix`, as in `current_policy/`."""
        self.prefix = prefix
        return self


class KWAgentWrapper(bbrl.agents.KWAgentWrapper):
    """Calls an agent with fixed keyword arguments, which override the caller's.

    `KWAgentWrapper(policy, stochastic=False)` is the greedy version of a policy.
    """

    def __call__(self, workspace: Any, **kwargs: Any) -> None:
        """Run the wrapped agent on a workspace."""
        self.wrapped(workspace, **{**kwargs, **self.kwargs})

    def with_prefix(self, prefix: str) -> Self:
        """Let the wrapped agent write under names that begin with `prefix`."""
        self.prefix = prefix
        self.wrapped.with_prefix(prefix)
        return self

    def forward(self, t: int, *args: Any, **kwargs: Any) -> None:
        """Run the wrapped agent on the workspace this agent holds."""
        self.wrapped(self.workspace, t=t, **{**kwargs, **self.kwargs})


class Critic(Agent):
    """Base class of critics: writes `{prefix}v_values`, `[B]`, an estimate of V(s).

    A subclass only needs to define `value`.
    """

    def value(self, obs: Any) -> Tensor:
        """V(s): `[..., *observation]` to `[...]`."""
        raise NotImplementedError(f"{type(self).__name__} must define value(obs)")

    def forward(self, t: int, **kwargs: Any) -> None:
        """Write the value of row t."""
        del kwargs
        observation = moved(observation_at(self.workspace, t), device_of(self))
        self.set((f"{self.prefix}v_values", t), self.value(observation))


class Policy(Agent):
    """Base class of policies. A subclass only needs to define `dist`; the rest follows from it.

    Attributes:
        takes_mask: whether it is `dist(obs, mask=None)`, with a mask of the actions that are
            allowed, `[..., A]` bool. A class says so.
    """

    takes_mask: ClassVar[bool] = False

    def dist(self, obs: Any) -> Distribution:
        """π(·|s): `[..., *observation]` to a distribution with batch shape `[...]`.

        It needs `sample`, `log_prob` and a `mode` (`distributions.mode_of` covers more cases than
        torch does); without an `entropy`, -log π(a|s) is used instead.
        """
        raise NotImplementedError(f"{type(self).__name__} must define dist(obs)")

    def act(
        self, obs: Observation, *, stochastic: bool = True, mask: Tensor | None = None
    ) -> Tensor:
        """An action for each observation: sampled, or the most likely one."""
        dist = self._dist(obs, mask)
        return dist.sample() if stochastic else mode_of(dist)

    def evaluate_actions(
        self, obs: Observation, action: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy of π(·|s), both `[...]`."""
        return distributions.evaluate_actions(self._dist(obs, mask), action)

    def _dist(self, obs: Observation, mask: Tensor | None) -> Distribution:
        # Only a policy that says `takes_mask` is given one, and its `dist` has the argument.
        return self.dist(obs) if mask is None else self.dist(obs, mask)  # type: ignore[call-arg]

    def log_prob_and_entropy(self, obs: Observation, action: Tensor) -> tuple[Tensor, Tensor]:
        """The former name of `evaluate_actions`: you may call it, but not override it."""
        return self.evaluate_actions(obs, action)

    def forward(
        self,
        t: int,
        *,
        stochastic: bool = True,
        predict_proba: bool = False,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> None:
        """Act in row t, or evaluate its action.

        Args:
            t: the index of the row.
            stochastic: sample the action; otherwise take the most likely one.
            predict_proba: do not act; write the log-probability of the action in row t as
                `{prefix}logprob_predict`, `[B]`.
            compute_entropy: write `{prefix}entropy`, `[B]`.
            kwargs: ignored.
        """
        del kwargs
        # The workspace stays where the environments are; the network may be elsewhere.
        device = device_of(self)
        obs, mask = observation_at(self.workspace, t), mask_at(self, self.workspace, t)
        given: dict[str, Any] = {} if mask is None else {"mask": mask.to(device)}
        if not predict_proba:
            action = self.act(moved(obs, device), stochastic=stochastic, **given)
            self.set(("action", t), action.detach().to(any_part(obs).device))
            if not compute_entropy:
                return
        action = self.get(("action", t)).to(device)
        log_prob, entropy = self.evaluate_actions(moved(obs, device), action, **given)
        if predict_proba:
            self.set((f"{self.prefix}logprob_predict", t), log_prob)
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), entropy)


def mask_at(policy: nn.Module, workspace: Any, t: int) -> Tensor | None:
    """The mask in row t of a workspace, `[B, A]`, if there is one and the policy takes it."""
    if not getattr(policy, "takes_mask", False) or MASK not in workspace.variables:
        return None
    mask: Tensor = workspace.get(MASK, t)
    return mask


def refuse_unmasked(policy: nn.Module, workspace: Any) -> None:
    """Refuse a policy that does not look where an environment tells which actions are allowed.

    Raises:
        ConfigError: says what to define.
    """
    if MASK not in workspace.variables:
        return
    behind: Any = getattr(policy, "head", policy) if remembers(policy) else policy
    if is_plain_policy(behind) and not behind.takes_mask:
        model = getattr(behind, "model", None)
        how = "dist(obs, mask=None) and the class attribute takes_mask = True"
        if type(behind).__name__ == "SharedPolicy":
            behind, how = model, "forward(obs, mask=None), or dist_and_value(obs, mask=None)"
        raise ConfigError(
            f"{type(behind).__name__} takes no mask of allowed actions, and the environment gives "
            f"one: define {how}, or set gym_env.action_mask: none"
        )


def device_of(agent: nn.Module) -> torch.device:
    """The device of an agent's weights; the CPU if it has none."""
    parameter = next(agent.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def has_memory(agent: nn.Module) -> bool:
    """Whether the agent declares `has_memory`: its rows depend on earlier rows."""
    return any(getattr(module, "has_memory", False) for module in agent.modules())


def keeps_own_memory(agent: nn.Module) -> bool:
    """Whether a part of the agent has memory elsewhere than in `{prefix}memory`."""
    return any(
        getattr(module, "has_memory", False) and not hasattr(module, "memory_size")
        for module in agent.modules()
    )


def remembers(*agents: nn.Module) -> bool:
    """Whether one of these agents has memory itself, not only a part of it; a cheap question."""
    return any(getattr(agent, "has_memory", False) for agent in agents)


def is_plain_policy(policy: nn.Module) -> TypeGuard[Policy]:
    """Whether a policy needs only observations and actions, not the workspace."""
    return (
        isinstance(policy, Policy)
        and type(policy).forward is Policy.forward
        and not policy.has_memory
    )


def is_plain_critic(critic: nn.Module) -> TypeGuard[Critic]:
    """Whether a critic needs only observations, not the workspace."""
    return (
        isinstance(critic, Critic)
        and type(critic).forward is Critic.forward
        and not critic.has_memory
    )


def evaluate_actions(
    policy: bbrl.agents.Agent, variables: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """log π(a|s) and entropy, `[N]` each, for any policy with the course's `forward`.

    Args:
        policy: the package's own, or any agent that writes `{prefix}logprob_predict` and
            `{prefix}entropy` when asked to.
        variables: the workspace's variables for N decisions, `[N, …]` each.
    """
    if is_plain_policy(policy):
        obs, action = observation_in(variables), variables["action"]
        if policy.takes_mask and MASK in variables:
            return policy.evaluate_actions(obs, action, mask=variables[MASK])
        return policy.evaluate_actions(obs, action)
    workspace = one_row(variables)
    policy(workspace, t=0, stochastic=True, predict_proba=True, compute_entropy=True)
    prefix = policy.prefix
    return workspace.get(f"{prefix}logprob_predict", 0), workspace.get(f"{prefix}entropy", 0)


def predict_values(critic: bbrl.agents.Agent, variables: Mapping[str, Tensor]) -> Tensor:
    """V(s), `[N]`, for any critic that writes `{prefix}v_values`."""
    if is_plain_critic(critic):
        return critic.value(observation_in(variables))
    workspace = one_row(variables)
    critic(workspace, t=0)
    return workspace.get(f"{critic.prefix}v_values", 0)


AnyAgent = TypeVar("AnyAgent", bound=nn.Module)


def copy_agent(agent: AnyAgent) -> AnyAgent:
    """A deep copy of an agent, without the workspace that it holds while acting in a thread.

    Another thread may begin to act with the agent meanwhile.

    Raises:
        ConfigError: if something in it cannot be copied, such as an open file.
    """
    held = [getattr(module, "workspace", None) for module in agent.modules()]  # BBRL's own, too
    try:
        return copy.deepcopy(agent, {LEFT_OUT: None, **{id(one): None for one in held}})
    except (TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
        both = agent if isinstance(agent, nn.ModuleList) else [agent]
        names = " or ".join(type(one).__name__ for one in both)
        raise ConfigError(
            f"{names} cannot be copied, as is done for the old and the best policy: "
            f"{one_line(error)}"
        ) from error
