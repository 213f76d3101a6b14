"""Pendulum-v1 after 100k steps with gSDE and without it, over several seeds.

The parameters are those of configs/pendulum.yaml; with gSDE noise matrices stay for 4 steps, as RL
Baselines3 Zoo has it (-172 ± 104, one run). Results are appended, so that a run may go on:

    python benchmarks/learning_sde.py --seeds 10
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers import versions

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "pendulum.yaml"
RESULTS = Path(__file__).parent / "results" / "learning_sde.json"
EPISODES = 100
WAYS = {"without": [], "gSDE": ["algorithm.use_sde=true", "algorithm.sde_sample_freq=4"]}


def interval(returns: list[float], draws: int = 10_000) -> list[float]:
    """The 95 % bootstrap interval of the mean over seeds."""
    random = np.random.default_rng(0)
    means = random.choice(returns, (draws, len(returns))).mean(1)
    return [float(bound) for bound in np.quantile(means, (0.025, 0.975))]


def main() -> None:
    """Run what is missing in the results, and write them after each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    seeds = parser.parse_args().seeds
    runs: list[dict[str, Any]] = []
    if RESULTS.exists():
        runs = json.loads(RESULTS.read_text())["runs"]
    for seed in range(1, seeds + 1):
        for way, own in WAYS.items():
            if any(row["seed"] == seed and row["way"] == way for row in runs):
                continue
            given = [f"algorithm.seed={seed}", "save_best=false", f"base_dir=benchmark/{way}"]
            algo = PPOClip(load_config(CONFIG, [*given, *own]))
            start = time.perf_counter()
            run(algo)
            seconds = time.perf_counter() - start
            report = algo.evaluate_policy(algo.eval_policy, EPISODES)
            runs.append(
                {"seed": seed, "way": way, "steps": algo.nb_steps, "seconds": seconds}
                | {"return": report.mean, "std": report.std}
            )
            algo.close()
            print(runs[-1], flush=True)
            _write(runs)


def _write(runs: list[dict[str, Any]]) -> None:
    summary: dict[str, Any] = {"episodes": EPISODES}
    for way in WAYS:
        returns = [row["return"] for row in runs if row["way"] == way]
        if returns:
            summary[way] = {
                "seeds": len(returns),
                "mean": float(np.mean(returns)),
                "interval_95": interval(returns),
            }
    content = {"versions": versions(), "summary": summary, "runs": runs}
    write_file(RESULTS, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
