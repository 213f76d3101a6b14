"""A corridor of doors, of which two are open at a time: solved with masks, and without them not.

    python examples/masked_doors.py --seeds 3 --steps 20000

The mask is in `info["action_mask"]`, where `gym_env.action_mask: auto` finds it.
"""

import argparse
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from ppo_bbrl import PPOClip, run
from ppo_bbrl.evaluation import EvalReport

ROOMS, N_DOORS = 8, 1000


class Doors(gym.Env[NDArray[np.float32], np.int64]):
    """Eight rooms, each with two open doors of 1000. The right one earns 1, both lead on.

    A closed door leads nowhere. The observation is the room and on which side the right door is;
    an episode ends after the last room, or after twelve steps.
    """

    observation_space = Box(-1, 1, (ROOMS + 1,), np.float32)
    action_space = Discrete(N_DOORS)
    doors = np.random.default_rng(0).permutation(N_DOORS)[: 2 * ROOMS].reshape(ROOMS, 2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """In the first room."""
        super().reset(seed=seed)
        self.room, self.t = 0, 0
        return self._seen()

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Through a door, if it is open."""
        self.t += 1
        reward = 0.0
        if action in self.doors[self.room]:
            reward = float(action == self.doors[self.room, self.side])
            self.room += 1
        over = self.room == ROOMS
        self.room = min(self.room, ROOMS - 1)
        observation, info = self._seen()
        return observation, reward, over, self.t == 12, info

    def _seen(self) -> tuple[NDArray[np.float32], dict[str, Any]]:
        self.side = int(self.np_random.integers(2))
        observation = np.zeros(ROOMS + 1, np.float32)
        observation[self.room], observation[-1] = 1, 2 * self.side - 1
        mask = np.zeros(N_DOORS, np.int8)
        mask[self.doors[self.room]] = 1
        return observation, {"action_mask": mask}


gym.register("MaskedDoors-v0", Doors)


def learn(seed: int, steps: int, action_mask: str, n_episodes: int = 50) -> EvalReport:
    """Train and evaluate: 8 is the best return, without masks most doors are closed ones."""
    algo = PPOClip(
        {
            "base_dir": f"MaskedDoors/{action_mask}-S{seed}",
            "save_best": False,
            "gym_env": {"env_name": "MaskedDoors-v0", "action_mask": action_mask},
            "algorithm": {
                "seed": seed,
                "n_envs": 8,
                "n_steps": 64,
                "max_epochs": max(1, steps // 512),
                "opt_epochs": 4,
                "entropy_coef": 0.01,
                "eval_interval": 10**9,
            },
        }
    )
    try:
        run(algo)
        return algo.evaluate_policy(algo.eval_policy, n_episodes)
    finally:
        algo.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20_000)
    given = parser.parse_args()
    for mask in ("auto", "none"):
        means = [learn(seed, given.steps, mask).mean for seed in range(1, given.seeds + 1)]
        print(f"action_mask: {mask}   mean return of {ROOMS}: {np.round(means, 2).tolist()}")
