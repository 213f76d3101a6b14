"""Weights laid out flat: the same numbers as torch's own optimisers give, for who looks at them."""

import copy
from functools import partial

import pytest
import torch
from probe_envs import config

from ppo_bbrl import DiscretePolicy, PPOClip, VAgent, setup_optimizer
from ppo_bbrl.flat import FlatWeights, NotFlatError
from ppo_bbrl.update import update

ADAM = {"classname": "torch.optim.Adam", "lr": 1e-2, "eps": 1e-5, "weight_decay": 0.1}
ADAMW = {"classname": "torch.optim.AdamW", "lr": 1e-2, "eps": 1e-5}


def agents(optimizer):
    policy, critic = DiscretePolicy(3, [8], 2), VAgent(3, [8])
    return (
        policy,
        critic,
        setup_optimizer(optimizer, policy),
        setup_optimizer(optimizer, critic),
    )


@pytest.mark.parametrize("optimizer", [ADAM, ADAMW], ids=["Adam", "AdamW"])
@pytest.mark.parametrize("max_grad_norm", [0.5, None])
def test_an_update_is_that_of_torch(optimizer, max_grad_norm):
    """Clipping and Adam on the flat tensor, against torch's on each parameter."""
    cfg = {**config("Chance", max_grad_norm=max_grad_norm, opt_epochs=3), "optimizer": optimizer}
    algos = PPOClip(cfg), PPOClip(cfg)
    flat = FlatWeights(
        algos[1].train_policy,
        algos[1].critic_agent,
        algos[1].policy_optimizer,
        algos[1].critic_optimizer,
    )
    for _ in range(3):
        for algo, extra in zip(algos, ({}, {"flat": flat}), strict=True):
            rollout = algo.record(next(algo.iter_partial_episodes(9)))
            report = update(
                rollout,
                policy=algo.train_policy,
                critic=algo.critic_agent,
                policy_optimizer=algo.policy_optimizer,
                critic_optimizer=algo.critic_optimizer,
                settings=algo.cfg.algorithm,
                generator=torch.Generator().manual_seed(0),
                **extra,
            )
            algo.told = report.metrics
    for one, other in zip(
        [*algos[0].train_policy.parameters(), *algos[0].critic_agent.parameters()],
        [*algos[1].train_policy.parameters(), *algos[1].critic_agent.parameters()],
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    for name, value in algos[0].told.items():
        torch.testing.assert_close(value, algos[1].told[name], rtol=1e-4, atol=1e-5)
    for algo in algos:
        algo.close()


def test_the_optimisers_go_on_by_hand():
    """After flat steps a step of torch's own is the one that torch alone would have made."""
    torch.manual_seed(1)
    mine = agents(ADAMW)
    alone = copy.deepcopy(mine[0]), copy.deepcopy(mine[1])
    torch_alone = [setup_optimizer(ADAMW, agent) for agent in alone]
    flat = FlatWeights(*mine)
    obs = torch.randn(5, 3)

    def loss(policy, critic):
        return policy.logits(obs).square().sum() + critic.value(obs).square().sum()

    for step in range(1, 4):
        flat.zero_gradient()
        loss(*mine[:2]).backward()
        flat.step(step, flat.rate)
        flat.count = step
    loss_by_hand = partial(loss, *mine[:2])
    for optimizer in mine[2:]:
        optimizer.zero_grad()
    loss_by_hand().backward()
    for optimizer in mine[2:]:
        optimizer.step()
    for _ in range(4):
        for optimizer in torch_alone:
            optimizer.zero_grad()
        loss(*alone).backward()
        for optimizer in torch_alone:
            optimizer.step()
    assert flat.count == 4
    for one, other in zip(mine[:2], alone, strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_laying_out_flat_changes_no_number_and_copies_stay_apart():
    policy, critic, *optimizers = agents(ADAMW)
    before = copy.deepcopy(policy.state_dict())
    flat = FlatWeights(policy, critic, *optimizers)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    kept = copy.deepcopy(policy)
    flat.weights.add_(1.0)
    assert all(torch.equal(before[name], value) for name, value in kept.state_dict().items())


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("sgd", "SGD has no flat step"),
        ("fixed", "fixed or not float32"),
        ("shared", "share parameters"),
        ("different", "different settings"),
    ],
)
def test_what_cannot_be_flat_is_refused_unchanged(what, reason):
    policy, critic, policy_optimizer, critic_optimizer = agents(ADAMW)
    if what == "sgd":
        sgd = {"classname": "torch.optim.SGD", "lr": 0.1}
        policy_optimizer = setup_optimizer(sgd, policy)
    elif what == "fixed":
        next(policy.parameters()).requires_grad_(False)
    elif what == "shared":
        critic.model[0].weight = policy.model[0].weight
    else:
        critic_optimizer = setup_optimizer({**ADAMW, "eps": 1e-8}, critic)
    places = [parameter.data_ptr() for parameter in policy.parameters()]
    with pytest.raises(NotFlatError, match=reason):
        FlatWeights(policy, critic, policy_optimizer, critic_optimizer)
    assert [parameter.data_ptr() for parameter in policy.parameters()] == places
