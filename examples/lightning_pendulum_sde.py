"""Pendulum-v1 with Lightning and generalised state-dependent exploration (gSDE).

    python examples/lightning_pendulum_sde.py --seed 1
    python examples/lightning_pendulum_sde.py --seed 1 --no-sde

100k steps, with the parameters of RL Baselines3 Zoo. Needs the extra `lightning`.
"""

import argparse
from typing import Any

import lightning as pl
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from ppo_bbrl.lightning import PPO, StateDependentNoise, make_vec_env


class Model(PPO):
    """A Gaussian policy whose noise is a function of the last hidden layer, or of nothing."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        n_features, n_actions = self.observation_space.shape[0], self.action_space.shape[0]
        self.features = nn.Sequential(
            nn.Linear(n_features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()
        )
        self.mean = nn.Linear(64, n_actions)
        self.critic = nn.Sequential(
            nn.Linear(n_features, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
        )
        for layer in (*self.features, self.mean, *self.critic):
            if isinstance(layer, nn.Linear):  # docs/ppo.md#detail-2
                gain = {self.mean: 0.01, self.critic[-1]: 1.0}.get(layer, 2**0.5)
                nn.init.orthogonal_(layer.weight, gain)
                nn.init.zeros_(layer.bias)
        if self.use_sde:
            # 64 features of about ±0.5 make deviations of about 1 in the beginning.
            self.noise = StateDependentNoise(64, n_actions, log_std_init=-1.5)
        else:
            self.log_std = nn.Parameter(torch.zeros(n_actions))
        self.save_hyperparameters()

    def forward(self, x: Tensor) -> tuple[Distribution, Tensor]:
        """The policy and the value, for training."""
        features = self.features(x)
        mean, value = self.mean(features), self.critic(x).flatten()
        if self.use_sde:
            return self.noise(features, mean), value
        return Independent(Normal(mean, self.log_std.exp().expand_as(mean)), 1), value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, at the learning rate of RL Baselines3 Zoo."""
        return torch.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


def train(seed: int, *, use_sde: bool, epochs: int = 25) -> Model:
    """Train a model; an epoch is 4 × 1024 steps."""
    model = Model(
        env=make_vec_env("Pendulum-v1", n_envs=4),
        eval_env="Pendulum-v1",
        buffer_length=1024,
        gamma=0.9,
        use_sde=use_sde,
        sde_sample_freq=4,
        verbose=1,
        seed=seed,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        gradient_clip_val=0.5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model)
    return model


def main() -> None:
    """Train, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sde", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # networks this small do not repay a second one
    model = train(arguments.seed, use_sde=arguments.sde)
    returns, _ = model.evaluate(num_eval_episodes=100)
    print(f"mean return of 100 episodes: {sum(returns) / len(returns):.1f}")


if __name__ == "__main__":
    main()
