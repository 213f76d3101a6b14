"""A process of environments that is killed, in a reset, a step or in closing.

It is named, no other one is left, and the run's last checkpoint is good.
"""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.envs import vector
from ppo_bbrl.errors import EnvironmentFailedError
from ppo_bbrl.runs.checkpoints import Checkpoints
from ppo_course.probes import Probe

# Python ≥ 3.12 says so whenever a process forks after torch has started its threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

WORKERS = 4
SECONDS = []  # from each kill until it was named and no process was left
WHERE = ("reset", "step", "close")


class Killed(Probe):
    """Its n-th call in the process of this number kills that."""

    length = 3

    def __init__(self, victim, at, after):
        super().__init__()
        self.left = after
        self.at = at if multiprocessing.current_process().name.endswith(f"-{victim}") else ""

    def called(self, name):
        if name == self.at:
            self.left -= 1
            if not self.left:
                Path("killed").write_text(str(time.monotonic()), encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)

    def reset(self, **kwargs):
        self.called("reset")
        return super().reset(**kwargs)

    def step(self, action):
        self.called("step")
        return super().step(action)

    def close(self):
        self.called("close")


gym.register("TestKilled-v0", Killed, disable_env_checker=True)


def killed(monkeypatch, base_dir, victim, at, after):
    """A run of which one process is killed."""
    monkeypatch.setattr(vector, "available_cores", lambda: WORKERS)
    cfg = config("TestKilled-v0", n_envs=WORKERS, max_epochs=5, n_steps=8, eval_interval=10_000)
    cfg["gym_env"] |= {
        "vectorization": "async",
        "env_args": {"victim": victim, "at": at, "after": 1 if at == "close" else after},
    }
    cfg |= {"base_dir": base_dir, "save_every": 1, "compute": {"compile": "never"}}
    algo = PPOClip(cfg)
    told = rf"environment {victim} of 4 \(TestKilled-v0\).*killed by SIGKILL"
    if at == "close":
        for _ in algo.iter_partial_episodes():
            pass
        with pytest.warns(UserWarning, match=told):
            algo.train_env.close()
    else:
        with pytest.raises(EnvironmentFailedError, match=told):
            run(algo)
    SECONDS.append(time.monotonic() - float(Path("killed").read_text(encoding="utf-8")))
    assert multiprocessing.active_children() == []
    algo.close()
    return algo


def assert_goes_on(algo):
    """Its last checkpoint has the last whole iteration."""
    found = Checkpoints(algo.folder.path).newest()
    assert found.iterations == algo.epoch
    again = PPOClip.resume(algo.base_dir)  # without a warning: its episodes go on, too
    ours, theirs = (each.train_policy.state_dict().values() for each in (again, algo))
    assert all(map(torch.equal, ours, theirs))
    again.close()


@pytest.mark.parametrize(
    ("victim", "at", "after"), [(0, "step", 20), (1, "reset", 6), (2, "close", 1), (3, "reset", 1)]
)
def test_a_process_that_is_killed_is_named(victim, at, after, monkeypatch):
    algo = killed(monkeypatch, "run", victim, at, after)
    if at == "step":
        assert_goes_on(algo)


@pytest.mark.slow
@pytest.mark.parametrize("victim", range(WORKERS))
def test_each_of_four_processes_is_killed_twenty_times(victim, monkeypatch, capsys):
    """How long it took is printed: it depends on what else the machine does."""
    SECONDS.clear()
    chance = torch.Generator().manual_seed(victim)
    for number in range(20):
        at = WHERE[number % 3]
        limits = (10, 30) if at == "step" else (4, 8)  # after the first iteration
        after = int(torch.randint(*limits, (), generator=chance))
        algo = killed(monkeypatch, f"run{number}", victim, at, after)
        if at != "close":
            assert_goes_on(algo)
    with capsys.disabled():
        print(f"\n{len(SECONDS)} kills: named, and no process left, after {max(SECONDS):.2f} s")
