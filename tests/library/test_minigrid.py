"""MiniGrid, if it is installed (the extra `minigrid`): a Dict with a text that is left out."""

from pathlib import Path

import numpy as np
import pytest

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.runs.trained_policy import load

pytest.importorskip("minigrid")
CONFIG = Path(__file__).parents[2] / "configs" / "minigrid.yaml"


@pytest.mark.parametrize("task", ["Empty-Random-5x5", "DoorKey-5x5", "Unlock"])
def test_a_short_run_is_kept_and_its_policy_opens(task):
    changes = [
        f"gym_env.env_name=minigrid:MiniGrid-{task}-v0",
        "algorithm.n_steps=16",
        "algorithm.max_epochs=2",
        "algorithm.nb_evals=1",
        "base_dir=minigrid",
    ]
    algo = PPOClip(load_config(CONFIG, changes))
    run(algo)
    observation = algo.train_env.observation_space.sample()
    algo.close()
    action = load(algo.base_dir, trust=True).predict(observation)
    assert np.issubdtype(np.asarray(action).dtype, np.integer)
