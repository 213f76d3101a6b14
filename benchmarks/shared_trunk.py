"""How many steps and seconds until CartPole-v1 is solved: a shared trunk and separate networks.

Same configuration (configs/cartpole_shared.yaml), same seeds, same evaluation as in
learning_cartpole.py: every `--interval` steps the greedy policy plays 20 fresh
episodes; a mean of 475 ends the clock. Seconds are those of training, evaluations excluded. Runs
alternate, one thread. The shared trunks: PPO2 of torch.hub, and a module as users of Lightning
write it; both have two layers of 64 Tanh neurons, as each of the separate networks has.

    python benchmarks/shared_trunk.py --seeds 10
"""

import argparse
import json
import runpy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from learning_cartpole import Clock, Result
from omegaconf import DictConfig
from peers import versions
from torch import nn

from ppo_bbrl import PPOClip, iter_partial_episodes, load_config, shared_agents
from ppo_bbrl.hub import PPO2
from ppo_bbrl.system.files import write_file

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "cartpole_shared.yaml"
RESULTS = Path(__file__).parent / "results" / "shared_trunk.json"


def ppo2() -> nn.Module:
    """As torch.hub loads it."""
    model = PPO2(4, 64, 2)
    model.reset_parameters()
    return model


def own() -> nn.Module:
    """The module of examples/shared_trunk_cartpole.py."""
    model: nn.Module = runpy.run_path(str(ROOT / "examples" / "shared_trunk_cartpole.py"))[
        "Model"
    ]()
    return model


def agents(make: Callable[[], nn.Module] | None, seed: int) -> dict[str, Any]:
    """The arguments of PPOClip."""
    if make is None:
        return {}
    torch.manual_seed(seed)
    policy, critic = shared_agents(make())
    return {"train_policy": policy, "critic_agent": critic}


def learn(cfg: DictConfig, make: Callable[[], nn.Module] | None, interval: int) -> Result:
    """The package's own loop, with the clock in the place of its evaluation."""
    algo = PPOClip(cfg, **agents(make, cfg.algorithm.seed))
    clock = Clock(cfg, interval)
    steps, start = 0, time.perf_counter()
    for workspace in iter_partial_episodes(algo, cfg.algorithm.n_steps + 1):
        report = algo.update(algo.record(workspace))
        algo.log(workspace, report, time.perf_counter() - start, algo.nb_steps - steps)
        steps, start = algo.nb_steps, time.perf_counter()
        if clock.solved(algo.eval_policy, algo.nb_steps):
            break
    algo.close()
    return clock.result


def main() -> None:
    """Run, report, write benchmarks/results/shared_trunk.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--interval", type=int, default=1000)
    parser.add_argument("overrides", nargs="*", help="key=value for the configuration")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = {"separate": None, "shared, PPO2": ppo2, "shared, own module": own}
    results: dict[str, list[Result]] = {name: [] for name in models}
    for seed in range(1, arguments.seeds + 1):
        fixed = [f"algorithm.seed={seed}", "base_dir=benchmark/shared_trunk"]
        cfg = load_config(CONFIG, [*fixed, *arguments.overrides])
        for name, make in models.items():
            results[name].append(learn(cfg, make, arguments.interval))
            print(name, results[name][-1], flush=True)
    summary = {}
    for name, runs in results.items():
        reached = [run for run in runs if run["steps"] is not None]
        summary[name] = {
            "reached": f"{len(reached)} of {len(runs)}",
            "median_steps": statistics.median(r["steps"] for r in reached) if reached else None,
            "median_seconds": statistics.median(r["seconds"] for r in reached) if reached else None,
        }
        print(name, summary[name])
    told = {"versions": versions(), "settings": arguments.overrides, "summary": summary}
    write_file(RESULTS, json.dumps({**told, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
