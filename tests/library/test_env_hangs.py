"""Environments that hang (`gym_env.step_timeout`): named in time; the run ends with a checkpoint.

Elapsed time is not asserted: a test that hangs shows it.
"""

import ctypes
import multiprocessing
import signal
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.guard import OnFailure
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError
from ppo_bbrl.runs.checkpoints import Checkpoints
from ppo_bbrl.workspace.table import Workspace
from ppo_course.probes import Probe

# Python ≥ 3.12 says so whenever a process forks after torch has started its threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

LIMIT = 0.3
TOLD = rf"it took longer than {LIMIT:g} s \(gym_env.step_timeout\)"


def sleep():
    time.sleep(3600)


def loop():
    while True:
        pass


def insist():
    """Go on, whatever is raised."""
    while True:
        try:
            time.sleep(3600)
        except Exception:  # noqa: BLE001
            continue


def in_c():
    """C code that does not return: a signal interrupts it, but no Python runs before it goes on."""
    libc = ctypes.PyDLL(None)  # keeps the interpreter's lock, too
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    libc.sleep(3600)


HANGS = {each.__name__: each for each in (sleep, loop, insist, in_c)}


class Hangs(Probe):
    """Environment 1 hangs in its n-th step or reset, or in closing."""

    length = 5
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as in Gymnasium
    render_mode = "rgb_array"

    def __init__(self, how="sleep", at="step", after=4, render_mode=None):
        super().__init__()
        self.hang, self.at, self.after = HANGS[how], at, after
        self.calls = {"step": 0, "reset": 0, "close": after - 1}

    def called(self, name):
        self.calls[name] += 1
        if name == self.at and self.calls[name] == self.after:
            self.hang()

    def reset(self, **kwargs):
        self.called("reset")
        return super().reset(**kwargs)

    def step(self, action):
        self.called("step")
        return super().step(action)

    def close(self):
        self.called("close")

    def render(self):
        return np.zeros((8, 8, 3), np.uint8)


gym.register("TestHangs-v0", Hangs, disable_env_checker=True)


@pytest.fixture
def agent():
    made = []

    def make(mode, limit=LIMIT, **env_args):
        on_failure = OnFailure(limit)
        env = EnvAgent(
            "TestHangs-v0", 2, env_args=env_args, vectorization=mode, on_failure=on_failure
        )
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def play(env, steps=30):
    workspace = Workspace()
    env(workspace, t=0)
    for t in range(steps):
        workspace.set("action", t, torch.zeros(env.num_envs, dtype=torch.int64))
        env(workspace, t=t + 1)


@pytest.mark.parametrize("at", ["step", "reset"])
@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("sync", "sleep"),
        ("sync", "loop"),
        ("sync", "insist"),
        ("async", "insist"),
        ("async", "in_c"),
        pytest.param("async", "sleep", marks=pytest.mark.slow),
        pytest.param("async", "loop", marks=pytest.mark.slow),
    ],
)
def test_an_environment_that_hangs_is_named(agent, mode, how, at):
    where = "step 4" if at == "step" else "step 18"  # the third autoreset
    with pytest.raises(
        EnvironmentFailedError,
        match=rf"^environment [01] of 2 \(TestHangs-v0\) failed in ({where}): {TOLD}$",
    ):
        play(agent(mode, how=how, at=at))


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_environment_that_hangs_in_close_is_named(agent, mode):
    env = agent(mode, at="close") if mode == "sync" else None
    if env is None:
        with pytest.warns(UserWarning, match="TestHangs-v0 did not close: after 0.3 s"):
            env = agent(mode, at="close")
    play(env, 2)
    with pytest.warns(UserWarning, match=r"environment 0 of 2 \(TestHangs-v0\).*0\.3 s"):
        env.close()


def test_what_is_quick_enough_is_left_alone():
    """The time counts for each call, not for all of them."""

    class Slow(Probe):
        length = 5

        def step(self, action):
            time.sleep(0.1)
            return super().step(action)

    gym.register("TestSlow-v0", Slow, disable_env_checker=True)
    try:
        for mode in ("sync", "async"):
            env = EnvAgent("TestSlow-v0", 4, vectorization=mode, on_failure=OnFailure(LIMIT))
            play(env, 2)
            time.sleep(LIMIT + 0.2)
            play(env, 2)
            env.close()
    finally:
        del gym.registry["TestSlow-v0"]


def test_a_vectorised_task_that_hangs_is_named(monkeypatch):
    """No index: the task steps all of its environments at once."""
    env = EnvAgent("CartPole-v1", 2, on_failure=OnFailure(LIMIT))
    monkeypatch.setattr(env.envs.unwrapped, "step", lambda _: sleep())
    with pytest.raises(EnvironmentFailedError, match=rf"CartPole-v1 failed in a step: {TOLD}"):
        play(env)
    env.close()


@pytest.mark.parametrize("mode", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_a_run_ends_with_a_checkpoint_of_its_last_iteration(mode):
    cfg = config("TestHangs-v0", max_epochs=9, n_steps=8, eval_interval=10_000, n_envs=2)
    cfg |= {"compute": {"compile": "never"}, "base_dir": "run"}
    cfg["gym_env"] |= {"env_args": {"after": 30}, "step_timeout": LIMIT, "vectorization": mode}
    algo = PPOClip(cfg)
    with pytest.raises(EnvironmentFailedError, match=r"environment [01] of 2"):
        run(algo)
    weights = [weight.clone() for weight in algo.train_policy.state_dict().values()]
    algo.close()
    found = Checkpoints(algo.folder.path).newest()
    assert found.iterations == algo.epoch > 1
    # Whoever finds the limit too short goes on with another one.
    with pytest.warns(UserWarning, match="begin fresh episodes"):
        again = PPOClip.resume("outputs/run", ["gym_env.step_timeout=5"])
    assert again.cfg.gym_env.step_timeout == 5
    assert again.next_iteration == algo.epoch
    assert all(map(torch.equal, again.train_policy.state_dict().values(), weights))
    again.close()


def test_a_video_of_an_environment_that_hangs_ends():
    """Its one environment is of the run's process, whatever those of the run were."""
    cfg = config("TestHangs-v0", max_epochs=1, n_steps=8)
    cfg["gym_env"] |= {"env_args": {"at": "step"}, "step_timeout": LIMIT, "vectorization": "async"}
    algo = PPOClip(cfg)
    with pytest.raises(EnvironmentFailedError, match=rf"step 4: {TOLD}"):
        algo.record_best()
    algo.close()


def test_where_environments_cannot_be_interrupted_the_limit_is_refused():
    told = []

    def make():
        try:
            EnvAgent("TestHangs-v0", 1, vectorization="sync", on_failure=OnFailure(1.0))
        except ConfigError as error:
            told.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert "gym_env.step_timeout = 1" in told[0]
    assert "vectorization=async" in told[0]
    with pytest.raises(ConfigError, match=r"step_timeout = 1: not with .*envpool"):
        EnvAgent("CartPole-v1", 1, vectorization="envpool", on_failure=OnFailure(1.0))
    for mode in ("vector_entry_point", "envpool"):
        with pytest.raises(ConfigError, match=rf"on_failure = restart: not with .*{mode}"):
            EnvAgent("CartPole-v1", 1, vectorization=mode, on_failure=OnFailure(restart=True))
