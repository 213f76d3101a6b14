"""Atari with the details of docs/ppo.md, if ale-py is installed (the extra `atari`)."""

from pathlib import Path

import pytest
import torch
from decoded_video import decode
from torch import nn

from ppo_bbrl import PPOClip, load_config, run
from ppo_bbrl.workspace.table import Workspace

pytest.importorskip("ale_py")

PONG = Path(__file__).parents[2] / "configs" / "pong.yaml"


BREAKOUT = ["gym_env.env_name=ale_py:ALE/Breakout-v5", "base_dir=breakout"]


def test_a_life_of_breakout_is_an_episode_in_training_alone():
    """Whatever is done, the ball is served and lost; five lives are a game."""
    algo = PPOClip(load_config(PONG, [*BREAKOUT, "algorithm.n_envs=1", "algorithm.n_steps=300"]))
    workspace = Workspace(capacity=301)
    algo.train_env(workspace, t=0)
    for t in range(300):
        workspace.set("action", t, torch.tensor([1]))
        algo.train_env(workspace, t=t + 1)
    ended = workspace["env/terminated"].sum()
    assert ended > 5
    (game,) = algo.train_env.envs.envs
    assert game.has_wrapper_attr("_lives")
    (real,) = algo._make_env(1, algo._env_wrappers).envs.envs
    assert not real.has_wrapper_attr("_lives")
    real.reset(seed=1)
    lives, terminated = {real.unwrapped.ale.lives()}, False
    while not terminated:
        *_, terminated, _, _ = real.step(1)
        lives.add(real.unwrapped.ale.lives())
    assert lives == {0, 1, 2, 3, 4, 5}
    real.close()
    algo.close()


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
