"""Beside BBRL as published: one evaluation, and the whole loop from scratch for 100k steps.

python benchmarks/beside_bbrl.py --rounds 5
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bbrl_utils
import torch
from omegaconf import OmegaConf
from peers import versions
from published_bbrl import PublishedPPO, run_published

from ppo_bbrl import PPOClip, copy_parameters, load_config, run
from ppo_bbrl.system.files import write_file

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "beside_bbrl.json"


def published(**algorithm: Any) -> PublishedPPO:
    """The published algorithm with the parameters of configs/cartpole.yaml."""
    bbrl_utils.setup(box2d=False)  # registers ${current_time:}
    cfg = OmegaConf.create(
        OmegaConf.to_container(load_config(ROOT / "configs" / "cartpole.yaml"), resolve=True)
    )
    cfg.base_dir = "benchmark/published_${current_time:}"
    cfg.logger = {
        "classname": "bbrl.utils.logger.TFLogger",
        "cache_size": 10000,
        "every_n_seconds": 10,
        "verbose": False,
    }
    cfg.algorithm.update(algorithm)
    return PublishedPPO(cfg)


def ours(*overrides: str) -> PPOClip:
    """The same on ppo-bbrl."""
    quiet = ["save_best=false", "base_dir=benchmark/ours"]
    return PPOClip(load_config(ROOT / "configs" / "cartpole.yaml", [*quiet, *overrides]))


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratios(rounds: int, a: Callable[[], object], b: Callable[[], object]) -> dict[str, Any]:
    """How many times as long b takes as a, in turn."""
    pairs = [(seconds(a), seconds(b)) for _ in range(rounds)]
    each = [slow / fast for fast, slow in pairs]
    return {
        "ours_seconds": statistics.median(fast for fast, _ in pairs),
        "published_seconds": statistics.median(slow for _, slow in pairs),
        "ratio": statistics.median(each),
        "ratio_range": [min(each), max(each)],
    }


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    solved = ours("algorithm.max_epochs=250")
    run(solved)
    theirs = published()
    copy_parameters(solved.best_policy.wrapped.model, theirs.train_policy.model)
    copy_parameters(solved.best_policy.wrapped, solved.train_policy)
    results = {
        "evaluation of 10 episodes by the same policy": ratios(
            arguments.rounds,
            lambda: solved.evaluate(force=True),
            lambda: theirs.evaluate(force=True),
        ),
        "whole loop, 100k steps, evaluating every 1000": ratios(
            arguments.rounds,
            lambda: run(ours()),
            lambda: run_published(published()),
        ),
    }
    for name, row in results.items():
        low, high = row["ratio_range"]
        print(f"{name}: {row['ratio']:.1f} × ({low:.1f} to {high:.1f})")
    write_file(RESULTS, json.dumps({"versions": versions(), **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
