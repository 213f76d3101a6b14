"""Squashed actions, deviations that depend on the state, and gSDE in the workspace."""

import math

import action_envs  # noqa: F401 - registers them
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_envs import config
from torch import distributions as d
from torch.distributions.transforms import AffineTransform, TanhTransform

import ppo_bbrl
from ppo_bbrl import PPOClip, run
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.agents.continuous import ContinuousPolicy, SDEPolicy
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.policies import draws_noise_alone
from ppo_bbrl.agents.recurrent import RecurrentPolicy
from ppo_bbrl.distributions import ActionGaussian
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.gaussian_distributions import (
    ActionDiagonalGaussian,
    ActionSquashed,
    ActionStateDependentNoise,
    normal_quadrature,
)
from ppo_bbrl.rollout import collect
from ppo_bbrl.seeding import RandomStream
from ppo_bbrl.workspace.table import Workspace

BOX = Box(np.array([-2, 0], np.float32), np.array([2, 1], np.float32))


def squashed(mean, log_std, low, high):
    base = ActionDiagonalGaussian(torch.as_tensor(mean), torch.as_tensor(log_std))
    return ActionSquashed(base, torch.as_tensor(low), torch.as_tensor(high))


def cfg_for(kind, **algorithm):
    cfg = config("Takes", **algorithm)
    cfg["gym_env"]["env_args"] = {"kind": kind}
    return cfg


# ---------------------------------------------------------------------------- distributions


def test_the_tanh_correction_by_hand():
    """At u = 0.5: log N(0.5) - log 2 - log(1 - tanh² 0.5), bounds ±2."""
    dist = squashed([[0.0]], [[0.0]], [-2.0], [2.0])
    action = torch.tensor([[2 * math.tanh(0.5)]])
    normal = -0.125 - 0.5 * math.log(2 * math.pi)
    expected = normal - math.log(2) - math.log(1 - math.tanh(0.5) ** 2)
    assert dist.evaluate(action)[0].item() == pytest.approx(expected, abs=1e-6)
    assert dist.mode.item() == 0


@settings(max_examples=50, deadline=None)
@given(st.floats(-2, 2), st.floats(-2, 0.5), st.floats(-2.5, 2.5))
def test_as_torch_transforms_a_normal(mean, log_std, before):
    low, high = torch.tensor([-1.0], dtype=torch.float64), torch.tensor([3.0], dtype=torch.float64)
    own = torch.tensor([[[mean]], [[log_std]]], dtype=torch.float64).unbind(0)
    dist = squashed(*own, low, high)
    theirs = d.Independent(
        d.TransformedDistribution(
            d.Normal(own[0], own[1].exp()), [TanhTransform(), AffineTransform(1.0, 2.0)]
        ),
        1,
    )
    action = torch.tensor([[1 + 2 * math.tanh(before)]], dtype=torch.float64)
    torch.testing.assert_close(
        dist.evaluate(action)[0], theirs.log_prob(action), rtol=1e-4, atol=1e-4
    )
    torch.manual_seed(0)
    sample = theirs.sample((20_000,))
    estimate = -theirs.log_prob(sample).mean(0)
    torch.testing.assert_close(dist.entropy(), estimate, atol=0.06, rtol=0)


def test_the_entropy_of_a_squashed_gaussian_by_its_integral():
    """-∫ p log p, by a million small steps: the quadrature is as good to four digits."""
    dist = squashed([[0.7]], [[0.5]], [-1.0], [3.0])
    before = torch.linspace(-30, 30, 1_000_001, dtype=torch.float64)
    log_density = d.Normal(0.7, math.exp(0.5)).log_prob(before)
    log_slope = 2 * (math.log(2) - before - torch.nn.functional.softplus(-2 * before))
    integrand = log_density.exp() * (log_slope + math.log(2) - log_density)
    expected = float(integrand.sum() * (before[1] - before[0]))
    assert dist.entropy().item() == pytest.approx(expected, abs=1e-4)
    assert dist.entropy().dtype == torch.float32  # as precise as the weights, not as the nodes


@pytest.mark.parametrize("kind", [ActionGaussian, ActionDiagonalGaussian])
def test_an_action_by_hand(kind):
    """1 + 2 · 0.5, and 3 - 0.5 · 4."""
    log_std = torch.tensor([math.log(2), math.log(0.5)])
    dist = kind(torch.tensor([1.0, 3.0]), log_std)
    assert dist.with_noise(torch.tensor([0.5, -4.0])).tolist() == pytest.approx([2, 1])


def test_the_quadrature_has_the_moments_of_a_standard_normal():
    """1, 0, 1, 0, 3, 0, 15 from 32 nodes: to the last digits, as of float64."""
    nodes, weights = normal_quadrature()
    assert nodes.shape == weights.shape == (32,)
    found = [float((weights * nodes**power).sum()) for power in range(7)]
    assert found == pytest.approx([1, 0, 1, 0, 3, 0, 15], abs=1e-11)


def test_an_action_on_its_bound_has_the_density_of_one_beside_it():
    """A millionth of half the range away from the bound ±2, as u = atanh(1 - 10⁻⁶)."""
    zero, bound = torch.zeros(1, 1, dtype=torch.float64), torch.full((1,), 2.0).double()
    dist = squashed(zero, zero, -bound, bound)
    before = math.atanh(1 - 1e-6)
    slope = math.log(1 - (1 - 1e-6) ** 2)
    expected = -0.5 * before**2 - 0.5 * math.log(2 * math.pi) - math.log(2) - slope
    for action in (bound, -bound, 1.1 * bound):
        assert dist.evaluate(action[None])[0].item() == pytest.approx(expected, rel=1e-9)


def test_rounding_takes_no_action_beyond_its_bounds():
    """In float32, -3 + (-0.8 + 3) / 2 * 2 is greater than -0.8: an environment would refuse it."""
    low, high = torch.tensor([-3.0]), torch.tensor([-0.8])
    assert low + (high - low) / 2 * 2 > high
    dist = squashed([[50.0], [-50.0]], [[0.0], [0.0]], low, high)
    assert torch.equal(dist.mode, torch.stack((high, low)))
    assert torch.equal(dist.with_noise(torch.zeros(2, 1)), dist.mode)


@pytest.mark.parametrize("mean", [0.0, 5.0, 50.0, -1000.0])
def test_numbers_and_gradients_are_finite_on_the_bounds(mean):
    location = torch.tensor([[mean, 0.3]], requires_grad=True)
    log_std = torch.tensor([[0.0, -3.0]], requires_grad=True)
    dist = squashed(location, log_std, [-2.0, 0.0], [2.0, 1.0])
    for action in (dist.sample(), dist.mode.detach(), torch.tensor([[2.0, 0.0]])):
        assert bool((action >= dist.low).all())
        assert bool((action <= dist.high).all())
        log_prob, entropy = dist.evaluate(action)
        gradients = torch.autograd.grad(log_prob.sum() + entropy.sum(), (location, log_std))
        assert torch.stack((log_prob, entropy)).isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_gsde_by_hand():
    """Two features (1, 2), σ = (0.5, 0.25): variance 0.25 + 0.25."""
    dist = ActionStateDependentNoise(
        torch.tensor([[1.0]]),
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[math.log(0.5)], [math.log(0.25)]]),
        (1,),
    )
    log_prob, entropy = dist.evaluate(torch.tensor([[1.5]]))
    normal = d.Normal(1.0, math.sqrt(0.5))
    assert log_prob.item() == pytest.approx(normal.log_prob(torch.tensor(1.5)).item(), abs=1e-5)
    assert entropy.item() == pytest.approx(normal.entropy().item(), abs=1e-5)
    action = dist.with_noise(torch.tensor([[[2.0], [-1.0]]]))
    assert action.item() == pytest.approx(1 + 0.5 * 2 * 1 - 0.25 * 1 * 2)
    torch.manual_seed(0)
    sample = dist.sample((20_000,))
    assert float(sample.std()) == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_the_features_of_gsde_are_constants_for_the_gradient():
    """As in the paper's PPO; means and deviations learn."""
    mean, features, log_std = torch.randn(3, 2), torch.randn(3, 4), torch.zeros(4, 2)
    inputs = [one.requires_grad_() for one in (mean, features, log_std)]
    log_prob, entropy = ActionStateDependentNoise(*inputs, (2,)).evaluate(torch.zeros(3, 2))
    found = torch.autograd.grad(log_prob.sum() + entropy.sum(), inputs, allow_unused=True)
    assert [one is not None and bool(one.any()) for one in found] == [True, False, True]


def test_gsde_where_all_features_are_zero():
    """ReLUs may all be off: the variance there is 10⁻⁶, and nothing is infinite."""
    dist = ActionStateDependentNoise(torch.zeros(1, 1), torch.zeros(1, 2), torch.zeros(2, 1), (1,))
    log_prob, _ = dist.evaluate(torch.zeros(1, 1))
    assert log_prob.item() == pytest.approx(math.log(1e3) - 0.5 * math.log(2 * math.pi), rel=1e-5)


@pytest.mark.parametrize("kind", ["state-dependent", "gSDE", "squashed"])
def test_a_larger_batch_of_the_same_distribution(kind):
    mean, log_std = torch.tensor([[0.3, -0.2]]), torch.tensor([[-1.0, 0.5]])
    dist = ActionDiagonalGaussian(mean, log_std)
    if kind == "gSDE":
        dist = ActionStateDependentNoise(mean, torch.ones(1, 3), torch.randn(3, 2), (2,))
    elif kind == "squashed":
        dist = ActionSquashed(dist, torch.tensor([-1.0, -2.0]), torch.tensor([2.0, 1.0]))
    action, noise = torch.tensor([[0.5, -0.5]]), torch.randn(1, *dist.noise_shape)
    larger = dist
    for batch in ((4,), (5, 4), (3, 5, 4)):
        larger = larger.expand(batch)
        assert (larger.batch_shape, larger.event_shape) == (batch, (2,))
        assert larger.noise_shape == dist.noise_shape
        for one, other in (
            (larger.mode, dist.mode),
            (larger.with_noise(noise), dist.with_noise(noise)),
            *zip(larger.evaluate(action.expand(*batch, 2)), dist.evaluate(action), strict=True),
        ):
            torch.testing.assert_close(one, other.expand(*batch, *other.shape[1:]))


@pytest.mark.parametrize("kind", ["state-dependent", "gSDE", "squashed"])
def test_gradcheck_of_log_probability_and_entropy(kind):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    features, action = normal(3, 4), normal(3, 2).tanh()
    of_gsde = kind == "gSDE"

    def evaluated(mean, log_std):
        if of_gsde:
            return ActionStateDependentNoise(mean, features, log_std, (2,)).evaluate(action)
        dist = ActionDiagonalGaussian(mean, log_std)
        low, high = (torch.full((2,), end, dtype=torch.float64) for end in (-1.5, 2.0))
        return (ActionSquashed(dist, low, high) if kind == "squashed" else dist).evaluate(action)

    mean, log_std = normal(3, 2), 0.3 * normal(4 if of_gsde else 3, 2) - 1
    assert torch.autograd.gradcheck(evaluated, (mean.requires_grad_(), log_std.requires_grad_()))


# --------------------------------------------------------------------------------- policies

OPTIONS = {
    "squashed": {"squash_actions": True},
    "state-dependent": {"architecture": {"state_dependent_std": True}},
    "both": {"squash_actions": True, "architecture": {"state_dependent_std": True}},
    "gSDE": {"use_sde": True, "sde_sample_freq": 4},
    "gSDE squashed": {"use_sde": True, "squash_actions": True},
}
BOUNDED = ("Box", "Box of one number", "Box of float64")


@pytest.mark.wide(6)
@pytest.mark.parametrize("kind", BOUNDED)
@pytest.mark.parametrize("case", OPTIONS)
def test_trained_saved_and_loaded(kind, case, tmp_path, monkeypatch):
    """The ratio before a step is 1; squashed actions lie inside the bounds in the workspace."""
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(cfg_for(kind, max_epochs=2, entropy_coef=0.01, **OPTIONS[case]))
    assert type(algo.train_policy) is (SDEPolicy if "gSDE" in case else ContinuousPolicy)
    before = {name: one.clone() for name, one in algo.train_policy.named_parameters()}
    run(algo)
    for name, now in algo.train_policy.named_parameters():
        assert now.isfinite().all()
        assert not torch.equal(now, before[name]), name
    workspace = algo._workspace
    space, action = algo.train_env.action_space, workspace["action"]
    assert action.dtype == torch.float32
    if "squash" in case or case == "both":
        assert bool((action >= torch.as_tensor(space.low).float()).all())
        assert bool((action <= torch.as_tensor(space.high).float()).all())
    collect(algo.train_env, algo.train_policy, workspace, 5)
    rollout = algo.record(workspace)
    again, _ = ppo_bbrl.agents.evaluate_actions(algo.train_policy, rollout.variables)
    torch.testing.assert_close(again, rollout.log_prob, atol=1e-5, rtol=1e-5)
    trained = ppo_bbrl.load(algo.folder.path, which="last")
    assert space.contains(trained.predict(np.zeros(3, np.float32)))
    assert space.contains(trained.predict(np.zeros(3, np.float32), deterministic=False))
    algo.close()


def test_parts_of_a_composite_are_squashed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    algo = PPOClip(cfg_for("Dict", max_epochs=1, squash_actions=True))
    run(algo)
    action = algo._workspace["action"]
    assert -1 <= float(action.min()) <= float(action.max()) <= 2
    assert float(action.max()) > 1  # the number of the turn is one of 0, 1, 2
    algo.close()


def matrices(freq, n_rows, seed=0, *, memory=False):
    """Perturbation of each row's actions, at a constant state."""
    torch.manual_seed(seed)
    policy = SDEPolicy(3, [8], BOX, activation="tanh", sample_freq=freq)
    if memory:
        policy = RecurrentPolicy(Memory("gru", 3, 3), policy)
    policy.with_prefix("p/")
    act, workspace = row_actor(policy, 2, n_rows), Workspace()
    for t in range(n_rows):
        workspace.set("env/env_obs", t, torch.ones(2, 3))
        workspace.set("env/timestep", t, torch.zeros(2).long())  # nothing to remember
        act(workspace, t)
    return workspace["action"]


@pytest.mark.parametrize("squash", [False, True])
def test_gsde_is_squashed_where_it_is_asked_and_as_precise_as_its_weights(squash):
    policy = SDEPolicy(3, [8], BOX, log_std_init=1.0, squash=squash).double()
    torch.manual_seed(0)
    action = policy.dist(torch.randn(100, 3)).sample()  # of observations in float32
    assert action.dtype == torch.float64
    low, high = (torch.as_tensor(bound) for bound in (BOX.low, BOX.high))
    assert bool(((action >= low) & (action <= high)).all()) == squash


def test_matrices_are_drawn_from_the_stream_in_use():
    """From that alone: the same each time, as precise as the weights. And what is left out."""
    policy, drawn = SDEPolicy(3, [8], BOX).double(), []
    for n_others in range(2):
        with RandomStream(0).direct():
            torch.rand(n_others)  # of the global generator
            drawn.append(policy.noise(5))
    assert torch.equal(*drawn)
    assert (drawn[0].shape, drawn[0].dtype) == ((5, 8, 2), torch.float64)
    assert not policy.log_std.any()
    assert (policy.sample_freq, policy.squash) == (-1, None)
    assert draws_noise_alone(policy)
    assert draws_noise_alone(ContinuousPolicy(3, [8], BOX))


@pytest.mark.parametrize("memory", [False, True])
def test_new_matrices_are_drawn_every_so_many_steps(memory):
    once, often = matrices(-1, 9, memory=memory), matrices(3, 9, memory=memory)
    assert all(torch.equal(once[0], row) for row in once)
    assert not torch.equal(once[0, 0], once[0, 1])  # one for each environment
    for t in range(1, 9):
        assert torch.equal(often[t], often[t - 1]) == (t % 3 != 0)
    assert torch.equal(matrices(3, 9, memory=memory), often)


def test_a_run_draws_matrices_as_often_as_its_configuration_says():
    runs = []
    for freq in (-1, 3):
        algo = PPOClip(cfg_for("Box", use_sde=True, sde_sample_freq=freq))
        runs.append(next(algo.iter_partial_episodes(9))["action"])
        algo.close()
    once, often = runs
    assert torch.equal(once[:3], often[:3])
    assert not torch.equal(once[3], often[3])


def test_a_run_with_gsde_goes_on_bit_equal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def made():
        return PPOClip(cfg_for("Box", max_epochs=4, use_sde=True, sde_sample_freq=3))

    def trained(algo, n):
        loop, actions = algo.iter_partial_episodes(8), []
        for _ in range(n):
            workspace = next(loop)
            algo.update(algo.record(workspace))
            actions.append(workspace["action"])
        return loop, actions

    one, other = made(), made()
    loop, _ = trained(one, 2)
    other.load_state_dict(one.state_dict())
    _, found = trained(other, 2)
    for actions in found:
        workspace = next(loop)
        one.update(one.record(workspace))
        assert torch.equal(workspace["action"], actions)
    one.close()
    other.close()


REFUSED = {
    "unbounded": (
        "Box without bounds",
        {"squash_actions": True},
        "must be false where a component",
    ),
    "squashed indices": ("Discrete", {"squash_actions": True}, "it is for Box actions"),
    "gSDE of bits": ("MultiBinary", {"use_sde": True}, "gSDE is for Box actions"),
    "gSDE of a Dict": ("Dict", {"use_sde": True}, "gSDE is for Box actions"),
    "two deviations": (
        "Box",
        {"use_sde": True, "architecture": {"state_dependent_std": True}},
        "must be false with algorithm.use_sde",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_one_line(case):
    kind, algorithm, told = REFUSED[case]
    with pytest.raises((ConfigError, UserError), match=told) as error:
        PPOClip(cfg_for(kind, **algorithm))
    assert "algorithm." in str(error.value)
    assert "\n" not in str(error.value)


def test_the_initial_deviation_is_that_of_the_configuration():
    for algorithm in OPTIONS.values():
        architecture = algorithm.get("architecture", {}) | {"log_std_init": -1.5}
        algo = PPOClip(cfg_for("Box", **{**algorithm, "architecture": architecture}))
        dist = algo.train_policy.dist(torch.zeros(2, 3))
        if algorithm.get("use_sde"):
            assert algo.train_policy.log_std.unique().tolist() == [-1.5]
        else:
            base = getattr(dist, "base", dist)
            torch.testing.assert_close(base.log_std, torch.full((2, 2), -1.5), atol=0.02, rtol=0)
        algo.close()
