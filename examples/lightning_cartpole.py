"""CartPole-v1 with Lightning, until ten greedy episodes reach 475 on average.

    python examples/lightning_cartpole.py --seed 1

Needs the extra `lightning`. Ends with a video of the trained agent where there is no screen.
"""

import argparse
from typing import Any

import gymnasium as gym
import lightning as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.distributions import Categorical

from ppo_bbrl.lightning import PPO, SubprocVecEnv, make_vec_env


def network(n_inputs: int, n_outputs: int) -> nn.Sequential:
    """Two hidden layers of 64."""
    return nn.Sequential(
        nn.Linear(n_inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, n_outputs)
    )


class Model(PPO):
    """Separate networks for policy and value."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        n_features = self.observation_space.shape[0]
        self.actor = network(n_features, self.action_space.n)
        self.critic = network(n_features, 1)
        self.save_hyperparameters()

    def forward(self, x: Tensor) -> tuple[Categorical, Tensor]:
        """The policy and the value, for training."""
        return Categorical(logits=self.actor(x)), self.critic(x).flatten()

    def predict(self, x: Tensor, deterministic: bool = True) -> Any:
        """Actions, for evaluation."""
        logits = self.actor(x)
        action = logits.argmax(1) if deterministic else Categorical(logits=logits).sample()
        return action.cpu().numpy()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in Stable-Baselines3."""
        return torch.optim.Adam(self.parameters(), lr=3e-4)


def main() -> None:
    """Train, show, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40, help="at most; one is 8192 steps")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # networks this small do not repay a second one
    env = make_vec_env("CartPole-v1", n_envs=4, vec_env_cls=SubprocVecEnv)
    model = Model(env=env, eval_env=gym.make("CartPole-v1"), seed=arguments.seed, verbose=1)
    solved = EarlyStopping(
        "eval_return", mode="max", stopping_threshold=475.0, patience=arguments.epochs
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=arguments.epochs,
        gradient_clip_val=0.5,
        callbacks=[solved],
        enable_progress_bar=False,
    )
    trainer.fit(model)
    returns, lengths = model.evaluate(num_eval_episodes=10, render=True)
    print(f"after {trainer.current_epoch} epochs: mean return {sum(returns) / len(returns):.1f}")
    print(f"longest episode: {max(lengths)} steps")
    env.close()


if __name__ == "__main__":
    main()
