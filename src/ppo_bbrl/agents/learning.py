"""The agents that learn, with what is made for them: optimisers, and copies of the old weights."""

from typing import Any

import bbrl.agents
import torch
from torch import Tensor, nn

from ppo_bbrl.agents.base import KWAgentWrapper, copy_agent, has_memory
from ppo_bbrl.agents.build import put_on
from ppo_bbrl.agents.fits import check_fits
from ppo_bbrl.agents.learners import Learners, make_optimizers
from ppo_bbrl.agents.state import AgentState, OptimizerState
from ppo_bbrl.config.optimizers import ScheduledRates
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.system.state import HasState


class LearningAgents:
    """The part of `PPOClip` that has its agents; any of them may be replaced at any time.

    Attributes:
        train_policy, critic_agent: what learns. Assigning another agent makes everything below
            anew; optimisers keep what they know of the weights that stay.
        eval_policy: the greedy version of train_policy.
        old_policy, old_critic_agent: the weights that collected the last rollout.
        policy_optimizer, critic_optimizer: one each; one for both where they share weights.
    """

    cfg: Any
    old_policy: Any
    old_critic_agent: Any
    train_env: EnvAgent
    eval_policy: Any
    policy_optimizer: torch.optim.Optimizer
    critic_optimizer: torch.optim.Optimizer
    _own_policy: bool
    _made_of: Any = None
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
        """Take the agents that are to learn, and make what depends on them.

        Args:
            policy: of any BBRL agent.
            critic: likewise.
            own: those of them that are not the package's.
            new: the one of the two that is new; None: both are.
        """
        for argument, agent in (("train_policy", policy), ("critic_agent", critic)):
            if not isinstance(agent, bbrl.agents.Agent):
                raise ConfigError(
                    f"{argument} is a {type(agent).__name__}, which is no BBRL agent; "
                    "shared_agents(model) makes two of a model with a policy and a value head"
                )
            if isinstance(agent, bbrl.agents.KWAgentWrapper):  # as best_policy is
                raise ConfigError(
                    f"{argument} is a KWAgentWrapper, whose fixed arguments leave it nothing to "
                    "learn: give what it wraps, its attribute `wrapped`"
                )
            if has_memory(agent):
                raise ConfigError(f"{type(agent).__name__} has memory, which PPOClip cannot train")
            put_on(agent, self.cfg.compute.device)
        policy = policy.with_prefix(policy.prefix or "current_policy/")
        critic = critic.with_prefix(critic.prefix or "critic/")
        if own:
            check_fits(policy, critic, self.train_env)
        try:
            before = None if new is None else (self.policy_optimizer, self.critic_optimizer)
            made = make_optimizers(self.cfg.optimizer, policy, critic, new=new, before=before)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.policy_optimizer, self.critic_optimizer = made
        self._train_policy, self._critic_agent = policy, critic
        # Agents of your own may have dropout and the like; the package's have none.
        self._own_agents = own
        if new is not critic:
            self._own_policy = policy in own
        self.eval_policy = KWAgentWrapper(
            policy, stochastic=False, predict_proba=False, compute_entropy=False
        )
        self._made_of = None
        self._learners()

    def _learners(self) -> Learners:
        """What learns, as it is now; what was replaced since the last time is checked."""
        learners = Learners(
            self.train_policy, self.critic_agent, self.policy_optimizer, self.critic_optimizer
        )
        made_of = learners.made_of()
        if made_of != self._made_of:
            if self._made_of is not None:
                learners.check(self._weights)
            if self._made_of is None or made_of[0] != self._made_of[0]:
                self._copy_agents()
            self._weights, self._made_of = learners.tensors(), made_of
        return learners

    def _learning_state(self) -> dict[str, HasState]:
        """What has state, by name."""
        agents = {
            "critic_agent": self.critic_agent,
            "old_policy": self.old_policy,
            "old_critic_agent": self.old_critic_agent,
        }
        parts: dict[str, HasState] = {name: AgentState(name, one) for name, one in agents.items()}
        optimizers = {"policy_optimizer": self.policy_optimizer}
        if self.critic_optimizer is not self.policy_optimizer:
            optimizers["critic_optimizer"] = self.critic_optimizer
        return parts | {
            name: OptimizerState(name, one, self._rates) for name, one in optimizers.items()
        }

    def _copy_agents(self) -> None:
        both = nn.ModuleList((self.train_policy, self.critic_agent))  # has each weight once
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
