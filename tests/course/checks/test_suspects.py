"""The suspects of notebook 10: silent, repeatable, and each with the mark that its bug leaves."""

import math
import re

import pytest
import torch

from ppo_course.nb10_bug_hunt.small_ppo import Parts, minibatches
from ppo_course.nb10_bug_hunt.suspects import _PARTS, CHARGES, CULPRITS, SUSPECTS, suspect

SHORT = {"n_envs": 4, "n_steps": 16, "batch_size": 32, "epochs": 2}


def guilty_of(charge, env_name="CartPole-v1", seed=0, n_updates=3, **settings):
    name = next(name for name, its_charge in CULPRITS.items() if its_charge == charge)
    return suspect(name, env_name, seed, **(SHORT | settings)).train(n_updates)


def ratio_error(run):
    """In the last update, where the policy has learned something."""
    log_prob, old_log_prob = run.first_minibatches[-1]
    return float((log_prob - old_log_prob).exp().sub(1).abs().max())


@pytest.mark.parametrize("name", SUSPECTS)
def test_a_suspect_is_silent(name, recwarn):
    """No exception, no warning, no number that is not finite."""
    run = suspect(name, "CartPole-v1", 0, **SHORT).train(3)
    assert len(run.history) == len(run.first_minibatches) == 3
    assert all(math.isfinite(number) for update in run.history[1:] for number in update.values())
    for network in (run.policy, run.critic):
        assert all(torch.isfinite(parameter).all() for parameter in network.parameters())
    assert list(recwarn) == []


@pytest.mark.parametrize("name", SUSPECTS)
def test_a_suspect_does_the_same_again(name):
    def train():
        return suspect(name, "CartPole-v1", 3, **SHORT).train(2)

    one = train()
    torch.rand(5)  # another user of the global stream
    other = train()
    assert str(one.history) == str(other.history)
    for a, b in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_leaves_the_global_stream():
    before = torch.get_rng_state()
    suspect("A", "CartPole-v1", 0, **SHORT).train(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_differs_from_the_innocent_in_one_part():
    assert set(CULPRITS.values()) == set(_PARTS) == set(CHARGES)
    for charge, parts in _PARTS.items():
        differing = [
            name for name in vars(Parts()) if getattr(parts, name) != getattr(Parts(), name)
        ]
        assert len(differing) == (charge != "innocent")


def test_who_prints_a_suspect_sees_no_culprit():
    def told(name):
        run = suspect(name, "CartPole-v1", 0, **SHORT)
        networks = [
            f"{network!r} {type(network)} {network.__doc__}" for network in (run.policy, run.critic)
        ]
        return re.sub(r"0x[0-9a-f]+", "", f"{run.parts} {networks}")

    assert len({told(name) for name in SUSPECTS}) == 1


@pytest.mark.parametrize("charge", CHARGES)
def test_only_the_wrong_action_shows_in_the_ratio(charge):
    error = ratio_error(guilty_of(charge, lr=1e-2))
    assert error > 0.05 if charge == "wrong action" else error < 1e-5


@pytest.mark.parametrize("charge", CHARGES)
def test_only_drawing_with_replacement_shows_in_the_coverage(charge):
    run = guilty_of(charge)
    share = len(torch.cat(run.last_epoch).unique()) / run.n_transitions
    assert share < 0.85 if charge == "drawn with replacement" else share == 1


@pytest.mark.parametrize("charge", CHARGES)
def test_only_one_critic_moves_the_actor(charge):
    run = guilty_of(charge)
    losses = run.losses()
    gradients = torch.autograd.grad(
        losses.value, list(run.policy.parameters()), allow_unused=True, retain_graph=True
    )
    moved = [g is not None and bool(g.any()) for g in gradients]
    assert moved == [charge == "critic moves the actor"] * 2 + [False] * 2
    of_critic = torch.autograd.grad(losses.policy, list(run.critic.parameters()), allow_unused=True)
    assert of_critic == (None,) * 4


def test_the_leak_changes_advantages_where_the_time_was_up_and_nowhere_else():
    """Protects: on an environment without truncation the leak is innocent."""
    innocent, leaking = (
        guilty_of(charge, "ActionDecides-v0") for charge in ("innocent", "leak across truncation")
    )
    assert str(innocent.history) == str(leaking.history)
    innocent, leaking = (
        guilty_of(charge, "TruncatedOnly-v0") for charge in ("innocent", "leak across truncation")
    )
    assert str(innocent.history) != str(leaking.history)


def test_the_sign_is_that_of_the_policys_loss_alone():
    right, turned = (
        guilty_of(charge, n_updates=1, lr=0.0) for charge in ("innocent", "sign of the loss")
    )
    gradients = [
        torch.autograd.grad(run.losses().policy, list(run.policy.parameters()))
        for run in (right, turned)
    ]
    assert any(gradient.any() for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, -other)
    assert torch.equal(right.losses().value, turned.losses().value)


def test_stale_means_the_row_before():
    """What the agent says that it has seen is what it acted on."""
    run = guilty_of("stale observation", n_updates=1)
    obs = run.workspace.get_full("env/env_obs")
    seen = run.policy.seen(obs)
    assert torch.equal(seen[1:], obs[:-1])
    greedy = run.policy.dist(seen).probs
    assert greedy.shape == (*obs.shape[:2], 2)
    for t in range(3):
        run.policy(run.workspace, t=t, stochastic=False)
        assert torch.equal(run.workspace.get("action", t), run.policy.dist(seen[t]).mode)


def test_minibatches_of_the_innocent():
    generator = torch.Generator().manual_seed(0)
    batches = minibatches(70, 32, generator)
    assert [len(batch) for batch in batches] == [24, 23, 23]
    assert torch.cat(list(batches)).sort().values.tolist() == list(range(70))


def test_a_mended_part_takes_the_place_of_the_old_one():
    from ppo_course.nb10_bug_hunt.small_ppo import transitions

    name = next(name for name, charge in CULPRITS.items() if charge == "wrong action")
    mended = suspect(name, "CartPole-v1", 0, mended=transitions, **SHORT).train(3)
    assert str(mended.history) == str(guilty_of("innocent").history)
