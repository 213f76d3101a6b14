"""One iteration, compiled, wide, beside its floor: its matrix products and environment steps alone.

python benchmarks/floor.py --rounds 7
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import torch
from throughput import CASES, CONFIG, Learning

from ppo_bbrl import load_config, run
from ppo_bbrl.system.files import write_file

RESULTS = Path(__file__).parent / "results" / "floor.json"
CASE = "wide 64 × 64"
ROLLOUTS = 12


def products(batch: int, sizes: list[int]) -> Callable[[], None]:
    """The matrix products of one minibatch: forward and backward of one network."""
    inputs = [torch.randn(batch, size) for size in sizes[:-1]]
    outputs = [torch.randn(batch, size) for size in sizes[1:]]
    weights = [torch.randn(n, m) for n, m in zip(sizes[1:], sizes, strict=False)]

    def multiply() -> None:
        for i, (x, d, w) in enumerate(zip(inputs, outputs, weights, strict=True)):
            torch.mm(x, w.t())
            torch.mm(d.t(), x)
            if i > 0:
                torch.mm(d, w)

    return multiply


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cfg = load_config(
        CONFIG,
        [
            *CASES[CASE][0],
            "base_dir=benchmark/floor",
            f"algorithm.max_epochs={ROLLOUTS}",
            "compute.compile=always",
            "compute.threads=1",
        ],
    )
    settings = cfg.algorithm
    algo = Learning(cfg)
    run(algo)  # compiles
    envs = gymnasium.make_vec(
        cfg.gym_env.env_name, settings.n_envs, vectorization_mode="vector_entry_point"
    )
    envs.reset(seed=1)
    actions = np.zeros(settings.n_envs, np.int64)
    policy = products(settings.batch_size, [4, 64, 64, 2])
    critic = products(settings.batch_size, [4, 64, 64, 1])
    minibatches = settings.opt_epochs * settings.n_envs * settings.n_steps // settings.batch_size

    def floor() -> None:
        for _ in range(ROLLOUTS):
            for _ in range(settings.n_steps):
                envs.step(actions)
            for _ in range(minibatches):
                policy()
                critic()

    pairs = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        run(algo)
        middle = time.perf_counter()
        floor()
        pairs.append((middle - start, time.perf_counter() - middle))
    ratios = [ours / least for ours, least in pairs]
    result = {
        "iteration_ms": 1000 * statistics.median(ours for ours, _ in pairs) / ROLLOUTS,
        "floor_ms": 1000 * statistics.median(least for _, least in pairs) / ROLLOUTS,
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }
    print(result)
    write_file(RESULTS, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
