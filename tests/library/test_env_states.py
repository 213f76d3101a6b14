"""The state of MuJoCo's environments and of those in other processes: saved to the last bit."""

import copy
import os
import signal

import gymnasium as gym
import masked_envs  # noqa: F401 - registers Masked-v0
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from probe_envs import config
from states_testing import assert_same_rows, same, stepped, through_a_file

from ppo_bbrl import PPOClip, run
from ppo_bbrl.envs import vector
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import EnvironmentFailedError, StateError
from ppo_bbrl.runs.checkpoints import Checkpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:MuJoCo. compiler attribute:UserWarning"),
]

ALL = [
    "Reacher-v5", "Pusher-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5",
    "HalfCheetah-v5", "Hopper-v5", "Swimmer-v5", "Walker2d-v5", "Ant-v5", "Humanoid-v5",
    "HumanoidStandup-v5",
]  # fmt: skip


def agents(env_name, n=2, **kwargs):
    return [EnvAgent(env_name, 3, **kwargs).seed(5) for _ in range(n)]


def check_goes_on(env_name, n, *, contacts_differ=False, **kwargs):
    """Others continue from the middle of episodes as the environments themselves do.

    Contacts between bodies are computed anew when a state is loaded: those in MuJoCo's data may be
    others until the next step.
    """
    first, other = agents(env_name, **kwargs)
    first._reset()
    stepped(first, 25, seed=1)
    state = through_a_file(first.state_dict())
    expected = stepped(first, n, seed=2)
    other.load_state_dict(copy.deepcopy(state))
    assert contacts_differ or same(other.state_dict(), state)
    assert_same_rows(stepped(other, n, seed=2), expected)
    first.close()
    other.close()


@pytest.mark.parametrize("env_name", ["Ant-v5", "Hopper-v5"])
def test_mujoco_goes_on(env_name):
    """Ant's rewards use where its body was before the last part of a step."""
    pytest.importorskip("mujoco", reason="mujoco is not installed: gymnasium[mujoco]")
    check_goes_on(env_name, 60)


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
def test_of_box2d_episodes_begin_anew():
    """Its classes lack the attributes that others have, and the rest is saved all the same."""
    pytest.importorskip("Box2D", reason="Box2D is not installed: gymnasium[box2d]")
    algo = PPOClip(config("LunarLander-v3", max_epochs=1, nb_evals=1, max_eval_steps=5))
    with pytest.warns(UserWarning, match="ended after 5 steps"):
        run(algo)
    algo.close()
    with pytest.warns(UserWarning, match="begin fresh episodes: LunarLander-v3: .*SwigPyObject"):
        PPOClip.resume(algo.folder.path).close()


def test_of_an_environment_whose_attributes_fail_episodes_begin_anew(monkeypatch):
    def failing(_):
        raise LookupError("no such part")

    monkeypatch.setattr("ppo_bbrl.envs.state._attributes", failing)
    with pytest.raises(StateError, match="of envs cannot be read: LookupError: no such part"):
        EnvAgent("CartPole-v1", 2, vectorization="sync").state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("env_name", ALL)
def test_each_of_mujoco_s_tasks_goes_on(env_name, vectorization):
    pytest.importorskip("mujoco", reason="mujoco is not installed: gymnasium[mujoco]")
    check_goes_on(env_name, 1100, contacts_differ=True, vectorization=vectorization)


def test_what_an_environment_changes_in_mujoco_s_model_is_its_state():
    """Masses, as for domain randomisation; integers say where things are, and are compared."""
    pytest.importorskip("mujoco", reason="mujoco is not installed: gymnasium[mujoco]")
    first, other, third = agents("Hopper-v5", 3)
    first._reset()
    model = first.envs.envs[1].unwrapped.model
    model.body_mass[:] *= 1.5
    model.opt.timestep = 0.001
    state = through_a_file(first.state_dict())
    other.load_state_dict(state)
    taken = other.envs.envs[1].unwrapped.model
    assert taken.opt.timestep == 0.001
    assert np.array_equal(taken.body_mass, model.body_mass)
    assert_same_rows(stepped(other, 30, seed=2), stepped(first, 30, seed=2))
    third.envs.envs[0].unwrapped.model.geom_contype[:] = 0
    with pytest.raises(StateError, match="model"):
        third.load_state_dict(state)


CASES = {
    "numbers": ("CartPole-v1", {}),
    "held": ("CartPole-v1", {"autoreset": False}),
    "actions": ("Pendulum-v1", {"wrappers": (gym.wrappers.NormalizeReward,)}),
}


@pytest.mark.parametrize("case", CASES)
def test_environments_in_other_processes_go_on(case, monkeypatch):
    """Whatever number of processes they are in."""
    env_name, how = CASES[case]
    cores = iter([1, 3])
    monkeypatch.setattr(vector, "available_cores", lambda: next(cores))
    check_goes_on(env_name, 40, vectorization="async", **how)


class Counting(gym.Env):
    """Has state of its own kind; `fail` says when that cannot be saved."""

    observation_space, action_space = Box(0, 1e6, (1,)), Discrete(2)

    def __init__(self, fail=""):
        self.fail, self.n = fail, 0
        if fail == "iterator":
            self.rows = iter(())

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n = 0
        return np.array([0.0], np.float32), {}

    def step(self, action):
        self.n += 1
        return np.array([self.n], np.float32), 1.0, self.n == 7, False, {}


class Simulator(Counting):
    def state_dict(self):
        if self.fail == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fail:
            raise ConnectionError("the simulator\nis gone")
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


gym.register("TestCounting-v0", Counting, disable_env_checker=True)
gym.register("TestSimulator-v0", Simulator, disable_env_checker=True)


def settings(env_name, vectorization, **env_args):
    made = config(env_name, n_envs=2, n_steps=8, max_epochs=2, eval_interval=10**6)
    made["gym_env"] |= {"vectorization": vectorization, "env_args": env_args}
    return made | {"save_every": 1}


def test_a_run_with_masks_goes_on_in_other_processes():
    made = settings("Masked-v0", "async", nvec=[3, 4])
    whole, first, second = (PPOClip(made) for _ in range(3))
    whole.cfg.algorithm.max_epochs = second.cfg.algorithm.max_epochs = 4
    run(whole)
    run(first)
    second.load_state_dict(through_a_file(first.state_dict()))
    run(second)
    assert same(second.train_policy.state_dict(), whole.train_policy.state_dict())
    for algo in (whole, first, second):
        algo.close()


@pytest.mark.wide(2)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("env_name", "fail", "told"),
    [
        ("TestCounting-v0", "iterator", r"envs\[0\].*rows is a tuple_iterator"),
        ("TestSimulator-v0", "error", r"envs\[0\].*the simulator is gone"),
    ],
)
def test_what_cannot_be_saved_is_named_and_begins_anew(env_name, fail, told, vectorization):
    """Everything else goes on: a state that fails is no reason to have no checkpoint."""
    algo = PPOClip(settings(env_name, vectorization, fail=fail))
    run(algo)
    algo.close()
    kept = Checkpoints(algo.base_dir).newest()
    assert kept.iterations == 2
    with pytest.warns(UserWarning, match=told):
        again = PPOClip.resume(algo.base_dir, ["algorithm.max_epochs=3"])
    run(again)
    again.close()
    assert again.epoch == 2


def test_a_process_that_ends_while_its_state_is_saved():
    """The run ends, and this iteration is saved."""
    algo = PPOClip(settings("TestSimulator-v0", "async", fail="killed"))
    with pytest.raises(EnvironmentFailedError, match=r"TestSimulator-v0.*killed by SIGKILL"):
        run(algo)
    algo.close()
    assert Checkpoints(algo.base_dir).newest().iterations == 1


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_a_state_of_other_environments_is_refused(vectorization):
    (first,) = agents("TestCounting-v0", 1, vectorization=vectorization)
    (other,) = agents("TestSimulator-v0", 1, vectorization=vectorization)
    first._reset()
    state = first.state_dict()["envs"]
    for wrong in (state, {}, None, {"each": [], "steps": 0}, {"object": "SyncEnvs"}):
        with pytest.raises(StateError):
            other.load_state_dict(other.state_dict() | {"envs": wrong})
    assert torch.equal(other.state_dict()["row"]["timestep"], torch.zeros(3, dtype=torch.int64))
    first.close()
    other.close()
