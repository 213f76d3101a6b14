"""Weights laid out flat: the same numbers as torch's own optimisers give, for who looks at them."""

import copy
from functools import partial
from math import nan

import pytest
import torch
from probe_envs import config

from ppo_bbrl import DiscretePolicy, PPOClip, VAgent, setup_optimizer
from ppo_bbrl.coefficients import Coefficients
from ppo_bbrl.fast.flat import FlatUpdate, FlatWeights, NotFlatError
from ppo_bbrl.ppo import TrainingFailedError
from ppo_bbrl.update import Objective, Update

ADAM = {"classname": "torch.optim.Adam", "lr": 1e-2, "eps": 1e-5, "weight_decay": 0.1}
ADAMW = {"classname": "torch.optim.AdamW", "lr": 1e-2, "eps": 1e-5}
DECOUPLED = {**ADAM, "decoupled_weight_decay": True}


def agents(optimizer):
    policy, critic = DiscretePolicy(3, [8], 2), VAgent(3, [8])
    return (
        policy,
        critic,
        setup_optimizer(optimizer, policy),
        setup_optimizer(optimizer, critic),
    )


@pytest.mark.parametrize("optimizer", [ADAM, ADAMW, DECOUPLED], ids=["Adam", "AdamW", "decoupled"])
@pytest.mark.parametrize("max_grad_norm", [0.5, None])
def test_an_update_is_that_of_torch(optimizer, max_grad_norm):
    """Clipping and Adam on the flat tensor, against torch's on each parameter."""
    cfg = {**config("Chance", max_grad_norm=max_grad_norm, opt_epochs=3), "optimizer": optimizer}
    algos = PPOClip(cfg), PPOClip(cfg)
    engines = Update(), FlatUpdate(algos[1]._learners())
    for _ in range(3):
        for algo, engine in zip(algos, engines, strict=True):
            rollout = algo.record(next(algo.iter_partial_episodes(9)))
            objective = Objective(algo._learners(), algo._settings, algo.losses)
            report = engine(
                rollout,
                objective,
                coefficients=Coefficients(clip_range=0.2),
                generator=torch.Generator().manual_seed(0),
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
        for parameter in flat.parameters:
            parameter.grad = None
        loss(*mine[:2]).backward()
        assert flat.take_gradients()
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


def test_the_optimisers_know_of_the_steps_before_a_failure():
    """The third minibatch gives no number: two steps have been made."""

    class Fails(PPOClip):
        seen = 0

        def losses(self, minibatch):
            losses, metrics = super().losses(minibatch)
            self.seen += 1
            return losses | {"mine": losses["value"] * (nan if self.seen == 3 else 0.0)}, metrics

    algo = Fails(config("Chance", batch_size=4, opt_epochs=3) | {"optimizer": ADAMW})
    rollout = algo.record(next(algo.iter_partial_episodes(9)))
    with pytest.raises(TrainingFailedError, match="the mine loss is nan in minibatch 3"):
        algo.update(rollout)
    assert isinstance(algo._engine, FlatUpdate)
    for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
        assert {float(state["step"]) for state in optimizer.state.values()} == {2.0}
    algo.close()


def test_laying_out_flat_changes_no_number_and_copies_stay_apart():
    policy, critic, *optimizers = agents(ADAMW)
    before = copy.deepcopy(policy.state_dict())
    flat = FlatWeights(policy, critic, *optimizers)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())
    kept = copy.deepcopy(policy)
    flat.weights.add_(1.0)
    assert all(torch.equal(before[name], value) for name, value in kept.state_dict().items())


def test_what_the_optimisers_have_learned_becomes_flat():
    """The moments after steps of torch's own: the same numbers, in the shapes of the parameters."""
    policy, critic, *optimizers = agents(ADAM)
    (
        policy.logits(torch.ones(1, 3)).square().sum() + critic.value(torch.ones(1, 3)).sum()
    ).backward()
    for optimizer in optimizers:
        optimizer.step()
    parameters = [*policy.parameters(), *critic.parameters()]
    states = [state for optimizer in optimizers for state in optimizer.state.values()]
    before = [{name: value.clone() for name, value in state.items()} for state in states]
    flat = FlatWeights(policy, critic, *optimizers)
    for name, moments in (("exp_avg", flat.moment1), ("exp_avg_sq", flat.moment2)):
        assert torch.equal(moments, torch.cat([state[name].flatten() for state in before]))
        assert moments.count_nonzero()
        moments.add_(1.0)  # torch sees what flat steps make of them
        for parameter, then, now in zip(parameters, before, states, strict=True):
            assert now[name].shape == parameter.shape
            assert torch.equal(now[name], then[name] + 1.0)
    assert flat.count == 1
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = 0.25  # as a schedule does
    assert flat.rate == 0.25
    assert [parameter.shape for parameter in parameters] == [
        state["exp_avg"].shape for state in before
    ]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("sgd", "SGD has no flat step"),
        ("fixed", "fixed or not float32"),
        ("fixed critic", "VAgent has parameters that are fixed"),
        ("shared", "share parameters"),
        ("different", "differ in their settings"),
        ("rates", "differ in their settings"),
        ("amsgrad", "amsgrad and maximize"),
        ("maximize", "amsgrad and maximize"),
        ("groups", "several parameter groups"),
        ("elsewhere", "other parameters"),
        ("steps", "same number of steps"),
        ("scheduler", "scheduler"),
        ("hook", "hooks"),
    ],
)
def test_what_cannot_be_flat_is_refused_unchanged(what, reason):
    policy, critic, policy_optimizer, critic_optimizer = agents(ADAMW)
    if what == "sgd":
        sgd = {"classname": "torch.optim.SGD", "lr": 0.1}
        policy_optimizer = setup_optimizer(sgd, policy)
    elif what in {"fixed", "fixed critic"}:
        fixed = critic if "critic" in what else policy
        next(fixed.parameters()).requires_grad_(False)
    elif what == "shared":
        critic.model[0].weight = policy.model[0].weight
    elif what == "different":
        critic_optimizer = setup_optimizer({**ADAMW, "eps": 1e-8}, critic)
    elif what == "rates":
        critic_optimizer.param_groups[0]["lr"] = 0.5
    elif what in {"amsgrad", "maximize"}:
        for optimizer in (policy_optimizer, critic_optimizer):
            optimizer.param_groups[0][what] = True
    elif what == "groups":
        policy_optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    elif what == "elsewhere":
        policy_optimizer = setup_optimizer(ADAMW, policy.model[-1])
    elif what == "steps":
        critic.value(torch.zeros(1, 3)).sum().backward()
        critic_optimizer.step()
    elif what == "scheduler":
        torch.optim.lr_scheduler.ExponentialLR(policy_optimizer, 0.9)
    elif what == "hook":
        critic_optimizer.register_step_post_hook(lambda *_: None)
    places = [parameter.data_ptr() for parameter in policy.parameters()]
    with pytest.raises(NotFlatError, match=reason):
        FlatWeights(policy, critic, policy_optimizer, critic_optimizer)
    assert [parameter.data_ptr() for parameter in policy.parameters()] == places


# ------------------------------------------------------------- parameters that take no part


class Idle(DiscretePolicy):
    """Has a head that nothing reads, and reads another one only now and then."""

    def __init__(self, *args):
        super().__init__(*args)
        self.unused = torch.nn.Linear(3, 3)
        self.sometimes = torch.nn.Parameter(torch.ones(2))
        self.asked = 0

    def logits(self, obs):
        self.asked += 1
        logits = super().logits(obs)
        return logits * self.sometimes if self.reads_now() else logits

    def reads_now(self):
        return False


class NowAndThen(Idle):
    """Fewer parameters take part in every fourth minibatch."""

    def __init__(self, *args):
        super().__init__(*args)
        del self.unused

    def reads_now(self):
        return self.asked % 4 != 0


@pytest.mark.parametrize("kind", [Idle, NowAndThen])
@pytest.mark.parametrize("optimizer", [ADAM, ADAMW], ids=["Adam", "AdamW"])
def test_a_parameter_without_gradient_is_not_stepped(kind, optimizer):
    """Torch passes over it; a zero in its place would let weight decay and moments move it."""
    results = []
    for engine in ("plain", "flat"):
        torch.manual_seed(0)
        algo = PPOClip(
            {**config("Chance", opt_epochs=4, batch_size=20), "optimizer": optimizer},
            train_policy=kind(3, [8], 2),
        )
        before = copy.deepcopy(algo.train_policy.state_dict())
        for workspace in algo.iter_partial_episodes(17):
            rollout = algo.record(workspace)
            if engine == "flat":
                algo.update(rollout)
            else:
                objective = Objective(algo._learners(), algo._settings, algo.losses)
                Update()(
                    rollout,
                    objective,
                    coefficients=Coefficients(clip_range=0.2),
                    generator=algo.seeds.minibatches,
                )
        algo.close()
        if kind is Idle:
            for name in ("unused.weight", "sometimes"):
                assert torch.equal(before[name], algo.train_policy.state_dict()[name])
        steps = [float(state["step"]) for state in algo.policy_optimizer.state.values()]
        results.append((algo, steps))
    (plain, expected), (flat, got) = results
    assert got == expected
    assert len(set(got)) == (1 if kind is Idle else 2)
    for agent in ("train_policy", "critic_agent"):
        for one, other in zip(
            getattr(plain, agent).parameters(), getattr(flat, agent).parameters(), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_are_left_as_torch_leaves_them():
    """Those of the last minibatch, clipped; what was read of them before does not change."""
    gradients = []
    for optimizer in (ADAMW, {**ADAMW, "amsgrad": True}):  # flat, and not
        cfg = {**config("Chance", max_grad_norm=0.05, batch_size=0), "optimizer": optimizer}
        algo = PPOClip(cfg)
        rollout = algo.record(next(algo.iter_partial_episodes(17)))
        for epochs in (1, 2):
            algo.cfg.algorithm.opt_epochs = epochs
            algo.update(rollout)
            seen = [parameter.grad for parameter in algo.train_policy.parameters()]
            if epochs == 1:
                kept, copies = seen, [gradient.clone() for gradient in seen]
                gradients.append(copies)
        assert all(map(torch.equal, kept, copies))
        norm = torch.stack([gradient.norm() for gradient in seen]).norm()
        assert float(norm) == pytest.approx(0.05, rel=1e-3)
        algo.close()
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
