"""The return on tasks without velocities after 100k steps, by policies with an LSTM.

For comparison: RL Baselines3 Zoo publishes 500 ± 0 on CartPole-v1 and -218 ± 140 on Pendulum-v1
(one run each). A line of JSON is appended for each run to results/returns/<configuration>.jsonl.

    python benchmarks/learning_with_memory.py pendulum_no_velocity_lstm --seeds 0 1 2
"""

import argparse
import json
import time
from pathlib import Path

from peers import versions

from ppo_bbrl import PPOClip, load_config, run

ROOT = Path(__file__).parents[1]
RETURNS = Path(__file__).parent / "results" / "returns"
CONFIGS = ("cartpole_no_velocity_lstm", "pendulum_no_velocity_lstm")
EPISODES = 100


def main() -> None:
    """Run each seed, evaluate the last policy and the best one, append the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    RETURNS.mkdir(exist_ok=True)
    for seed in arguments.seeds:
        given = [f"algorithm.seed={seed}", "save_best=false", *arguments.set]
        algo = PPOClip(load_config(ROOT / "configs" / f"{arguments.config}.yaml", given))
        start = time.perf_counter()
        run(algo)
        seconds = time.perf_counter() - start
        last = algo.evaluate_policy(algo.eval_policy, EPISODES)
        best = algo.evaluate_policy(algo.best_policy, EPISODES)
        algo.close()
        row = {
            "config": arguments.config,
            "overrides": arguments.set,
            "seed": seed,
            "steps": algo.nb_steps,
            "seconds": round(seconds, 1),
            "episodes": EPISODES,
            "last_mean": last.mean,
            "last_std": last.std,
            "best_mean": best.mean,
            "best_std": best.std,
            "versions": versions(),
        }
        print(json.dumps(row), flush=True)
        with (RETURNS / f"{arguments.config}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
