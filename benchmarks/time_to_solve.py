"""Wall time from the start of the process to a greedy mean of 475 over 20 episodes, CartPole-v1.

ppo-bbrl with configs/cartpole_fast.yaml and Stable-Baselines3 with the tuned parameters of
RL Baselines3 Zoo, each in a process of its own, in turn, one thread; both evaluate every 1000
steps. Imports, evaluations and all else count.

    python benchmarks/time_to_solve.py --seeds 10
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ppo_bbrl.system.files import write_file

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "time_to_solve.json"
SOLVED = 475.0


def ours(seed: int) -> int:
    """Train until solved; returns the steps it took."""
    import torch

    from ppo_bbrl import PPOClip, load_config
    from ppo_bbrl.episodic import iter_partial_episodes

    torch.set_num_threads(1)
    overrides = [f"algorithm.seed={seed}", "base_dir=benchmark/time_to_solve"]
    algo = PPOClip(load_config(ROOT / "configs" / "cartpole_fast.yaml", overrides))
    for workspace in iter_partial_episodes(algo, algo.cfg.algorithm.n_steps + 1):
        algo.update(algo.record(workspace))
        algo.evaluate()
        if algo.best_reward >= SOLVED:
            break
    return algo.nb_steps if algo.best_reward >= SOLVED else -1


def sb3(seed: int) -> int:
    """The same with SB3's own means."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    stop = StopTrainingOnRewardThreshold(SOLVED)
    evaluation = EvalCallback(
        make_vec_env("CartPole-v1", 20, seed=10_000 + seed),
        callback_on_new_best=stop,
        eval_freq=125,  # × 8 environments = 1000 steps
        n_eval_episodes=20,
        verbose=0,
    )
    model = PPO(
        "MlpPolicy",
        make_vec_env("CartPole-v1", 8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=lambda remaining: remaining * 1e-3,
        clip_range=lambda remaining: remaining * 0.2,
        seed=seed,
        device="cpu",
    )
    model.learn(100_000, evaluation)
    return model.num_timesteps if evaluation.best_mean_reward >= SOLVED else -1


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--worker", choices=("ours", "sb3"))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.worker:
        print({"ours": ours, "sb3": sb3}[arguments.worker](arguments.seed))
        return
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "sb3": []}
    for seed in range(1, arguments.seeds + 1):
        for name, list_ in runs.items():
            command = [sys.executable, __file__, "--worker", name, "--seed", str(seed)]
            start = time.perf_counter()
            done = subprocess.run(
                command, capture_output=True, text=True, check=True, env={**os.environ}
            )
            seconds = time.perf_counter() - start
            steps = int(done.stdout.split()[-1])
            list_.append({"seed": seed, "seconds": seconds, "steps": steps})
            print(name, list_[-1], flush=True)
    summary = {
        name: {
            "solved": sum(run["steps"] > 0 for run in list_),
            "median_seconds": statistics.median(run["seconds"] for run in list_),
            "median_steps": statistics.median(run["steps"] for run in list_),
        }
        for name, list_ in runs.items()
    }
    summary["ratio"] = summary["ours"]["median_seconds"] / summary["sb3"]["median_seconds"]
    print(summary)
    write_file(RESULTS, json.dumps({"summary": summary, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
