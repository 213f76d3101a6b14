"""What an environment is made with: plain Python, and its own, whoever makes it."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from omegaconf import OmegaConf

from ppo_bbrl import PPOClip
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.vector import longest_episode, own_copy
from ppo_bbrl.errors import ConfigError

SEEN = []
ARGUMENTS = {
    "layout": ["SF", "FG"],
    "options": {"wind": [0.1, {"gusts": [1, 2]}]},
    "number": 3,
    "fraction": 0.5,
    "flag": True,
}


class Described(gym.Env):
    """Keeps notes in what it was given."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Discrete(2)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as Gymnasium's

    def __init__(self, layout, options, number, fraction, flag, render_mode=None):
        self.render_mode = render_mode
        given = {"layout": layout, "options": options, "number": number, "fraction": fraction}
        SEEN.append(json.loads(json.dumps({**given, "flag": flag})))
        assert type(layout) is list
        assert type(options) is dict
        assert type(options["wind"]) is list
        assert type(options["wind"][1]) is dict
        assert (type(number), type(fraction), type(flag)) == (int, float, bool)
        layout.append("visited")
        options["wind"][1]["gusts"].clear()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, True, False, {}

    def render(self):
        return np.zeros((32, 32, 3), np.uint8)


gym.register("TestDescribed-v0", Described)


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


def config(vectorization):
    gym_env = {
        "env_name": "TestDescribed-v0",
        "env_args": ARGUMENTS,
        "vectorization": vectorization,
    }
    algorithm = {"n_envs": 2, "n_steps": 4, "max_epochs": 1, "nb_evals": 2}
    return OmegaConf.create({"gym_env": gym_env, "algorithm": algorithm})


@pytest.mark.parametrize("mode", ["auto", "async"])
def test_each_environment_of_a_run_has_arguments_of_its_own(mode):
    """In training, in an evaluation and for a video; the configuration stays as it was."""
    cfg = config(mode)
    algo = PPOClip(cfg)
    algo.evaluate(force=True)
    algo.record_best()
    algo.close()
    assert OmegaConf.to_container(cfg)["gym_env"]["env_args"] == ARGUMENTS
    assert OmegaConf.to_container(algo.cfg)["gym_env"]["env_args"] == ARGUMENTS
    assert len(SEEN) >= (1 if mode == "async" else 5)  # those in processes are seen there
    assert all(seen == ARGUMENTS for seen in SEEN)


def test_environments_of_lightning_have_arguments_of_their_own():
    lightning = pytest.importorskip("ppo_bbrl.lightning")
    for env_id in ("TestDescribed-v0", Described):
        lightning.make_vec_env(env_id, 3, env_kwargs=OmegaConf.create(ARGUMENTS)).close()
    assert SEEN == [ARGUMENTS] * 6


def test_a_copy_leaves_everything_else_as_it_is():
    space, array = Box(-1, 1, (2,)), np.zeros(2)
    given = {"space": space, "array": array, "both": ([1], "a"), "number": np.int64(3)}
    got = own_copy(given)
    assert got["space"] is space
    assert got["array"] is array
    assert got["both"] == ([1], "a")
    assert got["both"][0] is not given["both"][0]
    assert type(got["number"]) is int


def test_a_limit_that_is_numpys_integer():
    limit = {"max_episode_steps": np.int64(7)}
    env = EnvAgent("CartPole-v1", 1, env_args=limit, vectorization="sync")
    assert env.envs.envs[0].spec.max_episode_steps == 7
    env.close()
    with pytest.raises(ConfigError, match=r"max_episode_steps = 0\.5: must be an integer"):
        EnvAgent("CartPole-v1", 1, env_args={"max_episode_steps": np.float32(0.5)})


@pytest.mark.parametrize("limit", [0, -2, 2.0, True, False, None, "7"])
@pytest.mark.parametrize("vectorization", ["auto", "sync"])
def test_what_is_no_limit_is_refused(limit, vectorization):
    """Gymnasium's vectorised CartPole would take `True` for one step, and -2 for no limit."""
    with pytest.raises(ConfigError, match=r"max_episode_steps = .*: must be an integer ≥ 1, or -1"):
        EnvAgent(
            "CartPole-v1", 1, env_args={"max_episode_steps": limit}, vectorization=vectorization
        )


@pytest.mark.parametrize(("limit", "expected"), [(1, 1), (7, 7), (-1, None)])
def test_what_is_a_limit_is_taken(limit, expected):
    env_args = {"max_episode_steps": limit}
    env = EnvAgent("CartPole-v1", 1, env_args=env_args, vectorization="sync")
    assert env.envs.envs[0].spec.max_episode_steps == expected
    env.close()


def test_the_end_of_an_evaluation_is_looked_up_with_plain_arguments(monkeypatch):
    """EnvPool's C++ takes no list of OmegaConf."""
    from ppo_bbrl.envs import envpool as envpool_envs

    kinds = []

    def time_limit(_, env_args):
        kinds.append((type(env_args), type(env_args["layout"])))

    monkeypatch.setattr(envpool_envs, "time_limit", time_limit)
    cfg = config("envpool")
    cfg.algorithm.max_eval_steps = None
    assert longest_episode(cfg) == 10_000
    assert kinds == [(dict, list)]
