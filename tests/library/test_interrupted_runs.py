"""Ctrl-C and signals at random moments of `ppo-bbrl train`: saved; how to go on is told."""

import os
import random
import re
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import matplotlib.pyplot  # noqa: ICN001, F401 - not again in each process
import pytest
from omegaconf import OmegaConf
from probe_envs import config

from ppo_bbrl import PPOClip
from ppo_bbrl.cli.commands import main
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.runs.checkpoints import Checkpoints

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGUSR1: 138}


def interrupted(number, moment, base_dir):
    """The status of a training which gets this signal so many seconds after its first iteration.

    It is in a process of its own, forked from this one, so that nothing is imported again. What it
    prints is in `<base_dir>.txt`.
    """
    cfg = config("CartPole-v1", max_epochs=1_000_000, n_steps=16, eval_interval=200, n_envs=2)
    cfg |= {"compute": {"compile": "never", "threads": 1}, "base_dir": base_dir}
    OmegaConf.save(OmegaConf.create(cfg), "config.yaml")
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            out = os.open(f"{base_dir}.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            write = PPOClip.log

            def send():
                Path(f"{base_dir}.sent").write_text(str(time.monotonic()), encoding="utf-8")
                os.kill(os.getpid(), number)

            def log(self, *args):
                write(self, *args)
                if self.epoch == 0:
                    threading.Timer(moment, send).start()

            PPOClip.log = log
            sys.argv = ["ppo-bbrl", "train", "config.yaml"]
            main()
        except SystemExit as error:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(error.code)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(number, moment, base_dir):
    """See what a signal leaves; return how many seconds later the process had ended."""
    status = interrupted(number, moment, base_dir)
    seconds = time.monotonic() - float(Path(f"{base_dir}.sent").read_text(encoding="utf-8"))
    told = Path(f"{base_dir}.txt").read_text(encoding="utf-8")
    assert status == STATUS[number], told
    last = told.splitlines()[-1]
    found = re.fullmatch(r"Checkpoint: (\S+); go on with: ppo-bbrl train --resume (\S+)", last)
    assert found, told
    checkpoint, folder = (Path(shlex.split(each)[0]) for each in found.groups())
    newest = Checkpoints(folder).newest()
    assert newest.path == checkpoint
    # Everything that was logged belongs to iterations that are saved, or comes again.
    rows = read_metrics(folder)
    assert int(rows.index[-1] if "steps" not in rows else rows["steps"].iloc[-1]) > 0
    assert (folder / "last").is_dir()
    again = PPOClip.resume(folder)
    assert again.next_iteration == newest.iterations > 0
    again.close()
    return seconds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_a_run_that_can_go_on(number):
    check(number, 0.15, "run")


@pytest.mark.slow
def test_twenty_moments(capsys):
    """How long they took is printed: it depends on what else the machine does."""
    seconds = []
    chance = random.Random(0)
    for n in range(20):
        number = list(STATUS)[n % 4]
        seconds.append(check(number, chance.uniform(0.0, 1.0), f"run{n}"))
    with capsys.disabled():
        print(f"\n20 signals: from {min(seconds):.1f} to {max(seconds):.1f} s until the end")


@pytest.mark.slow
def test_the_second_one_leaves_at_once(monkeypatch):
    """In an iteration that never ends, which the first one would wait for."""
    monkeypatch.setattr("ppo_bbrl.episodic.GRACE", 3600.0)
    update = PPOClip.update

    def endless(self, rollout):
        if self.epoch:
            signal.raise_signal(signal.SIGINT)
            time.sleep(3600)
        return update(self, rollout)

    monkeypatch.setattr(PPOClip, "update", endless)
    assert interrupted(signal.SIGINT, 0.3, "run") == 130
