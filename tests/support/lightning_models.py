"""Models and environments for the tests of ppo_bbrl.lightning."""

import copy
from typing import Any

import gymnasium as gym
import lightning as pl
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from ppo_bbrl.lightning import PPO, MultiCategorical, StateDependentNoise, encoder

SPACES = {
    "Discrete": Discrete(3, start=2),
    "Box": Box(-1, 1, (2,), np.float32),
    "MultiDiscrete": MultiDiscrete([2, 3], start=[1, 0]),
    "MultiBinary": MultiBinary(3),
}


class Model(PPO):
    """A linear policy and a linear value, for any spaces."""

    def __init__(self, lr: float = 1e-3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lr = lr
        self.encoder, n_features = encoder(self.observation_space)
        space = self.action_space
        if isinstance(space, Discrete):
            n_outputs = int(space.n)
        elif isinstance(space, MultiDiscrete):
            n_outputs = int(space.nvec.sum())
        else:
            n_outputs = space.shape[0]
        self.actor = nn.Linear(n_features, n_outputs)
        self.critic = nn.Linear(n_features, 1)
        if self.use_sde:
            self.noise = StateDependentNoise(n_features, n_outputs, log_std_init=-1.0)
        elif isinstance(space, Box):
            self.log_std = nn.Parameter(torch.zeros(n_outputs))
        self.save_hyperparameters()

    def forward(self, x):
        features = self.encoder(x)
        out, value = self.actor(features), self.critic(features).squeeze(-1)
        space = self.action_space
        if isinstance(space, Discrete):
            return Categorical(logits=out), value
        if isinstance(space, MultiDiscrete):
            return MultiCategorical(out, space.nvec), value
        if isinstance(space, MultiBinary):
            return Independent(Bernoulli(logits=out), 1), value
        if self.use_sde:
            return self.noise(features, out), value
        return Independent(Normal(out, self.log_std.exp().expand_as(out)), 1), value

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Steps(gym.Env[Any, Any]):
    """Episodes of 1 to 5 steps, half of them truncated; counts, and refuses actions of no use."""

    def __init__(self, observation_space: Any = SPACES["Box"], action_space: Any = None):
        self.observation_space = copy.deepcopy(observation_space)  # it has a random generator
        self.action_space = Discrete(2) if action_space is None else action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.left = int(self.np_random.integers(1, 6))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert action in self.action_space, action
        self.left -= 1
        ended = self.left == 0
        cut = ended and bool(self.np_random.integers(2))
        return self.observation_space.sample(), 1.0, ended and not cut, cut, {}


def trainer(**kwargs: Any) -> pl.Trainer:
    """A Trainer that writes nothing, unless asked to."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    return pl.Trainer(**(quiet | kwargs))
