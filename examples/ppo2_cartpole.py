"""PPO2 of torch.hub on CartPole-v1: the model card's eval_fn and train_fn in a complete loop.

Ends when the most likely actions reach a mean return of 475 over 20 episodes.

    python examples/ppo2_cartpole.py --seed 1
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.advantages import gae, lambda_returns

REPOSITORY = Path(__file__).resolve().parents[1]  # or "owner/name", from GitHub
SOLVED, EPISODES = 475.0, 20


@dataclass
class Settings:
    """The model card's coefficients, and what it leaves open."""

    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5

    learning_rate: float = 1e-3
    n_envs: int = 8
    n_steps: int = 32
    n_epochs: int = 10
    batch_size: int = 256
    gamma: float = 0.98
    gae_lambda: float = 0.8
    max_steps: int = 200_000


class Trainer:
    """The model, its optimiser, and the two functions of the model card."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model: Any = torch.hub.load(
            str(REPOSITORY),
            "ppo2",
            source="local",
            reset_param=True,
            input_dim=4,
            hidden_dim=64,
            action_space=2,
            dropout=0,
        )
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=settings.learning_rate, eps=1e-5
        )

    def eval_fn(self, obs: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Value, action and negative log-likelihood, [B] each, of observations [B, 4]."""
        self.model.eval()
        with torch.set_grad_enabled(False):
            value_f, action, neg_log_prob, _ = self.model(torch.tensor(obs).float())
            return value_f, action, neg_log_prob

    def train_fn(
        self,
        obs: Tensor,
        returns: Tensor,
        old_actions: Tensor,
        old_values: Tensor,
        old_neg_log_probs: Tensor,
    ) -> list[float]:
        """One optimiser step on a minibatch, [N, 4] and [N]; the five losses."""
        args = self.settings
        with torch.set_grad_enabled(False):
            advantages = returns - old_values
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        self.model.train()
        with torch.set_grad_enabled(True):
            self.model.zero_grad()
            value_f, _, neg_log_probs, entropy = self.model(obs, action=old_actions)
            losses = self.model.loss(
                returns,
                value_f,
                neg_log_probs,
                entropy,
                advantages,
                old_values,
                old_neg_log_probs,
                args.clip_range,
                args.ent_coef,
                args.vf_coef,
            )
            losses[0].backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), args.max_grad_norm)
            self.optimizer.step()
        return [loss.item() for loss in losses]


def rollouts(trainer: Trainer, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Observations [N, 4], returns, actions, values and likelihoods [N], rollout by rollout."""
    args = trainer.settings
    env = gym.make_vec("CartPole-v1", args.n_envs, vectorization_mode="vector_entry_point")
    obs, _ = env.reset(seed=seed)
    done = np.zeros(args.n_envs, dtype=bool)
    while True:
        rows: list[tuple[Tensor, ...]] = []  # one for each step, [B, …]
        for _ in range(args.n_steps):
            seen, ended_before = torch.tensor(obs), torch.tensor(done)
            value, action, neg_log_prob = trainer.eval_fn(obs)
            obs, reward, terminated, truncated, _ = env.step(action.numpy())
            done = terminated | truncated
            outcome = [torch.tensor(x) for x in (reward, terminated, done)]
            rows.append((seen, ended_before, value, action, neg_log_prob, *outcome))
        # [T, B, …]
        seen, ended_before, value, action, nll, reward, terminated, ended = map(
            torch.stack, zip(*rows, strict=True)
        )
        last_value, _, _ = trainer.eval_fn(obs)
        advantage = gae(
            reward=reward.float(),
            value=value,
            next_value=torch.cat((value[1:], last_value[None])),
            terminated=terminated,
            done=ended,
            discount_factor=args.gamma,
            gae_lambda=args.gae_lambda,
        )
        returns = lambda_returns(advantage=advantage, value=value)
        valid = ~ended_before  # the step after an episode's end only resets: no transition
        yield tuple(x[valid] for x in (seen, returns, action, value, nll))


@torch.no_grad()
def evaluate(model: Any, seed: int) -> float:
    """The mean return of the most likely actions over 20 episodes."""
    env = gym.make_vec("CartPole-v1", EPISODES, vectorization_mode="vector_entry_point")
    model.eval()
    obs, _ = env.reset(seed=seed)
    running, total = np.ones(EPISODES, dtype=bool), np.zeros(EPISODES)
    while running.any():
        action = model.dist_and_value(torch.tensor(obs).float())[0].mode
        obs, reward, terminated, truncated, _ = env.step(action.numpy())
        total += reward * running
        running &= ~(terminated | truncated)
    env.close()
    return float(total.mean())


def train(seed: int, settings: Settings | None = None) -> tuple[float, int]:
    """Train until the task is solved; the last mean return, and the steps it took."""
    torch.manual_seed(seed)
    trainer, steps, mean = Trainer(settings or Settings()), 0, 0.0
    args = trainer.settings
    for rollout in rollouts(trainer, seed):
        steps += len(rollout[0])
        for _ in range(args.n_epochs):
            for index in torch.randperm(len(rollout[0])).split(args.batch_size):
                losses = trainer.train_fn(*(x[index] for x in rollout))
        mean = evaluate(trainer.model, seed=10_000 + steps)
        print(f"{steps:7,} steps  return {mean:5.1f}  kl {losses[4]:.4f}", flush=True)
        if mean >= SOLVED or steps >= args.max_steps:
            break
    return mean, steps


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    train(parser.parse_args().seed)
