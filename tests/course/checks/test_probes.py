"""The probe environments: what their docstrings promise. Notebooks and tests lean on it."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from bbrl.agents import Agents, TemporalAgent

from ppo_bbrl.agents.base import Agent
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.workspace.table import Workspace
from ppo_course.probes import PROBES, Corridor, corridor_values, register_probes

GAMMA = 0.95


@pytest.fixture(autouse=True)
def _registered():
    register_probes()


class AtRandom(Agent):
    """To the left or to the right, with a given probability of the latter."""

    def __init__(self, right=0.5):
        super().__init__("policy")
        self.right = right
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, t, **kwargs):
        observation = self.get(("env/env_obs", t))
        drawn = torch.rand(len(observation), generator=self.generator)
        self.set(("action", t), (drawn < self.right).long())


def walk(n_rows, n_envs, right=0.5, **env_args):
    workspace = Workspace(capacity=n_rows)
    env = EnvAgent("Corridor-v0", n_envs, env_args=env_args).seed(1)
    TemporalAgent(Agents(env, AtRandom(right)))(workspace, t=0, n_steps=n_rows)
    return workspace


def test_registering_twice_does_no_harm():
    register_probes()
    assert all(f"{probe.__name__}-v0" in gym.registry for probe in PROBES)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.__name__)
def test_every_probe_keeps_to_its_spaces(probe):
    env = gym.make(f"{probe.__name__}-v0").unwrapped
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(30):
        assert env.observation_space.contains(observation)
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        if terminated or truncated:
            assert env.observation_space.contains(observation)
            observation, _ = env.reset()


def test_the_corridor_ends_in_the_hole_and_when_the_time_is_up():
    env = Corridor(length=3, starts=1, time_limit=4)
    assert env.reset(seed=0)[0] == 1
    assert env.step(0)[:4] == (0, 1.0, True, False)
    env.reset()
    assert [env.step(1)[0] for _ in range(3)] == [2, 3, 3]  # the wall
    assert env.step(0)[:4] == (2, 1.0, False, True)
    env = Corridor(length=3, starts=1, time_limit=1)
    env.reset()
    assert env.step(0)[2:4] == (True, True)


def test_an_episode_begins_in_every_cell_of_the_start():
    env = Corridor(length=5, starts=3)
    env.reset(seed=0)
    assert {env.reset()[0] for _ in range(100)} == {1, 2, 3}


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"starts": 9}, {"time_limit": 0}])
def test_an_impossible_corridor_is_refused(wrong):
    with pytest.raises(ValueError, match="1 ≤ starts ≤ length"):
        Corridor(**wrong)


def test_the_values_solve_the_bellman_equation():
    right = 0.3
    value = corridor_values(GAMMA, to_the_right=right, length=5)
    assert value[0] == 0
    for cell in range(1, 6):
        after = right * value[min(cell + 1, 5)] + (1 - right) * value[cell - 1]
        torch.testing.assert_close(value[cell], 1 + GAMMA * after)


@pytest.mark.parametrize("right", [0.5, 0.7])
def test_the_values_are_the_mean_returns_of_the_corridor(right):
    """Whole episodes without a time limit, from each cell: no bootstrap, no formula."""
    workspace = walk(600, 200, right, time_limit=100_000, starts=8)
    reward, cell, done = workspace["env/reward", "env/env_obs", "env/done"]
    returns = torch.zeros_like(reward)
    for t in reversed(range(len(reward) - 1)):
        returns[t] = (reward[t + 1] + GAMMA * returns[t + 1]) * ~done[t]
    early, value = 450, corridor_values(GAMMA, to_the_right=right)  # 0.95^150 is nothing
    for k in range(1, 9):
        seen = returns[:early][(cell[:early] == k) & ~done[:early]]
        assert seen.mean().item() == pytest.approx(value[k].item(), rel=0.05)


def test_with_the_true_values_the_td_error_is_0_on_average_whatever_ends_the_episode():
    """Protects the sense of notebook 02: the time limit is none of the values' business."""
    workspace = walk(2000, 16)
    reward, cell, terminated, done = workspace[
        "env/reward", "env/env_obs", "env/terminated", "env/done"
    ]
    value = corridor_values(GAMMA)[cell]
    delta = reward[1:] + GAMMA * value[1:] * ~terminated[1:] - value[:-1]
    assert terminated.any()
    assert (done & ~terminated).any()
    for k in range(1, 9):
        seen = delta[~done[:-1] & (cell[:-1] == k)]
        assert abs(seen.mean()) < 4 * seen.std() / len(seen) ** 0.5 + 1e-4
