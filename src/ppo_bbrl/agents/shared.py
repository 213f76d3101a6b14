"""Policy and critic with a shared trunk: two agents that are the two heads of one model.

`PPOClip` detects that such agents share weights, and uses one optimiser, one joint loss and one
gradient clipping (docs/ppo.md#detail-13). The model is run once per minibatch, and so is the trunk
of the package's own agents (`algorithm.architecture.shared_trunk`).
"""

import copy
from collections.abc import Iterable, Mapping
from functools import partial
from inspect import signature
from typing import Any, Self, TypeGuard

import bbrl.agents
import gymnasium as gym
from torch import Tensor, nn
from torch.distributions import Distribution

from ppo_bbrl import distributions
from ppo_bbrl.agents.answers import dist_and_value
from ppo_bbrl.agents.base import (
    MASK,
    Critic,
    Policy,
    evaluate_actions,
    is_plain_critic,
    is_plain_policy,
    predict_values,
    remembers,
)
from ppo_bbrl.agents.curiosity import LEARNED
from ppo_bbrl.agents.observations import (
    Features,
    Observation,
    any_part,
    each_part,
    names_in,
    observation_in,
)
from ppo_bbrl.agents.recurrent import without_memory
from ppo_bbrl.agents.sequences import evaluate_sequences
from ppo_bbrl.distributions import as_one_event
from ppo_bbrl.errors import ConfigError

_ENVIRONMENTS = (gym.Env, gym.vector.VectorEnv)


class _Head:
    """Base of the two agents: the model, and how to copy it."""

    model: nn.Module

    def dist_and_value(
        self, obs: Observation, mask: Tensor | None = None
    ) -> tuple[Distribution, Tensor]:
        """π(·|s) and V(s), `[N]`, from observations `[N, …]`, by one run of the model.

        Raises:
            ConfigError: if the model returns something else.
        """
        run = getattr(self.model, "dist_and_value", self.model)
        given = {} if mask is None else {"mask": mask}
        answer = run(each_part(obs, partial(_in_precision_of, self.model)), **given)
        dist, value = dist_and_value(answer, len(any_part(obs)))
        return as_one_event(dist, value.dim()), value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A LightningModule refers to its environments and its trainer, which are not part of the
        # policy, may have processes, and cannot be copied.
        for module in self.model.modules():
            for name, attribute in vars(module).items():
                if name in ("_trainer", "_fabric") or isinstance(attribute, _ENVIRONMENTS):
                    memo[id(attribute)] = attribute
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied


class SharedPolicy(_Head, Policy):
    """The policy head of a model; `shared_agents` makes it."""

    def __init__(self, model: nn.Module, name: str = "policy") -> None:
        super().__init__(name)
        self.model = model
        run = getattr(model, "dist_and_value", model.forward)
        self._takes_mask = "mask" in signature(run).parameters

    @property
    def takes_mask(self) -> bool:  # type: ignore[override] # that of the model
        """Whether the model takes `mask=`, which actions are allowed."""
        return self._takes_mask

    def dist(self, obs: Observation, mask: Tensor | None = None) -> Distribution:
        """π(·|s): `[N, …]` to a distribution with batch shape `[N]`."""
        return self.dist_and_value(obs, mask)[0]

    def evaluate_with_value(
        self, obs: Observation, action: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log π(a|s), the entropy of π(·|s) and V(s), `[N]` each, by one run of the model."""
        dist, value = self.dist_and_value(obs, mask)
        return *distributions.evaluate_actions(dist, action), value


class SharedCritic(_Head, Critic):
    """The value head of a model; `shared_agents` makes it."""

    def __init__(self, model: nn.Module, name: str = "critic") -> None:
        super().__init__(name)
        self.model = model

    def value(self, obs: Observation) -> Tensor:
        """V(s): `[N, …]` to `[N]`."""
        return self.dist_and_value(obs)[1]


def shared_agents(model: nn.Module) -> tuple[SharedPolicy, SharedCritic]:
    """Make a policy and a critic that are the two heads of one model.

    `PPOClip(cfg, train_policy=policy, critic_agent=critic)` trains them together. They act in
    evaluation mode (no dropout) and learn in whatever mode the model is in.

    Args:
        model: a module whose `forward(x)`, or method `dist_and_value(x)` as in PPO2, maps
            observations `[N, …]` to (distribution, value): a torch distribution with batch shape
            `[N]`, and a tensor `[N]`. With an argument `mask=None` it gets masks of allowed
            actions, `[N, A]` bool, where the environment has them.

    Raises:
        ConfigError: if the model is not a module, or has neither of the two methods.
    """
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise ConfigError(f"a shared trunk must be an nn.Module, not a {name}")
    if type(model).forward is nn.Module.forward and not hasattr(model, "dist_and_value"):
        raise ConfigError(f"{name} has no forward; it must give (distribution, value)")
    return SharedPolicy(model), SharedCritic(model)


def have_one_model(policy: nn.Module, critic: nn.Module) -> TypeGuard[SharedPolicy]:
    """Whether two agents are the two heads of one model, as made by `shared_agents`."""
    return (
        isinstance(policy, SharedPolicy)
        and isinstance(critic, SharedCritic)
        and policy.model is critic.model
        and is_plain_policy(policy)
        and is_plain_critic(critic)
        # A subclass that overrides one head is evaluated head by head.
        and type(policy).evaluate_actions is Policy.evaluate_actions
        and type(policy).dist is SharedPolicy.dist
        and type(critic).value is SharedCritic.value
    )


def _common_trunk(policy: Any, critic: Any) -> nn.Module | None:
    """What two agents of the package have in front of their own layers, if they share it."""
    trunk = getattr(policy, "encoder", None)
    if trunk is None or trunk is not getattr(critic, "encoder", None):
        return None
    of_package = all(
        type(agent).__module__.startswith("ppo_bbrl.agents.") for agent in (policy, critic)
    )
    return trunk if of_package else None


def evaluate_both(
    policy: bbrl.agents.Agent, critic: bbrl.agents.Agent, variables: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """log π(a|s), entropy and V(s), `[N]` each, from variables `[N, …]`.

    Of agents with memory variables are `[T, B, …]`, and N = T·B.
    """
    if remembers(policy, critic):
        return evaluate_sequences(policy, critic, variables)
    if have_one_model(policy, critic):
        mask = variables.get(MASK) if policy.takes_mask else None
        return policy.evaluate_with_value(observation_in(variables), variables["action"], mask)
    if (trunk := _common_trunk(policy, critic)) is not None:
        seen: Any = Features(trunk(observation_in(variables)))
        mask = variables.get(MASK) if policy.takes_mask else None
        return *policy.evaluate_actions(seen, variables["action"], mask), critic.value(seen)
    return *evaluate_actions(policy, variables), predict_values(critic, variables)


def needed(
    policy: bbrl.agents.Agent, critic: bbrl.agents.Agent, variables: Mapping[str, Tensor]
) -> Iterable[str]:
    """The variables that agents may read when they learn; the user's own may read any."""
    known = is_plain_policy(without_memory(policy)) and is_plain_critic(without_memory(critic))
    masks = [MASK] if MASK in variables and getattr(policy, "takes_mask", False) else []
    curious = [name for name in variables if name.startswith(LEARNED)]
    return [*names_in(variables), "action", *masks, *curious] if known else variables


def share_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two agents have any parameter in common."""
    return not set(one.parameters()).isdisjoint(other.parameters())


def _in_precision_of(model: nn.Module, obs: Tensor) -> Tensor:
    """Observations of floats in the precision of the model's first weights."""
    weight = next(model.parameters(), None)
    if weight is None or not (obs.is_floating_point() and weight.is_floating_point()):
        return obs
    return obs.to(weight.dtype)
