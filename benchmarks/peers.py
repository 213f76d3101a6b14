"""Stable-Baselines3 and SBX with the parameters of our configurations; SB3 as a BBRL agent."""

import os
from importlib.metadata import version
from typing import Any

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
    optimizer = _adamw(cfg)
    return PPO(
        **_common(cfg, learning_rate=optimizer.pop("lr")),
        policy_kwargs={
            "activation_fn": {"relu": nn.ReLU, "tanh": nn.Tanh}[_activation(cfg)],
            "net_arch": _layers(cfg),
            "optimizer_class": torch.optim.AdamW,
            "optimizer_kwargs": optimizer,
        },
        device="cpu",
    )


def sbx_ppo(cfg: DictConfig) -> Any:
    """SBX's PPO, on JAX, with the same hyper-parameters; one thread for its matrix products."""
    # Read when JAX makes its CPU client, which it does late.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    os.environ["NPROC"] = "1"
    import flax.linen
    import optax
    import sbx

    optimizer = _adamw(cfg)
    return sbx.PPO(
        **_common(cfg, learning_rate=optimizer.pop("lr")),
        policy_kwargs={
            "activation_fn": {"relu": flax.linen.relu, "tanh": flax.linen.tanh}[_activation(cfg)],
            "net_arch": _layers(cfg),
            "ortho_init": True,
            "optimizer_class": optax.adamw,
            "optimizer_kwargs": optimizer,
        },
    )


def _adamw(cfg: DictConfig) -> dict[str, Any]:
    optimizer = dict(cfg.optimizer)
    assert optimizer.pop("classname") == "torch.optim.AdamW"
    return optimizer


def _activation(cfg: DictConfig) -> str:
    name: str = cfg.algorithm.architecture.activation
    return name


def _layers(cfg: DictConfig) -> dict[str, list[int]]:
    architecture = cfg.algorithm.architecture
    return {"pi": list(architecture.actor_hidden_size), "vf": list(architecture.critic_hidden_size)}


def _common(cfg: DictConfig, *, learning_rate: float) -> dict[str, Any]:
    """What SB3 and SBX call the same."""
    settings = cfg.algorithm
    return {
        "policy": "MlpPolicy",
        "env": make_vec_env(cfg.gym_env.env_name, settings.n_envs, seed=settings.seed),
        "learning_rate": learning_rate,
        "n_steps": settings.n_steps,
        "batch_size": settings.batch_size or settings.n_envs * settings.n_steps,
        "n_epochs": settings.opt_epochs,
        "gamma": settings.discount_factor,
        "gae_lambda": settings.gae,
        "clip_range": settings.clip_range,
        "normalize_advantage": settings.normalize_advantage,
        "ent_coef": settings.entropy_coef,
        "vf_coef": settings.critic_coef,
        "max_grad_norm": settings.max_grad_norm,
        "seed": settings.seed,
    }


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
        "sbx-rl": version("sbx-rl"),
        "numpy": np.__version__,
    }
