"""A tuned configuration against the one that it began with, on seeds that tuning has not seen.

    ppo-bbrl tune configs/cartpole_fast.yaml configs/spaces/cartpole.yaml \
        algorithm.max_epochs=80 algorithm.eval_interval=500 --trials 60 --seeds 2
    python benchmarks/tuned.py outputs/tune/cartpole_fast-cartpole/best.yaml

For each seed: after how many steps an evaluation reaches the goal for the first time, and the mean
return over the steps, which is what tuning maximises.
"""

import argparse
import statistics
from pathlib import Path

from ppo_bbrl import train_seeds
from ppo_bbrl.experiments.tune import score
from ppo_bbrl.plots.run_files import read_metrics

CONFIGS = Path(__file__).parents[1] / "configs"
SAME = ["algorithm.eval_interval=500", "algorithm.nb_evals=20", "compute.compile=never"]


def main() -> None:
    """Train both with each seed, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tuned", type=Path)
    parser.add_argument("--against", type=Path, default=CONFIGS / "cartpole_fast.yaml")
    parser.add_argument("--goal", type=float, default=475.0)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    seeds = range(100, 100 + arguments.seeds)
    found = {}
    for name, config in (("tuned", arguments.tuned), ("before", arguments.against)):
        own = [*SAME, f"base_dir=benchmark/tuned-{name}"]
        report = train_seeds(config, seeds, overrides=own)
        steps, scores = [], []
        for run in report.runs.values():
            table = read_metrics(run.folder)[["steps", "reward/mean"]].dropna()
            there = table["steps"][table["reward/mean"] >= arguments.goal]
            steps.append(float(there.iloc[0]) if len(there) else float("inf"))
            rows = [(int(step), float(value)) for step, value in table.itertuples(index=False)]
            scores.append(score([row for row in rows if row[0] <= 20_000]))
        found[name] = statistics.median(steps)
        print(
            f"{name}: {found[name]:,.0f} steps to {arguments.goal:g} in the median "
            f"({min(steps):,.0f} to {max(steps):,.0f}); over 20,000 steps the mean return is "
            f"{statistics.median(scores):.1f}"
        )
    print(f"ratio of the medians: {found['tuned'] / found['before']:.2f}")


if __name__ == "__main__":
    main()
