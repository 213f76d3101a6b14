"""What processes bring for expensive environments: async against sync, in turn.

An environment whose step computes for 2 ms; eight of them, PPOClip as in configs/cartpole.yaml,
evaluation off, logging on. The work of a step is a fixed amount, measured once before the rounds,
so that processes that share a core do not seem to work at the same time. What counts is the ratio
within a round, as the speed of a machine drifts; beside it stands what the cores gave in that round
to the same work in processes that wait for nobody. On a machine with other users that is less than
the number of cores, and no ratio can be above it.

    python benchmarks/async_envs.py --rounds 5
"""

import argparse
import json
import os
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole.yaml"
RESULTS = Path(__file__).parent / "results" / "async_envs.json"
MILLISECONDS = 2.0
ROLLOUTS = 12  # per round
LENGTH = 50  # of an episode

_NUMBERS = np.linspace(-1, 1, 64, dtype=np.float32)
_MATRIX = np.eye(64, dtype=np.float32)


def elementwise(amount: int) -> float:
    """What physics in NumPy does: many small operations."""
    x = _NUMBERS
    for _ in range(amount):
        x = np.tanh(x + 0.1)
    return float(x.sum())


def matrices(amount: int) -> float:
    """Products of matrices, for which NumPy's BLAS may use several threads."""
    x = _MATRIX
    for _ in range(amount):
        x = x @ _MATRIX
    return float(x.sum())


WORK = {"elementwise": elementwise, "matrices": matrices}


class Expensive(gym.Env[Any, Any]):
    """Every step does some work that has no meaning."""

    observation_space = Box(-np.inf, np.inf, (4,), np.float32)
    action_space = Discrete(2)

    def __init__(self, work: str, amount: int) -> None:
        self._work, self._amount = WORK[work], amount

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        return np.zeros(4, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        observation = np.full(4, self._t / LENGTH, np.float32)
        observation[0] += 0 * self._work(self._amount)
        return observation, float(action), False, self._t >= LENGTH, {}


gym.register("Expensive-v0", Expensive, disable_env_checker=True)


def amount_of(work: str) -> int:
    """How much work takes MILLISECONDS, alone on the machine."""
    amount = 100
    durations = []
    for _ in range(50):
        start = time.perf_counter()
        WORK[work](amount)
        durations.append(time.perf_counter() - start)
    return max(1, round(amount * MILLISECONDS / 1000 / min(durations)))


def repeat(work: str, amount: int) -> None:
    for _ in range(300):
        WORK[work](amount)


def cores_give(work: str, amount: int, cores: int) -> float:
    """How much more the cores do together than one of them alone."""

    def seconds(number: int) -> float:
        fork = get_context("fork")
        processes = [fork.Process(target=repeat, args=(work, amount)) for _ in range(number)]
        start = time.perf_counter()
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return time.perf_counter() - start

    return cores * seconds(1) / seconds(cores)


def main() -> None:
    """Run, report, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", choices=WORK, default="elementwise")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    amount, cores = amount_of(arguments.work), len(os.sched_getaffinity(0))
    algos = {
        mode: PPOClip(
            load_config(
                CONFIG,
                [
                    "gym_env.env_name=Expensive-v0",
                    f"gym_env.env_args.work={arguments.work}",
                    f"gym_env.env_args.amount={amount}",
                    f"gym_env.vectorization={mode}",
                    f"algorithm.max_epochs={ROLLOUTS}",
                    f"algorithm.eval_interval={10**12}",
                    "save_best=false",
                    "compute.threads=1",
                    "base_dir=benchmark/async_envs",
                ],
            )
        )
        for mode in ("sync", "async")
    }
    rates: dict[str, list[float]] = {mode: [] for mode in algos}
    possible = []
    for round_ in range(arguments.rounds + 1):
        if round_ > 0:
            possible.append(cores_give(arguments.work, amount, cores))
        for mode, algo in algos.items():
            algo.evaluate = lambda force: False  # noqa: ARG005 - the end of a run is not measured
            steps, start = algo.nb_steps, time.perf_counter()
            run(algo)
            if round_ > 0:  # the first one warms up
                rates[mode].append((algo.nb_steps - steps) / (time.perf_counter() - start))
    for algo in algos.values():
        algo.close()
    ratios = [a / s for a, s in zip(rates["async"], rates["sync"], strict=True)]
    result = {
        "versions": {
            "torch": torch.__version__,
            "gymnasium": gym.__version__,
            "numpy": np.__version__,
        },
        "cores": cores,
        "work": arguments.work,
        "environments": algos["sync"].cfg.algorithm.n_envs,
        "milliseconds_per_step": MILLISECONDS,
        "steps_per_second": {mode: statistics.median(values) for mode, values in rates.items()},
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "cores_give": statistics.median(possible),
        "cores_give_range": [min(possible), max(possible)],
    }
    for mode, rate in result["steps_per_second"].items():
        print(f"{mode:5} {rate:7,.0f} steps/s")
    low, high = result["ratio_range"]
    print(f"async is {result['ratio']:.2f} × sync ({low:.2f} to {high:.2f})")
    low, high = result["cores_give_range"]
    print(f"the cores gave {result['cores_give']:.2f} × one ({low:.2f} to {high:.2f})")
    write_file(RESULTS, json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
