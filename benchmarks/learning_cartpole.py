"""How many steps and seconds until CartPole-v1 is solved: ppo-bbrl and Stable-Baselines3.

Same hyper-parameters (configs/cartpole.yaml), same seeds, same evaluation: every `--interval`
steps the greedy policy plays 20 fresh episodes; a mean of 475 ends the clock. Seconds are those
of training, evaluations excluded. Runs alternate, one thread.

    python benchmarks/learning_cartpole.py --seeds 10
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from peers import SB3Agent, sb3_ppo, versions
from stable_baselines3.common.callbacks import BaseCallback

from ppo_bbrl import PPOClip, load_config
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.episodic import iter_partial_episodes
from ppo_bbrl.evaluation import evaluate
from ppo_bbrl.system.files import write_file

CONFIG = Path(__file__).parents[1] / "configs" / "cartpole.yaml"
SOLVED = 475.0
EPISODES = 20
Result = dict[str, float | int | None]


class Clock:
    """Stops the time of training, and ends it when the policy has solved the task."""

    def __init__(self, cfg: DictConfig, interval: int) -> None:
        self.env = EnvAgent(cfg.gym_env.env_name, EPISODES, autoreset=False)
        self.interval, self.next_check, self.checks = interval, interval, 0
        self.seed = cfg.algorithm.seed
        self.result: Result = {"seed": self.seed, "steps": None, "seconds": None}
        self.seconds, self.started = 0.0, time.perf_counter()

    def solved(self, policy: object, steps: int) -> bool:
        """Whether the policy has solved the task, checked every `interval` steps."""
        if steps < self.next_check:
            return False
        self.seconds += time.perf_counter() - self.started
        self.next_check += self.interval
        self.checks += 1
        seeds = np.random.SeedSequence(10_000 + self.seed, spawn_key=(self.checks,))
        report = evaluate(policy, self.env, seeds, max_steps=500)
        if report.mean >= SOLVED:
            self.result |= {"steps": steps, "seconds": self.seconds}
        self.started = time.perf_counter()
        return report.mean >= SOLVED


def ours(cfg: DictConfig, interval: int) -> Result:
    """PPOClip's own loop, with the clock in the place of its evaluation."""
    algo = PPOClip(cfg)
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


def sb3(cfg: DictConfig, interval: int) -> Result:
    """SB3's own loop, with the clock in a callback."""
    model = sb3_ppo(cfg)
    clock, agent = Clock(cfg, interval), SB3Agent(model)

    class Check(BaseCallback):
        def _on_rollout_start(self) -> None:
            self.stop = clock.solved(agent, self.model.num_timesteps)

        def _on_step(self) -> bool:
            return not self.stop

    settings = cfg.algorithm
    model.learn(settings.max_epochs * settings.n_envs * settings.n_steps, Check())
    model.env.close()
    return clock.result


def main() -> None:
    """Run, report, write benchmarks/results/learning_cartpole.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--interval", type=int, default=1000)
    parser.add_argument("--only", choices=("ppo-bbrl", "sb3"))
    parser.add_argument("overrides", nargs="*", help="key=value for our configuration")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runners: dict[str, Callable[[DictConfig, int], Result]] = {"ppo-bbrl": ours, "sb3": sb3}
    if arguments.only:
        runners = {arguments.only: runners[arguments.only]}
    results: dict[str, list[Result]] = {name: [] for name in runners}
    for seed in range(1, arguments.seeds + 1):
        cfg = load_config(
            CONFIG,
            [
                f"algorithm.seed={seed}",
                "save_best=false",
                "base_dir=benchmark/learning_cartpole",
                *arguments.overrides,
            ],
        )
        for name, runner in runners.items():
            results[name].append(runner(cfg, arguments.interval))
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
    out = Path(__file__).parent / "results" / "learning_cartpole.json"
    write_file(
        out,
        json.dumps({"versions": versions(), "summary": summary, "runs": results}, indent=1) + "\n",
    )


if __name__ == "__main__":
    main()
