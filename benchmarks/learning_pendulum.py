"""The return on Pendulum-v1 after 100k steps, over several seeds (configs/pendulum.yaml).

For comparison: RL Baselines3 Zoo publishes -172 ± 104 for its PPO (one run, with gSDE).

    python benchmarks/learning_pendulum.py --seeds 5
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from peers import versions

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "pendulum.yaml"
RESULTS = Path(__file__).parent / "results" / "learning_pendulum.json"
EPISODES = 100


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    runs = []
    for seed in range(1, arguments.seeds + 1):
        overrides = [f"algorithm.seed={seed}", "save_best=false", "base_dir=benchmark/pendulum"]
        algo = PPOClip(load_config(CONFIG, overrides))
        start = time.perf_counter()
        run(algo)
        seconds = time.perf_counter() - start
        report = algo.evaluate_policy(algo.eval_policy, EPISODES)
        runs.append(
            {
                "seed": seed,
                "steps": algo.nb_steps,
                "seconds": seconds,
                "return": report.mean,
                "std": report.std,
            }
        )
        algo.close()
        print(runs[-1], flush=True)
    returns = [row["return"] for row in runs]
    summary = {
        "episodes": EPISODES,
        "return_mean_over_seeds": statistics.mean(returns),
        "return_range": [min(returns), max(returns)],
    }
    print(summary)
    write_file(
        RESULTS,
        json.dumps({"versions": versions(), "summary": summary, "runs": runs}, indent=1) + "\n",
    )


if __name__ == "__main__":
    main()
