"""Training through faults (`gym_env.on_failure: restart`): others take the place of what failed.

The episode is truncated at its last good observation, whose value it is bootstrapped from; nothing
that came of the failure is a transition.
"""

import multiprocessing
import os
import time

import bbrl.agents
import gymnasium as gym
import numpy as np
import pytest
import torch
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.guard import OnFailure
from ppo_bbrl.envs.vector import make_vector_env
from ppo_bbrl.errors import EnvironmentFailedError
from ppo_bbrl.evaluation import evaluate
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.rollout import as_rollout, gae_targets
from ppo_bbrl.runs.metrics import episode_metrics
from ppo_bbrl.workspace.table import Workspace
from ppo_course.probes import box

# Python ≥ 3.12 says so whenever a process forks after torch has started its threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")


def raises():
    raise RuntimeError("the simulator is gone")


def hangs():
    time.sleep(3600)


def dies():
    os._exit(7)


HOW = {each.__name__: each for each in (raises, hangs, dies)}


class Fails(gym.Env):
    """Observes its step / 8 and a number drawn in the reset; its reward is the step; episodes have
    four steps. It fails in a step with action 1, and in a reset with probability `bad_resets`.
    """

    observation_space, action_space = box(2), gym.spaces.Discrete(2)

    def __init__(self, how="raises", bad_resets=0, always=False):
        self.fail, self.bad_resets, self.always = HOW[how], bad_resets, always

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.bad_resets and self.np_random.random() < self.bad_resets:
            self.fail()
        self.t, self.number = 0, self.np_random.random()
        return self.see(), {}

    def step(self, action):
        self.t += 1
        if action == 1 or self.always:
            self.fail()
        return self.see(), float(self.t), False, self.t == 4, {}

    def see(self):
        return np.array([self.t / 8, self.number], np.float32)


gym.register("TestFails-v0", Fails, disable_env_checker=True)

RESTART = OnFailure(step_timeout=0.3, restart=True)
MODES = [
    ("sync", "raises"),
    ("async", "dies"),
    pytest.param("sync", "hangs", marks=pytest.mark.slow),
    pytest.param("async", "hangs", marks=pytest.mark.slow),
    pytest.param("async", "raises", marks=pytest.mark.slow),
]


def played(actions, mode="sync", *, autoreset=True, n=2, seed=3, warned=True, **env_args):
    """The rows of some steps with these actions, `[T, B]`."""
    env = EnvAgent(
        "TestFails-v0",
        n,
        autoreset=autoreset,
        env_args=env_args,
        vectorization=mode,
        on_failure=RESTART,
    ).seed(seed)
    workspace = Workspace()
    try:
        for t, row in enumerate(actions):
            if warned and t and 1 in actions[t - 1] and not env.n_replaced:
                with pytest.warns(UserWarning, match="another one took its place"):
                    env(workspace, t=t)
            else:
                env(workspace, t=t)
            workspace.set("action", t, torch.tensor(row))
    finally:
        env.close()
    assert multiprocessing.active_children() == []
    return env, {name: workspace[name] for name in workspace.variables}


class AllSame(bbrl.agents.Agent):
    """Always acts the same."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def forward(self, t, **_):
        self.set(("action", t), self.action)


@pytest.mark.parametrize(("mode", "how"), MODES)
def test_the_episode_ends_at_its_last_good_observation(mode, how):
    """Environment 0 fails in its third step (row 2 to row 3); environment 1 never does."""
    actions = [[0, 0], [0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]
    if mode == "async":  # each environment in a process of its own
        n_workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        if n_workers < 2:
            pytest.skip("both environments are in one process")
    env, rows = played(actions, mode, how=how)
    assert env.n_replaced == 1
    mine = {name.removeprefix("env/"): row[:, 0] for name, row in rows.items()}
    assert (mine["env_obs"][:, 0] * 8).tolist() == [0, 1, 2, 0, 1, 2]
    assert mine["reward"].tolist() == [0, 1, 2, 0, 1, 2]
    assert mine["truncated"].tolist() == [False, False, True, False, False, False]
    assert mine["done"].tolist() == mine["truncated"].tolist()
    assert not mine["terminated"].any()
    assert mine["timestep"].tolist() == [0, 1, 2, 0, 1, 2]
    assert mine["cumulated_reward"].tolist() == [0, 1, 3, 0, 1, 3]
    other = {name.removeprefix("env/"): row[:, 1] for name, row in rows.items()}
    assert other["timestep"].tolist() == [0, 1, 2, 3, 4, 0]
    assert other["done"].tolist() == [False] * 4 + [True, False]
    # The other one's random numbers are those that it would have had anyway.
    assert len(set(other["env_obs"][:5, 1].tolist())) == 1


def test_advantages_by_hand():
    """γ = 0.5, λ = 0.5, V = the number of the row, plus 1."""
    _, rows = played([[0], [0], [1], [0], [0]], n=1)
    value = torch.arange(1.0, 6.0)[:, None]
    rollout = as_rollout(rows, log_prob=torch.zeros(5, 1), value=value)
    assert rollout.mask[:, 0].tolist() == [True, True, False, True]
    advantage, returns = gae_targets(rollout, discount_factor=0.5, gae_lambda=0.5)
    # The step from row 1 ends with the last good observation, of value 3, and cuts the trace.
    second = 2 + 0.5 * 3 - 2
    first = (1 + 0.5 * 2 - 1) + 0.25 * second
    fourth = 1 + 0.5 * 5 - 4
    assert advantage[rollout.mask].tolist() == [first, second, fourth]
    assert returns[rollout.mask].tolist() == [first + 1, second + 2, fourth + 4]


def test_it_fails_in_the_first_step_of_a_rollout():
    """Its last observation is row 0, which was the last row of the rollout before.

    That one was bootstrapped from the value of this row, as it should be; this one has no step
    of the episode.
    """
    env = EnvAgent("TestFails-v0", 1, vectorization="sync", on_failure=RESTART).seed(0)
    workspace = Workspace()
    for t, action in enumerate([0, 0, 1]):
        env(workspace, t=t)
        workspace.set("action", t, torch.tensor([action]))
    before = workspace["env/done"].clone()
    new = Workspace()
    for name in workspace.variables:
        new.set(name, 0, workspace[name][2])
    with pytest.warns(UserWarning, match="took its place"):
        env(new, t=1)
    assert not before.any()
    assert new["env/done"][:, 0].tolist() == [True, False]
    assert new["env/timestep"][:, 0].tolist() == [2, 0]
    assert not episode_metrics(new), "the episode is not counted in the rollout after it"
    env.close()


@pytest.mark.parametrize("mode", ["sync", pytest.param("async", marks=pytest.mark.slow)])
def test_without_autoreset_the_episode_is_over(mode):
    actions = [[0, 0], [1, 0], [0, 0], [0, 0], [0, 0]]
    env, rows = played(actions, mode, autoreset=False)
    assert env.n_replaced == 1  # what took its place is left alone
    assert rows["env/done"][:, 0].tolist() == [False, True, True, True, True]
    assert rows["env/cumulated_reward"][:, 0].tolist() == [0, 1, 1, 1, 1]
    assert rows["env/timestep"][:, 0].tolist() == [0, 1, 1, 1, 1]
    assert (rows["env/env_obs"][:, 0, 0] * 8).tolist() == [0, 1, 1, 1, 1]
    assert rows["env/done"][:, 1].tolist() == [False] * 4 + [True]


@pytest.mark.filterwarnings("ignore:.*took its place")
def test_without_autoreset_a_reset_that_failed_is_followed_by_a_whole_episode():
    """What begins in the place of another one is not over."""
    env, rows = played([[0] * 8] * 5, autoreset=False, n=8, bad_resets=0.4, warned=False)
    assert env.n_replaced > 1
    assert rows["env/cumulated_reward"][-1].tolist() == [10] * 8
    how = {"vectorization": "sync", "env_args": {"bad_resets": 0.4}, "on_failure": RESTART}
    envs = make_vector_env("TestFails-v0", 8, **how)
    envs.reset(seed=3)
    assert len(envs.faults) > 1
    assert not envs.failed.any()  # there was no episode that it cut off
    envs.close()


def test_what_the_environments_themselves_return_of_a_failure():
    """Without autoreset: its row ends as truncated, and is repeated with reward 0."""
    envs = make_vector_env("TestFails-v0", 2, vectorization="sync", hold=True, on_failure=RESTART)
    seen, _ = envs.reset(seed=[1, 2])
    seen = seen.copy()
    for t, action in enumerate([1, 0, 0, 0, 0], 1):
        observation, reward, terminated, truncated, _ = envs.step(np.array([action, 0]))
        assert observation[0].tolist() == seen[0].tolist()
        assert reward.tolist() == [0, t if t < 5 else 0]
        assert not terminated.any()
        assert truncated.tolist() == [True, t >= 4]
        assert envs.failed.tolist() == [t == 1, False]
        assert len(envs.faults) == (t == 1)
    envs.close()


@pytest.mark.filterwarnings("ignore:.*took its place")
def test_what_takes_its_place_must_have_the_same_spaces():
    """A policy would go on with actions that mean something else."""
    made = []

    class Another(Fails):
        def __init__(self):
            super().__init__()
            self.action_space = gym.spaces.Discrete(2 if not made else 3)
            made.append(self)

    gym.register("TestAnother-v0", Another, disable_env_checker=True)
    env = EnvAgent("TestAnother-v0", 1, vectorization="sync", on_failure=RESTART)
    workspace = Workspace()
    env(workspace, t=0)
    workspace.set("action", 0, torch.tensor([1]))
    with pytest.raises(EnvironmentFailedError, match=r"Discrete\(3\).*times in a row"):
        env(workspace, t=1)
    env.close()
    del gym.registry["TestAnother-v0"]


def test_an_evaluation_leaves_out_what_was_cut_off():
    class Second(bbrl.agents.Agent):
        """Acts so that environment 1 fails, in its second step."""

        def forward(self, t, **_):
            self.set(("action", t), torch.tensor([0, int(t == 1), 0]))

    env = EnvAgent("TestFails-v0", 3, autoreset=False, vectorization="sync", on_failure=RESTART)
    with pytest.warns(UserWarning, match="took its place"):
        report = evaluate(Second(), env, np.random.SeedSequence(0), max_steps=9)
    assert report.lengths.tolist() == [4, 4]
    assert report.returns.tolist() == [10, 10]
    assert report.unfinished == 0
    again = evaluate(AllSame(torch.zeros(3).long()), env, np.random.SeedSequence(1), max_steps=9)
    assert again.lengths.tolist() == [4, 4, 4]  # what was cut off before is whole again
    env.close()


@pytest.mark.filterwarnings("ignore:.*took its place")
def test_an_episode_that_was_over_is_not_cut_off_by_the_reset_after_it():
    """It terminated, and so it stays: its last observation has no value to bootstrap from."""

    class Terminates(Fails):
        def step(self, action):
            seen, reward, _, over, info = super().step(action)
            return seen, reward, over, False, info

    gym.register("TestTerminates-v0", Terminates, disable_env_checker=True)
    how = {"env_args": {"bad_resets": 0.4}, "vectorization": "sync", "on_failure": RESTART}
    env, workspace = EnvAgent("TestTerminates-v0", 8, **how).seed(3), Workspace()
    for t in range(12):
        env(workspace, t=t)
        workspace.set("action", t, torch.zeros(8).long())
    assert env.n_replaced > 3
    assert not workspace["env/truncated"].any()
    assert workspace["env/terminated"].any()
    assert not env.was_cut_off.any()
    env.close()
    del gym.registry["TestTerminates-v0"]


@pytest.mark.filterwarnings("ignore:.*took its place")
def test_an_evaluation_of_which_all_was_cut_off_says_so():
    class All(bbrl.agents.Agent):
        """Acts so that each environment fails in its second step."""

        def forward(self, t, **_):
            self.set(("action", t), torch.full((2,), int(t == 1)))

    env = EnvAgent("TestFails-v0", 2, autoreset=False, vectorization="sync", on_failure=RESTART)
    with pytest.warns(UserWarning, match="cut off all 2"):
        report = evaluate(All(), env, np.random.SeedSequence(0), max_steps=9)
    assert report.lengths.tolist() == [1, 1]
    env.close()


@pytest.mark.parametrize("how", ["raises", pytest.param("dies", marks=pytest.mark.slow)])
def test_replacements_have_seeds_of_their_own_which_repeat(how):
    mode = "async" if how == "dies" else "sync"
    actions = [[0, 0], [1, 1], [0, 0], [1, 1], [0, 0]]
    first, second = (played(actions, mode, how=how)[1]["env/env_obs"][..., 1] for _ in range(2))
    assert torch.equal(first, second)
    assert len(set(first.flatten().tolist())) == 6


def test_resets_that_fail_are_tried_again():
    with pytest.warns(UserWarning, match="failed in a reset.*took its place"):
        env, rows = played([[0] * 8] * 12, n=8, bad_resets=0.3, warned=False)
    assert env.n_replaced > 3
    assert rows["env/env_obs"].isfinite().all()
    ends = rows["env/done"][:-1]
    assert torch.equal(rows["env/timestep"][1:] == 0, ends)


@pytest.mark.parametrize("bad", [{"always": True}, {"bad_resets": 1.0}])
@pytest.mark.filterwarnings("ignore:.*took its place")
def test_one_that_does_nothing_but_fail_ends_the_run(bad):
    with pytest.raises(EnvironmentFailedError, match=r"simulator is gone, \d+ times in a row"):
        played([[0]] * 40, n=1, warned=False, **bad)


def test_the_warning_comes_once_and_the_metric_counts():
    class Unsteady(Fails):
        def step(self, action):
            if self.np_random.random() < 0.1:
                self.fail()
            return super().step(0)

    gym.register("TestUnsteady-v0", Unsteady, disable_env_checker=True)
    cfg = config("TestUnsteady-v0", max_epochs=3, n_steps=32, eval_interval=10_000, n_envs=2)
    cfg["gym_env"] |= {"on_failure": "restart"}
    algo = PPOClip(cfg | {"compute": {"compile": "never"}})
    assert algo.cfg.gym_env.vectorization == "sync"
    with pytest.warns(UserWarning, match="took its place") as told:
        run(algo)
    algo.close()
    lines = [str(each.message) for each in told if "took its place" in str(each.message)]
    assert len(lines) <= 2, "one of training, one of evaluation"
    counts = read_metrics(algo.base_dir)["env_restarts"].dropna().tolist()
    assert counts == sorted(counts)
    assert counts[-1] == algo.train_env.n_replaced > 2
    del gym.registry["TestUnsteady-v0"]
