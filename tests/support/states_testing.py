"""States compared, and environments stepped to see whether they go on from one."""

import io

import gymnasium as gym
import numpy as np
import torch


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(one, other):
    """Whether two states are equal, to the last bit and in their types."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def stepped(env, n, seed):
    """Rows of n steps with random actions."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        actions = [
            chance.integers(env.action_space.n)
            if isinstance(env.action_space, gym.spaces.Discrete)
            else chance.uniform(-1, 1, env.action_space.shape)
            for _ in range(env.num_envs)
        ]
        env._step(torch.as_tensor(np.array(actions)))
        rows.append({name: array.copy() for name, array in env._row.items()})
    return rows


def assert_same_rows(first, second):
    for one, other in zip(first, second, strict=True):
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)
