"""Runs in processes that are killed at a moment of their own: after so many calls of functions."""

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.runs.checkpoints import Checkpoints


def settings(env_name, base_dir, compiling="never", **more):
    made = config(
        env_name, max_epochs=6, n_steps=8, eval_interval=30, opt_epochs=2, nb_evals=2, **more
    )
    made["gym_env"]["env_args"] = {"max_episode_steps": 30}
    return made | {
        "base_dir": base_dir,
        "save_every": 2,
        "compute": {"compile": compiling, "threads": 1},
    }


def in_a_process(work, kill_after=None):
    """Do something in a process of its own, and kill that some calls after its first checkpoint.

    Returns:
        Whether it was killed.
    """
    child = os.fork()
    if child == 0:
        try:
            with counted_calls(kill_after):
                work()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - nothing of pytest is to run here
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in {0, signal.SIGKILL}, status
    return status != 0


@contextmanager
def counted_calls(kill_after=None):
    """Count the calls of functions after the first checkpoint; at one of them, kill -9."""
    calls, write = [0], Checkpoints.write

    def count(_, event, __):
        calls[0] += event == "call"
        if calls[0] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_and_count(*args):
        written = write(*args)
        sys.setprofile(count)
        return written

    Checkpoints.write = write_and_count
    try:
        yield calls
    finally:
        sys.setprofile(None)
        Checkpoints.write = write


def train(cfg):
    algo = PPOClip(cfg)
    run(algo)
    algo.close()
    return algo


def go_on(folder):
    algo = PPOClip.resume(folder)
    run(algo)
    algo.close()
    return algo


def result(algo):
    """All weights and metrics after a run."""
    table = read_metrics(algo.base_dir).drop(columns="steps_per_second")
    agents = (algo.train_policy, algo.critic_agent, algo.best_policy)
    weights = [tensor.clone() for agent in agents for tensor in agent.state_dict().values()]
    for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
        for moments in optimizer.state_dict()["state"].values():
            weights += [value.clone() for value in moments.values() if torch.is_tensor(value)]
    counts = algo.nb_steps, algo.epoch, algo.best_reward, algo.running_reward
    return weights, table, counts, events(algo.folder.tensorboard)


def assert_same(got, expected):
    assert len(got[0]) == len(expected[0])
    assert all(map(torch.equal, got[0], expected[0]))
    assert got[1].equals(expected[1])
    assert got[2] == expected[2]
    assert got[3] == expected[3]


def events(folder):
    """Of each event in TensorBoard's files: step, tag, and value if that is no time."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    found = []
    for file in sorted(Path(folder).iterdir()):
        for event in LegacyEventFileLoader(str(file)).Load():
            found += [
                (event.step, value.tag, value.simple_value)
                for value in event.summary.value
                if "steps_per_second" not in value.tag
            ]
    return found
