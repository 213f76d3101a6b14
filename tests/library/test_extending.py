"""The examples of docs/extending.md do what the page says."""

import re
from pathlib import Path

import pytest
import torch
from probe_envs import config, fresh_log

from ppo_bbrl import PPOClip, run
from ppo_bbrl.plots import read_metrics

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def examples():
    """Everything that the page's blocks define."""
    names = {"__name__": "extending"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_a_loss_of_ones_own(examples):
    """Its weight decides how far the policy goes, and its metric is logged."""
    distances = []
    for weight in (0.0, 100.0):
        fresh_log()
        cfg = config("Logged", max_epochs=8, opt_epochs=10)
        cfg["optimizer"]["lr"] = 1e-2
        cfg["base_dir"] = f"run{weight:.0f}"
        kind = examples["NearUniform"]
        kind.weight = weight
        algo = kind(cfg)
        run(algo)
        algo.close()
        distances.append(read_metrics(algo.base_dir)["distance_to_uniform"].iloc[-1])
    assert distances[1] < distances[0] / 3


def test_an_intrinsic_reward(examples):
    """Paid once where it was never before, less each time; logged returns are the environment's."""
    fresh_log()
    how = {"discount_factor": 0.0, "gae": 0.0, "recompute_advantage": True}
    algo = examples["Curious"](config("Logged", **how))
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        valid = ~workspace["env/done"][:-1]
        cells = algo.counts.cell(workspace["env/env_obs"][1:])
        bonus = 0.1 / algo.counts.visits[cells].sqrt()
        expected = (workspace["env/reward"][1:] + bonus)[valid]
        torch.testing.assert_close(rollout.returns, expected)
        before = algo.counts.visits.clone()
        algo.update(rollout)
        assert torch.equal(algo.counts.visits, before)
    assert algo.counts.visits.sum() == 3 * 16 * 4
    state = algo.state_dict()
    algo.close()
    again = examples["Curious"](config("Logged", **how))
    again.load_state_dict(state)
    assert torch.equal(again.counts.visits, algo.counts.visits)
    again.close()
    assert issubclass(examples["Curious"], PPOClip)
