"""Environment steps per second in training, ppo-bbrl and Stable-Baselines3 in turn.

Same hyper-parameters (configs/cartpole.yaml), evaluation off, logging on, one thread. Each pair
trains both for the same number of rollouts, one after the other; the ratio of each pair is what
counts, as the speed of a machine drifts.

    python benchmarks/throughput.py --pairs 9
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from peers import sb3_ppo, versions

from ppo_bbrl import PPOClip, load_config, run

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole.yaml"


def main() -> None:
    """Run, report, write benchmarks/results/throughput.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--rollouts", type=int, default=60)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cfg = load_config(
        CONFIG,
        [
            f"algorithm.max_epochs={arguments.rollouts}",
            f"algorithm.eval_interval={10**12}",
            "base_dir=benchmark/throughput",
            "save_best=false",
        ],
    )
    steps = arguments.rollouts * cfg.algorithm.n_envs * cfg.algorithm.n_steps
    algo, model = PPOClip(cfg), sb3_ppo(cfg)
    rates: dict[str, list[float]] = {"ppo-bbrl": [], "sb3": []}
    for pair in range(arguments.pairs + 1):
        start = time.perf_counter()
        run(algo)
        middle = time.perf_counter()
        model.learn(steps, reset_num_timesteps=False)
        end = time.perf_counter()
        if pair == 0:
            continue  # warm-up
        rates["ppo-bbrl"].append(steps / (middle - start))
        rates["sb3"].append(steps / (end - middle))
        print({name: round(values[-1]) for name, values in rates.items()}, flush=True)
    ratios = [a / b for a, b in zip(rates["ppo-bbrl"], rates["sb3"], strict=True)]
    summary = {
        "ratio_median": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        **{f"{name}_steps_per_second": statistics.median(v) for name, v in rates.items()},
    }
    print(summary)
    out = Path(__file__).parent / "results" / "throughput.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(
        json.dumps({"versions": versions(), "summary": summary, "rates": rates}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
