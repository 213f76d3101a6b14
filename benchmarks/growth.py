"""How speed and memory grow, each measured in a process of its own, one thread, no compiler.

Throughput and peak memory against the number of environments and the width of the networks;
peak memory beside Stable-Baselines3; growth of the memory over 1000 rollouts.

    python benchmarks/growth.py
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole.yaml"
RESULTS = Path(__file__).parent / "results" / "growth.json"
N_ENVS = (1, 8, 64, 512, 4096)
WIDTHS = (64, 256, 1024)
MIB = 1024  # ru_maxrss counts KiB on Linux


def peak_memory() -> float:
    """Of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB


def train(n_envs: int, width: int, rollouts: int) -> dict[str, float]:
    """Train, and measure the second half."""
    import torch

    from ppo_bbrl import PPOClip, load_config, run

    torch.set_num_threads(1)
    overrides = [
        f"algorithm.n_envs={n_envs}",
        f"algorithm.architecture.actor_hidden_size=[{width},{width}]",
        f"algorithm.architecture.critic_hidden_size=[{width},{width}]",
        f"algorithm.batch_size={max(32, n_envs * 8)}",
        "algorithm.opt_epochs=4",
        f"algorithm.max_epochs={rollouts // 2}",
        f"algorithm.eval_interval={10**12}",
        "save_best=false",
        "compute.compile=never",
        "compute.threads=1",
        "base_dir=benchmark/growth",
    ]
    algo = PPOClip(load_config(CONFIG, overrides))
    run(algo)
    before, steps, start = peak_memory(), algo.nb_steps, time.perf_counter()
    run(algo)
    return {
        "steps_per_second": (algo.nb_steps - steps) / (time.perf_counter() - start),
        "peak_mib": peak_memory(),
        "growth_mib": peak_memory() - before,
    }


def sb3() -> dict[str, float]:
    """Peak memory of SB3 with the parameters of configs/cartpole.yaml."""
    import torch
    from peers import sb3_ppo

    from ppo_bbrl import load_config

    torch.set_num_threads(1)
    sb3_ppo(load_config(CONFIG)).learn(20_000)
    return {"peak_mib": peak_memory()}


def ours() -> dict[str, float]:
    """Peak memory of ppo-bbrl with the parameters of configs/cartpole.yaml."""
    import torch

    from ppo_bbrl import PPOClip, load_config, run

    torch.set_num_threads(1)
    quiet = ["save_best=false", "base_dir=benchmark/growth", "algorithm.max_epochs=80"]
    run(PPOClip(load_config(CONFIG, [*quiet, f"algorithm.eval_interval={10**12}"])))
    return {"peak_mib": peak_memory()}


def in_a_process(*words: object) -> dict[str, float]:
    """The result of this script with other arguments."""
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(*words, result, flush=True)
    return result


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("train", "sb3", "ours"))
    parser.add_argument("sizes", nargs="*", type=int)
    arguments = parser.parse_args()
    if arguments.what:
        what = {"train": train, "sb3": sb3, "ours": ours}[arguments.what]
        print(json.dumps(what(*arguments.sizes)))
        return
    results = {
        "n_envs": {n: in_a_process("train", n, 64, 20 if n < 512 else 6) for n in N_ENVS},
        "width": {w: in_a_process("train", 8, w, 20) for w in WIDTHS},
        "peak memory, (i), no compiler": {
            "ppo-bbrl": in_a_process("ours")["peak_mib"],
            "sb3": in_a_process("sb3")["peak_mib"],
        },
        "1000 rollouts": in_a_process("train", 8, 64, 2000),
    }
    write_file(RESULTS, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
