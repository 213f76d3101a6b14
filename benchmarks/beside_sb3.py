"""SB3 with RL Baselines3 Zoo's parameters on the rows that take it less than ten minutes a seed.

    python benchmarks/beside_sb3.py cartpole pendulum --seeds 10

A result is kept as it comes, in results/returns/sb3/<row>.jsonl, a line for each seed; seeds that
are there are not run again. `python benchmarks/returns.py` puts them beside ours on its page.
"""

import argparse
import json
import time
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from returns import SB3, kept
from rows import ROWS
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

EPISODES = 20  # as many as ours


def _linear(value: float) -> Any:
    return lambda remaining: value * remaining


_LANDER = {"n_steps": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "n_epochs": 4,
           "ent_coef": 0.01}  # fmt: skip
_MINIGRID = {"n_steps": 128, "batch_size": 64, "gae_lambda": 0.95, "gamma": 0.99, "n_epochs": 10,
             "learning_rate": 2.5e-4, "clip_range": 0.2}  # fmt: skip


class Zoo(NamedTuple):
    """An entry of the Zoo: environment, copies of it, steps, what differs from SB3's defaults."""

    env_name: str
    n_envs: int
    steps: int
    normalized: bool  # observations and rewards
    settings: dict[str, Any]


ZOO = {
    "cartpole": Zoo("CartPole-v1", 8, 100_000, False, {
        "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20,
        "learning_rate": _linear(1e-3), "clip_range": _linear(0.2),
    }),
    "acrobot": Zoo("Acrobot-v1", 16, 1_000_000, True, {
        "n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4,
    }),
    "mountaincar": Zoo("MountainCar-v0", 16, 1_000_000, True, {
        "n_steps": 16, "gae_lambda": 0.98, "gamma": 0.99, "n_epochs": 4,
    }),
    "mountaincar_continuous": Zoo("MountainCarContinuous-v0", 1, 20_000, True, {
        "n_steps": 8, "batch_size": 256, "gae_lambda": 0.9, "gamma": 0.9999, "n_epochs": 10,
        "learning_rate": 7.77e-5, "clip_range": 0.1, "ent_coef": 0.00429, "max_grad_norm": 5.0,
        "vf_coef": 0.19, "use_sde": True,
        "policy_kwargs": {"log_std_init": -3.29, "ortho_init": False},
    }),
    "pendulum": Zoo("Pendulum-v1", 4, 100_000, False, {
        "n_steps": 1024, "gae_lambda": 0.95, "gamma": 0.9, "n_epochs": 10, "learning_rate": 1e-3,
        "clip_range": 0.2, "use_sde": True, "sde_sample_freq": 4,
    }),
    "lunarlander": Zoo("LunarLander-v3", 16, 1_000_000, False, _LANDER),
    "lunarlander_continuous": Zoo("LunarLanderContinuous-v3", 16, 1_000_000, False, _LANDER),
    "minigrid_empty": Zoo("MiniGrid-Empty-Random-5x5-v0", 8, 100_000, True, _MINIGRID),
    "minigrid_doorkey": Zoo("MiniGrid-DoorKey-5x5-v0", 8, 100_000, True, _MINIGRID),
}  # fmt: skip


def main() -> None:
    """Train the seeds that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+", choices=ZOO, metavar="ROW", help=", ".join(ZOO))
    parser.add_argument("--seeds", type=int, help="only the first ones")
    arguments = parser.parse_args()
    SB3.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in arguments.rows:
        there = kept(name, SB3)
        for seed in range(arguments.seeds or ROWS[name].seeds):
            if seed not in there:
                train(name, seed)


def train(name: str, seed: int) -> None:
    """Train a seed, evaluate its last policy, and keep the result."""
    env_name, n_envs, steps, normalized, settings = ZOO[name]
    wrapper = None
    if name.startswith("minigrid"):
        import minigrid.wrappers  # is not among what the benchmarks need

        wrapper = minigrid.wrappers.FlatObsWrapper
    envs: Any = make_vec_env(env_name, n_envs, seed=seed, wrapper_class=wrapper)
    fresh: Any = make_vec_env(env_name, 1, seed=10**6 + seed, wrapper_class=wrapper)
    if normalized:
        gamma = settings["gamma"]
        envs = VecNormalize(envs, gamma=gamma)
        fresh = VecNormalize(fresh, gamma=gamma, training=False, norm_reward=False)
        fresh.obs_rms = envs.obs_rms
    model = PPO("MlpPolicy", envs, seed=seed, device="cpu", **settings)
    start = time.process_time()  # one thread: as long on an idle machine
    model.learn(steps)
    seconds = time.process_time() - start
    returns, _ = evaluate_policy(
        model, fresh, EPISODES, deterministic=True, return_episode_rewards=True
    )
    result = {
        "seed": seed,
        "steps": model.num_timesteps,
        "seconds": round(seconds, 1),
        "final": float(np.mean(returns)),
        "versions": {one: version(one) for one in ("torch", "gymnasium", "stable_baselines3")},
    }
    with (SB3 / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    print(f"{name}, seed {seed}: final {result['final']:.1f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
