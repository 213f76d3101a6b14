"""PPO as a whole, on environments that isolate one thing each and whose values are known.

When one of these fails, it says where to look: the critic (1), its use of observations (2),
discounting and the alignment in time (3), the policy's gradient (4), all of it together (5).
"""

import pytest
import torch
from probe_envs import config

from ppo_bbrl import PPOClip, run

GAMMA = 0.5


def learn(env_name, max_epochs=60, lr=1e-2, **algorithm):
    settings = {
        "n_envs": 8,
        "n_steps": 16,
        "opt_epochs": 4,
        "batch_size": 64,
        "discount_factor": GAMMA,
        "gae": 0.9,
        "max_epochs": max_epochs,
        "learning_rate_schedule": "linear",
    }
    cfg = config(env_name, **(settings | algorithm))
    cfg["optimizer"]["lr"] = lr
    algo = PPOClip(cfg)
    run(algo)
    algo.close()
    return algo


def values(algo, *observations):
    with torch.no_grad():
        return algo.critic_agent.value(torch.tensor(observations)).tolist()


def probabilities(algo, *observations):
    with torch.no_grad():
        return algo.train_policy.dist(torch.tensor(observations)).probs


def test_constant_reward():
    """The critic learns a constant. Protects: the value loss and its optimiser."""
    algo = learn("ConstantReward")
    assert values(algo, [1.0]) == pytest.approx([1.0], abs=0.01)


def test_reward_by_observation():
    """The critic tells observations apart. Protects: values belong to their own rows."""
    algo = learn("RewardByObservation")
    assert values(algo, [-1.0], [1.0]) == pytest.approx([-1.0, 1.0], abs=0.01)


def test_two_step_discounting():
    """V(0) = γ. Protects: reward[t+1] belongs to row t, and γ stands where it must.

    With the reward of row t instead, or with the autoreset step in the loss, V(0) is another.
    """
    algo = learn("Discounting")
    assert values(algo, [0.0], [1.0]) == pytest.approx([GAMMA, 1.0], abs=0.01)


def test_the_action_decides():
    """The policy finds the better action. Protects: the sign of the policy's loss."""
    algo = learn("ActionDecides")
    assert probabilities(algo, [1.0])[0, 1] > 0.99
    assert values(algo, [1.0]) == pytest.approx([1.0], abs=0.05)


@pytest.mark.slow
def test_action_and_observation_decide():
    """The policy acts by what it sees. Protects: actions and advantages belong to their rows."""
    algo = learn("ActionAndObservationDecide")
    left, right = probabilities(algo, [-1.0], [1.0])
    assert left[0] > 0.99
    assert right[1] > 0.99
    assert values(algo, [-1.0], [1.0]) == pytest.approx([1.0, 1.0], abs=0.05)


@pytest.mark.slow
def test_a_gaussian_policy_finds_the_best_action():
    """Protects: the log-probability of Box actions, and the gradient of the deviation."""
    algo = learn("ContinuousTarget", max_epochs=100)
    policy = algo.train_policy
    with torch.no_grad():
        assert policy.mean(torch.ones(1, 1)).item() == pytest.approx(0.5, abs=0.05)
    assert policy.log_std.item() < -0.5  # it began at 0


def test_short_episodes_cut_by_time_alone_have_their_true_value():
    """Reward 1 for ever, γ = 0.98: V = 50, within 2 %.

    Upstream's critic learns 44.4: the step that autoreset writes between two episodes, with
    reward 0, is in its loss.
    """
    gamma = 0.98
    algo = learn(
        "TruncatedOnly",
        max_epochs=80,
        discount_factor=gamma,
        gae=1.0,
        opt_epochs=10,
        max_grad_norm=None,
    )
    assert values(algo, [1.0]) == pytest.approx([1 / (1 - gamma)], rel=0.02)
