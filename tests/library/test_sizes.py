"""Integers of NumPy and of torch are sizes; what is no size is named in one line."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Dict, Discrete, MultiDiscrete, Tuple

from ppo_bbrl import DiscretePolicy, GaussianPolicy, PPOClip, VAgent, build_ortho_mlp
from ppo_bbrl.agents.acting import draw_noise
from ppo_bbrl.agents.encoders import FlatOrOneHot, Flatten, MultiOneHot, OneHot
from ppo_bbrl.errors import UserError
from ppo_bbrl.hub import PPO2

STATES = torch.tensor([0, 3])


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8, np.array, torch.tensor, int])
def test_every_integer_is_a_size(whole):
    """`space.n` and `np.prod(space.shape)` are NumPy's."""
    two, three, four = whole(2), whole(3), whole(4)
    vector = torch.zeros(5, 4)
    assert VAgent(four, [three, two]).value(vector).shape == (5,)
    assert VAgent(four, [three]).value(STATES).shape == (2,)
    assert DiscretePolicy(four, [three], two).dist(vector).logits.shape == (5, 2)
    assert draw_noise(DiscretePolicy(four, (three,), two), 6).shape == (6, 2)
    gaussian = GaussianPolicy(four, [three], two)
    assert gaussian.act(vector).shape == (5, 2)
    assert GaussianPolicy(four, [], (two, three)).dist(vector).event_shape == (2, 3)
    assert PPO2(four, three, two)(vector)[1].shape == (5,)
    assert build_ortho_mlp([four, three, two])(vector).shape == (5, 2)
    assert OneHot(four)(STATES).shape == FlatOrOneHot(four)(STATES).shape == (2, 4)
    assert MultiOneHot([three, four])(torch.zeros(5, 2, dtype=torch.int64)).shape == (5, 7)
    assert Flatten((two, three))(torch.zeros(5, 2, 3)).shape == (5, 6)


@pytest.mark.parametrize("shape", [(2, 3), [2, 3], torch.Size([2, 3]), np.array([2, 3])])
def test_every_sequence_of_integers_is_a_shape(shape):
    observations = torch.zeros(5, 2, 3)
    assert VAgent(shape, shape).value(observations).shape == (5,)
    assert GaussianPolicy(shape, np.array([4]), shape).mean(observations).shape == (5, 2, 3)


def test_sizes_of_spaces_as_they_come():
    lake, rod = gym.make("FrozenLake-v1"), gym.make("Pendulum-v1")
    assert VAgent(lake.observation_space.n, [8]).value(STATES).shape == (2,)
    assert GaussianPolicy(
        np.prod(rod.observation_space.shape), [8], rod.action_space.shape
    ).action_shape == (1,)
    assert VAgent(Discrete(np.int64(4)), np.array([8, 8])).value(STATES).shape == (2,)


@pytest.mark.parametrize(
    "make",
    [
        lambda size: DiscretePolicy(4, [8], size),
        lambda size: GaussianPolicy(4, [8], size),
        lambda size: GaussianPolicy(4, [8], (2, size)),
        lambda size: DiscretePolicy(4, [size], 2),
        lambda size: VAgent(4, [8, size]),
        lambda size: VAgent(4, size),
        lambda size: PPO2(4, size, 2),
        lambda size: build_ortho_mlp([4, size]),
        OneHot,
    ],
)
@pytest.mark.parametrize("wrong", [0, -3, 2.0, np.float64(2), True, np.True_, "8", None])
def test_what_is_no_size_is_one_line(make, wrong):
    with pytest.raises(UserError, match=r"^\w+ = .*: must be .* ≥ 1") as error:
        make(wrong)
    assert "\n" not in str(error.value)


class Vast(gym.Env):
    def __init__(self, seen, actions):
        self.observation_space, self.action_space = seen, actions


@pytest.mark.parametrize(
    ("seen", "actions", "role"),
    [
        (Discrete(2**40), Discrete(2), "observation"),
        (MultiDiscrete([2**40, 2]), Discrete(2), "observation"),
        (Dict(a=Discrete(2), b=Discrete(2**40)), Discrete(2), "observation"),
        (Discrete(2), Discrete(2**40), "action"),
        (Discrete(2), Tuple((Discrete(2), MultiDiscrete([2**40]))), "action"),
    ],
)
def test_a_space_of_too_many_values_is_one_line(seen, actions, role):
    gym.register("Vast-v0", Vast, kwargs={"seen": seen, "actions": actions})
    try:
        with pytest.raises(UserError, match=rf"env_name = 'Vast-v0': .* its {role} space .* GB"):
            PPOClip({"gym_env": {"env_name": "Vast-v0"}})
    finally:
        del gym.registry["Vast-v0"]
