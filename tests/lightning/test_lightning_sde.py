"""gSDE: the distribution's numbers, when its noise is drawn, and that PPO learns with it."""

import copy
import math

import pytest
import torch
from lightning_models import Model, trainer
from torch.distributions import Independent, Normal

from ppo_bbrl.agents.sde import StateDependentNormal
from ppo_bbrl.lightning import MultiCategorical, StateDependentNoise, make_vec_env


def test_the_density_is_that_of_the_documented_gaussian():
    """Against plain arithmetic: variance = Σ σ²φ²."""
    noise = StateDependentNoise(2, 1, log_std_init=math.log(0.5))
    features = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    mean = torch.tensor([[0.5], [-1.0]])
    dist = noise(features, mean)
    variance = [0.25 * (1 + 4) + 1e-6, 0.25 * 9 + 1e-6]
    action = torch.tensor([[1.0], [1.0]])
    for i, (v, error) in enumerate(zip(variance, (0.5, 2.0), strict=True)):
        density = -0.5 * (error**2 / v + math.log(2 * math.pi * v))
        assert float(dist.log_prob(action)[i].detach()) == pytest.approx(density, abs=1e-6)
        entropy = 0.5 * math.log(2 * math.pi * math.e * v)
        assert float(dist.entropy()[i].detach()) == pytest.approx(entropy, abs=1e-6)
    assert torch.equal(dist.mode, mean)


def test_an_action_by_hand():
    """μ + ε^T φ: 0.5 + 1·0.3 + 2·(-0.1), and 0 + 1·0 + 2·1; no gradient goes through it."""
    mean = torch.tensor([[0.5, 0.0]], requires_grad=True)
    matrix = torch.tensor([[[0.3, 0.0], [-0.1, 1.0]]], requires_grad=True)
    dist = StateDependentNormal(mean, torch.tensor([[1.0, 2.0]]), torch.ones(2, 2), matrix)
    action = dist.sample()
    assert action.tolist() == [pytest.approx([0.6, 2.0])]
    assert not action.requires_grad
    several = dist.sample((3,))  # of a shape: none of them with the matrix
    assert several.shape == (3, 1, 2)
    assert not torch.equal(several[0], several[1])


def test_where_all_features_are_zero_the_variance_is_a_millionth():
    """Of each component: nothing is infinite where ReLUs are all off."""
    log_prob = StateDependentNoise(3, 2)(torch.zeros(4, 3), torch.zeros(4, 2)).log_prob(
        torch.zeros(4, 2)
    )
    one = math.log(1e3) - 0.5 * math.log(2 * math.pi)
    assert log_prob.tolist() == pytest.approx([2 * one] * 4, rel=1e-5)


def test_the_same_state_gets_the_same_action_until_the_noise_is_drawn_anew():
    torch.manual_seed(0)
    noise = StateDependentNoise(3, 2)
    noise.reset_noise(4)
    features, mean = torch.randn(4, 3), torch.zeros(4, 2)
    first = noise(features, mean).sample()
    assert torch.equal(first, noise(features, mean).sample())
    assert torch.allclose(noise(2 * features, mean).sample(), 2 * first)
    same = features[:1].expand(4, 3)
    assert len(noise(same, mean).sample().unique(dim=0)) == 4  # each environment has its own
    noise.reset_noise(4)
    assert not torch.equal(first, noise(features, mean).sample())


def test_sampled_actions_have_the_deviation_of_the_density():
    """Noise whose scale the density does not know makes wrong ratios."""
    torch.manual_seed(0)
    noise = StateDependentNoise(3, 1, log_std_init=-0.5)
    n = 20_000
    features = torch.tensor([[0.3, -1.0, 2.0]]).expand(n, 3)
    for drawn in (n, 1):  # one matrix for each row; none that fits
        noise.reset_noise(drawn)
        dist = noise(features, torch.ones(n, 1))
        sample = dist.sample()
        assert float(sample.mean()) == pytest.approx(1.0, abs=0.05)
        assert float(sample.std()) == pytest.approx(float(dist.stddev[0].detach()), rel=0.03)


def test_noise_learns_and_features_do_not_learn_from_it():
    noise = StateDependentNoise(2, 1)
    features = torch.ones(1, 2, requires_grad=True)
    noise(features, torch.zeros(1, 1)).log_prob(torch.ones(1, 1)).sum().backward()
    assert features.grad is None
    assert noise.log_std.grad.abs().min() > 0
    assert set(noise.state_dict()) == {"log_std"}
    assert noise.log_std.unique().tolist() == [-2]


def test_a_model_whose_noise_was_drawn_can_be_copied_and_made_smaller():
    """Matrices with a graph could not be copied; those of another precision would not fit."""
    noise = StateDependentNoise(2, 1).bfloat16()
    noise.reset_noise(3)
    features, mean = torch.ones(3, 2).bfloat16(), torch.zeros(3, 1).bfloat16()
    copied = copy.deepcopy(noise)(features, mean).sample()
    assert copied.dtype == torch.bfloat16
    assert torch.equal(copied, noise(features, mean).sample())


@pytest.mark.parametrize(("freq", "drawn"), [(-1, 1), (1, 6), (4, 2), (100, 1)])
def test_noise_is_drawn_as_often_as_asked(freq, drawn):
    numbers = []

    class Counted(Model):
        def reset_noise(self, n_envs):
            numbers.append(n_envs)
            super().reset_noise(n_envs)

    made = Counted(
        env=make_vec_env("Pendulum-v1", 2),
        eval_env=None,
        num_eval_episodes=0,
        buffer_length=6,
        num_rollouts=3,
        epochs_per_rollout=1,
        use_sde=True,
        sde_sample_freq=freq,
    )
    ratios = []
    plain = made.training_step

    def watched(batch, batch_idx):
        with torch.no_grad():
            log_prob = made(batch.observations)[0].log_prob(batch.actions)
        ratios.append(float((log_prob - batch.old_log_probs).abs().max()))
        return plain(batch, batch_idx)

    made.training_step = watched
    trainer().fit(made)
    assert numbers[1:] == [2] * 3 * drawn  # the first one is for a look at the model
    assert max(ratios) <= 1e-5  # one minibatch a rollout


def test_use_sde_alone_decides_whether_noise_is_drawn():
    class Counted(Model):
        def reset_noise(self, n_envs):
            raise AssertionError

    env = make_vec_env("Pendulum-v1", 1)
    made = Counted(env=env, eval_env=None, num_eval_episodes=0, buffer_length=4)
    trainer().fit(made)


# ---------------------------------------------------------------------------- MultiCategorical


def test_several_categorical_distributions_are_one():
    logits = torch.tensor([[0.0, math.log(3), 0.0, 0.0, math.log(2)]])
    dist = MultiCategorical(logits, [2, 3])
    assert dist.mode.tolist() == [[1, 2]]
    log_prob = dist.log_prob(torch.tensor([[1, 0]]))
    assert log_prob.tolist() == pytest.approx([math.log(0.75 * 0.25)])
    halves = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    thirds = -(0.5 * math.log(0.25) + 0.5 * math.log(0.5))
    assert dist.entropy().tolist() == pytest.approx([halves + thirds])
    torch.manual_seed(0)
    sample = dist.sample((4000,))
    assert sample.shape == (4000, 1, 2)
    assert float((sample[..., 0] == 1).float().mean()) == pytest.approx(0.75, abs=0.03)
    with pytest.raises(ValueError, match="needs 5 logits, not 4"):
        MultiCategorical(logits[:, :4], [2, 3])


def test_a_distribution_without_entropy_is_estimated():
    from ppo_bbrl.distributions import entropy_of

    class Opaque(Normal):
        def entropy(self):
            raise NotImplementedError

    dist = Independent(Opaque(torch.zeros(2, 1), torch.ones(2, 1)), 1)
    log_prob = torch.tensor([-1.0, -2.0])
    assert entropy_of(dist, log_prob).tolist() == [1.0, 2.0]
