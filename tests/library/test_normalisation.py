"""Running statistics of observations, rewards and returns: by hand, frozen, saved, in runs."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given
from hypothesis import strategies as st
from probe_envs import config, fresh_log
from space_envs import MORE_OBSERVATIONS, OBSERVATIONS
from torch import nn

import ppo_bbrl
from ppo_bbrl import ConfigError, DiscretePolicy, PPOClip, VAgent, run
from ppo_bbrl.agents.acting import array_actor
from ppo_bbrl.agents.normalisers import (
    Normalised,
    ObservationNormaliser,
    RunningMoments,
    normalisers_of,
    rescale,
    share_normaliser,
)
from ppo_bbrl.errors import StateError
from ppo_bbrl.rewards import RewardScale, learned_from
from ppo_bbrl.rollout import Rollout

EVERYTHING = {
    "normalize_observation": True,
    "clip_observation": 3.0,
    "normalize_reward": True,
    "clip_reward": 5.0,
    "normalize_value": True,
}


@pytest.fixture(autouse=True)
def _fresh():
    fresh_log()


def first(algo):
    return algo.record(next(algo.iter_partial_episodes(17)))


# ------------------------------------------------------------------------------------- moments


def test_moments_by_hand():
    """Before the first sample 0 and 1; then those of all samples, the ε of a sample aside."""
    moments = RunningMoments((2,))
    assert moments.mean.tolist() == [0, 0]
    assert moments.std.tolist() == pytest.approx([1, 1])
    moments.update(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
    moments.update(torch.tensor([[5.0, 10.0]]))
    moments.update(torch.zeros(0, 2))
    assert moments.mean.tolist() == pytest.approx([3, 10], abs=1e-3)
    assert moments.var.tolist() == pytest.approx([8 / 3, 0], abs=1e-2)
    assert float(moments.count) == pytest.approx(3, abs=1e-3)
    assert moments(torch.tensor([3.0, 10.0])).tolist() == pytest.approx([0, 0], abs=1e-2)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.floats(-1e6, 1e6))
def test_moments_of_parts_are_those_of_the_whole(sizes, offset):
    """In any partition, far from 0 too: the sum of squares would lose all digits there."""
    torch.manual_seed(0)
    samples = torch.randn(sum(sizes), 3, dtype=torch.float64) + offset
    whole, parts = RunningMoments((3,)), RunningMoments((3,))
    whole.update(samples)
    for part in samples.split(sizes):
        parts.update(part)
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.var, whole.var)


def test_statistics_stay_float64():
    """`agent.float()` is about the weights."""
    moments = nn.Sequential(RunningMoments((2,)), nn.Linear(2, 1)).half().float()
    assert moments[0].mean.dtype == moments[0].var.dtype == torch.float64
    assert moments[0](torch.ones(2)).dtype == torch.float32


def test_the_first_moments_weigh_a_ten_thousandth_and_no_deviation_is_zero():
    """As in Baselines; with none at all, one sample would have the deviation 0."""
    moments = RunningMoments()
    assert moments.count.item() == 1e-4
    moments.update(torch.tensor([6.0]))
    total = 1 + 1e-4
    assert moments.count.item() == pytest.approx(total, rel=1e-12)
    assert moments.mean.item() == pytest.approx(6 / total, rel=1e-12)
    assert moments.var.item() == pytest.approx((1e-4 + 36 * 1e-4 / total) / total, rel=1e-9)
    moments.var.zero_()
    assert moments.std.item() == pytest.approx(1e-4, rel=1e-9)


def test_moments_are_taken_in_float64_and_without_gradient():
    """The sum of these two is 2²⁵ + 2, which float32 does not have."""
    moments = RunningMoments()
    moments.count.zero_()
    moments.update(torch.tensor([2.0**24, 2.0**24 + 2], requires_grad=True))
    assert not moments.mean.requires_grad  # else a graph would grow with each rollout
    assert (moments.mean.item(), moments.var.item()) == (2**24 + 1, 1)


def test_statistics_move_to_another_device_as_weights_do():
    """Also where the same call changes the type of the weights."""
    for how in ({"device": "meta"}, {"device": "meta", "dtype": torch.float16}):
        moments = RunningMoments((2,)).to(**how)
        assert {(one.device.type, one.dtype) for one in moments.buffers()} == {
            ("meta", torch.float64)
        }


# -------------------------------------------------------------------------------- observations

SPACE = Dict(
    {
        "far": Box(-np.inf, np.inf, (2,)),
        "picture": Box(0, 255, (3, 4, 4), np.uint8),
        "kind": Discrete(3),
        "in": Dict({"near": Box(-1, 1, (2, 2))}),
    }
)


def test_each_part_of_a_dict_has_its_own():
    normaliser = ObservationNormaliser(SPACE, clip=1.5)
    assert set(normaliser.paths) == {"far", "in/near"}
    torch.manual_seed(0)
    seen = {
        "far": torch.randn(500, 2) * 9 + 100,
        "picture": torch.zeros(500, 3, 4, 4, dtype=torch.uint8),
        "kind": torch.ones(500, dtype=torch.int64),
        "in/near": torch.randn(500, 2, 2) / 10,
    }
    normaliser.update(seen)
    found = normaliser(seen)
    for path in ("far", "in/near"):
        assert found[path].mean().abs() < 0.05
        assert 0.7 < found[path].std() < 1
        assert found[path].abs().max() == 1.5
    assert found["picture"] is seen["picture"]
    assert found["kind"] is seen["kind"]


def test_statistics_are_of_the_valid_transitions_and_move_after_the_update():
    algo = PPOClip(config("Logged", normalize_observation=True))
    (normaliser,) = normalisers_of(algo.train_policy, algo.critic_agent)  # one for both
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        before = copy.deepcopy(normaliser.state_dict())
        algo.record(workspace)
        assert str(normaliser.state_dict()) == str(before)
        algo.update(rollout)
        valid = ~workspace["env/done"][:-1]
        assert not valid.all()
        if algo.epoch == 0:
            expected = workspace["env/env_obs"][:-1][valid].double()
            torch.testing.assert_close(
                normaliser.moments[0].mean, expected.mean(0), rtol=1e-3, atol=1e-4
            )
            assert float(normaliser.moments[0].count) == pytest.approx(len(rollout), abs=1e-3)
            once = float(normaliser.moments[0].count)
            algo.update(rollout)  # the same rollout again is no new observation
            assert float(normaliser.moments[0].count) == once
    assert not torch.equal(
        normalisers_of(algo.old_policy)[0].moments[0].mean, normaliser.moments[0].mean
    )
    algo.close()


@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox"])
@pytest.mark.parametrize("value", [False, True])
def test_ratios_of_the_first_minibatch_are_one(env_name, value):
    """The policy that learns is at first the one that acted, statistics and all."""
    algo = PPOClip(
        config(env_name, normalize_observation=True, clip_observation=2.0, normalize_value=value)
    )
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        with torch.no_grad():
            dist = algo.train_policy.dist(rollout.variables["env/env_obs"])
            ratio = (dist.log_prob(rollout.variables["action"]) - rollout.log_prob).exp()
            value = algo.critic_agent.value(rollout.variables["env/env_obs"])
        assert (ratio - 1).abs().max() <= 1e-6
        torch.testing.assert_close(value, rollout.value)
        algo.update(rollout)
    algo.close()


@pytest.mark.parametrize("env_name", ["Logged", "LoggedBox"])
def test_acting_in_numpy_is_acting_in_torch(env_name):
    algo = PPOClip(config(env_name, normalize_observation=True, clip_observation=0.5))
    run(algo)
    obs = torch.randn(4, 2)
    decide = array_actor(algo.train_policy, 4)
    assert decide is not None
    with torch.no_grad():
        expected = algo.train_policy.dist(obs).mode
    np.testing.assert_allclose(
        decide(obs.numpy(), None, None), expected.numpy(), rtol=1e-5, atol=1e-6
    )
    algo.close()


def test_clipping_alone_clips_what_is_there():
    algo = PPOClip(config("Logged", clip_observation=0.5))
    far, near = torch.tensor([[7.0, -7.0]]), torch.tensor([[0.5, -0.5]])
    assert torch.equal(algo.train_policy.logits(far), algo.train_policy.logits(near))
    assert torch.equal(algo.critic_agent.value(far), algo.critic_agent.value(near))
    algo.close()


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("scale", [False, True])
def test_on_arrays_is_the_same_function(scale, clip):
    """By hand: (x - 10) / 2, or x itself, and then the limits."""
    normaliser = ObservationNormaliser(Box(-99, 99, (1,)), scale=scale, clip=clip)
    if scale:
        normaliser.moments[0].mean.fill_(10)
        normaliser.moments[0].var.fill_(4)
    else:
        normaliser.update(torch.tensor([[10.0], [30.0]]))  # which has no statistics to move
    x, limit = np.array([[-1.0], [1.0], [11.0], [30.0]], np.float32), clip or np.inf
    expected = np.clip((x - 10) / 2 if scale else x, -limit, limit)
    found = normaliser.on_arrays()(x.copy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(normaliser(torch.tensor(x)), expected, rtol=1e-6)


def test_integers_are_normalised_as_numbers():
    """A mean of 10.5, taken for an integer, would be 10. Other numbers keep their precision."""
    normaliser = ObservationNormaliser(Box(-99, 99, (1,), np.int64))
    normaliser.moments[0].mean.fill_(10.5)
    found = normaliser(torch.tensor([[10], [11]]))
    assert found.dtype == torch.float32
    assert found.flatten().tolist() == pytest.approx([-0.5, 0.5])
    assert normaliser(torch.tensor([2.5], dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("space", [Box(0, 255, (3, 4, 4), np.uint8), Discrete(3)])
def test_pictures_and_discrete_states_alone_stay_as_they_are(space):
    normaliser, seen = ObservationNormaliser(space, clip=0.5), torch.tensor(space.sample())
    normaliser.update(seen[None])
    assert normaliser(seen) is seen
    assert normaliser.paths == ()


def test_statistics_are_shared_where_both_have_some():
    """Otherwise each keeps what it has."""

    def with_statistics(agent):
        normaliser = ObservationNormaliser(Box(-np.inf, np.inf, (2,)))
        agent.encoder = Normalised(normaliser, agent.encoder)
        return agent, normaliser

    policy, of_policy = with_statistics(DiscretePolicy(2, [8], 3))
    critic, of_critic = with_statistics(VAgent(2, [8]))
    for other in (None, DiscretePolicy(2, [8], 3)):
        share_normaliser(other, critic)
        assert critic.encoder.normaliser is of_critic
    share_normaliser(policy, critic)
    assert critic.encoder.normaliser is of_policy
    assert normalisers_of(policy, critic) == [of_policy]
    plain = VAgent(2, [8])
    share_normaliser(policy, plain)
    assert normalisers_of(plain) == []


def test_evaluations_and_a_loaded_policy_have_the_statistics_frozen():
    cfg = config("Logged", normalize_observation=True, normalize_value=True, eval_interval=1)
    algo = PPOClip(cfg)
    run(algo)
    saved = normalisers_of(algo.train_policy)[0].state_dict()
    algo.evaluate_policy(algo.eval_policy, 4)
    algo.close()
    policy = ppo_bbrl.load(algo.base_dir, which="last")
    state = normalisers_of(policy.agent)[0].state_dict()
    assert all(torch.equal(state[name], saved[name]) for name in saved)
    assert state["moments.0.mean"].dtype == torch.float64
    assert next(policy.agent.parameters()).dtype == torch.float32
    obs = np.array([0.3, 1.0], np.float32)
    with torch.no_grad():
        assert policy.predict(obs) == int(algo.train_policy.dist(torch.tensor(obs)).mode)


def test_what_has_no_numbers_is_refused():
    cfg = config("Logged", normalize_observation=True)
    cfg["gym_env"]["env_name"] = "FrozenLake-v1"
    with pytest.raises(ConfigError, match=r"normalize_observation = True: the observations of Fro"):
        PPOClip(cfg)


def test_agents_of_ones_own_normalise_themselves():
    cfg = config("Logged", normalize_observation=True)
    agents = {"train_policy": DiscretePolicy(2, [8], 3), "critic_agent": VAgent(2, [8])}
    with pytest.raises(ConfigError, match="DiscretePolicy is an agent of your own: put an Obs"):
        PPOClip(cfg, **agents)
    normaliser = ObservationNormaliser(Box(-np.inf, np.inf, (2,)))
    policy = agents["train_policy"]
    policy.encoder = Normalised(normaliser, policy.encoder)
    algo = PPOClip(cfg, **agents)
    run(algo)
    assert float(normaliser.moments[0].count) > 100
    algo.close()
    cfg["algorithm"] |= {"normalize_value": True}
    with pytest.raises(ConfigError, match=r"normalize_value = True: VAgent is an agent of your"):
        PPOClip(cfg, **agents)


# ------------------------------------------------------------------------------------- rewards


def rollout_of(reward, done, mask):
    shape = torch.tensor(reward).shape
    zeros, no = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    return Rollout(
        torch.tensor(reward), no, torch.tensor(done), zeros, zeros, zeros, torch.tensor(mask), {}
    )


def test_the_scale_of_rewards_by_hand():
    """γ = ½. Returns so far: 1, then 2.5 at an end; the reset is no step; 4; then 2 + 2 = 4."""
    scale = RewardScale()
    scale.update(
        rollout_of([[1.0], [2.0], [99.0], [4.0]], [[False], [True], [False], [False]],
                   [[True], [True], [False], [True]]), 0.5
    )  # fmt: skip
    found = [1.0, 2.5, 4.0]
    assert float(scale.moments.mean) == pytest.approx(np.mean(found), abs=1e-3)
    assert float(scale.moments.var) == pytest.approx(np.var(found), abs=1e-3)
    # The running episode goes on, in a rollout of another length: 2 + 2 = 4, then 1 + 2 = 3.
    scale.update(rollout_of([[2.0], [1.0]], [[False]] * 2, [[True]] * 2), 0.5)
    found += [4.0, 3.0]
    assert float(scale.moments.mean) == pytest.approx(np.mean(found), abs=1e-3)
    again = RewardScale()
    again.load_state_dict(scale.state_dict())
    scaled = learned_from(rollout_of([[3.0], [-30.0]], [[False]] * 2, [[True]] * 2), again, 10.0)
    assert scaled.reward.flatten().tolist() == pytest.approx(
        [3 / np.std(found), max(-30 / np.std(found), -10)], rel=1e-3
    )


def test_the_scale_keeps_small_rewards_beside_large_ones():
    """Returns are summed in float64: in float32, 2²⁴ + 1 is 2²⁴."""
    scale = RewardScale()
    scale.update(rollout_of([[2.0**24], [1.0]], [[False]] * 2, [[True]] * 2), 1.0)
    assert float(scale.state_dict()["carried"]) == 2.0**24 + 1


def test_a_scale_that_lacks_something_is_refused():
    state = RewardScale().state_dict()
    del state["carried"]
    with pytest.raises(StateError, match="carried"):
        RewardScale().load_state_dict(state)


def test_the_scale_follows_a_changed_discount():
    algo = PPOClip(config("Chance", normalize_reward=True, max_epochs=2))
    by_hand = RewardScale()
    for workspace, discount in zip(algo.iter_partial_episodes(17), (0.99, 0.1), strict=True):
        algo.cfg.algorithm.discount_factor = discount
        algo.update(algo.record(workspace))
        by_hand.update(algo._rollout, discount)
    assert torch.equal(algo._reward_scale.moments.var, by_hand.moments.var)
    algo.close()


def test_rewards_are_scaled_for_learning_alone():
    """Targets are in units of the scale; the workspace keeps what the environment gave."""
    how = {"discount_factor": 0.0, "gae": 0.0, "max_epochs": 2}
    algo = PPOClip(config("Logged", normalize_reward=True, clip_reward=0.8, **how))
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        valid = ~workspace["env/done"][:-1]
        reward = workspace["env/reward"][1:][valid]
        assert reward.abs().max() > 1
        std = float(algo._reward_scale.moments.std)
        assert (std == pytest.approx(1)) == (algo.epoch == 0)
        torch.testing.assert_close(rollout.returns, (reward / std).clamp(-0.8, 0.8))
        algo.update(rollout)
    algo.close()


def test_an_intrinsic_reward_is_in_the_scale():
    class Paid(PPOClip):
        def compute_targets(self, rollout):
            rollout = ppo_bbrl.ppo.replace(rollout, reward=100 * rollout.reward)
            return super().compute_targets(rollout)

    scales = []
    for kind in (PPOClip, Paid):
        algo = kind(config("Logged", normalize_reward=True, recompute_advantage=True))
        algo.update(first(algo))
        scales.append(float(algo._reward_scale.moments.std))
        algo.close()
    assert scales[1] == pytest.approx(100 * scales[0], rel=1e-3)


# -------------------------------------------------------------------------------------- values


def test_popart_keeps_the_values():
    torch.manual_seed(0)
    plain = VAgent(2, [8])
    plain.adapt(torch.ones(3))  # it has nothing to follow returns with
    assert plain.moments is None
    critic = VAgent(2, [8], normalise=True)
    obs = torch.randn(50, 2)
    network = critic.value(obs)
    critic.adapt(torch.randn(30) * 30 - 500)  # the first returns say where values begin
    before = critic.value(obs)
    torch.testing.assert_close(
        before,
        network * critic.moments.std + critic.moments.mean,
        check_dtype=False,
        rtol=1e-4,
        atol=1e-3,
    )
    critic.adapt(torch.randn(3000) * 300 + 1000)
    assert float(critic.moments.mean) == pytest.approx(1000, rel=0.2)
    torch.testing.assert_close(critic.value(obs), before, rtol=1e-3, atol=1e-2)
    layer, moments = nn.Linear(1, 1), RunningMoments()
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(3.0)
    moments.update(torch.tensor([1.0, 3.0]))  # mean 2, deviation 1
    rescale(layer, moments, torch.tensor([6.0, 6.0]))  # mean 4, deviation √4.5
    assert layer.weight.item() == pytest.approx(2 / 4.5**0.5, rel=1e-3)
    assert layer.bias.item() == pytest.approx((3 + 2 - 4) / 4.5**0.5, rel=1e-2)


def test_a_single_return_is_enough_to_begin_with():
    """What comes after it moves the layer, so that values stay as they are."""
    layer, moments = nn.Linear(1, 1), RunningMoments()
    moments.update(torch.tensor([2.0]))
    before = (moments.mean + moments.std * layer(torch.ones(1))).item()
    rescale(layer, moments, torch.tensor([6.0]))
    assert moments.mean.item() == pytest.approx(4, abs=1e-3)
    assert (moments.mean + moments.std * layer(torch.ones(1))).item() == pytest.approx(before)


def test_the_critics_loss_is_in_units_of_the_deviation():
    """So that returns a thousand times as large give the same gradients of the network."""
    algo = PPOClip(config("Logged", normalize_value=True, batch_size=0, opt_epochs=1, max_epochs=2))
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        std = float(algo.critic_agent.moments.std)
        report = algo.update(rollout)
        expected = float(((rollout.value - rollout.returns) / std).square().mean())
        assert float(report.metrics["critic_loss"]) == pytest.approx(expected, rel=1e-4)
    assert std != pytest.approx(1)
    algo.close()


def test_normalisation_learns_what_is_out_of_scale():
    """Values of a million: a critic without it does not get there by steps of 0.001."""

    class Million(gym.RewardWrapper):
        def reward(self, reward):
            return 1e6

    explained = []
    for on in (False, True):
        cfg = config("Chance", normalize_value=on, discount_factor=0.0, max_epochs=10)
        algo = PPOClip(cfg, env_wrappers=[Million])
        for workspace in algo.iter_partial_episodes(17):
            rollout = algo.record(workspace)
            algo.update(rollout)
        explained.append(float((rollout.value / rollout.returns).mean()))
        algo.close()
    assert abs(explained[0]) < 0.1
    assert explained[1] == pytest.approx(1, abs=0.1)


# --------------------------------------------------------------------------------- all together


def test_a_loaded_state_goes_on_to_the_last_bit():
    """Statistics of observations, rewards and values, and the returns of running episodes."""
    cfg = config("Chance", max_epochs=4, **EVERYTHING)
    whole, states = PPOClip(cfg), []
    for workspace in whole.iter_partial_episodes(17):
        whole.update(whole.record(workspace))
        states.append(whole.state_dict())
    rest = PPOClip(cfg)
    rest.load_state_dict(states[1])
    for workspace in rest.iter_partial_episodes(17):
        rest.update(rest.record(workspace))
    end = rest.state_dict()
    for part in ("train_policy", "critic_agent"):
        for name, value in states[-1][part]["weights"].items():
            assert torch.equal(end[part]["weights"][name], value), name
    assert str(end["reward_scale"]) == str(states[-1]["reward_scale"])
    for algo in (whole, rest):
        algo.close()


@pytest.mark.wide(2)
@pytest.mark.parametrize(
    ("kind", "paths"),
    [("dict", {"near"}), ("tuple", {"1/0"}), ("integers", {""}), ("number", {""}), ("bool", {""})],
)
def test_other_observations_are_normalised_in_a_run(kind, paths):
    assert kind in OBSERVATIONS | MORE_OBSERVATIONS
    cfg = config("Space", **EVERYTHING)
    cfg["gym_env"]["env_args"] = {"observation": kind, "action": "dict"}
    algo = PPOClip(cfg)
    run(algo)
    (normaliser,) = normalisers_of(algo.train_policy, algo.critic_agent)
    assert set(normaliser.paths) == paths
    assert all(float(one.count) > 100 for one in normaliser.moments)
    algo.close()
    observation = algo.train_env.observation_space.sample()
    assert ppo_bbrl.load(algo.base_dir).predict(observation) in algo.train_env.action_space


def test_a_shared_trunk_has_one_normaliser():
    cfg = config("Chance", **EVERYTHING)
    cfg["algorithm"]["architecture"] |= {"shared_trunk": True, "critic_hidden_size": [16]}
    algo = PPOClip(cfg)
    run(algo)
    (normaliser,) = normalisers_of(algo.train_policy, algo.critic_agent)
    assert float(normaliser.moments[0].count) > 100
    algo.close()
