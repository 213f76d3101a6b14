"""PPO's losses: numbers worked out by hand, and gradients against finite differences."""

import math

import pytest
import torch
import variants
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical

from ppo_bbrl import losses
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.losses import (
    clipped_surrogate,
    entropy_loss,
    explained_variance,
    kl_divergence,
    squared_log_ratio,
    value_loss,
)

EPSILON = 0.2

every_variant = variants.fixture(
    __name__, clipped_surrogate, value_loss, entropy_loss, explained_variance, kl_divergence
)


def vector(*numbers, requires_grad=False):
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=requires_grad)


def surrogate(ratios, advantages, clip_range=EPSILON, **how):
    """The loss at these ratios, its diagnostics, and d loss / d ratio."""
    ratio = vector(*ratios, requires_grad=True)
    old = torch.full_like(ratio, -0.7)  # not 0, which may have any sign
    loss, diagnostics = clipped_surrogate(
        log_prob=ratio.log() + old,
        old_log_prob=old,
        advantage=vector(*advantages),
        clip_range=clip_range,
        **how,
    )
    (gradient,) = torch.autograd.grad(loss, ratio)
    return loss.item(), diagnostics, gradient.tolist()


# ------------------------------------------------------------------------------------- policy


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        # A good action: no reward for going beyond 1 + ε, but nothing is cut below.
        (1.19, 3.0, -3.57, -3.0),
        (1.21, 3.0, -3.6, 0.0),
        (0.81, 3.0, -2.43, -3.0),
        (0.79, 3.0, -2.37, -3.0),
        # A bad one: no reward for going below 1 − ε, but nothing is cut above.
        (0.81, -3.0, 2.43, 3.0),
        (0.79, -3.0, 2.4, 0.0),
        (1.19, -3.0, 3.57, 3.0),
        (1.21, -3.0, 3.63, 3.0),
        (1.0, 3.0, -3.0, -3.0),
        (1.0, -3.0, 3.0, 3.0),
        (5.0, 0.0, 0.0, 0.0),
    ],
)
def test_surrogate_by_hand(ratio, advantage, loss, gradient):
    """Both signs of the advantage, on both sides of each end of the clip range.

    Catches a wrong sign, `max` for `min`, a missing clamp, and clipping the product.
    """
    result, _, slope = surrogate([ratio], [advantage])
    assert result == pytest.approx(loss)
    assert slope == pytest.approx([gradient])


@pytest.mark.parametrize(
    ("ratio", "advantage", "how", "loss", "gradient"),
    [
        # Clip-higher: the upper bound alone is another one.
        (1.35, 3.0, {"clip_range_high": 0.4}, -4.05, -3.0),
        (1.45, 3.0, {"clip_range_high": 0.4}, -4.2, 0.0),
        (0.79, -3.0, {"clip_range_high": 0.4}, 2.4, 0.0),
        # Dual clip: a bad action is no worse than c A, a good one as ever.
        (1.9, -3.0, {"dual_clip": 2.0}, 5.7, 3.0),
        (2.1, -3.0, {"dual_clip": 2.0}, 6.0, 0.0),
        (2.1, 3.0, {"dual_clip": 2.0}, -3.6, 0.0),
        (2.1, 0.5, {"dual_clip": 2.0}, -0.6, 0.0),
        (0.79, -3.0, {"dual_clip": 2.0}, 2.4, 0.0),
        # No clipping at all.
        (1.9, 3.0, {"clip_range": None}, -5.7, -3.0),
        (0.1, -3.0, {"clip_range": None}, 0.3, 3.0),
        (2.1, -3.0, {"clip_range": None, "dual_clip": 2.0}, 6.0, 0.0),
    ],
)
def test_variants_of_the_surrogate_by_hand(ratio, advantage, how, loss, gradient):
    found, diagnostics, slope = surrogate([ratio], [advantage], **how)
    assert found == pytest.approx(loss)
    assert slope == pytest.approx([gradient])
    if how.get("clip_range", EPSILON) is None:
        assert float(diagnostics["clip_fraction"]) == 0


def test_the_kl_penalty_by_hand_and_its_gradient():
    """k3: where r = 2 it is 1 - ln 2 with slope 1 - 1/2 in r; at r = 1 nothing and no slope."""
    ratio = vector(2.0, 1.0, 0.5, requires_grad=True)
    old = vector(-0.7, -0.2, 0.3, requires_grad=True)
    logs = ratio.log() + old.detach()
    penalty = kl_divergence(log_prob=logs, old_log_prob=old)
    ln2 = math.log(2)
    assert float(penalty.detach()) == pytest.approx((1 - ln2 + 0 + ln2 - 0.5) / 3)
    gradient, of_old = torch.autograd.grad(penalty, (ratio, old), allow_unused=True)
    assert of_old is None
    assert (3 * gradient).tolist() == pytest.approx([0.5, 0.0, -1.0])
    masked = kl_divergence(log_prob=logs.detach(), old_log_prob=old, mask=torch.tensor([1.0, 0, 0]))
    assert float(masked) == pytest.approx(1 - ln2)
    _, diagnostics = clipped_surrogate(
        log_prob=logs, old_log_prob=old, advantage=old, clip_range=EPSILON
    )
    assert float(penalty.detach()) == pytest.approx(float(diagnostics["approx_kl"]))


def test_the_gradient_of_the_kl_penalty_is_that_of_the_divergence():
    """Of the two distributions, as the paper has it: the estimate's expectation is exact."""
    old = torch.tensor([0.1, -0.4, 0.3], dtype=torch.float64)
    new = torch.tensor([0.5, 0.2, -0.6], dtype=torch.float64, requires_grad=True)
    before, after = Categorical(logits=old), Categorical(logits=new)
    exact = torch.distributions.kl_divergence(before, after)
    ratio = (after.logits - before.logits).exp()
    k3 = (before.probs * (ratio - 1 - (after.logits - before.logits))).sum()
    assert float(k3.detach()) == pytest.approx(float(exact.detach()))
    expected, found = (torch.autograd.grad(one, new, retain_graph=True)[0] for one in (exact, k3))
    torch.testing.assert_close(found, expected)


def test_surrogate_is_a_mean():
    """Not a sum, nor the minimum of two means: −(1.2·2 + 0.9·(−1) + 2·(−1)) / 3."""
    loss, _, _ = surrogate([1.5, 0.9, 2.0], [2.0, -1.0, -1.0])
    assert loss == pytest.approx((-2.4 + 0.9 + 2.0) / 3)


def test_clip_range_may_be_a_tensor():
    """A compiled update hands the scheduled range in as a tensor."""
    number, _, _ = surrogate([1.5, 0.5], [1.0, -1.0])
    tensor, _, _ = surrogate([1.5, 0.5], [1.0, -1.0], torch.tensor(EPSILON, dtype=torch.float64))
    assert tensor == pytest.approx(number)


@pytest.mark.wide(2)
@given(st.floats(0.05, 3), st.floats(-5, 5))
def test_surrogate_gradcheck(ratio, advantage):
    """Finite differences agree away from the two kinks."""
    if min(abs(ratio - 1 - EPSILON), abs(ratio - 1 + EPSILON)) < 1e-3:
        return
    log_prob = vector(math.log(ratio), requires_grad=True)

    def loss(log_prob):
        return clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=vector(0.0),
            advantage=vector(advantage),
            clip_range=EPSILON,
        )[0]

    assert torch.autograd.gradcheck(loss, (log_prob,))


@pytest.mark.parametrize("ratio", [0.79, 0.81, 1.19, 1.21])
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
def test_surrogate_gradcheck_at_the_boundaries(ratio, advantage):
    """Just inside and just outside of the clip range, where the formula switches."""
    log_prob = vector(math.log(ratio), math.log(2 - ratio), requires_grad=True)

    def loss(log_prob):
        return clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=vector(0.0, 0.0),
            advantage=vector(advantage, -advantage),
            clip_range=EPSILON,
        )[0]

    assert torch.autograd.gradcheck(loss, (log_prob,))


@pytest.mark.wide(48)
@pytest.mark.parametrize("ratio", [0.3, 0.79, 0.81, 1.3, 1.39, 1.41, 1.49, 1.51, 2.5])
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
@pytest.mark.parametrize(
    "how",
    [
        {"clip_range_high": 0.4}, {"dual_clip": 1.5}, {"clip_range": None, "dual_clip": 1.5},
        {"clip_range_high": 0.4, "dual_clip": 1.5},
    ],
)  # fmt: skip
def test_gradcheck_of_the_surrogates_variants(ratio, advantage, how):
    """Just inside and just outside of each bound, where the formula switches."""

    def loss(log_prob):
        return clipped_surrogate(
            **{"clip_range": EPSILON} | how,
            log_prob=log_prob,
            old_log_prob=vector(0.0),
            advantage=vector(advantage),
        )[0]

    assert torch.autograd.gradcheck(loss, (vector(math.log(ratio), requires_grad=True),))


@pytest.mark.wide(2)
@given(st.floats(-3, 3))
def test_kl_penalty_gradcheck(log_ratio):
    def penalty(log_prob):
        return kl_divergence(log_prob=log_prob, old_log_prob=vector(-1.0))

    assert torch.autograd.gradcheck(penalty, (vector(log_ratio - 1, requires_grad=True),))


def test_only_the_new_policy_learns():
    """No gradient to the old policy or the advantage, even if they carry one."""
    log_prob, old, advantage = (vector(-1.0, -2.0, requires_grad=True) for _ in range(3))
    loss, diagnostics = clipped_surrogate(
        log_prob=log_prob, old_log_prob=old, advantage=advantage, clip_range=EPSILON
    )
    loss.backward()
    assert log_prob.grad is not None
    assert old.grad is None
    assert advantage.grad is None
    assert not any(value.requires_grad for value in diagnostics.values())


def test_approx_kl_is_k3():
    """(r − 1) − log r, by hand; k1 = −log r would be negative here."""
    _, diagnostics, _ = surrogate([2.0, 0.5], [1.0, 1.0])
    expected = ((1 - math.log(2)) + (-0.5 + math.log(2))) / 2
    assert diagnostics["approx_kl"].item() == pytest.approx(expected)
    _, diagnostics, _ = surrogate([1.5, 1.5], [1.0, 1.0])
    assert diagnostics["approx_kl"].item() == pytest.approx(0.5 - math.log(1.5))


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=8))
def test_approx_kl_is_never_negative(log_ratios):
    """k3 is positive sample by sample, unlike the usual estimate."""
    log_prob = vector(*log_ratios)
    _, diagnostics = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=torch.zeros_like(log_prob),
        advantage=torch.ones_like(log_prob),
        clip_range=EPSILON,
    )
    assert diagnostics["approx_kl"] >= -1e-12


def test_clip_fraction_counts_ratios_beyond_the_range():
    """Whether or not the clipping changed the loss, as in other implementations."""
    _, diagnostics, _ = surrogate([1.19, 1.21, 0.81, 0.79, 1.0], [1.0, -1.0, 1.0, 1.0, 1.0])
    assert diagnostics["clip_fraction"].item() == pytest.approx(0.4)


def test_squared_log_ratio_by_hand_and_masked():
    """½·(1 + 4)/2; the masked sample counts in neither sum."""
    new, old = vector(2.0, -1.0, 50.0, requires_grad=True), vector(1.0, 1.0, 1.0)
    mask = torch.tensor([True, True, False])
    masked = squared_log_ratio(log_prob=new, old_log_prob=old, mask=mask)
    assert masked.item() == squared_log_ratio(log_prob=new[:2], old_log_prob=old[:2]) == 1.25
    assert not masked.requires_grad
    with pytest.raises(ValueError, match="same shape"):
        squared_log_ratio(log_prob=new, old_log_prob=old[:, None])


# ------------------------------------------------------------------------------------- critic


def test_value_loss_without_clipping():
    """The mean squared error without ½, whatever the old values were."""
    value = vector(1.0, 4.0, requires_grad=True)
    loss, diagnostics = value_loss(
        value=value, old_value=vector(100.0, 0.0), target=vector(3.0, 3.0), clip_range_vf=0.0
    )
    loss.backward()
    assert loss.item() == pytest.approx((4 + 1) / 2)
    assert value.grad.tolist() == pytest.approx([-2.0, 1.0])
    assert diagnostics["value_clip_fraction"].item() == 0.0


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [
        # V_old = 1, ε = 0.5: the clip range is [0.5, 1.5].
        (1.4, 3.0, 2.56, -3.2),  # within: plain
        (1.6, 3.0, 2.25, 0.0),  # has moved far enough in the right direction
        (0.6, 3.0, 5.76, -4.8),
        (0.4, 3.0, 6.76, -5.2),  # has moved in the wrong one: must come back
        (1.6, 0.0, 2.56, 3.2),  # the same on the other side
        (0.4, 0.0, 0.25, 0.0),
    ],
)
def test_value_loss_is_the_larger_of_clipped_and_unclipped(value, target, loss, gradient):
    """PPO2's formula, on both sides of each boundary."""
    value = vector(value, requires_grad=True)
    result, _ = value_loss(
        value=value, old_value=vector(1.0), target=vector(target), clip_range_vf=0.5
    )
    result.backward()
    assert result.item() == pytest.approx(loss)
    assert value.grad.item() == pytest.approx(gradient)


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_value_clipping_never_freezes_the_critic(value, target):
    """Outside of the range and on the wrong side of the target, the gradient is the full one.

    Upstream takes the clipped error alone: its gradient there is 0, for ever.
    """
    clip_range, old = 0.5, 0.0
    further_than_clipped = abs(value - target) > abs(
        max(-clip_range, min(clip_range, value)) - target
    )
    if abs(value) <= clip_range or not further_than_clipped:
        return
    new = vector(value, requires_grad=True)
    loss, _ = value_loss(
        value=new, old_value=vector(old), target=vector(target), clip_range_vf=clip_range
    )
    loss.backward()
    assert new.grad.item() == pytest.approx(2 * (value - target))
    assert new.grad.item() != 0


def test_value_clipping_never_freezes_the_critic_that_learns():
    """A critic that was thrown out of the range finds its way to the target."""
    value = vector(3.0, requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=0.1)
    for _ in range(100):
        loss, _ = value_loss(
            value=value, old_value=vector(0.0), target=vector(0.25), clip_range_vf=0.5
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert value.item() == pytest.approx(0.25, abs=1e-6)


@pytest.mark.wide(2)
@given(st.floats(-3, 3), st.floats(-3, 3), st.sampled_from([0.0, 0.5]))
def test_value_loss_gradcheck(value, target, clip_range_vf):
    """Finite differences agree away from the kinks."""
    clipped = max(-0.5, min(0.5, value))
    change_of_branch = abs(value - target) - abs(clipped - target)
    if abs(abs(value) - 0.5) < 1e-3 or (value != clipped and abs(change_of_branch) < 1e-3):
        return
    new = vector(value, requires_grad=True)

    def loss(new):
        return value_loss(
            value=new, old_value=vector(0.0), target=vector(target), clip_range_vf=clip_range_vf
        )[0]

    assert torch.autograd.gradcheck(loss, (new,))


@pytest.mark.parametrize("value", [-0.51, -0.49, 0.49, 0.51])
@pytest.mark.parametrize("target", [-2.0, 2.0])
def test_value_loss_gradcheck_at_the_boundaries(value, target):
    """Just inside and just outside of the clip range."""
    new = vector(value, requires_grad=True)

    def loss(new):
        return value_loss(
            value=new, old_value=vector(0.0), target=vector(target), clip_range_vf=0.5
        )[0]

    assert torch.autograd.gradcheck(loss, (new,))


@pytest.mark.parametrize("clip_range_vf", [0.0, 0.5, torch.tensor(0.5)])
def test_only_the_new_critic_learns(clip_range_vf):
    """No gradient to the old critic or the returns, even if they carry one."""
    value, old, target = (vector(1.0, 2.0, requires_grad=True) for _ in range(3))
    loss, diagnostics = value_loss(
        value=value, old_value=old, target=target, clip_range_vf=clip_range_vf
    )
    loss.backward()
    assert value.grad is not None
    assert old.grad is None
    assert target.grad is None
    assert not diagnostics["value_clip_fraction"].requires_grad


def test_value_clip_fraction():
    """The share of values that moved further than the range; its edge is in the range."""
    _, diagnostics = value_loss(
        value=vector(0.5, 0.6, -0.6, 0.0),
        old_value=vector(0.0, 0.0, 0.0, 0.0),
        target=vector(0.0, 0.0, 0.0, 0.0),
        clip_range_vf=0.5,
    )
    assert diagnostics["value_clip_fraction"].item() == 0.5


# ------------------------------------------------------------------------------------ entropy


def test_entropy_loss_by_hand():
    """Minimising it raises the entropy."""
    entropy = vector(1.0, 3.0, requires_grad=True)
    loss, diagnostics = entropy_loss(entropy=entropy)
    loss.backward()
    assert loss.item() == -2.0
    assert entropy.grad.tolist() == [-0.5, -0.5]
    assert diagnostics["entropy"].item() == 2.0
    assert not diagnostics["entropy"].requires_grad


def test_entropy_loss_gradcheck_through_logits():
    """The gradient that the policy's logits get."""
    logits = torch.tensor([[0.3, -1.2, 0.5], [4.0, 0.0, -4.0]], dtype=torch.float64)

    def loss(logits):
        log_probs = logits.log_softmax(-1)
        return entropy_loss(entropy=-(log_probs.exp() * log_probs).sum(-1))[0]

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(),))


# ---------------------------------------------------------------------------- extreme numbers


class GivenLogits(DiscretePolicy):
    """A policy whose logits are its parameters: an observation picks a row of them."""

    def __init__(self, logits):
        super().__init__(logits.shape[0], [], logits.shape[1])
        self.rows = torch.nn.Parameter(logits)

    def logits(self, obs):
        return self.rows[obs]


@pytest.mark.parametrize("gap", [1.0, 90.0, 104.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_probabilities_stay_finite(gap, dtype):
    """Upstream's `softmax().log()` has NaN gradients at a gap of 90 and is −inf at 104."""
    logits = torch.tensor([[gap, 0.0, -gap], [0.0, gap, gap]], dtype=dtype)
    policy = GivenLogits(logits)
    obs, action = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 0])
    log_prob, entropy = policy.evaluate_actions(obs, action)
    normaliser = math.log1p(math.exp(-gap) + math.exp(-2 * gap))
    torch.testing.assert_close(log_prob[2], logits.new_tensor(-2 * gap - normaliser))
    policy_loss, diagnostics = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=log_prob.detach(),
        advantage=torch.tensor([1.0, -1.0, 2.0, -2.0], dtype=dtype),
        clip_range=EPSILON,
    )
    exploration_loss, _ = entropy_loss(entropy=entropy)
    (policy_loss + exploration_loss).backward()
    for tensor in (log_prob, entropy, policy_loss, exploration_loss, policy.rows.grad):
        assert torch.isfinite(tensor).all()
    assert all(torch.isfinite(value) for value in diagnostics.values())
    dist = policy.dist(obs)
    torch.testing.assert_close(log_prob, dist.log_prob(action))
    assert torch.isfinite(dist.entropy()).all()


@pytest.mark.parametrize("log_ratio", [90.0, 1e4, -90.0, -1e4])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_policies_that_have_nothing_in_common(log_ratio, advantage):
    """exp(89) is infinite in float32, and infinity × 0 is not a number."""
    log_prob = torch.tensor([log_ratio, 0.0], requires_grad=True)
    loss, diagnostics = clipped_surrogate(
        log_prob=log_prob,
        old_log_prob=torch.zeros(2),
        advantage=torch.tensor([advantage, 0.0]),
        clip_range=EPSILON,
    )
    loss.backward()
    for tensor in (loss, log_prob.grad, *diagnostics.values()):
        assert torch.isfinite(tensor).all()


def test_upstream_formula_fails_where_ours_does_not():
    """What this guards against, so that nobody brings it back for brevity."""
    logits = torch.tensor([[0.0, 104.0]], requires_grad=True)
    assert torch.softmax(logits, -1).log()[0, 0].item() == -math.inf
    assert logits.log_softmax(-1)[0, 0].item() == -104.0
    assert Categorical(logits=logits).log_prob(torch.tensor([0])).item() == -104.0


# ------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("wrong", ["log_prob", "old_log_prob", "advantage"])
def test_surrogate_refuses_other_shapes(wrong):
    """[N, 1] against [N] would broadcast to [N, N], and learn next to nothing, in silence."""
    args = {name: torch.zeros(4) for name in ("log_prob", "old_log_prob", "advantage")}
    args[wrong] = torch.zeros(4, 1)
    with pytest.raises(ValueError, match=rf"same shape.*'{wrong}': \(4, 1\)"):
        clipped_surrogate(**args, clip_range=EPSILON)
    del args["advantage"]
    if wrong in args:
        with pytest.raises(ValueError, match="same shape"):
            kl_divergence(**args)


@pytest.mark.parametrize("clip_range_vf", [0.0, 0.5])
@pytest.mark.parametrize("wrong", ["value", "old_value", "target"])
def test_value_loss_refuses_other_shapes(wrong, clip_range_vf):
    """A critic that forgot `squeeze(-1)` is told so."""
    args = {name: torch.zeros(4) for name in ("value", "old_value", "target")}
    args[wrong] = torch.zeros(4, 1)
    with pytest.raises(ValueError, match=rf"same shape.*'{wrong}': \(4, 1\)"):
        value_loss(**args, clip_range_vf=clip_range_vf)


# ------------------------------------------------------------------------- explained variance


def test_explained_variance_by_hand():
    """1 for a perfect critic, 0 for a constant one, below 0 for a misleading one."""
    target = vector(1.0, 2.0, 3.0)
    for value, expected in [
        (target, 1.0),
        (target + 5.0, 1.0),  # a constant offset is no variance
        (vector(0.0, 0.0, 0.0), 0.0),
        (-target, -3.0),
    ]:
        assert explained_variance(value=value, target=target).item() == pytest.approx(expected)


def test_explained_variance_of_equal_returns_is_not_a_number():
    """There is nothing to explain: neither 0 nor −inf is true."""
    target = torch.full((3,), 2.0)
    assert explained_variance(value=torch.rand(3), target=target).isnan()
    with pytest.raises(ValueError, match="same shape"):
        explained_variance(value=torch.zeros(3, 1), target=target)


def test_a_bad_action_that_became_far_too_probable_still_has_a_gradient():
    """However far: from e^20, long before the exponential overflows, it is a straight line."""
    for gap in (19.0, 25.0, 1e4):
        log_prob = torch.tensor([gap], requires_grad=True)
        loss, facts = clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=torch.zeros(1),
            advantage=-torch.ones(1),
            clip_range=0.2,
        )
        loss.backward()
        slope = math.exp(min(gap, 20))
        assert log_prob.grad.item() == pytest.approx(slope, rel=1e-5)
        assert loss.item() == pytest.approx(slope * (1 + max(gap - 20, 0)), rel=1e-5)
        assert all(fact.isfinite() for fact in facts.values())


def test_the_surrogate_is_traced_in_one_piece():
    """As the compiled step needs: there the exponential cannot first look at the numbers."""
    torch.compiler.reset()  # the tests above may have traced it as often as torch does
    whole = torch.compile(losses.clipped_surrogate, backend="eager", fullgraph=True)
    inputs = {"log_prob": vector(1e4), "old_log_prob": vector(0.0), "advantage": vector(-1.0)}
    result = whole(**inputs, clip_range=EPSILON)
    torch.testing.assert_close(result, losses.clipped_surrogate(**inputs, clip_range=EPSILON))


# ------------------------------------------------------------------------------------- masks

SEED = st.integers(0, 2**32 - 1)
COUNTS = st.lists(st.booleans(), min_size=1, max_size=12).filter(any)


def masked_and_chosen(function, n, counts, seed):
    """Loss, diagnostics and gradient with a mask, and on the chosen samples alone.

    `function` is given n random vectors; the first carries the gradient. What the mask hides is
    far off, as padding may be.
    """
    generator = torch.Generator().manual_seed(seed)
    mask = torch.tensor(counts)
    vectors = [torch.randn(len(mask), generator=generator, dtype=torch.float64) for _ in range(n)]
    for tensor in vectors:
        tensor[~mask] *= 1e3
    results = []
    for chosen, option in ((slice(None), mask.double()), (mask, None)):
        parts = [tensor[chosen].clone() for tensor in vectors]
        parts[0].requires_grad_()
        loss, facts = function(*parts, mask=option)
        (gradient,) = torch.autograd.grad(loss, parts[0])
        results.append((loss.detach(), facts, gradient[mask] if option is not None else gradient))
        assert option is None or not gradient[~mask].any(), "what is hidden has no gradient"
    return results


def assert_equal_results(masked, chosen):
    torch.testing.assert_close(masked, chosen, check_dtype=False)


@pytest.mark.wide(1)
@given(COUNTS, SEED, st.floats(0.01, 1))
def test_masked_surrogate_is_that_of_the_subset(counts, seed, clip_range):
    def function(log_prob, old_log_prob, advantage, mask):
        return clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=old_log_prob,
            advantage=advantage,
            clip_range=clip_range,
            mask=mask,
        )

    assert_equal_results(*masked_and_chosen(function, 3, counts, seed))


@pytest.mark.wide(1)
@given(COUNTS, SEED, st.sampled_from([0.0, 0.3, torch.tensor(0.3, dtype=torch.float64)]))
def test_masked_value_loss_is_that_of_the_subset(counts, seed, clip_range_vf):
    def function(value, old_value, target, mask):
        return value_loss(
            value=value, old_value=old_value, target=target, clip_range_vf=clip_range_vf, mask=mask
        )

    assert_equal_results(*masked_and_chosen(function, 3, counts, seed))


@pytest.mark.wide(2)
@given(COUNTS, SEED)
def test_masked_entropy_is_that_of_the_subset(counts, seed):
    def function(entropy, mask):
        return entropy_loss(entropy=entropy, mask=mask)

    assert_equal_results(*masked_and_chosen(function, 1, counts, seed))
