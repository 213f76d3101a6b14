"""Atari with the details of docs/ppo.md, if ale-py is installed (the extra `atari`)."""

from pathlib import Path

import pytest
from decoded_video import decode
from torch import nn

from ppo_bbrl import PPOClip, load_config, run

pytest.importorskip("ale_py")

PONG = Path(__file__).parents[2] / "configs" / "pong.yaml"


def test_a_short_run_of_pong():
    """Four grey frames of 84 × 84 are bytes in the workspace, and seen by one shared network."""
    short = {"n_envs": 2, "n_steps": 8, "max_epochs": 1, "opt_epochs": 1, "batch_size": 16}
    short |= {"nb_evals": 1, "max_eval_steps": 5}
    changes = [f"algorithm.{key}={value}" for key, value in short.items()]
    algo = PPOClip(load_config(PONG, [*changes, "base_dir=pong"]))
    with pytest.warns(UserWarning, match="were still running"):
        run(algo)
    assert algo.train_env.observation_space.shape == (4, 84, 84)
    assert str(algo._workspace["env/env_obs"].dtype) == "torch.uint8"
    assert algo.train_policy.encoder is algo.critic_agent.encoder
    assert sum(isinstance(one, nn.Conv2d) for one in algo.train_policy.modules()) == 3
    frames, _ = decode(algo.record_best(max_steps=2))
    assert frames.shape[1:] == (210, 160, 3)
