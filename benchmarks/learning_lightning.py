"""PPO for Lightning: returns beside Stable-Baselines3's, and gSDE beside the same without it.

CartPole-v1 with the example of the documentation (4 environments × 2048 steps, 10 epochs,
minibatches of 64): the greedy return after 5 of Lightning's epochs, and the epochs until it reaches
475. SB3's PPO has the same parameters. Pendulum-v1: examples/lightning_pendulum_sde.py.

    python benchmarks/learning_lightning.py --only cartpole --seeds 10
    python benchmarks/learning_lightning.py --only pendulum --seeds 5
"""

import argparse
import json
import logging
import runpy
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import lightning as pl
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.env_util import make_vec_env as sb3_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from ppo_bbrl.lightning import make_vec_env
from ppo_bbrl.system.files import write_file

ROOT = Path(__file__).parents[1]
Model = runpy.run_path(str(ROOT / "examples" / "lightning_cartpole.py"))["Model"]
train_pendulum = runpy.run_path(str(ROOT / "examples" / "lightning_pendulum_sde.py"))["train"]

EPISODES = 20
SOLVED = 475.0
AFTER = 5
MOST = 40
Run = dict[str, Any]


def ours(seed: int) -> list[float]:
    """Greedy returns after each epoch, until solved and at least AFTER epochs."""
    returns: list[float] = []

    class Solved(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
            played, _ = pl_module.evaluate(EPISODES)
            returns.append(statistics.mean(played))
            trainer.should_stop = finished(returns)

    model = Model(
        env=make_vec_env("CartPole-v1", n_envs=4),
        eval_env="CartPole-v1",
        num_eval_episodes=0,
        seed=seed,
    )
    pl.Trainer(
        accelerator="cpu",
        max_epochs=MOST,
        gradient_clip_val=0.5,
        callbacks=[Solved()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model)
    return returns


def sb3(seed: int) -> list[float]:
    """The same of SB3's PPO with the same parameters, which are its defaults."""
    env = sb3_vec_env("CartPole-v1", 4, seed=seed)
    eval_env = sb3_vec_env("CartPole-v1", 1, seed=10_000 + seed)
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=2048, seed=seed, device="cpu")
    returns: list[float] = []
    while not returns or not finished(returns):
        model.learn(4 * 2048, reset_num_timesteps=False)
        mean, _ = evaluate_policy(model, eval_env, n_eval_episodes=EPISODES)
        returns.append(float(mean))
    return returns


def finished(returns: list[float]) -> bool:
    """Whether there is nothing more to see."""
    return len(returns) >= MOST or (len(returns) >= AFTER and max(returns) >= SOLVED)


def cartpole(seeds: int) -> Run:
    """Both, in turn, over all seeds."""
    runners: dict[str, Callable[[int], list[float]]] = {"ppo_bbrl.lightning": ours, "sb3": sb3}
    runs: dict[str, list[list[float]]] = {name: [] for name in runners}
    for seed in range(1, seeds + 1):
        for name, runner in runners.items():
            runs[name].append(runner(seed))
            print(name, seed, [round(mean, 1) for mean in runs[name][-1]], flush=True)
    summary = {}
    for name, curves in runs.items():
        solved = [
            next(i for i, mean in enumerate(curve, 1) if mean >= SOLVED)
            for curve in curves
            if max(curve) >= SOLVED
        ]
        after = [curve[AFTER - 1] for curve in curves]
        summary[name] = {
            f"return_after_{AFTER}_epochs_mean": statistics.mean(after),
            f"return_after_{AFTER}_epochs_range": [min(after), max(after)],
            "reached_475": f"{len(solved)} of {len(curves)}",
            "epochs_to_475_median": statistics.median(solved) if solved else None,
            "epochs_to_475": solved,
        }
    return {"episodes": EPISODES, "summary": summary, "returns_per_epoch": runs}


def pendulum(seeds: int) -> Run:
    """With gSDE and without, over all seeds."""
    runs: dict[str, list[float]] = {"gsde": [], "gaussian": []}
    for seed in range(1, seeds + 1):
        for name, results in runs.items():
            model = train_pendulum(seed, use_sde=name == "gsde")
            played, _ = model.evaluate(100)
            results.append(statistics.mean(played))
            print(name, seed, round(results[-1], 1), flush=True)
    summary = {
        name: {"return_mean": statistics.mean(means), "return_range": [min(means), max(means)]}
        for name, means in runs.items()
    }
    return {"episodes": 100, "summary": summary, "returns": runs}


def main() -> None:
    """Run, report, write benchmarks/results/lightning_*.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", choices=("cartpole", "pendulum"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated")
    tasks: dict[str, Callable[[int], Run]] = {"cartpole": cartpole, "pendulum": pendulum}
    for name, task in tasks.items():
        if arguments.only in {None, name}:
            result = task(arguments.seeds)
            print(json.dumps(result["summary"], indent=1))
            versions = {
                "torch": torch.__version__,
                "gymnasium": gym.__version__,
                "lightning": pl.__version__,
                "stable-baselines3": stable_baselines3.__version__,
                "numpy": np.__version__,
            }
            out = ROOT / "benchmarks" / "results" / f"lightning_{name}.json"
            write_file(out, json.dumps({"versions": versions, **result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
