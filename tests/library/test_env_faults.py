"""Environments of any manners: what holds is taken, what does not is told in one line.

The line names the environment by its index and says what was expected; of environments in
processes, all processes are gone by then.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from ppo_bbrl.envs import guard
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import make_env
from ppo_bbrl.envs.workers import WorkerVectorEnv
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError
from ppo_bbrl.workspace.table import Workspace

# Python ≥ 3.12 says so whenever a process forks after torch has started its threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

MODES = ("sync", "async")
ZEROS = np.zeros(4, np.float32)
SPACE = Box(-1, 1, (4,), np.float32)


class Told(gym.Env):
    """Returns what it was told to: from `reset`, or from its third step."""

    observation_space = SPACE
    action_space = Discrete(2)
    made = 0

    def __init__(self, reset=None, step=None, space=None):
        self.on_reset, self.on_step = reset, step
        self.observation_space = space or SPACE

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return (self.see(), {}) if self.on_reset is None else self.on_reset()

    def step(self, action):
        self.t += 1
        if self.on_step is None or self.t < 3:
            return self.see(), 0.5, False, False, {}
        return self.on_step()

    def see(self):
        if isinstance(self.observation_space, Discrete):
            return self.observation_space.start
        return np.zeros(self.observation_space.shape, self.observation_space.dtype)


class OldReset(gym.Env):
    """Takes no seed."""

    observation_space, action_space = SPACE, Discrete(2)

    def reset(self):
        return ZEROS, {}


gym.register("TestTold-v0", Told, disable_env_checker=True)
gym.register("TestLimited-v0", Told, max_episode_steps=9, disable_env_checker=True)
gym.register("TestOldReset-v0", OldReset, disable_env_checker=True)


def rows(n=2, steps=4, name="TestTold-v0", mode="sync", wrappers=(), **env_args):
    """What is written for `steps` steps; the environments are closed."""
    env = EnvAgent(name, n, env_args=env_args, vectorization=mode, wrappers=wrappers)
    try:
        return run(env, steps)
    finally:
        env.close()


def run(env, steps):
    """What is written for `steps` steps."""
    workspace = Workspace()
    env(workspace, t=0)
    for t in range(steps):
        workspace.set("action", t, torch.zeros(env.num_envs, dtype=torch.int64))
        env(workspace, t=t + 1)
    return {key.removeprefix("env/"): workspace[key] for key in workspace.variables}


def failure(error=EnvironmentFailedError, **kwargs):
    """The line that a failing environment ends with; no process is left."""
    with pytest.raises(error) as raised:
        rows(**kwargs)
    assert multiprocessing.active_children() == []
    told = str(raised.value)
    assert "\n" not in told
    assert len(told) < 400
    return told


def step(observation=ZEROS, reward=0.5, terminated=False, truncated=False):
    return lambda: (observation, reward, terminated, truncated, {})


# ----------------------------------------------------------------------------- what is refused

UNFIT = {
    "a reset of old": ({"reset": lambda: ZEROS}, "a reset", r"returned an array of shape \[4\]"),
    "a reset of old, of two": ({"reset": lambda: ZEROS[:2]}, "a reset", r"shape \[2\], float32"),
    "a reset of three": ({"reset": lambda: (ZEROS, {}, 1)}, "a reset", "a tuple of 3 values"),
    "no observation": ({"reset": lambda: (None, {})}, "a reset", "observation is None"),
    "a step of old": ({"step": lambda: (ZEROS, 1.0, False, {})}, "step 3", "expected 5, got 4"),
    "no step": ({"step": lambda: None}, "step 3", "truncated, info.: TypeError"),
    "another shape": ({"step": step(np.zeros(5))}, "step 3", r"array of shape \[5\].*Box\(-1"),
    "a shape to spread": ({"step": step(ZEROS[:1])}, "step 3", r"an array of shape \[1\]"),
    "one axis more": ({"step": step(ZEROS[None])}, "step 3", r"an array of shape \[1, 4\]"),
    "None in a step": ({"step": step(None)}, "step 3", "observation is None; expected Box"),
    "objects": ({"step": step(np.array([None] * 4))}, "step 3", r"shape \[4\], object"),
    "complex numbers": ({"step": step(ZEROS + 1j)}, "step 3", "complex"),
    "a ragged list": ({"step": step([[1, 2], [3]])}, "step 3", "observation is a list"),
    "a string": ({"step": step("seen")}, "step 3", "observation is 'seen'"),
    "two rewards": ({"step": step(reward=np.zeros(2))}, "step 3", r"reward is an array of shape"),
    "no reward": ({"step": step(reward=None)}, "step 3", "reward is None; expected one number"),
    "a reward in words": ({"step": step(reward="1")}, "step 3", "reward is '1'"),
    "rewards by name": ({"step": step(reward={"a": 1.0})}, "step 3", "reward is a dict"),
    "no terminated": ({"step": step(terminated=None)}, "step 3", "terminated is None; .* true or"),
    "two truncated": ({"step": step(truncated=[True, False])}, "step 3", "truncated is a list"),
    "ends by name": ({"step": step(terminated={"a": True})}, "step 3", "terminated is a dict"),
}


@pytest.mark.parametrize(("env_args", "when", "what"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_told_in_one_line(env_args, when, what):
    told = failure(**env_args)
    assert told.startswith(f"environment 0 of 2 (TestTold-v0) failed in {when}: ")
    with pytest.raises(AssertionError, match=what):
        raise AssertionError(told)


@pytest.mark.parametrize("case", ["a reset of old", "another shape", "no reward", "a step of old"])
def test_environments_in_processes_are_told_the_same_way(case):
    env_args = UNFIT[case][0]
    assert failure(mode="async", **env_args) == failure(mode="sync", **env_args)


def test_a_step_of_old_is_told_through_the_wrappers_of_gymnasium():
    """They take the values apart before we see them."""
    told = failure(name="TestLimited-v0", step=lambda: (ZEROS, 1.0, False, {}))
    assert "step() did not return (observation, reward, terminated, truncated, info): " in told


def test_a_reset_without_a_seed_says_which_arguments_are_expected():
    told = failure(name="TestOldReset-v0")
    assert "'seed'; expected the signature reset(self, *, seed=None, options=None)" in told


STATES = {
    "beyond the last": (Discrete(3), 3),
    "below the first": (Discrete(3, start=2), 1),
    "a fraction": (Discrete(3), 1.0),
    "in a list": (Discrete(3), [1]),
    "in an array": (Discrete(3), np.array(3)),
    "a fraction for an integer": (Box(0, 9, (1,), np.int64), np.array([0.5])),
    "neither 0 nor 1": (MultiBinary(2), np.array([0, 2], np.int8)),
    "too large for a byte": (Box(0, 255, (2, 2), np.uint8), np.full((2, 2), 256)),
    "fractions in a picture": (Box(0, 255, (2, 2), np.uint8), np.ones((2, 2))),
}


@pytest.mark.parametrize(("space", "state"), STATES.values(), ids=STATES)
def test_an_observation_that_would_be_changed_is_refused(space, state):
    """Rounded, wrapped around, or taken for another state."""
    told = failure(space=space, reset=lambda: (space.sample(), {}), step=step(state))
    assert f"expected {space}" in " ".join(told.split())


BEYOND = {
    "reward": ({"step": step(reward=1e300)}, r"its reward is 1e\+300; expected one number between"),
    "NumPy's reward": ({"step": step(reward=np.float64(-1e39))}, r"reward is np.float64\(-1e\+39"),
    "observation": ({"step": step(np.full(4, 1e39))}, "numbers too large for float32"),
    "wide observation": (
        {"step": step(np.full(4, 1e39)), "space": Box(-np.inf, np.inf, (4,), np.float64)},
        r"numbers too large for float32 \(environment 0 of",
    ),
    "wide first observation": (
        {
            "reset": lambda: (np.full(4, 1e39), {}),
            "space": Box(-np.inf, np.inf, (4,), np.float64),
        },
        "numbers too large for float32",
    ),
    "narrow observation": (
        {"step": step(np.full(4, 1e6)), "space": Box(-9, 9, (4,), np.float16)},
        "numbers too large for float16",
    ),
    "nan for an end": (
        {"step": step(truncated=float("nan"))},
        "truncated is nan; .* true or false",
    ),
}


@pytest.mark.parametrize(("env_args", "what"), BEYOND.values(), ids=BEYOND)
def test_numbers_that_would_become_infinite_are_told(env_args, what):
    """Else all that is learned from them would be NaN, a rollout later."""
    with pytest.raises(AssertionError, match=what):
        raise AssertionError(failure(**env_args))


def test_numbers_that_float32_holds_are_taken():
    seen = rows(step=step(np.full(4, 3e38), reward=-3e38), steps=3)
    assert seen["reward"][3].tolist() == pytest.approx([-3e38] * 2)
    wide = Box(-np.inf, np.inf, (4,), np.float64)
    seen = rows(step=step(np.array([1.0, np.inf, -np.inf, 3e38])), space=wide, steps=3)
    assert seen["env_obs"][3, 0].isinf().tolist() == [False, True, True, False]


def test_a_space_that_changes_later_is_told():
    class Grows(gym.Wrapper):
        def step(self, action):
            self.env.observation_space = Box(-1, 1, (5,), np.float32)
            return np.zeros(5, np.float32), 0.0, False, False, {}

    assert "an array of shape [5], float32; expected Box(" in failure(wrappers=[Grows])


class OddVector(gym.vector.VectorEnv):
    """A vectorised task that returns what it was told to."""

    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012 - Gymnasium's
    single_observation_space, single_action_space = SPACE, Discrete(2)

    def __init__(self, num_envs, seen=None, reward=None, truncated=None):
        n = self.num_envs = num_envs
        self.observation_space = gym.vector.utils.batch_space(SPACE, n)
        self.action_space = gym.vector.utils.batch_space(Discrete(2), n)
        self.row = (
            np.zeros((n, 4)) if seen is None else seen,
            np.zeros(n) if reward is None else reward,
            np.zeros(n, bool),
            np.zeros(n, bool) if truncated is None else truncated,
        )

    def reset(self, *, seed=None, options=None):
        return self.row[0], {}

    def step(self, actions):
        return *self.row, {}

    def close(self):
        raise OSError("no window")


gym.register("TestOddVector-v0", vector_entry_point=OddVector)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"seen": np.zeros((2, 5))}, r"observations are an array of shape \[2, 5\].*\[2, 4\]"),
        ({"reward": np.zeros((2, 1))}, r"rewards are an array of shape \[2, 1\].* shape \[2\]"),
        ({"reward": 1.0}, "rewards are 1.0; expected shape"),
        ({"truncated": np.zeros(1, bool)}, r"truncated are an array of shape \[1\]"),
        ({"reward": np.array([9, 1e39])}, r"rewards have .* for float32 \(environment 1 of 2\)"),
    ],
)
def test_rows_of_a_vectorised_task_that_do_not_fit_are_told(changed, what):
    """NumPy would spread one number over all environments, or say that it cannot."""
    env = EnvAgent(
        "TestOddVector-v0", 2, env_args=changed, vectorization="vector_entry_point", autoreset=True
    )
    told = f"TestOddVector-v0 failed in a .*: its {what}"
    with pytest.raises(EnvironmentFailedError, match=told):
        run(env, 1)
    with pytest.warns(
        UserWarning, match=r"TestOddVector-v0 failed in close\(\): OSError: no wi"
    ) as told:
        env.close()
    assert told[0].filename == __file__
    assert env.envs.closed  # it is not tried again when Python ends


# ------------------------------------------------------------------------------ what is taken

ONE_NUMBER = {
    "integer": 2,
    "bool": True,
    "of shape 1": np.array([2.0]),
    "of shape 1, 1": np.array([[2.0]], np.float32),
    "of no shape": np.array(2.0),
    "NumPy's": np.float32(2.0),
    "NumPy's integer": np.int8(2),
    "NumPy's bool": np.bool_(True),
    "a tensor": torch.tensor(2.0),
    "a tensor that requires grad": torch.ones(1, requires_grad=True),
    "a list": [2.0],
    "a fraction": Fraction(2),
}


@pytest.mark.wide(8)
@pytest.mark.parametrize("value", ONE_NUMBER.values(), ids=ONE_NUMBER)
@pytest.mark.parametrize("mode", MODES)
def test_what_holds_one_number_is_a_reward_and_an_end(value, mode):
    one = isinstance(value, bool | np.bool_) or getattr(value, "requires_grad", False)
    expected = 1.0 if one else 2.0
    seen = rows(mode=mode, steps=3, step=step(reward=value))
    assert seen["reward"][3].tolist() == [expected, expected]
    for name in ("terminated", "truncated"):
        seen = rows(mode=mode, steps=4, step=step(**{name: value}))
        assert seen[name].int().tolist() == [[0, 0]] * 3 + [[1, 1], [0, 0]]
        assert seen["timestep"][:, 0].tolist() == [0, 1, 2, 3, 0]


@pytest.mark.parametrize("no", [0, np.array([False]), np.array(0), np.bool_(False), torch.zeros(1)])
def test_what_holds_nothing_is_no_end(no):
    """A list that holds False is true in Python."""
    for value in (no, [no]):
        assert not rows(step=step(terminated=value, truncated=value))["done"].any()


@pytest.mark.wide(10)
@pytest.mark.parametrize(
    ("space", "seen"),
    [
        (SPACE, [1, 0, 1, 0]),
        (SPACE, np.array([1, 0, 1, 0])),
        (SPACE, np.array([1.0, 0, 1, 0])),
        (SPACE, np.array([True, False, True, False])),
        (SPACE, torch.tensor([1.0, 0, 1, 0])),
        (Box(0, 255, (2, 2), np.uint8), np.array([[1, 0], [255, 0]])),
        (Box(0, 1, (2,), np.bool_), np.array([1, 0])),
        (Discrete(4, start=-1), np.int8(2)),
        (Discrete(4), np.array(2)),
        (Discrete(4), True),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_observations_that_lose_nothing_are_taken(space, seen, mode):
    """Of another type than the space says, as many environments have them."""
    start = getattr(space, "start", 0)
    got = rows(mode=mode, space=space, step=step(seen), reset=lambda: (space.sample(), {}))
    assert got["env_obs"][3, 1].tolist() == (np.asarray(seen) - start).tolist()


@pytest.mark.parametrize("kind", [SyncEnvs, lambda fns: WorkerVectorEnv(fns, 2)])
def test_several_states_at_once(kind):
    """Of a wider type than the space says; one beyond the last is told."""
    space = MultiDiscrete([3, 5], start=[1, 0], dtype=np.int32)
    states = [np.array([3, 4]), [1, 0], np.array([4, 0])]

    class Several(Told):
        def reset(self, **kwargs):
            self.t = 0
            return states[0], {}

        def step(self, action):
            self.t += 1
            return states[self.t], 1.0, False, False, {}

    envs = kind([lambda: Several(space=space)] * 2)
    assert envs.reset()[0].tolist() == [[3, 4]] * 2
    assert envs.step(np.zeros(2, np.int64))[0].tolist() == [[1, 0]] * 2
    with pytest.raises(EnvironmentFailedError, match=r"environment 0 .*\[2\], int64; expected"):
        envs.step(np.zeros(2, np.int64))
    envs.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("space", [Discrete(127, start=-60, dtype=np.int8), Discrete(9, start=1)])
def test_states_of_a_narrow_type(mode, space):
    """They lie in the workspace from 0, none of them wrapped around."""
    last = space.start + space.n - 1
    seen = rows(mode=mode, space=space, reset=lambda: (space.start, {}), step=step(last))
    assert seen["env_obs"][:, 0].tolist()[::3] == [0, space.n - 1]


ACTIONS = {
    **{f"{kind} from {start}": Discrete(3, start=start, dtype=kind)
       for kind in (np.int64, np.int32, np.int8) for start in (0, -2)},
    "uint8": Discrete(255, dtype=np.uint8),
    "uint8 from 5": Discrete(3, start=5, dtype=np.uint8),
    "float64": Box(-1, 1, (3,), np.float64),
    "float16": Box(-0.3, 0.3, (3,), np.float16),
    "half open": Box(0, np.inf, (3,), np.float32),
    "a number": Box(-1, 1, (), np.float32),
}  # fmt: skip


@pytest.mark.wide(8)
@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("mode", MODES)
def test_an_environment_gets_actions_of_its_space(space, mode):
    """Of its type too: int64 is no member of a Discrete space of int32."""

    class Checks(Told):
        action_space = space

        def step(self, action):
            assert self.action_space.contains(action), action
            return super().step(action)

    gym.register("TestChecks-v0", Checks, disable_env_checker=True)
    env = EnvAgent("TestChecks-v0", 2, vectorization=mode)
    del gym.registry["TestChecks-v0"]
    workspace, discrete = Workspace(), isinstance(space, Discrete)
    env(workspace, t=0)
    for t in range(3):
        last = int(space.n) - 1 if discrete else 0
        sampled = (
            torch.tensor([0, last]) if discrete else torch.full((2, *space.shape), 9.0 * (t - 1))
        )
        workspace.set("action", t, sampled)
        env(workspace, t=t + 1)
    env.close()


INFOS = {
    "none or a number": lambda k, _: {"goal": 3 if k % 2 == 0 else None},
    "arrays of two lengths": lambda k, _: {"path": np.zeros(2 + k % 2)},
    "an array that grows": lambda k, t: {"path": np.zeros(1 + t + k)},
    "a dict or none": lambda k, _: {"target": None if k % 2 == 0 else {"x": 1.0}},
    "a string or a number": lambda k, _: {"end": 1.5 if k % 2 == 0 else "fell"},
    "other keys each step": lambda _, t: {f"k{t % 3}": t},
    "keys that are no strings": lambda k, t: {k: t, (1, 2): 3},
    "what cannot be sent": lambda *_: {"function": lambda: None},
    "no dict at all": lambda k, _: [None, "info", 3][k],
}


@pytest.mark.wide(6)
@pytest.mark.parametrize("kind", INFOS.values(), ids=INFOS)
@pytest.mark.parametrize("mode", MODES)
def test_infos_do_not_stop_a_run(kind, mode):
    """Nobody reads them."""
    numbers = iter(range(99))

    class Informed(gym.Wrapper):
        def __init__(self, env):
            super().__init__(env)
            self.k, self.t = next(numbers) % 3, 0

        def reset(self, **kwargs):
            return self.env.reset(**kwargs)[0], kind(self.k, 0)

        def step(self, action):
            self.t += 1
            return *self.env.step(action)[:3], self.t % 3 == 0, kind(self.k, self.t)

    assert rows(n=3, steps=7, mode=mode, wrappers=[Informed])["done"].any()


@pytest.mark.parametrize("shared", [True, False])
def test_an_array_of_observations_that_is_used_again(shared):
    """By one environment, or by all of them: rows hold what was seen when they were written."""
    common = np.zeros(4, np.float32)
    numbers = iter(range(99))

    class Reuses(gym.ObservationWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.k, self.t = next(numbers), 0
            self.array = common if shared else np.zeros(4, np.float32)

        def observation(self, observation):
            self.array[...] = 10 * self.t + self.k
            self.t += 1
            return self.array

    seen = rows(wrappers=[Reuses])["env_obs"][..., 0]
    assert seen.tolist() == [[10 * t + k for k in range(2)] for t in range(5)]


# ---------------------------------------------------------------------- environments that leave


def test_sys_exit_in_an_environment_is_an_error_of_it():
    """Else the program would end without a word, as after its own last line."""
    for mode in MODES:
        told = failure(mode=mode, step=lambda: sys.exit(3))
        assert told == "environment 0 of 2 (TestTold-v0) failed in step 3: it called sys.exit(3)"
        assert "failed in a reset: it called sys.exit()" in failure(mode=mode, reset=sys.exit)


def test_an_error_without_a_text_is_told_by_its_class():
    class UnspeakableError(Exception):
        def __str__(self):
            raise RecursionError

    def fail():
        raise UnspeakableError

    for mode in MODES:
        assert failure(mode=mode, step=fail).endswith("failed in step 3: UnspeakableError")


def test_sys_exit_while_an_environment_is_made():
    class Leaves(gym.Wrapper):
        def __init__(self, env):
            sys.exit("no licence")

    for mode in MODES:
        told = failure(ConfigError, mode=mode, wrappers=[Leaves])
        assert "'TestTold-v0' cannot be made: it called sys.exit(no licence)" in told


@pytest.mark.wide(1)
@pytest.mark.parametrize(
    ("leave", "how"),
    [
        (lambda: os._exit(7), "ended (exit code 7)"),
        (lambda: os.kill(os.getpid(), 9), "ended (exit code -9, killed by SIGKILL)"),
    ],
)
def test_a_process_that_ends_is_told_with_its_environment(leave, how):
    """And what it was at: its first reset, a step, or making it."""

    class Leaves(gym.Wrapper):
        at = None

        def __init__(self, env, at):
            super().__init__(env)
            self.at, self.t = at, 0
            if at == "made":
                leave()

        def reset(self, **kwargs):
            if self.at == "reset":
                leave()
            return self.env.reset(**kwargs)

        def step(self, action):
            self.t += 1
            if self.t == self.at:
                leave()
            return self.env.step(action)

    def vector(at, n_workers):
        def make_one(number):
            env = gym.make("TestTold-v0")
            return Leaves(env, at if number == 3 else None)

        return WorkerVectorEnv([lambda i=i: make_one(i) for i in range(6)], n_workers)

    for n_workers in (2, 6):
        with pytest.raises(EnvironmentFailedError) as raised:
            vector("made", n_workers)
        expected = f"environment 3 of 6 (TestTold-v0): its process {how}"
        assert str(raised.value) == f"{expected} while it was made"
        envs = vector("reset", n_workers)
        with pytest.raises(EnvironmentFailedError) as raised:
            envs.reset(seed=1)
        assert str(raised.value) == f"{expected} in a reset"
        envs = vector(2, n_workers)
        envs.reset()
        envs.step(np.zeros(6, np.int64))
        with pytest.raises(EnvironmentFailedError) as raised:
            envs.step(np.zeros(6, np.int64))
        assert str(raised.value) == f"{expected} in step 2"
        assert envs.closed
        assert multiprocessing.active_children() == []


def test_the_first_environment_may_end_its_process_while_it_is_made():
    """That of the process which only looks at the spaces."""
    with pytest.raises(EnvironmentFailedError) as raised:
        WorkerVectorEnv([lambda: os._exit(3)] * 2, 2)
    assert "its process ended (exit code 3) while it was made (environment 0 of 2)" in str(
        raised.value
    )


@pytest.mark.parametrize("n_workers", [2, 4])
def test_a_process_that_is_killed_between_two_steps(n_workers):
    """Where no environment is at work, all that the process had are named."""
    envs = WorkerVectorEnv([lambda: gym.make("TestTold-v0")] * 4, n_workers)
    envs.reset()
    envs.processes[1].kill()
    envs.processes[1].join()
    with pytest.raises(EnvironmentFailedError) as raised:
        envs.step(np.zeros(4, np.int64))
    which = "environment 1" if n_workers == 4 else "environments 2 to 3"
    assert str(raised.value).startswith(f"{which} of 4 (TestTold-v0): its process ended")
    assert "before step 1" in str(raised.value)
    assert multiprocessing.active_children() == []


def test_a_process_that_ends_is_told_though_another_one_is_slow():
    """The first one is waited for as the second one ends."""

    class Slow(gym.Wrapper):
        def step(self, action):
            multiprocessing.Event().wait()

    class Leaves(gym.Wrapper):
        def step(self, action):
            os._exit(5)

    kinds = [lambda: Slow(gym.make("TestTold-v0")), lambda: Leaves(gym.make("TestTold-v0"))]
    envs = WorkerVectorEnv(kinds, 2)
    envs.reset()
    with pytest.raises(
        EnvironmentFailedError, match=r"environment 1 of 2 .* \(exit code 5\) in step 1"
    ):
        envs.step(np.zeros(2, np.int64))
    assert multiprocessing.active_children() == []


def test_after_an_interrupted_step_answers_belong_to_what_was_asked():
    """Ctrl-C in a notebook: the row of the interrupted step must not be taken for the next one."""

    class Counts(gym.Wrapper):
        t = 0

        def step(self, action):
            self.t += 1
            return np.full(4, self.t / 100, np.float32), float(self.t), False, False, {}

    envs = WorkerVectorEnv([lambda: Counts(gym.make("TestTold-v0"))] * 2, 2)
    envs.reset()
    envs.step_async(np.zeros(2, np.int64))
    observation, reward, *_ = envs.step(np.zeros(2, np.int64))
    assert reward.tolist() == [2, 2]
    assert observation[:, 0].tolist() == pytest.approx([0.02, 0.02])
    envs.call_async("get_wrapper_attr", "t")
    assert envs.get_attr("t") == (2, 2)
    envs.close()


# --------------------------------------------------------------------------- made and closed


@pytest.fixture
def counted():
    """A class of environments of which two can be open, and the numbers of those that are."""
    opened = []

    class Counted(Told):
        def __init__(self, most=2):
            super().__init__()
            if len(opened) >= most:
                raise OSError("worker number 2 is still in use")
            self.number = len(opened)
            opened.append(self.number)

        def close(self):
            opened.remove(self.number)

    gym.register("TestCounted-v0", Counted, disable_env_checker=True)
    yield opened
    del gym.registry["TestCounted-v0"]


def test_environments_that_are_made_are_closed_when_another_one_cannot_be(counted):
    told = failure(ConfigError, n=8, name="TestCounted-v0")
    assert told == (
        "gym_env.env_name = 'TestCounted-v0' cannot be made: OSError: worker number 2 is still in "
        "use (environment 2 of 8)"
    )
    assert counted == []
    rows(n=2, name="TestCounted-v0")
    assert counted == []


def test_an_environment_is_closed_when_its_wrapper_fails(counted):
    class Refuses(gym.Wrapper):
        def __init__(self, env):
            raise ArithmeticError("not this one")

    assert "not this one" in failure(ConfigError, name="TestCounted-v0", wrappers=[Refuses])
    assert counted == []


def test_environments_of_other_spaces_are_told_and_closed():
    closed = []

    class Odd(Told):
        def close(self):
            closed.append(self.observation_space.shape)

    spaces = [SPACE, SPACE, Box(-1, 1, (5,), np.float32)]
    makers = [lambda space=space: Odd(space=space) for space in spaces]
    with pytest.raises(
        EnvironmentFailedError, match=r"\(5,\).*differs from .*\(environment 2 of 3"
    ):
        SyncEnvs(makers)
    assert closed == [(4,), (4,), (5,)]
    with pytest.raises(
        EnvironmentFailedError, match=r"\(5,\).*differs from .*\(environment 2 of 3"
    ):
        WorkerVectorEnv(makers, 3)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("problem", [AttributeError("no viewer"), SystemExit(0)])
def test_all_environments_are_closed_though_one_fails_in_it(problem):
    closed = []

    class Sticky(Told):
        def close(self):
            closed.append(self)
            if len(closed) == 1:
                raise problem

    envs = SyncEnvs([Sticky] * 3)
    with pytest.warns(UserWarning, match=r"environment 0 of 3 \(Sticky\) failed in close\(\): "):
        envs.close()
    assert len(closed) == 3
    envs.close()
    assert len(closed) == 3


def default_warnings(make):
    """Processes inherit which warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        return make()


def test_processes_end_with_the_agent_that_nobody_has_any_longer(monkeypatch):
    """Whoever breaks off a loop, in a notebook say, does not close."""
    closed = []

    class Processes(gym.vector.AsyncVectorEnv):
        num_envs, single_observation_space, single_action_space = 1, SPACE, Discrete(2)

        def __del__(self):
            pass  # somebody may have them still

        def __init__(self):
            pass

        def close(self):
            closed.append(self)

    processes = Processes()
    monkeypatch.setattr("ppo_bbrl.envs.agent.make_vector_env", lambda *_, **__: processes)
    agent = EnvAgent("TestTold-v0", 1)
    gc.collect()
    assert closed == []
    del agent
    gc.collect()
    assert closed == [processes]


def test_an_environment_that_fails_in_close_is_told_from_a_process_too():
    class Sticky(Told):
        def close(self):
            if multiprocessing.current_process().name.endswith("1"):
                raise AttributeError("no viewer")

    envs = default_warnings(lambda: WorkerVectorEnv([Sticky] * 2, 2))
    with pytest.warns(UserWarning, match=r"environment 1 of 2 \(Sticky\) failed in close\(\): Att"):
        envs.close()
    assert multiprocessing.active_children() == []


def test_a_close_that_hangs_has_an_end(monkeypatch):
    """Nobody may be there to press Ctrl-C."""
    monkeypatch.setattr(guard, "CLOSE_SECONDS", 0.1)
    closed = []

    class Hangs(Told):
        def close(self):
            closed.append(1)
            if len(closed) == 1:
                threading.Event().wait()

    envs = SyncEnvs([Hangs] * 2)
    with pytest.warns(UserWarning, match=r"environment 0 of 2 \(Hangs\) .*longer than 0\.1 s"):
        envs.close()
    assert len(closed) == 2
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def test_the_alarm_of_a_program_is_left_alone():
    signal.setitimer(signal.ITIMER_REAL, 1000)
    SyncEnvs([Told]).close()
    assert signal.setitimer(signal.ITIMER_REAL, 0)[0] > 900


def test_an_interrupt_ends_a_close_that_hangs():
    """Once: neither a second call nor the end of Python begins it anew."""
    calls = []

    class Hangs(Told):
        def close(self):
            calls.append(1)
            raise KeyboardInterrupt  # what Ctrl-C does to an endless wait

    envs = SyncEnvs([Hangs] * 2)
    with pytest.raises(KeyboardInterrupt):
        envs.close()
    envs.close()
    del envs
    assert calls == [1]


def test_no_environment_is_made_in_the_process_of_the_run():
    """One that hangs in close() would hang the run before it begins."""
    here = []

    class Noted(Told):
        def __init__(self):
            super().__init__()
            here.append(1)

    envs = WorkerVectorEnv([Noted] * 2, 2)
    assert envs.single_observation_space == SPACE
    envs.close()
    assert here == []


def test_warnings_of_environments_in_processes_arrive():
    """Once each, and not on the console of each process."""

    class Warns(gym.Wrapper):
        def step(self, action):
            gym.logger.warn("this space is odd")
            return self.env.step(action)

    envs = default_warnings(
        lambda: WorkerVectorEnv([lambda: Warns(gym.make("TestTold-v0"))] * 4, 2)
    )
    envs.reset()
    with pytest.warns(UserWarning, match="this space is odd"):
        envs.step(np.zeros(4, np.int64))
    envs.close()


def test_what_mujoco_warns_of_is_a_python_warning(monkeypatch, tmp_path):
    """Printed by MuJoCo itself, it came once for each environment, and left a file behind."""
    mujoco = pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as an error it must not end the process
            make_env("HalfCheetah-v5", {}).close()
        with pytest.warns(UserWarning, match="too many contacts"):
            mujoco.get_mju_user_warning()("too many contacts")
        assert list(tmp_path.iterdir()) == []
        mine = print
        mujoco.set_mju_user_warning(mine)
        make_env("HalfCheetah-v5", {}).close()
        assert mujoco.get_mju_user_warning() is mine
    finally:
        mujoco.set_mju_user_warning(before)
