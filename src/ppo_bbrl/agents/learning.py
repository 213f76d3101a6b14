"""The agents that learn, their optimisers, and copies of their old weights."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import bbrl.agents
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn

from ppo_bbrl.agents.attributes import attributes_of
from ppo_bbrl.agents.base import KWAgentWrapper, copy_agent, has_memory, remembers
from ppo_bbrl.agents.build import check_normalised, put_on
from ppo_bbrl.agents.curiosity import hand_on_curiosity
from ppo_bbrl.agents.fits import check_fits
from ppo_bbrl.agents.learners import Learners, make_optimizers
from ppo_bbrl.agents.seen_parts import check_seen
from ppo_bbrl.agents.state import AgentState, OptimizerState
from ppo_bbrl.config.combinations import warn_of_idle_keys
from ppo_bbrl.config.optimizers import ScheduledRates
from ppo_bbrl.envs.actions import leaves
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.system.state import HasState


class LearningAgents:
    """The part of `PPOClip` that holds its agents, which may be replaced at any time.

    Attributes:
        train_policy, critic_agent: the agents that learn. Assigning another one recreates
            everything below; optimisers keep the moments of weights that stay.
        eval_policy: the greedy version of train_policy.
        old_policy, old_critic_agent: copies with the weights that collected the last rollout.
        policy_optimizer, critic_optimizer: the optimisers; a single one if the agents share
            weights.
    """

    cfg: Any
    old_policy: Any
    old_critic_agent: Any
    train_env: EnvAgent
    eval_policy: Any
    policy_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    _own_policy: bool
    _given: Sequence[str]
    _given_attributes: Mapping[str, Mapping[str, Any]]
    _identity: Any = None
    _weights: tuple[list[Tensor], list[Tensor]] = ([], [])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rates = ScheduledRates()

    @property
    def train_policy(self) -> Any:
        """The policy that learns; see the attributes of the class."""
        return self._train_policy

    @train_policy.setter
    def train_policy(self, policy: bbrl.agents.Agent | None) -> None:
        if policy is None:  # in the constructor of the base class
            self._train_policy: Any = None
            return
        self._set_agents(policy, self.critic_agent, own=[policy, self.critic_agent], new=policy)

    @property
    def critic_agent(self) -> Any:
        """The critic that learns; see the attributes of the class."""
        return self._critic_agent

    @critic_agent.setter
    def critic_agent(self, critic: bbrl.agents.Agent) -> None:
        self._set_agents(self.train_policy, critic, own=[self.train_policy, critic], new=critic)

    def _set_agents(self, policy: Any, critic: Any, *, own: list[Any], new: Any = None) -> None:
        """Set the agents that learn, and make everything that depends on them.

        Args:
            policy: any BBRL agent.
            critic: any BBRL agent.
            own: those of the two that the user made.
            new: the one of the two that is new; None: both are.
        """
        for argument, agent in (("train_policy", policy), ("critic_agent", critic)):
            if not isinstance(agent, bbrl.agents.Agent):
                raise ConfigError(
                    f"{argument} is a {type(agent).__name__}, which is not a BBRL agent; "
                    "shared_agents(model) makes two from a model with a policy and a value head"
                )
            if isinstance(agent, bbrl.agents.KWAgentWrapper):  # as best_policy is
                raise ConfigError(
                    f"{argument} is a KWAgentWrapper, whose fixed arguments leave it nothing to "
                    "learn: pass the agent that it wraps, its attribute `wrapped`"
                )
            if has_memory(agent) and not (
                remembers(agent) and isinstance(getattr(agent, "memory_size", None), int)
            ):
                raise ConfigError(
                    f"{type(agent).__name__} has memory, but no attribute memory_size: PPOClip "
                    "trains what is remembered in the variable `{prefix}memory` (docs/memory.md)"
                )
        if new is critic:
            hand_on_curiosity(self.critic_agent, critic)
        for agent in (policy, critic):
            put_on(agent, self.cfg.compute.device)
        if new is None:
            continuous = any(isinstance(part, Box) for part in leaves(self.train_env.action_space))
            warn_of_idle_keys(self.cfg.algorithm, continuous=continuous)
        if remembers(policy, critic):
            _warn_of_large_minibatches(self.cfg.algorithm)
        policy = policy.with_prefix(policy.prefix or "current_policy/")
        critic = critic.with_prefix(critic.prefix or "critic/")
        if own:
            check_fits(policy, critic, self.train_env)
            check_normalised(self.cfg.algorithm, policy, critic)
            check_seen(self.cfg.algorithm, policy, critic, self.train_env.observation_space)
        try:
            before = None if new is None else (self.policy_optimizer, self.critic_optimizer)
            made = make_optimizers(self.cfg.optimizer, policy, critic, new=new, before=before)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.policy_optimizer, self.critic_optimizer = made
        self._train_policy, self._critic_agent = policy, critic
        # Custom agents may have dropout and the like; the package's have none.
        self._own_agents = own
        both = {"train_policy": policy, "critic_agent": critic}
        new_ones = [name for name, agent in both.items() if new in (None, agent) and agent in own]
        self._given = list(dict.fromkeys((*self._given, *new_ones)))
        self._own_policy = "train_policy" in self._given
        self._given_attributes = {
            name: attributes_of(agent) if new in (None, agent) else self._given_attributes[name]
            for name, agent in both.items()
        }
        self.eval_policy = KWAgentWrapper(
            policy, stochastic=False, predict_proba=False, compute_entropy=False
        )
        self._identity = None
        self._learners()

    def _learners(self) -> Learners:
        """The current agents and optimisers, after checking any that were replaced."""
        learners = Learners(
            self.train_policy, self.critic_agent, self.policy_optimizer, self.critic_optimizer
        )
        identity = learners.identity()
        if identity != self._identity:
            if self._identity is not None:
                learners.check(self._weights)
            if self._identity is None or identity[0] != self._identity[0]:
                self._copy_agents()
            self._weights, self._identity = learners.tensors(), identity
        return learners

    def _learning_state(self) -> dict[str, HasState]:
        """The parts that have state, by name."""
        given = self._given_attributes
        of_policy, of_critic = given["train_policy"], given["critic_agent"]
        agents = {
            "critic_agent": (self.critic_agent, of_critic),
            "old_policy": (self.old_policy, of_policy),
            "old_critic_agent": (self.old_critic_agent, of_critic),
        }
        parts: dict[str, HasState] = {
            name: AgentState(name, agent, first) for name, (agent, first) in agents.items()
        }
        optimizers = {"policy_optimizer": self.policy_optimizer}
        if self.critic_optimizer is not self.policy_optimizer:
            optimizers["critic_optimizer"] = self.critic_optimizer
        return parts | {
            name: OptimizerState(name, one, self._rates) for name, one in optimizers.items()
        }

    def _copy_agents(self) -> None:
        both = nn.ModuleList((self.train_policy, self.critic_agent))  # contains each weight once
        old: Any = copy_agent(both)
        self.old_policy = old[0].with_prefix("old_policy/")
        self.old_critic_agent = old[1].with_prefix("old_critic/")
        self._now_and_old = [
            *zip(both.parameters(), old.parameters(), strict=True),
            *zip(both.buffers(), old.buffers(), strict=True),
        ]

    def _keep_old_weights(self) -> None:
        with torch.no_grad():
            for now, old in self._now_and_old:
                old.copy_(now)


def _warn_of_large_minibatches(settings: Any) -> None:
    """Of agents with memory a minibatch has one environment at least."""
    if 0 < settings.batch_size < settings.n_steps:
        warnings.warn(
            f"algorithm.batch_size = {settings.batch_size} is less than algorithm.n_steps = "
            f"{settings.n_steps}: with memory a minibatch is made of whole environments, hence of "
            f"{settings.n_steps} transitions",
            stacklevel=2,
        )
