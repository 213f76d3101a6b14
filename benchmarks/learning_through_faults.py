"""CartPole whose environments crash and stall: does PPO still solve it?

    python benchmarks/learning_through_faults.py [seed ...]

The faults are those of RLlib's example of crashing and stalling environments: a step crashes with
probability 1e-4, a reset with 1e-3; every second environment stalls for 2 to 5 s now and then
(`STALL`, a step). `gym_env.on_failure: restart` and `step_timeout: 1`; configs/cartpole_fast.yaml.
"""

import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from ppo_bbrl import PPOClip, load_config, run

CRASH_STEP, CRASH_RESET, STALL = 1e-4, 1e-3, 2e-4
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "cartpole_fast.yaml"


class Faulty(gym.Wrapper[Any, Any, Any, Any]):
    """Crashes and stalls; its faults have a random stream of their own."""

    made = 0

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.stalls = Faulty.made % 2 == 0
        self.chance = np.random.default_rng(Faulty.made)
        Faulty.made += 1

    def reset(self, **kwargs: Any) -> Any:
        if self.chance.random() < CRASH_RESET:
            raise ConnectionResetError("the simulator crashed in a reset")
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        if self.chance.random() < CRASH_STEP:
            raise ConnectionResetError("the simulator crashed")
        if self.stalls and self.chance.random() < STALL:
            time.sleep(self.chance.uniform(2, 5))
        return self.env.step(action)


def main(seed: int) -> None:
    """Train once, and print how it went."""
    Faulty.made = 0
    cfg = load_config(
        CONFIG,
        [
            f"algorithm.seed={seed}",
            "algorithm.max_epochs=390",
            "gym_env.on_failure=restart",
            "gym_env.step_timeout=1",
        ],
    )
    algo = PPOClip(cfg, env_wrappers=[Faulty])
    begun = time.monotonic()
    run(algo)
    replaced = algo.train_env.n_replaced + algo.eval_env.n_replaced
    best, steps = algo.best_reward, algo.nb_steps
    report = algo.evaluate_policy(algo.best_policy, 10)
    algo.close()
    print(
        f"seed {seed}: best evaluation {best:.1f} within {steps:,} steps, again {report.mean:.1f}; "
        f"{replaced} environments replaced; {time.monotonic() - begun:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    for each in sys.argv[1:] or ["1"]:
        main(int(each))
