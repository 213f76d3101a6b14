"""GAE and λ-returns: numbers worked out by hand, and a plain loop on random episodes."""

import math

import pytest
import torch
import variants
from hypothesis import given
from hypothesis import strategies as st

from ppo_bbrl.advantages import continuing_gae, gae, lambda_returns, normalise

every_variant = variants.fixture(__name__, gae, continuing_gae, lambda_returns, normalise)

GAMMA = 0.5  # a power of two: the numbers below are exact


def column(*numbers, dtype=torch.float64):
    """One environment: `[T, 1]`."""
    return torch.tensor(numbers, dtype=dtype).unsqueeze(-1)


def mask(*flags):
    return column(*flags, dtype=torch.bool)


def run(reward, value, terminated, done, *, gae_lambda, discount_factor=GAMMA):
    """`value` has a row more than the others: V of every row."""
    return gae(
        reward=reward,
        value=value[:-1],
        next_value=value[1:],
        terminated=terminated,
        done=done,
        discount_factor=discount_factor,
        gae_lambda=gae_lambda,
    )


def by_loop(reward, value, next_value, terminated, done, discount_factor, gae_lambda):
    """The definition, number by number."""
    steps, batch = reward.shape
    advantage = [[0.0] * batch for _ in range(steps)]
    for b in range(batch):
        following = 0.0
        for t in reversed(range(steps)):
            bootstrap = 0.0 if terminated[t, b] else float(next_value[t, b])
            delta = float(reward[t, b]) + discount_factor * bootstrap - float(value[t, b])
            carried = 0.0 if done[t, b] else discount_factor * gae_lambda * following
            following = advantage[t][b] = delta + carried
    return torch.tensor(advantage, dtype=torch.float64).reshape(steps, batch)


# ------------------------------------------------------------------------------------ by hand

# Three steps that nothing ends: V = 4, 8, 2, 6; δ = 1 + 4 − 4, 2 + 1 − 8, 3 + 3 − 2.
RUNNING = {"reward": column(1.0, 2.0, 3.0), "value": column(4.0, 8.0, 2.0, 6.0)}
NOTHING = mask(False, False, False)


@pytest.mark.wide(4)
@pytest.mark.parametrize(
    ("gae_lambda", "expected"),
    [
        (0.0, (1.0, -5.0, 4.0)),
        (0.7, (1.0 + 0.35 * (-5.0 + 0.35 * 4.0), -5.0 + 0.35 * 4.0, 4.0)),
        (1.0, (-0.5, -3.0, 4.0)),  # r₀ + γ r₁ + γ² r₂ + γ³ V₃ − V₀ = 1 + 1 + 0.75 + 0.75 − 4
    ],
)
def test_a_running_episode(gae_lambda, expected):
    """The recursion itself, with a bootstrap at the end of the rollout."""
    advantage = run(**RUNNING, terminated=NOTHING, done=NOTHING, gae_lambda=gae_lambda)
    torch.testing.assert_close(advantage, column(*expected))


@pytest.mark.parametrize(
    ("gae_lambda", "expected"),
    [
        (0.0, (1.0, 2.0 - 8.0, 4.0)),
        (0.7, (1.0 + 0.35 * -6.0, -6.0, 4.0)),
        (1.0, (1.0 + 0.5 * -6.0, -6.0, 4.0)),
    ],
)
def test_a_terminal_state_has_no_value_and_ends_the_trace(gae_lambda, expected):
    """`terminated` stops the bootstrap: V₂ = 2 counts for nothing."""
    ended = mask(False, True, False)
    advantage = run(**RUNNING, terminated=ended, done=ended, gae_lambda=gae_lambda)
    torch.testing.assert_close(advantage, column(*expected))


@pytest.mark.parametrize(
    ("gae_lambda", "expected"),
    [
        (0.0, (1.0, -5.0, 4.0)),
        (0.7, (1.0 + 0.35 * -5.0, -5.0, 4.0)),
        (1.0, (1.0 + 0.5 * -5.0, -5.0, 4.0)),
    ],
)
def test_a_time_limit_keeps_the_bootstrap_and_ends_the_trace(gae_lambda, expected):
    """One mask for both (upstream) lets the next episode's 4 into the advantages before it."""
    advantage = run(
        **RUNNING, terminated=NOTHING, done=mask(False, True, False), gae_lambda=gae_lambda
    )
    torch.testing.assert_close(advantage, column(*expected))


def test_upstream_example():
    """The figures of bbrl's `gae`: correct is [1.43, 0.80], whatever the next episode holds."""
    for later in (50.0, -7.0):
        reward, value = column(1.0, 1.0, 0.0, 1.0), column(10.0, 10.0, 9.0, later, later)
        advantage = run(
            reward, value, mask(*[False] * 4), mask(False, True, False, False),
            gae_lambda=0.95, discount_factor=0.99,
        )  # fmt: skip
        delta = [1 + 0.99 * 10 - 10, 1 + 0.99 * 9 - 10]
        torch.testing.assert_close(
            advantage[:2], column(delta[0] + 0.99 * 0.95 * delta[1], delta[1])
        )


def test_lambda_returns_by_hand():
    """G = A + V: at λ = 0 the one-step target, at λ = 1 the discounted sum."""
    value = RUNNING["value"]
    for gae_lambda, expected in [(0.0, (5.0, 3.0, 6.0)), (1.0, (3.5, 5.0, 6.0))]:
        advantage = run(**RUNNING, terminated=NOTHING, done=NOTHING, gae_lambda=gae_lambda)
        returns = lambda_returns(advantage=advantage, value=value[:-1])
        torch.testing.assert_close(returns, column(*expected))


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_one_step(gae_lambda):
    """T = 1: the temporal difference alone."""
    ended, running = mask(True), mask(False)
    args = {"reward": column(3.0), "value": column(4.0, 8.0), "gae_lambda": gae_lambda}
    assert run(**args, terminated=running, done=running).item() == 3.0
    assert run(**args, terminated=running, done=ended).item() == 3.0
    assert run(**args, terminated=ended, done=ended).item() == -1.0


def test_no_environment_gives_an_empty_result():
    """[T, 0] is no error: there is just nothing to compute."""
    empty, masks = torch.zeros(3, 0), torch.zeros(3, 0, dtype=torch.bool)
    advantage = gae(
        reward=empty, value=empty, next_value=empty, terminated=masks, done=masks,
        discount_factor=0.9, gae_lambda=0.9,
    )  # fmt: skip
    assert advantage.shape == (3, 0)


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7])
def test_no_transition_gives_an_empty_result(gae_lambda):
    """[0, B]: a workspace of a single row has no transition."""
    empty, masks = torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.bool)
    advantage = gae(
        reward=empty, value=empty, next_value=empty, terminated=masks, done=masks,
        discount_factor=0.9, gae_lambda=gae_lambda,
    )  # fmt: skip
    assert advantage.shape == (0, 2)


def test_lambda_matters_and_environments_do_not_mix():
    """Each column is the advantage of that environment alone."""
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(6, 3, generator=generator)
    value = torch.randn(7, 3, generator=generator)
    done = torch.rand(6, 3, generator=generator) < 0.3
    together = run(reward, value, done, done, gae_lambda=0.9)
    for b in range(3):
        one = slice(b, b + 1)
        alone = run(reward[:, one], value[:, one], done[:, one], done[:, one], gae_lambda=0.9)
        assert torch.equal(together[:, one], alone)
    assert not torch.allclose(together, run(reward, value, done, done, gae_lambda=0.1))


def test_gae_leaves_its_inputs_alone():
    """A pure function: a student's tensors are the same afterwards."""
    reward, value = RUNNING["reward"].clone(), RUNNING["value"].clone()
    run(reward, value, NOTHING, mask(False, True, False), gae_lambda=0.7)
    assert torch.equal(reward, RUNNING["reward"])
    assert torch.equal(value, RUNNING["value"])


# ------------------------------------------------------------------------------------- random


@st.composite
def rollouts(draw):
    """Random episodes as autoreset writes them: after `done`, one step that is no transition."""
    steps, batch = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    numbers = st.floats(-10, 10, width=32)
    grid = st.lists(numbers, min_size=batch, max_size=batch)
    reward = torch.tensor(draw(st.lists(grid, min_size=steps, max_size=steps)))
    value = torch.tensor(draw(st.lists(grid, min_size=steps + 1, max_size=steps + 1)))
    ends = st.sampled_from(["", "", "terminated", "truncated", "both"])
    terminated = torch.zeros(steps, batch, dtype=torch.bool)
    done = torch.zeros(steps, batch, dtype=torch.bool)
    for b in range(batch):
        for t in range(steps):
            if t > 0 and done[t - 1, b]:
                reward[t, b] = 0.0  # the autoreset step
                continue
            end = draw(ends)
            terminated[t, b] = end in ("terminated", "both")
            done[t, b] = end != ""
    return reward, value, terminated, done


unit = st.one_of(st.sampled_from([0.0, 0.7, 1.0]), st.floats(0, 1))


@pytest.mark.wide(2)
@given(rollouts(), unit, unit)
def test_gae_equals_a_plain_loop(rollout, discount_factor, gae_lambda):
    """Every entry, autoreset steps included, in float32 to 1e-5 of the numbers' size."""
    reward, value, terminated, done = rollout
    expected = by_loop(reward, value[:-1], value[1:], terminated, done, discount_factor, gae_lambda)
    advantage = run(
        reward, value, terminated, done, discount_factor=discount_factor, gae_lambda=gae_lambda
    )
    assert advantage.dtype == torch.float32
    assert torch.isfinite(advantage).all()
    torch.testing.assert_close(advantage.double(), expected, rtol=1e-5, atol=1e-5)
    returns = lambda_returns(advantage=advantage, value=value[:-1])
    torch.testing.assert_close(
        returns.double(), expected + value[:-1].double(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.wide(2)
@given(
    rollouts(),
    unit,
    st.sampled_from([0.0, 1.0, -3e38, math.inf, -math.inf, math.nan]),
    st.sampled_from([0.0, 1.0, -3e38, math.inf, -math.inf, math.nan]),
)
def test_a_later_episode_changes_earlier_advantages_by_exactly_nothing(
    rollout, gae_lambda, new_value, new_reward
):
    """Not even infinities and NaN cross the end of an episode, terminated or truncated."""
    reward, value, terminated, done = rollout
    before = run(reward, value, terminated, done, gae_lambda=gae_lambda)
    reward, value = reward.clone(), value.clone()
    last_of_episode = torch.zeros_like(done)
    for b in range(done.shape[1]):
        ends = done[:, b].nonzero().flatten().tolist()
        if not ends:
            continue
        end = ends[0]  # done[end] comes from row end + 1, the final observation
        last_of_episode[: end + 1, b] = True
        value[end + 2 :, b] = new_value
        reward[end + 1 :, b] = new_reward
    after = run(reward, value, terminated, done, gae_lambda=gae_lambda)
    assert torch.equal(before[last_of_episode], after[last_of_episode])


def test_an_overflow_does_not_cross_the_end_of_an_episode():
    """Numbers of a later episode that are finite, but whose sum is not."""
    reward, value = torch.tensor([[1.0], [0.0], [-3e38], [-3e38]]), torch.zeros(5, 1)
    nothing, done = torch.zeros(4, 1, dtype=torch.bool), mask(True, False, False, False)
    advantage = run(reward, value, nothing, done, gae_lambda=1.0, discount_factor=1.0)
    assert advantage.flatten().tolist() == [1.0, -math.inf, -math.inf, reward[3].item()]


@pytest.mark.wide(2)
@given(rollouts(), unit)
def test_a_terminal_state_may_have_any_value(rollout, gae_lambda):
    """What a critic says of a terminal state is never used, even if it is not a number."""
    reward, value, terminated, done = rollout
    next_value = value[1:].clone()
    args = {"reward": reward, "value": value[:-1], "terminated": terminated, "done": done}
    before = gae(**args, next_value=next_value, discount_factor=0.9, gae_lambda=gae_lambda)
    next_value[terminated] = math.nan
    after = gae(**args, next_value=next_value, discount_factor=0.9, gae_lambda=gae_lambda)
    assert torch.equal(before, after)


# ------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("wrong", ["reward", "value", "next_value", "terminated", "done"])
def test_other_shapes_never_broadcast(wrong):
    """[T, 1] against [T, B] would be an advantage of the wrong environment."""
    args = {name: torch.zeros(3, 2) for name in ("reward", "value", "next_value")}
    args |= {name: torch.zeros(3, 2, dtype=torch.bool) for name in ("terminated", "done")}
    args[wrong] = args[wrong][:, :1]
    with pytest.raises(ValueError, match="same shape") as error:
        gae(**args, discount_factor=0.9, gae_lambda=0.9)
    assert f"'{wrong}': (3, 1)" in str(error.value)


@pytest.mark.parametrize("wrong", ["terminated", "done"])
def test_masks_must_be_boolean(wrong):
    """A mask of floats is the inverted mask of other libraries (`1 - terminated`)."""
    args = {name: torch.zeros(3, 2) for name in ("reward", "value", "next_value")}
    args |= {name: torch.zeros(3, 2, dtype=torch.bool) for name in ("terminated", "done")}
    args[wrong] = args[wrong].float()
    with pytest.raises(ValueError, match=f"{wrong} must be a boolean mask"):
        gae(**args, discount_factor=0.9, gae_lambda=0.9)


def test_lambda_returns_checks_shapes():
    """[T, B] + [T, 1] would broadcast in silence."""
    with pytest.raises(ValueError, match="same shape"):
        lambda_returns(advantage=torch.zeros(3, 2), value=torch.zeros(3, 1))


# -------------------------------------------------------------------------------- normalising


def test_advantages_go_on_behind_an_episode():
    """γ = λ = ½. The second step is autoreset's: the first one leads to the third directly."""
    advantage = continuing_gae(
        reward=torch.tensor([[1.0], [99.0], [2.0]]),
        value=torch.tensor([[4.0], [77.0], [6.0]]),
        last_value=torch.tensor([8.0]),
        mask=torch.tensor([[True], [False], [True]]),
        discount_factor=0.5,
        gae_lambda=0.5,
    )
    last = 2 + 0.5 * 8 - 6
    first = 1 + 0.5 * 6 - 4 + 0.25 * last
    assert [float(advantage[0]), float(advantage[2])] == [first, last]


@pytest.mark.wide(1)
@given(st.lists(st.booleans(), min_size=1, max_size=8), st.floats(0, 0.99), st.floats(0, 1))
def test_episodes_one_after_the_other_are_one_without_end(valid, discount_factor, gae_lambda):
    """Without the steps that autoreset adds, it is the usual estimate of a single episode."""
    mask, how = torch.tensor(valid), {"discount_factor": discount_factor, "gae_lambda": gae_lambda}
    generator = torch.Generator().manual_seed(len(valid))
    reward, value = torch.randn(2, len(mask), 1, generator=generator, dtype=torch.float64)
    last = torch.ones(1, dtype=torch.float64)
    found = continuing_gae(
        reward=reward, value=value, last_value=last, mask=mask[:, None], **how
    )[mask]  # fmt: skip
    kept, never = value[mask], torch.zeros_like(reward[mask], dtype=torch.bool)
    following = torch.cat((kept, last[None]))[1:]
    alone = gae(
        reward=reward[mask], value=kept, next_value=following, terminated=never, done=never, **how
    )
    torch.testing.assert_close(found, alone)


def test_normalise_by_hand():
    """Mean 0, sample deviation 1."""
    result = normalise(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(result, torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("mask", [None, torch.ones(2)])
def test_what_keeps_the_division_finite_is_1e_8(mask):
    """More of it would shrink advantages that are small everywhere."""
    result = normalise(torch.tensor([1e-8, -1e-8], dtype=torch.float64), mask=mask)
    expected = 1 / (2**0.5 + 1)
    torch.testing.assert_close(result, torch.tensor([expected, -expected], dtype=torch.float64))


def test_normalise_stays_finite():
    """Equal advantages, and a minibatch of one, have no deviation to divide by."""
    assert torch.equal(normalise(torch.full((4,), 7.0)), torch.zeros(4))
    assert torch.equal(normalise(torch.tensor([7.0])), torch.zeros(1))


@given(
    st.lists(st.tuples(st.floats(-100, 100), st.booleans()), min_size=1, max_size=12).filter(
        lambda entries: any(counts for _, counts in entries)
    )
)
def test_normalise_with_a_mask_is_that_of_the_subset(entries):
    """Whatever the mask hides, and with a single entry that counts too."""
    advantage = torch.tensor([number for number, _ in entries], dtype=torch.float64)
    counted = torch.tensor([counts for _, counts in entries])
    advantage[~counted] *= 1e6
    # Equal entries have a deviation of nothing but rounding errors: 1e-8 would not hide it.
    masked = normalise(advantage, mask=counted.double(), eps=1e-3)[counted]
    torch.testing.assert_close(masked, normalise(advantage[counted], eps=1e-3))


def test_without_a_trace_nothing_of_later_steps_arrives():
    """λ = 0: not even an infinity that another step of the same episode earns."""
    reward, zeros = torch.tensor([[1.0], [math.inf]]), torch.zeros(2, 1)
    advantage = gae(
        reward=reward, value=zeros, next_value=zeros, terminated=zeros.bool(), done=zeros.bool(),
        discount_factor=0.9, gae_lambda=0.0,
    )  # fmt: skip
    assert torch.equal(advantage, reward)


def test_continuing_gae_refuses_other_shapes_and_masks_of_numbers():
    """Both would broadcast, or count every step, in silence."""
    given = {name: torch.zeros(3, 2) for name in ("reward", "value")}
    given |= {"mask": torch.ones(3, 2, dtype=torch.bool)}
    how = {"last_value": torch.zeros(2), "discount_factor": 0.9, "gae_lambda": 0.8}
    for name in given:
        with pytest.raises(ValueError, match="same shape"):
            continuing_gae(**{**given, name: given[name][:, :1]}, **how)
    with pytest.raises(ValueError, match="mask"):
        continuing_gae(**{**given, "mask": torch.ones(3, 2)}, **how)
