"""Runs that start in the same second: a folder each, and nothing mixed."""

import os
import time
from pathlib import Path

import torch
from omegaconf import OmegaConf
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.runs.checkpoints import Checkpoints

N = 8


def trained(seed, base_dir):
    cfg = config("Chance-v0", max_epochs=2, n_steps=8, eval_interval=1000, n_envs=1, seed=seed)
    algo = PPOClip(cfg | {"base_dir": base_dir, "compute": {"compile": "never"}})
    run(algo)
    algo.close()
    return algo


def tensors(state):
    if isinstance(state, dict):
        return [one for each in state.values() for one in tensors(each)]
    return [state] if torch.is_tensor(state) else []


def test_eight_runs_at_once():
    """In processes of their own, with the same name, one seed each."""
    start, children = time.monotonic() + 0.5, []
    for seed in range(N):
        child = os.fork()
        if child == 0:
            try:
                time.sleep(max(0.0, start - time.monotonic()))
                trained(seed, "same")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * N
    folders = sorted(Path("outputs").glob("same*"))
    assert len(folders) == len(list(Path("outputs/tblogs").iterdir())) == N
    found = {}
    for folder in folders:
        saved = OmegaConf.load(folder / "config.yaml")
        assert saved.base_dir == folder.name
        found[saved.algorithm.seed] = folder
        assert len(list(Path("outputs/tblogs", folder.name).iterdir())) == 1
        assert Checkpoints(folder).newest().iterations == 2
    assert sorted(found) == [*range(N)]
    for seed in (0, N - 1):  # what it is alone
        alone = trained(seed, "alone")
        ours, theirs = (read_metrics(each) for each in (found[seed], alone.base_dir))
        timing = "steps_per_second"
        assert ours.drop(columns=timing).equals(theirs.drop(columns=timing))
        saved = Checkpoints(found[seed]).newest().state["train_policy"]
        expected = alone.state_dict()["train_policy"]
        assert tensors(saved)
        assert all(map(torch.equal, tensors(saved), tensors(expected)))
