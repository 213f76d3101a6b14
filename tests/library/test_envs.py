"""Environments as an agent: the rows they write, their ends, their seeds, their processes."""

import copy
import multiprocessing
import threading

import bbrl.agents
import gymnasium as gym
import numpy as np
import pytest
import torch
from bbrl.agents import Agents, TemporalAgent
from gymnasium.spaces import Box, Dict, Discrete, Text
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.agents.policies import DiscretePolicy, GaussianPolicy
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.envs import worker_process, workers
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.vector import find_spec, longest_episode, make_vector_env, time_limit
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.workspace.table import Workspace

# Python ≥ 3.12 says so whenever a process forks after torch has started its threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")


class Counter(gym.Env):
    """Shows [episode, step]; the action is the reward; ends after `length` steps."""

    observation_space = Box(0, 1e6, (2,), np.float32)
    action_space = Box(-2, 2, (1,), np.float64)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, length=3, truncate=False, render_mode=None):
        self.length, self.truncate, self.render_mode = length, truncate, render_mode
        self.resets = self.steps = self.late_steps = 0
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        self.seeds.append(seed)
        self.t = 0
        return self.see(), {}

    def step(self, action):
        assert action in self.action_space, action
        assert action.dtype == np.float64
        self.late_steps += self.t >= self.length
        self.steps += 1
        self.t += 1
        over = self.t >= self.length
        reward = float(action[0])
        return self.see(), reward, over and not self.truncate, over and self.truncate, {}

    def see(self):
        return np.array([self.resets, self.t], np.float32)

    def counts(self):
        return self.resets, self.steps, self.late_steps


class Random(gym.Env):
    """Shows a random number, one step to an episode."""

    observation_space = Box(0, 1, (1,), np.float64)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(1), {}

    def step(self, action):
        return self.np_random.random(1), 1.0, True, False, {}


class Shown(gym.Env):
    """Shows and takes what it was told to; remembers the actions it got."""

    def __init__(self, observation=0, observation_space=None, action_space=None):
        self.observation = observation
        self.observation_space = observation_space or Box(-1, 1, (1,), np.float32)
        self.action_space = action_space or Discrete(2)
        self.got = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return copy.copy(self.observation), {}

    def step(self, action):
        assert action in self.action_space, action
        self.got.append(action)
        return copy.copy(self.observation), 0.0, False, False, {}


class HangsWhenClosed(Random):
    def close(self):
        if multiprocessing.parent_process() is not None:
            threading.Event().wait()


for _class in (Counter, Random, Shown, HangsWhenClosed):
    gym.register(f"Test{_class.__name__}-v0", _class)


@pytest.fixture
def make():
    """Makes environments that are closed in the end."""
    made = []

    def make(name="TestCounter-v0", n=2, **kwargs):
        made.append(EnvAgent(name, n, **kwargs))
        return made[-1]

    yield make
    for env in made:
        env.close()


def play(env, actions, workspace=None):
    """Run an environment on given actions, `[T, B]` of numbers; the variables without env/."""
    workspace = Workspace() if workspace is None else workspace
    env(workspace, t=0)
    for t, row in enumerate(actions):
        workspace.set("action", t, row)
        env(workspace, t=t + 1)
    return {
        name.removeprefix("env/"): workspace[name]
        for name in workspace.keys()  # noqa: SIM118
        if name != "action"
    }


def pushes(steps, n=2):
    """Actions that are the row's number, 0-based, plus 0.25 per environment."""
    row = 0.25 * torch.arange(n)
    return [(t / 10 + row).unsqueeze(-1) for t in range(steps)]


class AllSame(bbrl.agents.Agent):
    def __init__(self, action):
        super().__init__()
        self.action = action

    def forward(self, t, **kwargs):
        self.set(("action", t), self.action)


# ------------------------------------------------------------------------------- with autoreset

MODES = ["sync", "async"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("truncate", [False, True])
def test_rows_with_autoreset(make, mode, truncate):
    """The final observation has its own row, the reset one follows, for no reward."""
    args = {"length": 3, "truncate": truncate}
    rows = play(make(env_args=args, vectorization=mode), pushes(6))
    # t               0  1  2  3 | 4  5  6
    episode = torch.tensor([1, 1, 1, 1, 2, 2, 2])
    step = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    done = torch.tensor([0, 0, 0, 1, 0, 0, 0]).bool()
    never = torch.zeros(7, dtype=torch.bool)
    for b in range(2):
        assert torch.equal(rows["env_obs"][:, b], torch.stack((episode, step), -1).float())
        assert torch.equal(rows["timestep"][:, b], step)
        assert torch.equal(rows["done"][:, b], done)
        assert torch.equal(rows["truncated"][:, b], done if truncate else never)
        assert torch.equal(rows["terminated"][:, b], never if truncate else done)
        # The action of row 3 (0.3) was not executed: its row is the reset one.
        reward = torch.tensor([0, 0.0, 0.1, 0.2, 0, 0.4, 0.5])
        reward[[1, 2, 3, 5, 6]] += 0.25 * b
        torch.testing.assert_close(rows["reward"][:, b], reward)
        cumulated = torch.cat((reward[:4].cumsum(0), reward[4:].cumsum(0)))
        torch.testing.assert_close(rows["cumulated_reward"][:, b], cumulated)
    types = {name: tensor.dtype for name, tensor in rows.items()}
    assert types == {
        "env_obs": torch.float32,
        "reward": torch.float32,
        "terminated": torch.bool,
        "truncated": torch.bool,
        "done": torch.bool,
        "timestep": torch.int64,
        "cumulated_reward": torch.float32,
    }


def test_environments_end_each_for_itself(make):
    """Upstream's `terminated or truncated` fails for two; at one, the sum never goes back to 0."""
    env = make(env_args={"length": 1})
    rows = play(env, pushes(5))
    assert rows["done"].int().tolist() == [[0, 0], [1, 1]] * 3
    assert rows["timestep"][:, 0].tolist() == [0, 1, 0, 1, 0, 1]
    torch.testing.assert_close(
        rows["cumulated_reward"][:, 1], torch.tensor([0, 0.25, 0, 0.45, 0, 0.65])
    )
    cartpole = make("CartPole-v1", 5).seed(0)
    rows = play(cartpole, [torch.ones(5, dtype=torch.int64)] * 60)
    assert not torch.equal(rows["done"].any(1), rows["done"].all(1))
    after = torch.cat((torch.zeros(1, 5, dtype=torch.bool), rows["done"][:-1]))
    assert (rows["cumulated_reward"][after] == 0).all()
    assert (rows["cumulated_reward"] == rows["timestep"]).all()


def test_bbrls_own_environment_writes_the_same_rows(make):
    """ParallelGymAgent with Gymnasium's Autoreset, where it is right: not the timestep."""
    from bbrl.agents.gymnasium import ParallelGymAgent, make_env

    theirs = ParallelGymAgent(lambda: make_env("TestCounter-v0", autoreset=True), 2)
    expected = play(theirs, [action.double() for action in pushes(9)])
    got = play(make(), pushes(9))
    for name in ("env_obs", "reward", "terminated", "truncated", "done"):
        torch.testing.assert_close(got[name], expected[name])


# ---------------------------------------------------------------------------- without autoreset


@pytest.mark.parametrize("mode", MODES)
def test_without_autoreset_the_last_row_is_repeated(make, mode):
    """With reward 0; the sum and the time of the episode stay."""
    env = make(env_args={"length": 2}, autoreset=False, vectorization=mode)
    rows = play(env, pushes(5, 2))
    for b in range(2):
        assert rows["env_obs"][:, b].tolist() == [[1, 0], [1, 1], [1, 2], [1, 2], [1, 2], [1, 2]]
        assert rows["done"][:, b].tolist() == [False, False, True, True, True, True]
        assert torch.equal(rows["done"], rows["terminated"])
        assert not rows["truncated"].any()
        assert rows["timestep"][:, b].tolist() == [0, 1, 2, 2, 2, 2]
        reward = torch.tensor([0, 0 + 0.25 * b, 0.1 + 0.25 * b, 0, 0, 0])
        torch.testing.assert_close(rows["reward"][:, b], reward)
        torch.testing.assert_close(rows["cumulated_reward"][:, b], reward.cumsum(0))
    assert env.all_done()


@pytest.mark.parametrize("truncate", [False, True])
def test_the_others_go_on_when_one_has_ended(make, truncate):
    """They are neither ended with it nor held: each has the rows that it has alone."""

    class Ends(gym.Wrapper):
        def step(self, action):
            obs, reward, *_ = self.env.step(action)
            return obs, reward, action > 1 and not truncate, action > 1 and truncate, {}

    env = make(n=3, env_args={"length": 99}, wrappers=[Ends], autoreset=False)
    pushed = torch.tensor([[1.5, 0.25, 0.5], [0.0, 0.25, 0.5], [0.0, 1.5, 0.5], [0.0, 0.0, 0.5]])
    rows = play(env, pushed[..., None])
    ends = torch.tensor([1, 3, 4])  # the last of them does not end
    time = torch.arange(5)[:, None]
    assert torch.equal(rows["timestep"], time.minimum(ends))
    assert torch.equal(rows["env_obs"][..., 1], time.minimum(ends).float())
    assert torch.equal(rows["done"], (time >= ends) & (ends < 4))
    assert torch.equal(rows["truncated" if truncate else "terminated"], rows["done"])
    assert not rows["terminated" if truncate else "truncated"].any()
    reward = torch.cat((torch.zeros(1, 3), pushed)) * (time <= ends)
    assert torch.equal(rows["reward"], reward)
    assert torch.equal(rows["cumulated_reward"], reward.cumsum(0))
    begun = play(env, pushed[:0])
    assert {name: int(row.count_nonzero()) for name, row in begun.items()} == dict.fromkeys(
        rows, 0
    ) | {"env_obs": 3}  # the number of the episode; the rest begins at 0


@pytest.mark.parametrize("autoreset", [False, True])
def test_a_workspace_of_bbrl_gets_the_same_rows(make, autoreset):
    ours, theirs = (
        play(make(autoreset=autoreset), pushes(5), kind())
        for kind in (Workspace, bbrl.workspace.Workspace)
    )
    assert ours.keys() == theirs.keys()
    for name, rows in ours.items():
        assert torch.equal(rows, theirs[name]), name


def test_an_environment_agent_that_is_called_begins(make):
    """As agents do on a workspace without further arguments."""
    workspace = Workspace()
    make()(workspace)
    assert workspace["env/env_obs"].tolist() == [[[1, 0], [1, 0]]]


@pytest.mark.parametrize("mode", MODES)
def test_an_ended_environment_is_left_alone(make, mode):
    """Neither stepped nor reset: a simulator may be slow, and a video would show it."""
    env = make(env_args={"length": 2}, autoreset=False, vectorization=mode)
    play(env, pushes(6))
    assert env.envs.call("counts") == ((1, 2, 0), (1, 2, 0))
    play(env, pushes(1))  # t = 0 begins the next episode
    assert env.envs.call("counts") == ((2, 3, 0), (2, 3, 0))
    play(env, pushes(9))
    assert env.envs.call("counts") == ((3, 5, 0), (3, 5, 0))


def test_a_running_environment_is_reset_at_t_0(make):
    env = make(env_args={"length": 5}, autoreset=False)
    for episode in (1, 2, 3):
        rows = play(env, pushes(2))
        assert rows["env_obs"][:, 0].tolist() == [[episode, 0], [episode, 1], [episode, 2]]
        assert not env.all_done()


def test_without_autoreset_on_the_vectorised_cartpole(make):
    """It resets by itself, but its rows stay as they were."""
    env = make("CartPole-v1", 4, autoreset=False).seed(3)
    rows = play(env, [torch.ones(4, dtype=torch.int64)] * 40)
    assert not isinstance(env.envs, SyncVectorEnv)
    assert env.all_done()
    for b in range(4):
        end = int(rows["done"][:, b].int().argmax())
        assert (rows["env_obs"][end:, b] == rows["env_obs"][end, b]).all()
        assert (rows["reward"][end + 1 :, b] == 0).all()
        assert (rows["timestep"][end:, b] == end).all()
        assert (rows["cumulated_reward"][end:, b] == end).all()
        assert rows["terminated"][end:, b].all()
    assert len(set(rows["done"].int().argmax(0).tolist())) > 1


def test_what_the_vectorised_cartpole_does_after_an_end_does_not_count(make):
    """The first episode ends by its time limit; the hidden one after it by a fall."""
    env = make("CartPole-v1", 4, autoreset=False, env_args={"max_episode_steps": 12}).seed(3)
    actions = [torch.full((4,), t % 2 if t < 13 else 1) for t in range(30)]
    rows = play(env, actions)
    assert not rows["terminated"].any()
    assert rows["truncated"].all(1).tolist() == [t >= 12 for t in range(31)]
    assert (rows["cumulated_reward"][-1] == 12).all()


def test_both_implementations_of_cartpole_agree(make):
    """The vectorised one and one after the other: same rules, same kind of rows."""
    start = torch.tensor([[0.01, 0.02, 0.03, 0.04]])
    results = []
    for mode in ("vector_entry_point", "sync"):
        env = make("CartPole-v1", 1, autoreset=False, vectorization=mode)
        workspace = Workspace()
        env(workspace, t=0)
        if mode == "sync":
            env.envs.envs[0].unwrapped.state = start[0].numpy()
        else:
            env.envs.state = start.numpy().T.copy()
        for t in range(15):
            workspace.set("action", t, torch.tensor([1]))
            env(workspace, t=t + 1)
        results.append({name: workspace[name][1:] for name in workspace.keys()})  # noqa: SIM118
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], rtol=1e-4, atol=1e-4)
    assert results[0]["env/done"].any()


# ------------------------------------------------------------------------------- vectorisation


def test_auto_takes_the_tasks_own_vectorisation(make):
    """No Python loop over environments where Gymnasium has none."""
    assert type(make("CartPole-v1").envs).__name__ == "CartPoleVectorEnv"
    assert isinstance(make("TestCounter-v0").envs, SyncVectorEnv)
    assert isinstance(make("CartPole-v1", vectorization="sync").envs, SyncVectorEnv)
    assert isinstance(make("CartPole-v1", vectorization="async").envs, AsyncVectorEnv)
    assert make("CartPole-v1", 5).num_envs == 5


def test_auto_steps_back_where_the_task_refuses(make):
    """Wrappers, and arguments that the vectorised implementation does not know."""
    wrapped = make("CartPole-v1", wrappers=[gym.wrappers.NormalizeReward])
    assert isinstance(wrapped.envs, SyncVectorEnv)
    pictures = make("CartPole-v1", env_args={"render_mode": "rgb_array"}, n=1)
    play(pictures, [torch.tensor([1])])
    assert np.asarray(pictures.envs.render()[0]).shape == (400, 600, 3)
    known = make("CartPole-v1", env_args={"sutton_barto_reward": True})
    assert play(known, [torch.ones(2, dtype=torch.int64)])["reward"].tolist() == [[0, 0], [0, 0]]


def test_environment_arguments_arrive(make):
    rows = play(make(env_args={"length": 1, "truncate": True}, n=1), pushes(1, 1))
    assert rows["truncated"].tolist() == [[False], [True]]
    short = make("CartPole-v1", env_args={"max_episode_steps": 3})
    rows = play(short, [torch.tensor([0, 1])] * 4)
    assert rows["truncated"].any(1).tolist() == [False, False, False, True, False]


def test_wrappers_are_applied_in_order(make):
    class Add(gym.RewardWrapper):
        def reward(self, reward):
            return reward + 1

    class Double(gym.RewardWrapper):
        def reward(self, reward):
            return reward * 2

    rows = play(make(n=1, wrappers=[Add, Double]), pushes(2, 1))
    torch.testing.assert_close(rows["reward"].flatten(), torch.tensor([0, 2.0, 2.2]))
    held = make(n=1, wrappers=[Double], autoreset=False, env_args={"length": 1})
    rows = play(held, pushes(3, 1))
    assert rows["reward"].flatten().tolist() == [0, 0, 0, 0]
    assert held.envs.call("counts") == ((1, 1, 0),)


def test_metadata_that_are_none_come_with_a_remedy(make, monkeypatch):
    spec = gym.spec("TestCounter-v0")
    monkeypatch.setattr(spec.entry_point, "metadata", None)
    with pytest.raises(ConfigError, match=r"cannot be made: InvalidMetadata.*; leave .* out, or"):
        make()


def test_a_vectorisation_that_is_not_there(make):
    with pytest.raises(ConfigError, match=r"TestCounter-v0.* cannot be made: "):
        make(vectorization="vector_entry_point")


def test_another_number_of_environments_than_was_asked_for_is_refused():
    """The rollouts would be of another size, and no word of it."""

    def four(num_envs):
        del num_envs
        return SyncVectorEnv([Counter] * 4)

    gym.register("Four-v0", vector_entry_point=four)
    try:
        with pytest.raises(ConfigError, match="has 4 environments, where 2 were asked for"):
            EnvAgent("Four-v0", 2, vectorization="vector_entry_point")
        EnvAgent("Four-v0", 4, vectorization="vector_entry_point").close()
    finally:
        del gym.registry["Four-v0"]


# ------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "name",
    ["NoSuchEnv-v0", "CartPole-v99", "no_such_module:Env-v0", "CartPole-v1-", "", "a b c"],
)
def test_an_environment_that_does_not_exist(name):
    """One line that names the key, the value and the reason."""
    with pytest.raises(ConfigError, match=r"^gym_env\.env_name = ") as error:
        EnvAgent(name, 1)
    assert repr(name) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_environment_of_an_own_module(make, monkeypatch, tmp_path):
    """`module:Name-v0` imports the module first, as in Gymnasium."""
    (tmp_path / "my_module.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('OfMyModule-v0', CartPoleEnv, max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert time_limit("my_module:OfMyModule-v0", {}) == 7
    assert make("my_module:OfMyModule-v0").num_envs == 2


def test_the_environments_of_bbrl_gymnasium_need_no_import():
    assert find_spec("CartPoleContinuous-v1").max_episode_steps == 500


@pytest.mark.parametrize("vectorization", ["auto", "sync", "async"])
@pytest.mark.parametrize("name", ["CartPole-v1", "TestCounter-v0"])
def test_arguments_that_the_environment_refuses(name, vectorization):
    with pytest.raises(ConfigError, match=r"with gym_env\.env_args = .*cannot be made") as error:
        EnvAgent(name, 2, env_args={"colour": "blue"}, vectorization=vectorization)
    assert "colour" in str(error.value)
    assert "\n" not in str(error.value)
    assert multiprocessing.active_children() == []


SPACES = {
    "Text": Text(5),
    "Dict": Dict(a=Box(-1, 1, (30,)), b=Text(5)),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("role", ["observation", "action"])
@pytest.mark.parametrize("vectorization", MODES)
def test_unsupported_spaces_are_one_line(space, role, vectorization):
    """And no process is left behind."""
    env_args = {f"{role}_space": space}
    if role == "observation":
        env_args["observation"] = space.sample()
    with pytest.raises(ConfigError, match=f"its {role} space {type(space).__name__}") as error:
        EnvAgent("TestShown-v0", 2, env_args=env_args, vectorization=vectorization)
    assert "\n" not in str(error.value)
    assert multiprocessing.active_children() == []


def test_time_limits():
    """Of the registration, or of the environment's arguments."""
    assert time_limit("CartPole-v1", {}) == 500
    assert time_limit("CartPole-v1", {"max_episode_steps": 7}) == 7
    assert time_limit("CartPole-v1", {"max_episode_steps": -1}) is None
    assert time_limit("TestCounter-v0", {}) is None


@pytest.mark.parametrize(
    ("name", "limit", "expected"),
    [("CartPole-v1", None, 500), ("TestCounter-v0", None, 10_000), ("CartPole-v1", 20, 20)],
)
def test_every_evaluation_has_an_end(name, limit, expected):
    """Upstream's never returns where the environment knows no limit."""
    algorithm = {"max_eval_steps": limit}
    cfg = load_config({"gym_env": {"env_name": name}, "algorithm": algorithm})
    assert longest_episode(cfg) == expected


# -------------------------------------------------------------------------------------- spaces

OBSERVATIONS = {
    "vector": (np.array([0.5], np.float32), Box(-1, 1, (1,), np.float32), [0.5], torch.float32),
    "float64": (np.array([0.1]), Box(-1, 1, (1,), np.float64), [0.1], torch.float32),
    "int": (np.array([7, -7]), Box(-9, 9, (2,), np.int64), [7.0, -7.0], torch.float32),
    "number": (np.array(0.5, np.float32), Box(-1, 1, (), np.float32), 0.5, torch.float32),
    "bytes": (np.array([255], np.uint8), Box(0, 255, (1,), np.uint8), [255.0], torch.float32),
    "flags": (np.array([True, False]), Box(0, 1, (2,), np.bool_), [1.0, 0.0], torch.float32),
    "image": (
        np.array([[[255], [7]]], np.uint8),
        Box(0, 255, (1, 2, 1), np.uint8),
        [[[255], [7]]],
        torch.uint8,
    ),
    "state": (2, Discrete(3), 2, torch.int64),
    "large state": (2**24 + 1, Discrete(2**25), 2**24 + 1, torch.int64),
    "state from 1": (3, Discrete(3, start=1), 2, torch.int64),
    "state from -5": (-5, Discrete(3, start=-5), 0, torch.int64),
}


@pytest.mark.parametrize(
    ("observation", "space", "expected", "dtype"), OBSERVATIONS.values(), ids=OBSERVATIONS
)
@pytest.mark.parametrize("autoreset", [False, True])
@pytest.mark.parametrize("workspace", [Workspace, bbrl.workspace.Workspace])
def test_observations(make, observation, space, expected, dtype, autoreset, workspace):
    """Upstream: images become int64, a state space that begins at 1 has an index too many."""
    env_args = {"observation": observation, "observation_space": space}
    env = make("TestShown-v0", env_args=env_args, autoreset=autoreset)
    rows = play(env, [torch.zeros(2, dtype=torch.int64)] * 2, workspace())["env_obs"]
    assert rows.dtype == dtype
    assert torch.equal(rows, torch.tensor(expected, dtype=dtype).expand_as(rows))
    assert rows.shape[:2] == (3, 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("start", [0, 1])
def test_discrete_actions(make, mode, start):
    """The policy writes 0..n-1, the environment gets its own numbers."""
    env = make(
        "TestShown-v0",
        env_args={
            "observation": np.zeros(1, np.float32),
            "action_space": Discrete(3, start=start),
        },
        vectorization=mode,
    )
    play(env, [torch.tensor([0, 2]), torch.tensor([1, 0])])
    assert env.envs.get_attr("got") == ([start, start + 1], [start + 2, start])
    assert env.get_obs_and_actions_sizes() == (1, 3)


@pytest.mark.parametrize("mode", MODES)
def test_box_actions_are_clipped_for_the_environment_alone(make, mode):
    """The workspace keeps what was sampled: its log-probability belongs to that."""
    workspace = Workspace()
    rows = play(make(vectorization=mode), [torch.tensor([[9.0], [-9.0]])], workspace)
    assert rows["reward"][1].tolist() == [2, -2]  # the test environment asserts the type
    assert workspace["action"].flatten().tolist() == [9, -9]


@pytest.mark.parametrize(
    "action", [torch.zeros(2), torch.zeros(3, 1), torch.zeros(2, 1, dtype=torch.int64)]
)
def test_a_wrong_action_is_named(make, action):
    with pytest.raises(ValueError, match=r"the environment takes shape \[2, 1\], floats"):
        play(make(), [action])


def test_a_missing_action_is_named(make):
    env, workspace = make(), Workspace()
    env(workspace, t=0)
    with pytest.raises(KeyError, match="no variable 'action'"):
        env(workspace, t=1)


def test_rows_are_copies_of_what_the_environment_showed(make):
    """An environment may reuse its array of observations."""

    class Reuses(gym.ObservationWrapper):
        array = np.zeros(2, np.float32)

        def observation(self, observation):
            self.array[...] = observation
            return self.array

    rows = play(make(n=1, wrappers=[Reuses]), pushes(2, 1))
    assert rows["env_obs"][:, 0].tolist() == [[1, 0], [1, 1], [1, 2]]


# --------------------------------------------------------------------------------------- seeds


def first_rows(env, steps=4):
    n, discrete = env.num_envs, env.is_discrete_action()
    action = torch.zeros(n, dtype=torch.int64) if discrete else torch.zeros(n, 1)
    return play(env, [action] * steps)["env_obs"]


@pytest.mark.wide(3)
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("seed", [0, 5, np.random.SeedSequence(5)])
def test_same_seed_same_rows(make, mode, seed):
    """Of the environments as well as of their later resets; seed 0 is a seed like others."""
    one = make("TestRandom-v0", 3, vectorization=mode).seed(seed)
    two = make("TestRandom-v0", 3, vectorization=mode).seed(seed)
    for _ in range(2):
        assert torch.equal(first_rows(one), first_rows(two))


def test_other_seed_other_rows(make):
    one, two = (make("CartPole-v1", 3).seed(seed) for seed in (0, 1))
    assert not torch.equal(first_rows(one), first_rows(two))


@pytest.mark.parametrize("name", ["TestRandom-v0", "CartPole-v1"])
@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("autoreset", [False, True])
def test_no_episode_is_replayed(make, name, seed, autoreset):
    """Upstream reseeds at each reset: with seed 0 it plays the same episodes for ever."""
    env = make(name, 4, autoreset=autoreset).seed(seed)
    starts = torch.stack([first_rows(env)[0] for _ in range(5)]).flatten(0, 1)
    assert len(starts.unique(dim=0)) == 20
    if autoreset and name == "TestRandom-v0":
        rows = first_rows(env, 20)
        assert len(rows.unique()) == rows.numel()


def test_environments_of_one_agent_differ(make):
    env = make("CartPole-v1", 16).seed(0)
    assert len(first_rows(env)[0].unique(dim=0)) == 16


def test_a_seed_is_used_once(make):
    """At the next reset; the resets after it continue the streams."""
    env = make(n=2).seed(1)
    play(env, pushes(4))
    play(env, pushes(1))
    for seeds in env.envs.get_attr("seeds"):
        assert seeds[0] is not None
        assert seeds[1:] == [None] * (len(seeds) - 1)
    env.seed(1)
    play(env, pushes(1))
    for seeds in env.envs.get_attr("seeds"):
        assert seeds[-1] == seeds[0]


@pytest.mark.parametrize("mode", MODES)
def test_one_seed_is_the_first_ones_from_which_the_others_count_up(mode):
    """As in Gymnasium, where one number seeds a vector environment; a list is one for each."""
    envs = make_vector_env("TestCounter-v0", 3, vectorization=mode)
    for seed in (7, [4, 2, 9], None):
        envs.reset(seed=seed)
    assert envs.get_attr("seeds") == ([7, 4, None], [8, 2, None], [9, 9, None])
    envs.close()


def test_environments_leave_the_global_generators_alone(make):
    env = make("CartPole-v1", 3).seed(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global one is what this is about
    first_rows(env)
    drawn = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert torch.equal(drawn[0], torch.rand(3))
    assert (drawn[1] == np.random.rand(3)).all()  # noqa: NPY002


# ----------------------------------------------------------------- environments of bbrl_gymnasium


@pytest.mark.parametrize("mode", ["auto", "async"])
def test_cartpole_continuous_runs(make, mode):
    """Upstream calls float() on an array of one number, which numpy 2.4 forbids."""
    env = make("CartPoleContinuous-v1", 3, vectorization=mode).seed(0)
    assert env.get_obs_and_actions_sizes() == (4, 1)
    policy = GaussianPolicy(4, [8], 1)
    torch.manual_seed(0)
    workspace = Workspace()
    TemporalAgent(Agents(env, policy))(workspace, t=0, n_steps=60)
    assert workspace["env/env_obs"].isfinite().all()
    assert workspace["env/done"].any()
    lived = ~torch.cat((torch.ones(1, 3, dtype=torch.bool), workspace["env/done"][:-1]))
    assert (workspace["env/reward"][lived] == 1).all()


def test_cartpole_continuous_obeys_its_actions(make):
    """Pushes to the right and to the left, stronger than allowed, and none."""
    env = make("CartPoleContinuous-v1", 3, autoreset=False).seed(0)
    rows = play(env, [torch.tensor([[1.0], [-5.0], [0.0]])] * 5)
    velocity = rows["env_obs"][5, :, 1] - rows["env_obs"][0, :, 1]
    assert velocity[0] > 0.8
    assert velocity[1] < -0.8
    assert velocity[2].abs() < 0.2


def test_wrappers_see_the_actions_of_cartpole_continuous_as_its_space_has_them(make):
    """What is worked around is so next to the environment, behind all of them."""
    seen = []

    class Sees(gym.ActionWrapper):
        def action(self, action):
            seen.append(action.shape)
            return action

    play(make("CartPoleContinuous-v1", 2, wrappers=[Sees]), [torch.zeros(2, 1)])
    assert seen == [(1,)] * 2


def test_cartpole_continuous_is_worked_around_and_not_patched():
    """The environment's class stays as its authors made it."""
    EnvAgent("CartPoleContinuous-v1", 1).close()
    from bbrl_gymnasium.envs import ContinuousCartPoleEnv

    assert ContinuousCartPoleEnv.step.__module__ == "bbrl_gymnasium.envs.continuous_cartpole"
    assert gym.spec("CartPoleContinuous-v1").entry_point == (
        "bbrl_gymnasium.envs:ContinuousCartPoleEnv"
    )


# On some ways through it, it returns the same info twice; which one is taken is left to chance.
@pytest.mark.filterwarnings("ignore:.*infos returned by:UserWarning")
@pytest.mark.filterwarnings("ignore:MazeMDP-v0 draws from np.random")  # as it does
def test_a_maze_that_is_described_runs(make):
    """Its own defaults are out of date; with a description it works, under numpy 2.4 too."""
    maze = {"width": 3, "height": 3, "walls": [4], "terminal_states": [7], "start_states": [0]}
    env = make("MazeMDP-v0", env_args={"kwargs": maze}, autoreset=False)
    policy = DiscretePolicy(*env.get_obs_and_actions_sizes()[:1], [8], 4)
    workspace = Workspace()
    TemporalAgent(Agents(env, policy))(workspace, t=0, n_steps=20)
    assert env.get_obs_and_actions_sizes() == (8, 4)
    assert workspace["env/env_obs"][0].tolist() == [0, 0]
    assert (workspace["env/env_obs"] < 8).all()


def test_a_maze_without_a_description_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"MazeMDP-v0' cannot be made: .*start_states") as error:
        EnvAgent("MazeMDP-v0", 2)
    assert "\n" not in str(error.value)


def test_the_rocket_is_refused_in_one_line():
    """It speaks the API of gym before 0.26: better said now than in the first step."""
    with pytest.raises(ConfigError, match=r"RocketLander-v0' cannot be used: .* 4 values"):
        EnvAgent("RocketLander-v0", 2)


# ------------------------------------------------------------------------------------- closing


def test_workers_are_gone_after_close():
    env = EnvAgent("TestRandom-v0", 3, vectorization="async")
    workers = list(env.envs.processes)
    first_rows(env)
    env.close()
    assert not any(worker.is_alive() for worker in workers)
    env.close()  # twice does no harm


def test_close_returns_though_an_environment_hangs(monkeypatch):
    """Gymnasium's close() waits for ever."""
    for module in (workers, worker_process):
        monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
    with pytest.warns(UserWarning, match=r"HangsWhenClosed-v0 did not close: after 0\.1 s"):
        env = EnvAgent("TestHangsWhenClosed-v0", 2, vectorization="async")
    first_rows(env)
    processes = list(env.envs.processes)
    with pytest.warns(UserWarning, match=r"environment 0 of 2 .*v0\) did not close: after 0\.1 s"):
        env.close()
    assert not any(process.is_alive() for process in processes)


def test_close_returns_though_a_worker_was_killed():
    env = EnvAgent("TestRandom-v0", 2, vectorization="async")
    first_rows(env)
    workers = list(env.envs.processes)
    workers[0].kill()
    workers[0].join()
    with pytest.raises(Exception, match=r".*"):
        first_rows(env)
    env.close()
    assert not any(worker.is_alive() for worker in workers)


def test_close_returns_after_an_interrupted_step():
    """Ctrl-C between sending the actions and receiving the rows."""
    env = EnvAgent("TestRandom-v0", 2, vectorization="async")
    first_rows(env)
    workers = list(env.envs.processes)
    env.envs.step_async(np.zeros(2, dtype=np.int64))
    env.close()
    assert not any(worker.is_alive() for worker in workers)


def test_interrupted_environments_can_be_used_again(make):
    """An error leaves no workspace behind in the agent."""
    env = make()
    with pytest.raises(ValueError, match="the environment takes"):
        play(env, [torch.zeros(5)])
    assert env.workspace is None
    assert play(env, pushes(2))["timestep"][:, 0].tolist() == [0, 1, 2]


def test_an_agent_of_bbrl_by_type(make):
    """What a notebook asks it: spaces, kinds, sizes."""
    env = make("CartPole-v1")
    assert isinstance(env, bbrl.agents.gymnasium.GymAgent)
    assert env.get_observation_space().shape == (4,)
    assert env.get_action_space().n == 2
    assert env.is_discrete_action()
    assert not env.is_continuous_action()
    assert env.is_continuous_state()
    assert env.get_obs_and_actions_sizes() == (4, 2)


def test_greedy_evaluation_loop(make):
    """The way bbrl evaluates: until everything is done."""
    env = make("CartPole-v1", 4, autoreset=False).seed(0)
    greedy = KWAgentWrapper(DiscretePolicy(4, [8], 2), stochastic=False)
    workspace = Workspace()
    TemporalAgent(Agents(env, greedy))(workspace, t=0, stop_variable="env/done")
    assert workspace["env/done"][-1].all()
    assert not workspace["env/done"][-2].all()
    returns = workspace["env/cumulated_reward"][-1]
    assert torch.equal(returns, workspace["env/reward"].sum(0))


def test_make_vector_env_alone():
    """The benchmark and a notebook may want Gymnasium's object itself."""
    vector = make_vector_env("CartPole-v1", 3)
    assert vector.num_envs == 3
    vector.close()
    TemporalAgent(Agents(AllSame(torch.zeros(2))))(Workspace(), t=0, n_steps=2)


def test_the_first_row_of_an_episode_has_no_reward_whatever_the_environment_says(make):
    """Gymnasium asks vector environments for a 0 there; one that gives another changes nothing."""
    env = make(env_args={"length": 2})
    step = env.envs.step

    def generous(actions):
        observation, reward, *rest = step(actions)
        return observation, reward + 5, *rest

    env.envs.step = generous
    rows = play(env, pushes(7))
    done = rows["done"][:-1]
    assert done.any()
    first = torch.cat((torch.ones(1, 2, dtype=torch.bool), done))
    for name in ("reward", "cumulated_reward", "timestep"):
        assert not rows[name][first].any(), name
    for b in range(2):
        assert rows["cumulated_reward"][:, b].tolist() == pytest.approx(
            [float(rows["reward"][t - rows["timestep"][t, b] : t + 1, b].sum()) for t in range(8)]
        )
