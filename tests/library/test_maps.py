"""Maps of a critic and of a policy: each point shows what the agent says of that state."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from ppo_bbrl import Agent, DiscretePolicy, GaussianPolicy, KWAgentWrapper, VAgent
from ppo_bbrl.errors import UserError
from ppo_bbrl.plots import Coordinate, StateSpace, critic_map, policy_map
from ppo_bbrl.plots.states import CARTPOLE, PENDULUM, state_space


class Weights(VAgent):
    """A critic whose value is a weighted sum of the observation."""

    def __init__(self, *weights):
        super().__init__(len(weights), [2])
        self.weights = torch.tensor(weights)

    def value(self, obs):
        return obs @ self.weights


class OwnCritic(Agent):
    """As in a notebook: nothing but forward."""

    def forward(self, t, **kwargs):
        self.set((f"{self.prefix}v_values", t), self.get(("env/env_obs", t))[:, 2])


class Leaning(DiscretePolicy):
    """Three actions; action 2 is chosen where the third number is positive, else action 0."""

    def dist(self, obs):
        sign = 50 * obs[..., 2].sign()
        return Categorical(logits=torch.stack((-sign, torch.zeros_like(sign), sign), -1))


def images(figure):
    """Title → (values, extent) of each map; the first row of values is the lowest y."""
    return {
        axes.get_title(): (axes.images[0].get_array(), axes.images[0].get_extent())
        for axes in figure.axes
        if axes.images
    }


def test_the_value_of_each_point_is_that_of_its_state():
    figure = critic_map(Weights(1.0, 0.0, 10.0, 100.0), "CartPole-v1", fixed={"position": 0.5})
    ((values, extent),) = images(figure).values()
    assert tuple(extent) == (-0.21, 0.21, -2.0, 2.0)
    # Lower left, lower right, upper left.
    corners = [values[0, 0], values[0, -1], values[-1, 0]]
    np.testing.assert_allclose(corners, [-201.6, -197.4, 198.4], rtol=1e-5)
    assert figure.axes[0].get_xlabel() == "angle (rad)"
    assert figure.axes[0].get_ylabel() == "angular velocity (rad/s)"
    assert figure.get_suptitle() == "position = 0.5, velocity = 0"


def test_axes_can_be_chosen_and_one_of_them_is_enough():
    critic = Weights(1.0, 10.0, 0.0, 0.0)
    figure = critic_map(critic, "CartPole-v1", x="position", y="velocity")
    ((values, extent),) = images(figure).values()
    assert tuple(extent) == (-2.4, 2.4, -2.0, 2.0)
    np.testing.assert_allclose([values[0, -1], values[-1, 0]], [-17.6, 17.6], rtol=1e-5)
    figure = critic_map(critic, "CartPole-v1", x="angular velocity")
    assert figure.axes[0].get_ylabel() == "angle (rad)"


def test_a_critic_of_a_notebook_that_only_has_forward():
    values, _ = images(critic_map(OwnCritic().with_prefix("critic/"), "CartPole-v1"))["V(s)"]
    np.testing.assert_allclose(values[0], values[-1])
    assert values[0, -1] == pytest.approx(0.21)


def test_the_pendulum_is_observed_as_cosine_sine_and_velocity():
    observed = PENDULUM.plane("angle", "angular velocity", {}, 3)
    assert observed.shape == (3, 3, 3)
    torch.testing.assert_close(observed[0, 1], torch.tensor([1.0, 0.0, -8.0]))
    torch.testing.assert_close(observed[2, 2], torch.tensor([-1.0, 0.0, 8.0]))
    assert images(critic_map(Weights(1.0, 0.0, 0.0), "Pendulum-v1"))


def test_the_states_of_tasks_are_what_gymnasium_observes():
    """A coordinate in the wrong place would draw a map of something else."""
    import gymnasium as gym

    env = gym.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    env.state = np.array([0.5, -3.0])
    expected = torch.as_tensor(env._get_obs())
    torch.testing.assert_close(PENDULUM.observe(torch.tensor(0.5), torch.tensor(-3.0)), expected)
    env = gym.make("CartPole-v1").unwrapped
    assert env.observation_space.shape == (len(CARTPOLE.coordinates),)
    limits = {c.name: c.high for c in CARTPOLE.coordinates}
    assert limits["position"] == pytest.approx(env.x_threshold)
    assert limits["angle"] == pytest.approx(env.theta_threshold_radians, abs=1e-3)


def test_a_map_for_each_of_three_actions():
    maps = images(policy_map(Leaning(4, [2], 3), "CartPole-v1"))
    assert list(maps) == ["π(0 | s)", "π(1 | s)", "π(2 | s)"]
    left, _, right = (values for values, _ in maps.values())
    np.testing.assert_allclose(left[:, 0], 1)
    np.testing.assert_allclose(right[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(right[:, -1], 1)


def test_of_two_actions_one_map_is_enough():
    figure = policy_map(DiscretePolicy(4, [2], 2), "CartPole-v1")
    assert list(images(figure)) == ["π(1 | s)"]
    image = figure.axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (0, 1)


def test_the_mean_of_continuous_actions_around_zero():
    policy = GaussianPolicy(3, [4], 2)
    figure = policy_map(policy, "Pendulum-v1")
    maps = images(figure)
    assert list(maps) == ["mean action, component 0", "mean action, component 1"]
    expected = policy.mean(torch.tensor([-1.0, 0.0, 8.0])).detach()
    for component, (values, _) in enumerate(maps.values()):
        assert values[-1, -1] == pytest.approx(expected[component].item(), abs=1e-5)
    image = figure.axes[0].images[0]
    assert image.norm.vmin == -image.norm.vmax


def test_the_policy_behind_a_wrapper():
    greedy = KWAgentWrapper(GaussianPolicy(3, [4], 1), stochastic=False)
    assert list(images(policy_map(greedy, "Pendulum-v1"))) == ["mean action"]


def test_another_task_can_be_described():
    line = StateSpace((Coordinate("a", 0, 1), Coordinate("b", 0, 2)))
    ((values, _),) = images(critic_map(Weights(1.0, 10.0), line)).values()
    assert values[-1, -1] == pytest.approx(21)
    assert state_space(line) is line


def test_maps_can_be_painted_and_leave_no_gradient():
    critic = VAgent(4, [3])
    critic_map(critic, "CartPoleContinuous-v1", points=5).savefig(io.BytesIO(), format="png")
    assert all(parameter.grad is None for parameter in critic.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x": "angel"}, "no coordinate 'angel'; allowed are 'position', 'velocity', 'angle'"),
        ({"x": "angle", "y": "angle"}, "x and y are both 'angle'"),
        ({"fixed": {"speed": 1.0}}, "no coordinate 'speed'"),
        ({"fixed": {"angle": 1.0}}, "'angle' is an axis of the map and cannot be fixed"),
    ],
)
def test_bad_coordinates(options, words):
    with pytest.raises(UserError, match=words):
        critic_map(VAgent(4, [2]), "CartPole-v1", **options)


def test_unknown_task_and_agent_without_distribution():
    with pytest.raises(UserError, match=r"'Ant-v5' are unknown; .* CartPole, Pendulum"):
        critic_map(VAgent(4, [2]), "Ant-v5")
    with pytest.raises(UserError, match=r"OwnCritic has no method dist\(obs\)"):
        policy_map(OwnCritic(), "CartPole-v1")
    with pytest.raises(UserError, match=r"needs 9 maps.*at most 8"):
        policy_map(DiscretePolicy(4, [2], 9), "CartPole-v1")


@pytest.mark.slow
def test_importing_and_drawing_leave_matplotlib_as_it_was():
    script = """
import sys
from ppo_bbrl import VAgent
from ppo_bbrl.plots import critic_map, policy_map, workspace_grid
assert "matplotlib" not in sys.modules
critic_map(VAgent(4, [2]), "CartPole-v1")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
