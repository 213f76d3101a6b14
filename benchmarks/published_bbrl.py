"""The PPO-clip loop of the BBRL course on plain bbrl and bbrl_utils, to compare with.

It follows the published notebook step by step, its defects included (one critic step per rollout,
minibatches with replacement, one mask, one environment after the other), with the policy loss
filled in. Not an example to learn from.
"""

import copy
from typing import Any

import torch
from bbrl.agents import Agent, KWAgentWrapper, TemporalAgent
from bbrl.utils.functional import gae
from bbrl_utils.algorithms import EpisodicAlgo, iter_partial_episodes
from bbrl_utils.nn import build_ortho_mlp, copy_parameters, setup_optimizer
from torch import nn


class VAgent(Agent):
    """The critic."""

    def __init__(self, state_dim: int, hidden_layers: list[int]) -> None:
        super().__init__("critic")
        self.model = build_ortho_mlp([state_dim, *hidden_layers, 1], activation=nn.ReLU())

    def forward(self, t: int, **kwargs: Any) -> None:
        value = self.model(self.get(("env/env_obs", t))).squeeze(-1)
        self.set((f"{self.prefix}v_values", t), value)


class DiscretePolicy(Agent):
    """The policy."""

    def __init__(self, state_dim: int, hidden_size: list[int], n_actions: int) -> None:
        super().__init__("policy")
        self.model = build_ortho_mlp([state_dim, *hidden_size, n_actions], activation=nn.ReLU())

    def forward(
        self,
        t: int,
        *,
        stochastic: bool = True,
        predict_proba: bool = False,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> None:
        scores = self.model(self.get(("env/env_obs", t)))
        probs = torch.softmax(scores, dim=-1)
        if predict_proba:
            action = self.get(("action", t))
            log_prob = probs[torch.arange(probs.size()[0]), action].log()
            self.set((f"{self.prefix}logprob_predict", t), log_prob)
        elif stochastic:
            self.set(("action", t), torch.distributions.Categorical(probs).sample())
        else:
            self.set(("action", t), scores.argmax(1))
        if compute_entropy:
            entropy = torch.distributions.Categorical(probs).entropy()
            self.set((f"{self.prefix}entropy", t), entropy)


class PublishedPPO(EpisodicAlgo):
    """The algorithm object of the notebook."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg, autoreset=True)
        obs_size, act_size = self.train_env.get_obs_and_actions_sizes()
        sizes = cfg.algorithm.architecture
        policy = DiscretePolicy(obs_size, sizes.actor_hidden_size, act_size)
        self.train_policy = policy.with_prefix("current_policy/")
        self.eval_policy = KWAgentWrapper(
            self.train_policy, stochastic=False, predict_proba=False, compute_entropy=False
        )
        self.critic_agent = VAgent(obs_size, sizes.critic_hidden_size).with_prefix("critic/")
        self.old_critic_agent = copy.deepcopy(self.critic_agent).with_prefix("old_critic/")
        self.old_policy = copy.deepcopy(self.train_policy).with_prefix("old_policy/")
        self.policy_optimizer = setup_optimizer(cfg.optimizer, self.train_policy)
        self.critic_optimizer = setup_optimizer(cfg.optimizer, self.critic_agent)


def run_published(algo: PublishedPPO) -> None:
    """The loop of the notebook."""
    cfg = algo.cfg.algorithm
    old_policy, critic = TemporalAgent(algo.old_policy), TemporalAgent(algo.critic_agent)
    old_critic = TemporalAgent(algo.old_critic_agent)
    for workspace in iter_partial_episodes(algo, cfg.n_steps):
        with torch.no_grad():
            old_policy(workspace, t=0, n_steps=cfg.n_steps, predict_proba=True)
        critic(workspace, t=0, n_steps=cfg.n_steps)
        with torch.no_grad():
            old_critic(workspace, t=0, n_steps=cfg.n_steps)
        terminated, reward, value, old_value = workspace[
            "env/terminated", "env/reward", "critic/v_values", "old_critic/v_values"
        ]
        with torch.no_grad():
            advantage = gae(
                reward[1:],
                value[1:],
                ~terminated[1:],
                value[:-1],
                cfg.discount_factor,
                cfg.gae,
            )
        target = reward[1:] + cfg.discount_factor * old_value[1:].detach() * (
            1 - terminated[1:].int()
        )
        critic_loss = nn.functional.mse_loss(value[:-1], target) * cfg.critic_coef
        algo.critic_optimizer.zero_grad()
        critic_loss.backward()
        nn.utils.clip_grad_norm_(algo.critic_agent.parameters(), cfg.max_grad_norm)
        algo.critic_optimizer.step()
        workspace.set_full("advantage", torch.cat((advantage, torch.zeros(1, advantage.shape[1]))))
        transitions = workspace.get_transitions()
        for _ in range(cfg.opt_epochs):
            _policy_step(algo, transitions.select_batch_n(cfg.batch_size), critic_loss)
        copy_parameters(algo.train_policy, algo.old_policy)
        copy_parameters(algo.critic_agent, algo.old_critic_agent)
        algo.evaluate()


def _policy_step(algo: PublishedPPO, sample: Any, critic_loss: torch.Tensor) -> None:
    cfg = algo.cfg.algorithm
    algo.train_policy(sample, t=0, predict_proba=True, compute_entropy=True)
    advantage, log_prob, old_log_prob, entropy = sample[
        "advantage",
        "current_policy/logprob_predict",
        "old_policy/logprob_predict",
        "current_policy/entropy",
    ]
    ratio = (log_prob[0] - old_log_prob[0].detach()).exp()
    clipped = torch.clamp(ratio, 1 - cfg.clip_range, 1 + cfg.clip_range)
    policy_loss = torch.min(ratio * advantage[0], clipped * advantage[0]).mean()
    entropy_loss = entropy[0].mean()
    algo.logger.log_losses(critic_loss, entropy_loss, policy_loss, algo.nb_steps)
    algo.logger.add_log("advantage", advantage[0].mean(), algo.nb_steps)
    loss = -cfg.policy_coef * policy_loss - cfg.entropy_coef * entropy_loss
    algo.policy_optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(algo.train_policy.parameters(), cfg.max_grad_norm)
    algo.policy_optimizer.step()
