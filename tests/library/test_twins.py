"""Vectorised implementations of tasks: taken only where they are the same task."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from probe_envs import config

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.envs import twins
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.vector import choose_vectorization, find_spec, make_vector_env
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.ppo import PPOClip

# --------------------------------------------------------------------------------- the list

#: for each pair of `twins`: a task that is registered with it, and the arguments to compare
COMPARED = {
    "CartPole-v0": [{}],
    "CartPole-v1": [
        {},
        {"max_episode_steps": 7},
        {"max_episode_steps": 1},
        {"sutton_barto_reward": True},
        {"sutton_barto_reward": False, "max_episode_steps": 12},
    ],
}


def test_every_pair_of_the_list_is_compared():
    pairs = {twins._entry_points(find_spec(name)) for name in COMPARED}
    assert pairs == set(twins._TWINS)
    for pair, arguments in twins._TWINS.items():
        tried = {
            name
            for task, many in COMPARED.items()
            for args in many
            for name in args
            if twins._entry_points(find_spec(task)) == pair
        }
        assert tried - {"max_episode_steps"} == arguments


def trace(name, args, vectorization, policy, seed, steps=600):
    """Everything that one environment answers, from the same seed and to the same actions."""
    envs = make_vector_env(name, 1, env_args=args, vectorization=vectorization)
    rows = [envs.reset(seed=seed)[0].copy()]
    for t in range(steps):
        rows.append([np.array(x) for x in envs.step(np.array([policy(t, rows[-1])]))[:4]])
    envs.close()
    return rows


POLICIES = {
    "falls": lambda _t, _row: 1,
    "random": lambda t, _row: int(np.random.default_rng(t).integers(2)),
    "stays up": lambda _t, row: int(row[0][0, 2] + 0.3 * row[0][0, 3] > 0) if len(row) == 4 else 0,
}


@pytest.mark.wide(7)
@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
@pytest.mark.parametrize(("name", "args"), [(n, a) for n, many in COMPARED.items() for a in many])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_twin_is_the_same_task_step_by_step(name, args, policy):
    """Observation, reward, terminated, truncated; over several episodes, limits included."""
    vectorised, single = (
        trace(name, args, mode, POLICIES[policy], seed=5) for mode in ("vector_entry_point", "sync")
    )
    for one, other in zip(vectorised, single, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
    ends = sum(bool(row[2][0] or row[3][0]) for row in single[1:])
    assert ends >= 1, "nothing was seen of an end"


def test_the_twin_is_the_same_task_in_every_environment():
    """Many environments side by side: each is the single one in its state."""
    envs = CartPoleVectorEnv(8)
    one = gym.make("CartPole-v1").unwrapped
    envs.reset(seed=3)
    one.reset()
    chance = np.random.default_rng(0)
    for _ in range(60):
        before, new = envs.state.copy(), envs.prev_done.copy()
        actions = chance.integers(2, size=8)
        observation, reward, terminated, truncated, _ = envs.step(actions)
        for i in np.flatnonzero(~new):
            one.state, one.steps_beyond_terminated = before[:, i], None
            expected = one.step(int(actions[i]))
            np.testing.assert_allclose(observation[i], expected[0], rtol=1e-6)
            assert (reward[i], terminated[i], truncated[i]) == (*expected[1:3], False)


# --------------------------------------------------------------------- tasks that are not twins


class Walk(gym.Env):
    """Rewards of 2 a step; ends after `length` of them."""

    observation_space = Box(-9, 9, (2,), np.float32)
    action_space = Discrete(2)

    def __init__(self, length=6, bonus=0.0, render_mode=None):
        self.length, self.bonus, self.render_mode = length, bonus, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        return (
            np.full(2, self.t % 9, np.float32),
            2.0 + self.bonus,
            self.t >= self.length,
            False,
            {},
        )


class ClippedWalk(VectorEnv):
    """As a vectorised task may be: the rewards are clipped to 1."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - as in Gymnasium
    space = Walk.observation_space

    def __init__(self, num_envs, max_episode_steps=100, length=6, **ignored):
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = self.space, Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed=None, options=None):
        return np.zeros(self.observation_space.shape, self.space.dtype), {}

    def step(self, actions):
        never = np.zeros(self.num_envs, bool)
        return self.reset()[0], np.ones(self.num_envs), never, never, {}


class OtherPictures(ClippedWalk):
    space = Box(0, 255, (84, 84, 4), np.uint8)


class OtherReset(ClippedWalk):
    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - as in Gymnasium


class Unlimited(ClippedWalk):
    def __init__(self, num_envs, length=6):
        super().__init__(num_envs)


def register(name, single=Walk, vectorised=ClippedWalk, **spec):
    gym.register(f"Twin{name}-v0", single, vector_entry_point=vectorised, **spec)


register("Clipped", max_episode_steps=50)
register("Endless")
register("EndlessToo", vectorised=Unlimited)
register("NoLimitTold", vectorised=Unlimited, max_episode_steps=50)
register("OtherPictures", vectorised=OtherPictures, max_episode_steps=50)
register("OtherReset", vectorised=OtherReset, max_episode_steps=50)
register("Bonus", max_episode_steps=50, kwargs={"bonus": 3.0})
register(
    "Wrapped",
    max_episode_steps=50,
    additional_wrappers=(gym.wrappers.RecordEpisodeStatistics.wrapper_spec(),),
)
register("Mine", CartPoleEnv, CartPoleVectorEnv)
gym.register(
    "TwinWithoutLimit-v0",
    "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    vector_entry_point="gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv",
)
gym.register(
    "TwinWithWrapper-v0",
    "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    vector_entry_point="gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv",
    max_episode_steps=500,
    additional_wrappers=(gym.wrappers.RecordEpisodeStatistics.wrapper_spec(),),
)
gym.register(
    "twin/Short-v7",
    "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
    vector_entry_point="gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv",
    max_episode_steps=9,
)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("CartPole-v1", {"max_episode_steps": -1}),
        ("CartPole-v1", {"render_mode": "rgb_array"}),
        ("CartPole-v1", {"disable_env_checker": True}),
        ("TwinClipped-v0", {}),
        ("TwinClipped-v0", {"length": 3}),
        ("TwinEndless-v0", {}),
        ("TwinBonus-v0", {}),
        ("TwinWrapped-v0", {}),
        ("TwinOtherPictures-v0", {}),
        ("TwinMine-v0", {"max_episode_steps": 5}),
        ("TwinWithoutLimit-v0", {}),
        ("TwinWithWrapper-v0", {}),
    ],
)
def test_auto_takes_no_other_task(name, args):
    envs = make_vector_env(name, 2, env_args=args)
    assert isinstance(envs, SyncVectorEnv)
    envs.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "gymnasium:CartPole-v1", "twin/Short-v7"])
def test_auto_knows_a_twin_under_any_name(name):
    """By what makes it, so that a registration of one's own has its own limit."""
    assert choose_vectorization(name, {}) == "vector_entry_point"


def test_auto_takes_no_twin_with_wrappers():
    wrappers = [gym.wrappers.RecordEpisodeStatistics]
    wrapped = make_vector_env("CartPole-v1", 2, wrappers=wrappers)
    assert isinstance(wrapped, SyncVectorEnv)
    wrapped.close()


def test_a_name_that_was_registered_anew(monkeypatch):
    """Another task of the same name is not CartPole."""
    spec = gym.envs.registration.EnvSpec(
        "CartPole-v1", Walk, max_episode_steps=9, vector_entry_point=ClippedWalk
    )
    monkeypatch.setitem(gym.registry, "CartPole-v1", spec)
    assert choose_vectorization("CartPole-v1", {}) == "sync"


def test_no_limit_means_no_truncation():
    """The vectorised CartPole truncates in every single step."""
    envs = make_vector_env("CartPole-v1", 4, env_args={"max_episode_steps": -1})
    envs.reset(seed=0)
    for t in range(50):
        assert not envs.step(np.full(4, t % 2))[3].any()
    envs.close()


# ---------------------------------------------------------------------- explicit requests


@pytest.mark.parametrize(
    ("name", "args", "wrappers", "told"),
    [
        ("CartPole-v1", {}, [gym.wrappers.RecordEpisodeStatistics], "wrappers"),
        ("CartPole-v1", {"max_episode_steps": -1}, [], "time limit"),
        ("TwinWithoutLimit-v0", {}, [], "time limit"),
        ("TwinEndless-v0", {}, [], "time limit"),
        ("TwinEndlessToo-v0", {"max_episode_steps": -1}, [], "time limit"),
        ("TwinNoLimitTold-v0", {}, [], "50 steps"),
        ("TwinEndlessToo-v0", {"max_episode_steps": 3}, [], "3 steps"),
        ("TwinClipped-v0", {"bonus": 3.0}, [], "bonus"),
        ("TwinClipped-v0", {"render_mode": "rgb_array"}, [], "render_mode"),
        ("TwinBonus-v0", {}, [], "bonus"),
        ("TwinWrapped-v0", {}, [], "wrappers"),
        ("TwinWithWrapper-v0", {}, [], "wrappers"),
        ("TwinOtherPictures-v0", {}, [], "observation space"),
        ("TwinOtherReset-v0", {}, [], "autoreset"),
    ],
)
def test_what_would_lose_something_is_refused(name, args, wrappers, told):
    with pytest.raises(ConfigError) as error:
        make_vector_env(
            name, 2, env_args=args, wrappers=wrappers, vectorization="vector_entry_point"
        )
    message = str(error.value)
    assert message.startswith("gym_env.vectorization = vector_entry_point: ")
    assert told in message.removeprefix("gym_env.vectorization = vector_entry_point: ")
    assert name in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("TwinClipped-v0", {"length": 3}),
        ("TwinEndlessToo-v0", {}),
        ("CartPole-v1", {"sutton_barto_reward": True}),
        ("CartPole-v1", {"render_mode": "rgb_array"}),
    ],
)
def test_what_loses_nothing_that_can_be_seen_is_taken(name, args):
    """Of one that nobody has compared, a line says so: ClippedWalk has other rewards."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        envs = make_vector_env(name, 2, env_args=args, vectorization="vector_entry_point")
    assert not isinstance(envs, SyncVectorEnv)
    envs.close()
    compared = name == "CartPole-v1" and "render_mode" not in args
    messages = [str(one.message) for one in told]
    assert len(messages) == (not compared)
    assert all(name in message and "rewards" in message for message in messages)


def test_of_a_task_without_a_vectorised_self_nothing_is_lost():
    """Gymnasium says that there is none."""
    spec = find_spec("Pendulum-v1")
    assert spec.vector_entry_point is None
    assert twins.what_is_lost(spec, {}, []) == ""


def test_a_vectorised_task_that_cannot_be_imported():
    gym.register("TwinMissing-v0", Walk, vector_entry_point="no_such_module:Walk")
    with pytest.raises(ConfigError, match=r"TwinMissing-v0.* cannot be made: .*no_such_module"):
        make_vector_env("TwinMissing-v0", 1, vectorization="vector_entry_point")


# ------------------------------------------------------------------------------------ a run


@pytest.mark.parametrize(
    ("name", "args", "chosen"),
    [
        ("CartPole-v1", {}, "vector_entry_point"),
        ("CartPole-v1", {"max_episode_steps": -1}, "sync"),
        ("TwinClipped-v0", {}, "sync"),
    ],
)
def test_what_auto_chose_is_in_the_runs_configuration(name, args, chosen):
    cfg = config(name)
    cfg["gym_env"]["env_args"] = args
    algo = PPOClip(cfg)
    assert load_config(algo.folder.config).gym_env.vectorization == chosen
    assert isinstance(algo.eval_env.envs, SyncVectorEnv) == (chosen == "sync")
    algo.close()


def test_what_is_reported_is_the_return_of_the_task():
    """Not of a vectorised one whose rewards are clipped: Walk gives 2 in each of its 6 steps."""
    algo = PPOClip(config("TwinClipped-v0"))
    algo.evaluate(force=True)
    assert algo.best_reward == 12
    algo.close()


def test_atari_is_not_its_vectorised_self():
    """Which clips rewards, and sees four grey pictures of 84 × 84."""
    ale_py = pytest.importorskip("ale_py", reason="ale-py is not installed: pip install ale-py")
    gym.register_envs(ale_py)
    env = EnvAgent("ALE/Pong-v5", 1)
    assert isinstance(env.envs, SyncVectorEnv)
    assert env.observation_space.shape == (210, 160, 3)
    env.close()
    with pytest.raises(ConfigError, match="observation space"):
        make_vector_env("ALE/Pong-v5", 1, vectorization="vector_entry_point")
