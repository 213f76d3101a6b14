"""Stable-Baselines3 with the parameters of configs/cartpole.yaml, and as a BBRL agent."""

import gymnasium
import numpy as np
import stable_baselines3
import torch
from bbrl.agents import Agent
from omegaconf import DictConfig
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from torch import nn


def sb3_ppo(cfg: DictConfig) -> PPO:
    """SB3's PPO with the hyper-parameters of one of our configurations."""
    settings, optimizer = cfg.algorithm, dict(cfg.optimizer)
    assert optimizer.pop("classname") == "torch.optim.AdamW"
    return PPO(
        "MlpPolicy",
        make_vec_env(cfg.gym_env.env_name, settings.n_envs, seed=settings.seed),
        learning_rate=optimizer.pop("lr"),
        n_steps=settings.n_steps,
        batch_size=settings.batch_size or settings.n_envs * settings.n_steps,
        n_epochs=settings.opt_epochs,
        gamma=settings.discount_factor,
        gae_lambda=settings.gae,
        clip_range=settings.clip_range,
        normalize_advantage=settings.normalize_advantage,
        ent_coef=settings.entropy_coef,
        vf_coef=settings.critic_coef,
        max_grad_norm=settings.max_grad_norm,
        policy_kwargs={
            "activation_fn": {"relu": nn.ReLU, "tanh": nn.Tanh}[settings.architecture.activation],
            "net_arch": {
                "pi": list(settings.architecture.actor_hidden_size),
                "vf": list(settings.architecture.critic_hidden_size),
            },
            "optimizer_class": torch.optim.AdamW,
            "optimizer_kwargs": optimizer,
        },
        seed=settings.seed,
        device="cpu",
    )


class SB3Agent(Agent):
    """The greedy policy of an SB3 model, so that both are evaluated by the same code."""

    def __init__(self, model: PPO) -> None:
        super().__init__("sb3")
        self._predict = model.predict

    def forward(self, t: int, **kwargs: object) -> None:
        action, _ = self._predict(self.get(("env/env_obs", t)).numpy(), deterministic=True)
        self.set(("action", t), torch.as_tensor(np.asarray(action)))


def versions() -> dict[str, str]:
    """What is compared, and on what."""

    return {
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "stable-baselines3": stable_baselines3.__version__,
        "numpy": np.__version__,
    }
