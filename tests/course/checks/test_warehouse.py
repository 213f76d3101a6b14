"""The grid world of notebook 06: its rules, its mask, its picture."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from ppo_course.nb06_spaces.warehouse import (
    DOOR,
    IN_HAND,
    PLACES,
    PUT_DOWN,
    SIZES,
    TIME_LIMIT,
    Warehouse,
    register_warehouse,
)

NORTH, EAST, SOUTH, WEST = range(4)


@pytest.fixture
def env():
    warehouse = Warehouse("rgb_array")
    warehouse.reset(seed=0)
    warehouse.robot, warehouse.parcel, warehouse.kind = (4, 0), 3, 5
    return warehouse


def test_gymnasium_has_nothing_to_say():
    register_warehouse()
    register_warehouse()
    check_env(gym.make("Warehouse-v0").unwrapped, skip_render_check=True)


def test_a_parcel_is_fetched_and_brought_to_the_door(env):
    for _ in range(4):
        obs, reward, terminated, _, _ = env.step([EAST, 0])
    assert obs["robot"].tolist() == list(PLACES[3])
    obs, reward, terminated, _, info = env.step([WEST, 1 + 5])
    assert obs["parcel"] == IN_HAND
    assert info["action_mask"][4:].tolist() == [True] + [False] * 9
    for _ in range(3):
        _, reward, terminated, _, info = env.step([WEST, 0])
    assert (reward, terminated) == (0.0, False)
    assert info["action_mask"][4 + PUT_DOWN]
    _, reward, terminated, truncated, _ = env.step([NORTH, PUT_DOWN])
    assert (reward, terminated, truncated) == (1.0, True, False)


def test_what_the_mask_forbids_does_nothing_and_what_it_allows_does_something(env):
    rng = np.random.default_rng(0)
    for _ in range(300):
        mask = env.action_mask()
        before = env.robot, env.parcel
        move, hand = rng.integers(4), rng.integers(10)
        _, _, terminated, _, info = env.step([move, hand])
        assert (env.robot != before[0]) == mask[move]
        if hand != 0:
            assert (env.parcel != before[1] or terminated) == mask[4 + hand]
        assert np.array_equal(info["action_mask"], env.action_mask())
        if terminated:
            env.reset()


def test_a_wall_and_a_shelf_are_in_the_way(env):
    assert env.action_mask()[:4].tolist() == [True, True, False, False]
    env.robot = (4, 1)
    assert env.action_mask()[:4].tolist() == [False, True, False, True]


def test_the_grip_of_another_kind_takes_nothing(env):
    env.robot = PLACES[3]
    env.step([NORTH, 1 + 4])
    assert env.parcel == 3


def test_an_episode_ends_after_40_steps(env):
    ends = [env.step([NORTH, 0])[2:4] for _ in range(TIME_LIMIT)]
    assert ends == [(False, False)] * (TIME_LIMIT - 1) + [(False, True)]


def test_the_picture_shows_robot_and_parcel(env):
    picture = env.render()
    assert picture.shape == (240, 240, 3)
    assert picture.dtype == np.uint8
    env.robot = (0, 2)
    assert not np.array_equal(picture, env.render())
    assert len(env.action_mask()) == sum(SIZES)
    assert DOOR not in PLACES
