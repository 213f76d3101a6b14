"""Distributions of actions of several components: by hand, and against torch's own."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as d
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from ppo_bbrl.distributions import ActionCategorical, ActionGaussian, evaluate_actions, mode_of
from ppo_bbrl.joint_distributions import (
    ActionBernoulli,
    ActionComposite,
    ActionMultiCategorical,
    Joint,
)

LOG = math.log


def test_two_categorical_parts_by_hand():
    """Probabilities (1/4, 3/4) and (1/2, 1/4, 1/4)."""
    logits = torch.tensor([[LOG(1), LOG(3), LOG(2), LOG(1), LOG(1)]])
    dist = ActionMultiCategorical(logits, [2, 3])
    log_prob, entropy = dist.evaluate(torch.tensor([[1, 2]]))
    assert log_prob.item() == pytest.approx(LOG(3 / 4) + LOG(1 / 4))
    of_two = -(LOG(1 / 4) / 4 + LOG(3 / 4) * 3 / 4)
    of_three = -(LOG(1 / 2) / 2 + LOG(1 / 4) / 2)
    assert entropy.item() == pytest.approx(of_two + of_three)
    assert dist.mode.tolist() == [[1, 0]]
    assert dist.mode.dtype == torch.int64


def test_bits_by_hand():
    """1 with probability 3/4 and 1/5."""
    dist = ActionBernoulli(torch.tensor([[LOG(3), -LOG(4)]]))
    log_prob, entropy = dist.evaluate(torch.tensor([[1.0, 0.0]]))
    assert log_prob.item() == pytest.approx(LOG(3 / 4) + LOG(4 / 5))
    expected = -(LOG(3 / 4) * 3 / 4 + LOG(1 / 4) / 4 + LOG(1 / 5) / 5 + LOG(4 / 5) * 4 / 5)
    assert entropy.item() == pytest.approx(expected)
    assert dist.mode.tolist() == [[1.0, 0.0]]
    assert dist.with_noise(torch.tensor([[-1.2, 1.5]])).tolist() == [[0.0, 1.0]]


def test_a_composite_by_hand():
    """An index of two, a number, two bits: the log-probabilities and the entropies add."""
    dist = ActionComposite(
        [
            ActionCategorical(torch.tensor([[0.0, LOG(3)]])),
            ActionGaussian(torch.tensor([[1.0]]), torch.tensor([LOG(2.0)])),
            ActionBernoulli(torch.tensor([[0.0, LOG(3)]])),
        ]
    )
    action = torch.tensor([[1.0, 3.0, 0.0, 1.0]])
    log_prob, entropy = dist.evaluate(action)
    gaussian = -0.5 - LOG(2) - 0.5 * LOG(2 * math.pi)
    assert log_prob.item() == pytest.approx(LOG(3 / 4) + gaussian + LOG(1 / 2) + LOG(3 / 4))
    of_three_quarters = -(LOG(1 / 4) / 4 + LOG(3 / 4) * 3 / 4)
    gaussian = LOG(2) + 0.5 + 0.5 * LOG(2 * math.pi)
    assert entropy.item() == pytest.approx(2 * of_three_quarters + gaussian + LOG(2))
    assert dist.mode.tolist() == [[1.0, 1.0, 0.0, 1.0]]


def test_a_composite_of_indices_alone_has_actions_of_floats():
    """As the workspace stores those of every composite; beside numbers in their precision."""
    index = ActionCategorical(torch.tensor([[0.0, LOG(3)]]))
    dist = ActionComposite([index, ActionMultiCategorical(torch.zeros(1, 5), [2, 3])])
    for action in (dist.mode, dist.sample()):
        assert (action.dtype, action.shape) == (torch.float32, (1, 3))
    third = torch.tensor([[1 / 3]], dtype=torch.float64)
    assert ActionComposite([index, ActionGaussian(third, third[0])]).mode.tolist() == [[1, 1 / 3]]


def test_no_rows_have_no_actions():
    """As of a batch of 0 observations, whose shapes leave the size of an action open."""
    several = ActionMultiCategorical(torch.zeros(0, 5), [2, 3])
    parts = [several, ActionCategorical(torch.zeros(0, 2)), ActionBernoulli(torch.zeros(0, 2))]
    for dist, size in ((several, 2), (ActionComposite(parts), 5)):
        for action in (dist.mode, dist.sample()):
            assert action.shape == (0, size)
            assert [one.shape for one in dist.evaluate(action)] == [(0,), (0,)]


@pytest.mark.parametrize("missing", ["evaluate", "noise", "with_noise", "mode", "noise_shape"])
def test_a_distribution_of_ones_own_must_have_the_methods(missing):
    """What is left out is an error, and not None."""
    given = {"evaluate": [None], "with_noise": [None], "noise": []}
    base = Joint(validate_args=False)

    def use():
        value = getattr(base, missing)  # a property, or a method
        return value(*given[missing])

    with pytest.raises(NotImplementedError):
        use()


def parts(draw, batch):
    """The same distribution as ours and as torch's own."""
    kind = draw(st.sampled_from(["one", "several", "bits", "numbers"]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))

    def numbers(*shape):
        return 3 * torch.randn((*batch, *shape), generator=generator, dtype=torch.float64)

    if kind == "one":
        logits = numbers(draw(st.integers(1, 4)))
        return ActionCategorical(logits), Categorical(logits=logits)
    if kind == "several":
        sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        logits = numbers(sum(sizes))
        return ActionMultiCategorical(logits, sizes), *logits.split(sizes, -1)
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    location = numbers(*shape)
    if kind == "bits":
        return (
            ActionBernoulli(location, len(shape)),
            Independent(Bernoulli(logits=location), len(shape)),
        )
    log_std = torch.randn(shape, generator=generator, dtype=torch.float64)
    theirs = Independent(Normal(location, log_std.exp().expand_as(location)), len(shape))
    return ActionGaussian(location, log_std), theirs


def judged(theirs, action):
    """Log-probability and entropy by torch."""
    if isinstance(theirs[0], d.Distribution):
        return theirs[0].log_prob(action), theirs[0].entropy()
    each = [Categorical(logits=logits) for logits in theirs]
    log_probs = [one.log_prob(part) for one, part in zip(each, action.unbind(-1), strict=True)]
    return sum(log_probs), sum(one.entropy() for one in each)


@settings(max_examples=30)
@given(st.data())
def test_as_torch_has_them(data):
    """Any kinds side by side, any leading dimensions; also in a composite."""
    batch = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    drawn = [parts(data.draw, batch) for _ in range(data.draw(st.integers(1, 3)))]
    total, entropies, flat = 0, 0, []
    for ours, *theirs in drawn:
        action = ours.sample()
        assert action.shape == (*batch, *ours.event_shape)
        expected = judged(theirs, action)
        torch.testing.assert_close(ours.evaluate(action), expected)
        torch.testing.assert_close((ours.log_prob(action), ours.entropy()), expected)
        assert (ours.log_prob(ours.mode) >= expected[0] - 1e-9).all()  # nothing is more likely
        total, entropies = total + expected[0], entropies + expected[1]
        flat.append(action.double().reshape(*batch, -1))
    joined = ActionComposite([ours for ours, *_ in drawn])
    action = torch.cat(flat, -1)
    torch.testing.assert_close(evaluate_actions(joined, action), (total, entropies))
    for one in (joined.sample(), mode_of(joined)):
        assert one.shape == action.shape


def several():
    return ActionComposite(
        [
            ActionMultiCategorical(torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5]), [2, 3]),
            ActionBernoulli(torch.tensor([1.0, -2.0])),
            ActionGaussian(torch.tensor([1.0]), torch.tensor([-1.0])),
            ActionCategorical(torch.tensor([0.0, 2.0])),
        ]
    )


def test_samples_have_the_probabilities():
    """Each component by its own; components do not hang together."""
    torch.manual_seed(0)
    sample = several().sample((100_000,))
    first = torch.tensor([0.0, 1.0]).softmax(0)[1]
    second = torch.tensor([2.0, -1.0, 0.5]).softmax(0)
    bits = torch.tensor([1.0, -2.0]).sigmoid()
    expected = [first, second @ torch.arange(3.0), *bits, 1.0, torch.tensor(2.0).sigmoid()]
    torch.testing.assert_close(sample.mean(0), torch.tensor(expected), atol=0.01, rtol=0)
    assert float(sample[:, 4].std()) == pytest.approx(math.exp(-1), abs=0.01)
    correlations = torch.corrcoef(sample.T) - torch.eye(6)
    assert correlations.abs().max() < 0.015


def test_the_same_noise_gives_the_same_actions():
    """Noise for a whole rollout, drawn at once, is what a sample of each row would be."""
    dist, generator = several(), torch.Generator()
    for part in dist.parts:
        part._generator = lambda: generator
    noise = dist.noise(5, 3)
    larger = dist.expand((3,))
    actions = torch.stack([larger.with_noise(row) for row in noise])
    assert actions.shape == (5, 3, 6)
    assert torch.equal(dist.expand((5, 3)).with_noise(noise), actions)
    generator.manual_seed(0)
    one = larger.sample()
    generator.manual_seed(0)
    assert torch.equal(larger.with_noise(larger.noise(3)), one)


@pytest.mark.parametrize("size", [0.0, 50.0, 1e4])
def test_gradients_are_finite_at_any_gap_of_the_logits(size):
    logits = torch.tensor([0.0, size, -size, size, 0.0]).requires_grad_()
    for dist, action in (
        (ActionMultiCategorical(logits, [2, 3]), torch.tensor([0, 2])),
        (ActionBernoulli(logits), torch.tensor([1.0, 0, 1, 0, 1])),
    ):
        log_prob, entropy = dist.evaluate(action)
        (gradient,) = torch.autograd.grad(log_prob + entropy, logits)
        assert torch.stack((log_prob, entropy)).isfinite().all()
        assert gradient.isfinite().all()
