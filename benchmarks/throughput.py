"""Environment steps per second in training: ppo-bbrl, Stable-Baselines3 and SBX in turn.

Same hyper-parameters for all, evaluation off, logging on, one thread, steady state (compilation
and first rollouts are over). In each round every contender trains for about 100k steps, as
configs/cartpole.yaml does, one after the other; what counts is the ratio within a round, as the
speed of a machine drifts. Ours has the checkpoints of a run in its time; others write none.

    python benchmarks/throughput.py --rounds 7
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from omegaconf import DictConfig

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole.yaml"
RESULTS = Path(__file__).parent / "results" / "throughput.json"

#: name → (overrides of configs/cartpole.yaml, rollouts per round)
CASES: dict[str, tuple[list[str], int]] = {
    "(i) 8 × 32": ([], 390),
    "wide 64 × 64": (
        [
            "algorithm.n_envs=64",
            "algorithm.n_steps=64",
            "algorithm.opt_epochs=4",
            "algorithm.batch_size=1024",
        ],
        24,
    ),
}


class Learning(PPOClip):
    """Without the evaluation and the saved policies at the end of a run: they are not measured."""

    def evaluate(self, force: bool = False) -> bool:
        return False

    def keep(self) -> list[Path]:
        return []


def contenders(overrides: list[str], rollouts: int) -> dict[str, tuple[Callable[[], None], int]]:
    """What trains for one round, and how many environment steps a round has."""
    from peers import sb3_ppo, sbx_ppo

    def config(*more: str) -> DictConfig:
        folder = ["base_dir=benchmark/throughput", f"algorithm.max_epochs={rollouts}"]
        return load_config(CONFIG, [*overrides, "compute.threads=1", *folder, *more])

    cfg = config()
    steps = rollouts * cfg.algorithm.n_envs * cfg.algorithm.n_steps
    eager, compiled = (Learning(config(f"compute.compile={c}")) for c in ("never", "always"))
    sb3, sbx = sb3_ppo(cfg), sbx_ppo(cfg)
    return {
        "ppo-bbrl": (lambda: run(eager), steps),
        "ppo-bbrl compiled": (lambda: run(compiled), steps),
        "sb3": (lambda: sb3.learn(steps, reset_num_timesteps=False), steps),
        "sbx": (lambda: sbx.learn(steps, reset_num_timesteps=False), steps),
    }


def main() -> None:
    """Run, report, write the results."""
    from peers import versions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for case, (overrides, rollouts) in CASES.items():
        rates: dict[str, list[float]] = {}
        trained = contenders(overrides, rollouts)
        for round_ in range(arguments.rounds + 1):
            for name, (train, steps) in trained.items():
                start = time.perf_counter()
                train()
                if round_ > 0:  # the first one warms up
                    rates.setdefault(name, []).append(steps / (time.perf_counter() - start))
        ratios = {
            name: [a / b for a, b in zip(values, rates["sb3"], strict=True)]
            for name, values in rates.items()
        }
        results[case] = {
            name: {
                "steps_per_second": statistics.median(values),
                "ratio_to_sb3": statistics.median(ratios[name]),
                "ratio_range": [min(ratios[name]), max(ratios[name])],
            }
            for name, values in rates.items()
        }
        for name, row in results[case].items():
            low, high = row["ratio_range"]
            print(
                f"{case:14} {name:18} {row['steps_per_second']:9,.0f} steps/s   "
                f"{row['ratio_to_sb3']:.2f} × SB3 ({low:.2f} to {high:.2f})",
                flush=True,
            )
    write_file(RESULTS, json.dumps({"versions": versions(), "threads": 1, **results}, indent=1))


if __name__ == "__main__":
    main()
