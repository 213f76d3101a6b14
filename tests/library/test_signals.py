"""Signals: where a sandbox forbids to set handlers, and while an environment is at work."""

import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
from lightning_models import Model, Steps, trainer
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.system.signals import exit_on_signals, postponed_signals, time_limit


@pytest.mark.parametrize("guard", [exit_on_signals, lambda: time_limit(60)])
def test_a_program_that_may_set_no_handler_runs_without(guard, monkeypatch):
    """A student's notebook is graded behind such a boundary, and may make an algorithm there."""

    def forbidden(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(signal, "signal", forbidden)
    done = False
    with guard():
        done = True
    assert done
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_blocks_may_end_in_any_order():
    """A loop that was left ends when it is collected, perhaps while a later one is running."""
    before = signal.getsignal(signal.SIGTERM)
    earlier = [exit_on_signals(), postponed_signals(60)]
    later = [exit_on_signals(), postponed_signals(60)]
    for block in earlier + later:
        block.__enter__()
    for block in reversed(earlier):
        block.__exit__(None, None, None)
    os.kill(os.getpid(), signal.SIGTERM)  # is held back
    with pytest.raises(SystemExit) as stopped:
        later[1].__exit__(None, None, None)
    assert stopped.value.code == 128 + signal.SIGTERM
    later[0].__exit__(None, None, None)
    assert signal.getsignal(signal.SIGTERM) is before is signal.SIG_DFL


class Hangs(Steps):
    """Its ninth step has no end, and somebody loses patience."""

    def __init__(self):
        super().__init__(gym.spaces.Box(-1, 1, (2,), np.float32))
        self.t = 0

    def step(self, action):
        self.t += 1
        if self.t == 9:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        return super().step(action)


gym.register("Hangs-v0", Hangs)


def test_a_run_is_stopped_while_an_environment_hangs():
    """No environment is blamed for it, and what was learned is kept."""
    algo = PPOClip(config("Hangs", n_steps=4, n_envs=1, eval_interval=1))
    with pytest.raises(SystemExit) as stopped:
        run(algo)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert (algo.folder.last / "policy.pt").is_file()
    algo.close()


def test_a_training_of_lightning_is_stopped_while_an_environment_hangs():
    """Lightning itself would look at the signal after the batch, which never comes."""
    run = trainer()
    with pytest.raises(SystemExit) as stopped:
        run.fit(Model(env=Hangs(), eval_env=None, num_eval_episodes=0))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert run.received_sigterm
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
