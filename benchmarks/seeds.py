"""`train_seeds` with a process for each core against one process, in turn.

Four seeds of configs/cartpole.yaml, not compiled, with their evaluations, their start, and the
episodes at their end: what `ppo-bbrl train --seeds 4` does. Beside the ratio stands what the cores
gave to the same work in processes that wait for nobody: no ratio can be above that.

    python benchmarks/seeds.py --rounds 3
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from async_envs import amount_of, cores_give

from ppo_bbrl import train_seeds
from ppo_bbrl.system.compute import available_cores
from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole.yaml"
RESULTS = Path(__file__).parent / "results" / "seeds.json"
SEEDS = 4


def rate(jobs: int, rollouts: int) -> float:
    """Steps per second of all seeds together."""
    own = [f"base_dir=benchmark/seeds_{jobs}", f"algorithm.max_epochs={rollouts}"]
    start = time.perf_counter()
    report = train_seeds(CONFIG, SEEDS, jobs, overrides=["compute.compile=never", *own])
    steps = sum(one.steps for one in report.runs.values())
    return steps / (time.perf_counter() - start)


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rollouts", type=int, default=390, help="of a seed")
    arguments = parser.parse_args()
    cores, amount = available_cores(), amount_of("elementwise")
    rounds = []
    for _ in range(arguments.rounds):
        one, all_cores = (rate(jobs, arguments.rollouts) for jobs in (1, cores))
        rounds.append((one, all_cores, cores_give("elementwise", amount, cores)))
        print(f"{all_cores / one:.2f} × of {one:,.0f} steps/s", flush=True)
    ratios = [many / one for one, many, _ in rounds]
    results = {
        "cores": cores,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cores_give": statistics.median(given for *_, given in rounds),
        "steps_per_second": [statistics.median(column) for column in zip(*rounds, strict=True)][:2],
    }
    write_file(RESULTS, json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
