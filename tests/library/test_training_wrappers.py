"""`gym_env.training_wrappers`: training is of another task than evaluations, and says so."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from omegaconf import OmegaConf
from probe_envs import config

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.config.atari import EpisodicLife, FireReset
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import ConfigError


class Game(gym.Env):
    """Two lives of three steps each, as a game of Atari has them; each step brings 5."""

    observation_space = Box(0, 99, (2,), np.float32)
    action_space = Discrete(3)
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, render_mode=None, meanings=("NOOP", "FIRE", "UP")):
        self.render_mode, self.meanings = render_mode, list(meanings)
        self.ale, self.t, self.resets, self.actions = self, 0, 0, []

    def get_action_meanings(self):
        return self.meanings

    def lives(self):
        return max(0, 2 - self.t // 3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.resets = 0, self.resets + 1
        return self._observe(), {}

    def step(self, action):
        self.actions.append(int(action))
        self.t += 1
        return self._observe(), 5.0, self.lives() == 0, False, {}

    def _observe(self):
        return np.array([self.t, self.resets], np.float32)

    def render(self):
        return np.full((16, 16, 3), 128, np.uint8)


gym.register("Game-v0", Game, disable_env_checker=True)
LIVES = ["EpisodicLife", {"classname": "ClipReward", "min_reward": -1, "max_reward": 1}]


def settings(*, wrappers=(), training=LIVES, **algorithm):
    cfg = config("Game-v0", **{"max_epochs": 2, "nb_evals": 2} | algorithm)
    cfg["gym_env"] |= {"wrappers": list(wrappers), "training_wrappers": list(training)}
    return cfg


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_evaluations_and_videos_are_of_the_task_itself(vectorization):
    """In training a life is an episode, and a reward at most 1."""
    cfg = settings(eval_interval=1)
    cfg["gym_env"]["vectorization"] = vectorization
    algo = PPOClip(cfg)
    run(algo)
    rewards, lengths = algo._workspace["env/reward"], algo._workspace["env/timestep"]
    assert rewards.max() == 1
    assert lengths.max() == 3
    assert algo.best_reward == 30
    assert algo.evaluate_policy(algo.eval_policy, 1).returns.tolist() == [30.0]
    assert algo.record_best(max_steps=9).is_file()
    saved = OmegaConf.load(Path(algo.base_dir) / "config.yaml").gym_env
    assert OmegaConf.to_container(saved.training_wrappers) == LIVES
    env = ppo_bbrl.load(algo.base_dir).make_env()
    assert not isinstance(env, EpisodicLife)
    assert "ClipReward" not in str(env)
    again = PPOClip(load_config(Path(algo.base_dir) / "config.yaml", ["base_dir=again"]))
    assert again.train_env.envs.envs[0].has_wrapper_attr("_lives") if vectorization == "sync" else 1
    again.close()


def test_a_life_is_an_episode_and_the_game_goes_on():
    env = EpisodicLife(Game())
    seen, _ = env.reset(seed=1)
    rows = [seen.tolist()]
    for _ in range(2):
        terminated = False
        while not terminated:
            seen, reward, terminated, truncated, _ = env.step(2)
            rows.append(seen.tolist())
            assert (reward, truncated) == (5.0, False)
        rows.append(env.reset()[0].tolist())
    # The second life begins with an action that does nothing; the third episode is a new game.
    assert [t for t, _ in rows] == [0, 1, 2, 3, 4, 5, 6, 0]
    assert rows[-1][1] == 2
    assert env.unwrapped.actions == [2, 2, 2, 0, 2, 2]
    env.step(2)
    assert env.reset()[0].tolist() == [2, 2]  # a life goes on where an episode was left
    assert env.reset(seed=3)[0].tolist() == [0, 3]


def test_a_game_that_ends_by_doing_nothing_begins_anew():
    env = EpisodicLife(gym.wrappers.TimeLimit(Game(), 4))
    env.reset(seed=1)
    for _ in range(3):
        *_, terminated, _, _ = env.step(2)
    assert terminated
    assert env.reset()[0].tolist() == [0, 2]


def test_the_fire_button_is_pressed_where_there_is_one():
    game = Game()
    seen, _ = FireReset(game).reset()
    assert game.actions == [1, 2]
    assert seen.tolist() == [2, 1]
    quiet = Game(meanings=("NOOP", "UP", "DOWN"))
    FireReset(quiet).reset()
    assert quiet.actions == []
    ends = gym.wrappers.TimeLimit(Game(), 2)
    assert FireReset(ends).reset()[0].tolist() == [0, 2]


REFUSED = {
    "unknown": (["EpisodicLives"], r"training_wrappers\[0\] = 'EpisodicLives'.*EpisodicLife"),
    "one of your own": ([{"callable": "a.B"}], r"training_wrappers\[0\] = .*must be the name of a"),
    "another space": (
        ["RecordEpisodeStatistics", {"classname": "FrameStackObservation", "stack_size": 2}],
        r"FrameStackObservation fails: .* not change the observation space, .* gym_env\.wrappers$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(case):
    wrappers, told = REFUSED[case]
    with pytest.raises(ConfigError, match=told) as error:
        PPOClip(settings(training=wrappers))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["EpisodicLife", "FireReset"])
def test_other_tasks_have_neither_lives_nor_a_button(name):
    cfg = config("CartPole-v1")
    cfg["gym_env"]["training_wrappers"] = [name]
    with pytest.raises(ConfigError, match=f"{name} fails: {name} is for games of Atari"):
        PPOClip(cfg)


def test_a_vectorised_task_with_training_wrappers_is_not_vectorised():
    cfg = config("CartPole-v1")
    cfg["gym_env"]["training_wrappers"] = [
        {"classname": "ClipReward", "min_reward": 0, "max_reward": 0.5}
    ]
    algo = PPOClip(cfg)
    assert algo.cfg.gym_env.vectorization == "sync"
    workspace = next(algo.iter_partial_episodes(5))
    assert workspace["env/reward"].max() == 0.5
    algo.close()
