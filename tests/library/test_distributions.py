"""What PPO asks of distributions that torch has no formula for."""

import math

import pytest
import torch
from torch import distributions as d
from torch.distributions.transforms import AffineTransform, TanhTransform

from ppo_bbrl import distributions, joint_distributions
from ppo_bbrl.distributions import (
    ActionCategorical,
    ActionGaussian,
    MultiCategorical,
    as_one_event,
    entropy_of,
    evaluate_actions,
    masked,
    mode_of,
)
from ppo_bbrl.errors import UserError

zeros, ones = torch.zeros, torch.ones


def squashed(mean, std=1.0, *more):
    return d.TransformedDistribution(d.Normal(mean, std), [TanhTransform(cache_size=1), *more])


MEAN = torch.tensor([[0.3, -2.0], [0.0, 5.0]])
MODES = {
    "squashed": (d.Independent(squashed(MEAN), 1), MEAN.tanh()),
    "squashed inside": (
        d.TransformedDistribution(d.Independent(d.Normal(MEAN, 1.0), 1), TanhTransform()),
        MEAN.tanh(),
    ),
    "scaled": (squashed(MEAN, 1.0, AffineTransform(1.0, 2.0)), 1 + 2 * MEAN.tanh()),
    "a tie of two": (d.Independent(d.Bernoulli(logits=zeros(2, 3)), 1), zeros(2, 3)),
    "bits": (d.Bernoulli(probs=torch.tensor([0.2, 0.5, 0.9])), torch.tensor([0.0, 0.0, 1.0])),
    "flat": (d.Independent(d.Uniform(zeros(2, 2), ones(2, 2)), 1), 0.5 * ones(2, 2)),
    "flat in part": (d.Beta(torch.tensor([1.0, 3.0]), ones(2)), torch.tensor([0.5, 1.0])),
    "torch's own": (d.Categorical(logits=MEAN), torch.tensor([0, 1])),
    "counts": (d.Poisson(torch.tensor([0.4, 3.7])), torch.tensor([0.0, 3.0])),
    "several": (
        MultiCategorical(torch.tensor([[1.0, 0, 0, 0, 2]]), [2, 3]),
        torch.tensor([[0, 2]]),
    ),
}


@pytest.mark.parametrize("case", MODES)
def test_every_distribution_has_a_greedy_action(case):
    dist, expected = MODES[case]
    torch.testing.assert_close(mode_of(dist), expected)


class Kind(d.TransformedDistribution):
    """A subclass that knows better."""

    @property
    def mode(self):
        return self.base_dist.mean + 7


def test_a_mode_of_ones_own_is_obeyed():
    assert mode_of(d.Independent(Kind(d.Normal(MEAN, 1.0), TanhTransform()), 1)).max() == 12


def test_without_a_mode_one_line_says_what_to_define():
    mixture = d.MixtureSameFamily(d.Categorical(logits=zeros(2, 3)), d.Normal(zeros(2, 3), 1.0))
    relaxed = d.RelaxedOneHotCategorical(torch.tensor(1.0), logits=zeros(2, 3))
    for dist, name in (
        (mixture, "MixtureSameFamily"),
        (d.Independent(mixture, 1), "MixtureSameFamily"),
        (relaxed, "RelaxedOneHotCategorical"),
    ):
        with pytest.raises(UserError, match=rf"^{name} has no mode.*property `mode`"):
            mode_of(dist)


MASK = torch.tensor([0.0, -math.inf, 0.0, 0.0, -math.inf, 0.0], dtype=torch.float64)
KINDS = {
    "ours": ActionCategorical,
    "torch's": lambda logits: d.Categorical(logits=logits),
    "ours, several": lambda logits: MultiCategorical(logits, [3, 3]),
    "ours, padded": lambda logits: MultiCategorical(logits, [2, 4]),
    "torch's, several": lambda logits: d.Independent(
        d.Categorical(logits=logits.unflatten(-1, (2, 3))), 1
    ),
}


@pytest.mark.parametrize("coef", [0.01, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_masked_actions_has_the_right_gradient(kind, coef):
    """Forbidden ones have no part in it, whatever the entropy's weight: 0·log 0 counts as 0."""
    torch.manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    def loss(logits):
        dist = KINDS[kind](logits + MASK)
        log_prob, entropy = evaluate_actions(dist, mode_of(dist))
        return log_prob.mean() - coef * entropy.mean()

    assert torch.autograd.gradcheck(loss, (logits,), atol=1e-5 * max(1, coef))
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    assert gradient.isfinite().all()
    assert not gradient[:, MASK.isinf()].any()
    assert gradient[:, MASK == 0].any()
    small = logits.detach().float().requires_grad_()  # as networks give them
    (single,) = torch.autograd.grad(loss(small), small)
    torch.testing.assert_close(single.double(), gradient, rtol=1e-3, atol=1e-4 * max(1, coef))


def test_what_a_mask_forbids_never_happens():
    logits = torch.tensor([1.0, 3.0, 2.0])
    mask = torch.tensor([[True, False, True], [False, True, True]])
    never = -math.inf
    assert masked(logits.expand(2, 3), mask).tolist() == [[1.0, never, 2.0], [never, 3.0, 2.0]]
    assert masked(logits, None) is logits


@pytest.mark.parametrize("batch", [(), (2,), (2, 5)])
@pytest.mark.parametrize("event", [(), (3,), (4, 3)])
def test_the_entropy_of_forbidden_actions_of_any_shape(event, batch):
    """Half, a quarter, a quarter and never, in each component: 3/2 log 2."""
    probs = torch.tensor([0.5, 0.25, 0.0, 0.25]).expand(*batch, *event, 4)
    dist = d.Independent(d.Categorical(logits=probs.log()), len(event))
    log_prob, entropy = evaluate_actions(dist, torch.zeros((*batch, *event)))
    expected = math.log(2) * math.prod(event)
    torch.testing.assert_close(log_prob, torch.full(batch, -expected))
    torch.testing.assert_close(entropy, torch.full(batch, 1.5 * expected))


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_code_which_cannot_look_has_the_same_entropy(kind, monkeypatch):
    def look(_):
        raise AssertionError

    logits = torch.arange(6.0, dtype=torch.float64).requires_grad_()
    found = []
    for compiling in (False, True):
        with monkeypatch.context() as patch:
            if compiling:
                patch.setattr(torch.compiler, "is_compiling", lambda: True)
                patch.setattr(torch.Tensor, "item", look)
            _, entropy = evaluate_actions(KINDS[kind](logits + MASK), mode_of(KINDS[kind](logits)))
        found.append((entropy, *torch.autograd.grad(entropy, logits)))
    torch.testing.assert_close(*found)
    assert found[0][1].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_far_logits_have_finite_gradients(kind):
    """Probabilities that are 0 only by rounding are as harmless."""
    logits = torch.tensor([[0.0, -3e38, 1.0, 0.0, -3e38, -1e5]], requires_grad=True)
    dist = KINDS[kind](logits)
    log_prob, entropy = evaluate_actions(dist, mode_of(dist))
    (gradient,) = torch.autograd.grad((log_prob + 1e3 * entropy).sum(), logits)
    assert gradient.isfinite().all()


class Unknown(d.Normal):
    """A normal distribution whose entropy torch does not know."""

    def entropy(self):
        raise NotImplementedError


def test_an_estimated_entropy_pulls_as_the_entropy_does():
    """The gradient of the mean of -log π(a|s) would be 0: a bonus for it would do nothing."""
    torch.manual_seed(0)
    mean, log_std = torch.zeros((), requires_grad=True), torch.tensor(0.3, requires_grad=True)
    dist = Unknown(mean, log_std.exp())
    log_prob = dist.log_prob(dist.sample((100_000,)))
    estimate = entropy_of(dist, log_prob)
    assert torch.equal(estimate, -log_prob)
    gradients = torch.autograd.grad(estimate.mean(), (mean, log_std))
    true = d.Normal(mean, log_std.exp()).entropy()
    torch.testing.assert_close(estimate.mean(), true, atol=0.02, rtol=0)
    torch.testing.assert_close(gradients, (torch.tensor(0.0), torch.tensor(1.0)), atol=0.03, rtol=0)


class PerComponent(d.Independent):
    """A density of all components, an entropy of each."""

    def entropy(self):
        return self.base_dist.entropy()


def test_an_entropy_of_another_shape_is_refused():
    """Its mean would be too small by the number of components, without a word."""
    dist = PerComponent(d.Normal(MEAN, 1.0), 1)
    with pytest.raises(UserError, match=r"entropy of PerComponent has shape \[2, 2\].* \[2\]"):
        entropy_of(dist, dist.log_prob(MEAN))


def test_without_a_formula_the_entropy_is_estimated_with_the_right_sign():
    """The mean of -log π over the actions of a known entropy is close to it."""
    torch.manual_seed(0)
    known = d.Normal(torch.zeros(20_000), 0.3)

    class NoFormula(d.Normal):
        def entropy(self):
            raise NotImplementedError

    estimated = NoFormula(torch.zeros(20_000), 0.3)
    action = known.sample()
    entropy = entropy_of(estimated, estimated.log_prob(action))
    assert float(entropy.mean()) == pytest.approx(float(known.entropy()[0]), abs=0.03)


# ------------------------------------------------------------------------------- several at once


def test_what_has_moved_is_found_and_nothing_else():
    assert distributions.MultiCategorical is joint_distributions.MultiCategorical
    with pytest.raises(AttributeError, match=r"'ppo_bbrl.distributions' has no .* 'Multi'"):
        _ = distributions.Multi


def test_several_categorical_actions_are_drawn_and_counted_side_by_side():
    """The vectors of a MultiDiscrete space: one number each for any leading dimensions."""
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 2 + 3)
    dist = MultiCategorical(logits, [2, 3])
    one, other = d.Categorical(logits=logits[..., :2]), d.Categorical(logits=logits[..., 2:])
    assert (dist.batch_shape, dist.event_shape) == ((4, 5), (2,))
    drawn = dist.sample([300])
    assert drawn.shape == (300, 4, 5, 2)
    assert drawn.amax((0, 1, 2)).tolist() == [1, 2]
    assert dist.support.check(drawn).shape == (300, 4, 5)
    action = drawn[0]
    log_prob = one.log_prob(action[..., 0]) + other.log_prob(action[..., 1])
    torch.testing.assert_close(dist.log_prob(action), log_prob)
    torch.testing.assert_close(dist.entropy(), one.entropy() + other.entropy())
    assert torch.equal(dist.mode, torch.stack((one.mode, other.mode), -1))
    for wrong in (torch.zeros(7, 4), torch.zeros(5, 6)):
        with pytest.raises(ValueError, match=r"needs 5 logits"):
            MultiCategorical(wrong, [2, 3])


def test_the_distributions_of_actions_expand_and_sample_without_gradient():
    logits, mean = torch.randn(3, 2, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    for dist in (ActionCategorical(logits), ActionGaussian(mean, torch.zeros(2))):
        larger = dist.expand([4, 3])
        assert larger.batch_shape == (4, 3)
        assert torch.equal(larger.mode[2], dist.mode)
        assert not dist.sample().requires_grad


def test_a_gaussian_over_actions_is_torchs_in_every_respect():
    """What is computed without torch's formulas, and what torch derives from `base_dist`."""
    mean, log_std = torch.randn(4, 2), torch.tensor([-1.0, 0.7])
    ours = ActionGaussian(mean, log_std)
    theirs = d.Independent(d.Normal(mean, log_std.exp().expand(4, 2)), 1)
    action = torch.randn(4, 2)
    for name in ("mean", "stddev", "variance", "mode"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.log_prob(action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    other = d.Independent(d.Normal(mean + 1, torch.ones(4, 2)), 1)
    torch.testing.assert_close(d.kl_divergence(ours, other), d.kl_divergence(theirs, other))
    double = ActionGaussian(mean.double(), log_std.double())
    assert double.noise(3).dtype == torch.float64  # else with the digits of float32


@pytest.mark.parametrize("batch_dims", [1, 2])
def test_dimensions_beyond_the_batch_become_one_event(batch_dims):
    dist = as_one_event(d.Normal(torch.zeros(4, 3), torch.ones(4, 3)), batch_dims)
    assert dist.batch_shape == (4, 3)[:batch_dims]
    assert isinstance(dist, d.Normal) == (batch_dims == 2)
