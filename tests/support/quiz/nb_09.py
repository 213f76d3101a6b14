"""The answers to the quiz of notebook 09, computed."""

# ruff: noqa: ARG005 - methods have the arguments that Lightning gives them

import logging

import torch

from quiz import the_one


def trained(model, **settings):
    """A module after one epoch with a quiet Trainer."""
    import lightning as pl

    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        ).fit(model)
    finally:
        logger.setLevel(level)
    return model


def module(**methods):
    """A LightningModule with two weights, and the methods that are given."""
    import lightning as pl

    model_class = type(
        "Module",
        (pl.LightningModule,),
        {
            "configure_optimizers": lambda self: torch.optim.SGD(self.parameters(), lr=1.0),
            **methods,
        },
    )
    model = model_class()
    model.weight = torch.nn.Parameter(torch.zeros(2))
    return model


class Counting:
    """An environment whose episodes never end."""

    def __new__(cls):
        import gymnasium as gym
        import numpy as np

        class Environment(gym.Env):
            observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
            action_space = gym.spaces.Discrete(2)

            def reset(self, *, seed=None, options=None):
                super().reset(seed=seed)
                return np.zeros(1, np.float32), {}

            def step(self, action):
                return self.np_random.uniform(-1, 1, 1).astype(np.float32), 1.0, False, False, {}

        return Environment()


def ppo(**settings):
    """A small model of PPO that notes the ratios of the first minibatch of each rollout."""
    from torch.distributions import Categorical

    from ppo_bbrl.lightning import PPO, make_vec_env

    class Model(PPO):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.net = torch.nn.Linear(1, 3)
            self.steps = 0

        def forward(self, x):
            out = self.net(x)
            return Categorical(logits=out[:, :2]), out[:, 2]

        def training_step(self, batch, batch_idx):
            self.steps += 1
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    env = make_vec_env(Counting, n_envs=4)
    return Model(env=env, eval_env=None, num_eval_episodes=0, seed=1, **settings)


def question_1():
    model = trained(ppo(num_rollouts=3, buffer_length=100, batch_size=50, epochs_per_rollout=5))
    return the_one(
        a=model.steps == 8, b=model.steps == 24, c=model.steps == 40, d=model.steps == 120
    )


def question_2():
    collected = []

    class Stream:
        def __iter__(self):
            for _ in range(3):
                collected.append(model.global_step)
                yield from torch.rand(5)

    model = module(
        train_dataloader=lambda self: Stream(),
        training_step=lambda self, batch, batch_idx: (self.weight - batch).square().sum(),
    )
    trained(model)
    third = collected[2]
    return the_one(a=third == 8, b=third == 9, c=third == 10, d=third == 0)


def question_3():
    """With steps of size 1 from 0, the weights are minus the gradient."""

    class Once:
        def __len__(self):
            return 1

        def __iter__(self):
            yield torch.tensor([3.0, 4.0])

    model = module(
        train_dataloader=lambda self: Once(),
        training_step=lambda self, batch, batch_idx: (self.weight * batch).sum(),
    )
    trained(model, gradient_clip_val=0.5)
    gradient = -model.weight.detach()
    options = {"a": (0.3, 0.4), "b": (0.5, 0.5), "c": (1.5, 2.0), "d": (3.0, 4.0)}
    return the_one(
        **{
            letter: torch.allclose(gradient, torch.tensor(numbers), atol=1e-4)
            for letter, numbers in options.items()
        }
    )


def question_4():
    """A policy with one weight; a rollout keeps the log-probabilities of those who acted."""

    def first_ratios(*, early=False, shuffled=False, stopped=False):
        source = torch.Generator().manual_seed(0)
        weight = torch.zeros(2)

        def collect():
            actions = torch.randint(2, (8,), generator=source)
            return actions, weight.log_softmax(0)[actions]

        def learn(rollout, steps):
            actions, old = rollout
            order = torch.randperm(8, generator=source) if shuffled else torch.arange(8)
            ratios = []
            for index in order.split(2)[:steps]:
                ratios.append((weight.log_softmax(0)[actions[index]] - old[index]).exp())
                weight[0] += 0.1
            return ratios[0]

        first = collect()
        if early:
            learn(first, 3)
            second = collect()
            learn(first, 1)
        else:
            learn(first, 2 if stopped else 4)
            second = collect()
        return learn(second, 4)

    one = torch.ones(2)
    return the_one(
        a=not torch.allclose(first_ratios(early=True), one),
        b=not torch.allclose(first_ratios(shuffled=True), one),
        c=not torch.allclose(first_ratios(stopped=True), one),
    )
