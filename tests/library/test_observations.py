"""Dict and Tuple observations: taken apart by environments, put together for agents."""

import gymnasium as gym
import numpy as np
import pytest
import space_envs
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Tuple
from gymnasium.vector import SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_envs import config
from space_envs import space_config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents.encoders import encoder
from ppo_bbrl.agents.observations import as_variables, observation_at, observation_in
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.faults import UnfitError
from ppo_bbrl.envs.parts import parts_of, taken_apart
from ppo_bbrl.envs.space_data import as_data, from_data
from ppo_bbrl.envs.spaces import as_observation, check_supported
from ppo_bbrl.errors import ConfigError, EnvironmentFailedError
from ppo_bbrl.seeding import env_seeds
from ppo_bbrl.workspace.table import Workspace

FLAG = Box(0, 1, (1,), np.float32)
NESTED = Dict({"b": Dict(inner=Discrete(3, start=5)), "a": Tuple((FLAG, MultiBinary(2)))})
SEEN = {
    "b": {"inner": np.array([5, 7])},
    "a": (np.array([[0.5], [1.0]], np.float32), np.array([[0, 1], [1, 1]], np.int8)),
}


def test_parts_have_paths():
    assert list(parts_of(NESTED)) == ["a/0", "a/1", "b/inner"]
    assert parts_of(FLAG) == {"": FLAG}


def test_what_agents_get_of_nested_observations():
    """By path, as rows of the workspace: indices from 0, floats."""
    obs = as_observation(NESTED, SEEN)
    assert {path: part.tolist() for path, part in obs.items()} == {
        "a/0": [[0.5], [1.0]],
        "a/1": [[0.0, 1.0], [1.0, 1.0]],
        "b/inner": [0, 2],
    }
    assert list(as_variables(obs)) == ["env/env_obs/a/0", "env/env_obs/a/1", "env/env_obs/b/inner"]
    assert observation_in({**as_variables(obs), "action": torch.zeros(2)}) == obs
    features, n = encoder(NESTED)
    assert n == 6
    assert features(obs).tolist() == [[0.5, 0, 1, 1, 0, 0], [1, 1, 1, 0, 0, 1]]


@given(
    spaces=st.recursive(
        st.just(FLAG),
        lambda inner: (
            st.dictionaries(
                st.text("abc./ é", min_size=1, max_size=3), inner, min_size=1, max_size=3
            ).map(Dict)
            | st.lists(inner, min_size=1, max_size=3).map(Tuple)
        ),
    )
)
@settings(max_examples=50, deadline=None)
def test_every_part_of_a_sample_has_its_place(spaces):
    """And a space in a file is the same one again; or its keys are refused."""
    try:
        parts = parts_of(spaces)
    except ConfigError:
        return
    found = taken_apart(spaces, spaces.sample())
    assert len(found) == len(parts)
    assert all(space.contains(one) for space, one in zip(parts.values(), found, strict=True))
    again = from_data(as_data(spaces))
    assert again == spaces
    assert list(parts_of(again)) == list(parts)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (Dict({"a/b": FLAG}), "its key 'a/b' must be a non-empty string without /"),
        (Dict({"": FLAG}), "its key ''"),
        (Dict({1: FLAG}), "its key 1"),
        (Dict({"a\n": FLAG}), r"its key 'a\\n'"),
        (Dict({}), "it is empty"),
        (Dict({"a": Tuple([])}), "its part 'a' is empty"),
    ],
)
def test_keys_that_are_no_path(space, told):
    expected = f"Env-v0: its observation space .* is not supported: {told}"
    with pytest.raises(ConfigError, match=expected) as error:
        check_supported("Env-v0", space, Discrete(2))
    assert "\n" not in str(error.value)


NOTHING = Box(-1, 1, (2, 0))


@pytest.mark.parametrize(
    ("spaces", "told"),
    [
        ((NOTHING, FLAG), r"observation space Box.* is not supported: it has no numbers"),
        ((Dict(a=NOTHING), FLAG), "observation space .*: its part 'a' has no numbers"),
        ((FLAG, NOTHING), "action space .*: it has no numbers"),
        ((FLAG, Dict(a=FLAG, b=NOTHING)), "action space .*: its part 'b' has no numbers"),
    ],
)
def test_spaces_without_a_number(spaces, told):
    with pytest.raises(ConfigError, match=told):
        check_supported("Env-v0", *spaces)
    check_supported("Env-v0", Dict(a=NOTHING, b=FLAG), FLAG)  # the rest can be learned from


def test_spaces_that_are_too_deep():
    space = FLAG
    for _ in range(8):
        space = Dict(a=space)
    check_supported("Env-v0", space, Discrete(2))
    with pytest.raises(ConfigError, match="deeper than 8"):
        check_supported("Env-v0", Tuple((space,)), Discrete(2))
    data = as_data(FLAG)
    for _ in range(9):
        data = {"kind": "Tuple", "spaces": [data]}
    with pytest.raises(ValueError, match="too deep"):
        from_data(data)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"a": SEEN["a"]}, r"a dict of \['a'\]; expected a dict of \['a', 'b'\]"),
        (SEEN | {"c": 1}, "expected a dict of"),
        (SEEN | {"a": SEEN["a"][:1]}, "at a is a tuple of 1 values; expected a tuple of 2"),
        (SEEN | {"b": 3}, r"at b is 3; expected a dict of \['inner'\]"),
    ],
)
def test_what_is_missing_in_an_observation(seen, told):
    with pytest.raises(UnfitError, match=told):
        taken_apart(NESTED, seen)


class Partly(gym.Env):
    """Leaves a part out, or gives another one, in its second step."""

    observation_space, action_space = Dict(a=FLAG, b=Discrete(2)), Discrete(2)
    right = {"a": np.zeros(1, np.float32), "b": 1}  # noqa: RUF012

    def __init__(self, wrong="missing"):
        self.wrong = {"missing": {"a": np.zeros(1)}, "other": {"a": np.zeros(1), "b": 2}}[wrong]

    def reset(self, **_):
        self.t = 0
        return self.right, {}

    def step(self, action):
        self.t += 1
        return (self.wrong if self.t == 2 else self.right), 0.0, False, False, {}


gym.register("Partly-v0", Partly, disable_env_checker=True)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("wrong", "told"), [("missing", "a dict of ['a']"), ("other", "its observation is 2")]
)
def test_an_environment_that_gives_other_parts(wrong, told, vectorization):
    cfg = config("Partly-v0", n_envs=2)
    cfg["gym_env"] |= {"env_args": {"wrong": wrong}, "vectorization": vectorization}
    with pytest.raises(EnvironmentFailedError, match="environment 0 of 2") as error:
        run(PPOClip(cfg))
    assert told in str(error.value)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("kind", ["dict", "tuple", "dict_in_tuple"])
def test_rows_of_the_workspace_are_what_environments_return(kind, vectorization):
    """Each part in a variable of its own, in one process and in several, as Gymnasium gives it."""
    env_args = {"observation": kind, "length": 2}
    env = EnvAgent("Space-v0", 3, env_args=env_args, vectorization=vectorization)
    theirs = SyncVectorEnv([lambda: gym.make("Space-v0", **env_args)] * 3)
    workspace = Workspace()
    observed, _ = theirs.reset(seed=env_seeds(np.random.SeedSequence(1), 3))
    try:
        env.seed(1)
        for t in range(6):
            env(workspace, t=t)
            found, expected = observation_at(workspace, t), as_observation(space_of(kind), observed)
            assert list(found) == list(expected) == list(parts_of(space_of(kind)))
            assert all(torch.equal(found[path], expected[path]) for path in found)
            assert all(found[path].dtype == expected[path].dtype for path in found)
            workspace.set("action", t, torch.ones(3, dtype=torch.int64))
            observed, *_ = theirs.step(np.full(3, 3))
    finally:
        env.close()
    assert set(env.observation_names) == {n for n in workspace.variables if "env_obs" in n}


def space_of(kind):
    return (space_envs.OBSERVATIONS | space_envs.MORE_OBSERVATIONS)[kind]


@pytest.mark.wide(13)
@pytest.mark.parametrize("kind", [*space_envs.OBSERVATIONS, *space_envs.MORE_OBSERVATIONS])
@pytest.mark.parametrize("action", ["discrete", "box"])
def test_a_run_on_every_kind_of_observation(kind, action):
    """Agents of one's own get the same: they are tried on such observations first."""
    cfg = space_config(kind, action)
    first = PPOClip(cfg)
    own = PPOClip(cfg, train_policy=first.train_policy, critic_agent=first.critic_agent)
    run(own)
    assert own.nb_steps > 20
