"""What was there at the first update may be another thing at the next: used, or refused by name.

The engines keep what they were made from. Whatever is replaced or set anew between two updates,
each of them gives what torch's own optimisers give.
"""

import copy
import warnings

import pytest
import torch
from engines_testing import ADAMW, AGENTS, ENGINES, Model, algorithm, all_engines, rollouts, weights
from torch import nn

from ppo_bbrl import (
    ConfigError,
    DiscretePolicy,
    VAgent,
    run,
    setup_optimizer,
    shared_agents,
)
from ppo_bbrl.errors import UserError
from ppo_bbrl.fast.flat import FlatUpdate
from ppo_bbrl.update import Update

pytestmark = pytest.mark.usefixtures("not_compiled")


# -------------------------------------------------------------------------------- optimisers


def set_group(**values):
    def change(algo):
        for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
            optimizer.param_groups[0].update(values)

    return change


def critic_alone(**values):
    return lambda algo: algo.critic_optimizer.param_groups[0].update(values)


def other_optimizer(kind, **options):
    def change(algo):
        if algo.policy_optimizer is algo.critic_optimizer:
            both = nn.ModuleList((algo.train_policy, algo.critic_agent))
            algo.policy_optimizer = algo.critic_optimizer = kind(both.parameters(), **options)
        else:
            algo.policy_optimizer = kind(algo.train_policy.parameters(), **options)
            algo.critic_optimizer = kind(algo.critic_agent.parameters(), **options)

    return change


def other_policy_optimizer(algo):
    algo.policy_optimizer = torch.optim.SGD(algo.train_policy.parameters(), 0.05)


def loaded(algo):
    """As a resumed run does: new moments in new tensors, groups in new dicts."""
    state = copy.deepcopy(algo.policy_optimizer.state_dict())
    for moment in state["state"].values():
        moment["exp_avg"].mul_(5)
    algo.policy_optimizer.load_state_dict(state)


def forgotten(algo):
    for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
        optimizer.state.clear()


def stepped_by_hand(algo):
    """One of the two: their numbers of steps then differ."""
    for parameter in algo.policy_optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    algo.policy_optimizer.step()


def split_groups(algo):
    """Two learning rates in one network."""
    optimizer = algo.policy_optimizer
    last = optimizer.param_groups[0]["params"].pop()
    optimizer.add_param_group({"params": [last], "lr": 0.1})


def last_layer_only(algo):
    algo.policy_optimizer = torch.optim.Adam(algo.train_policy.model[-1].parameters(), 0.05)


OPTIMIZERS = {
    "learning rate": set_group(lr=1e-3),
    "betas": set_group(betas=(0.5, 0.9)),
    "weight decay": set_group(weight_decay=0.9),
    "eps": set_group(eps=0.1),
    "another one": other_optimizer(torch.optim.SGD, lr=0.05),
    "another one of the kind": other_optimizer(torch.optim.AdamW, lr=0.02),
    "loaded": loaded,
    "forgotten": forgotten,
    "stepped by hand": stepped_by_hand,
    "groups": split_groups,
}
OF_ONE = {
    "critic's rate": critic_alone(lr=0.05),
    "critic's decay": critic_alone(weight_decay=0.9),
    "policy's": other_policy_optimizer,
    "a part": last_layer_only,
}


@pytest.mark.wide(7)
@pytest.mark.parametrize("agents", AGENTS)
@pytest.mark.parametrize("case", OPTIMIZERS)
def test_what_is_changed_at_the_optimisers_is_used(case, agents):
    all_engines(OPTIMIZERS[case], agents)


@pytest.mark.parametrize("case", OF_ONE)
def test_what_is_changed_at_one_optimiser_is_used_for_it_alone(case):
    all_engines(OF_ONE[case])


@pytest.mark.parametrize("before", [0, 1])
def test_it_is_used_before_the_first_update_too(before):
    all_engines(set_group(lr=1e-3), before=before)
    all_engines(other_optimizer(torch.optim.SGD, lr=0.05), before=before)


def rates(algo):
    return [optimizer.param_groups[0]["lr"] for optimizer in
            (algo.policy_optimizer, algo.critic_optimizer)]  # fmt: skip


def test_a_learning_rate_that_is_written_is_the_one_of_now():
    """A schedule goes on from there; a scheduler of torch may set it each time."""
    algo = algorithm("flat", max_epochs=4, learning_rate_schedule="linear")
    seen = []
    for number, rollout in enumerate(rollouts(algo, 4)):
        if number == 2:
            for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
                optimizer.param_groups[0]["lr"] /= 10
        algo.update(rollout)
        seen.append(rates(algo)[0])
    assert seen == pytest.approx([1e-2, 0.75e-2, 0.5e-3, 0.25e-3])
    algo.close()

    algo = algorithm("flat", max_epochs=4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(algo.critic_optimizer, 0.5)
    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that the scheduler is stepped before its optimiser
        for rollout in rollouts(algo, 3):
            algo.update(rollout)
            scheduler.step()
            seen.append(rates(algo))
    assert seen[-1] == pytest.approx([1e-2, 1e-2 / 8])
    algo.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_learning_rate_of_the_configuration_may_change(engine):
    algo = algorithm(engine, max_epochs=3, learning_rate_schedule="linear")
    seen = []
    for number, rollout in enumerate(rollouts(algo, 3)):
        if number == 1:
            algo.cfg.optimizer.lr = 0.3
        report = algo.update(rollout)
        seen.append(float(report.metrics["learning_rate"]))
    assert seen == pytest.approx([1e-2, 0.2, 0.1])
    assert rates(algo) == pytest.approx([0.1, 0.1])
    algo.close()


def test_a_learning_rate_in_a_tensor_is_kept_in_it():
    algo = algorithm("flat", max_epochs=2, learning_rate_schedule="linear")
    rate = torch.tensor(0.1)
    algo.policy_optimizer = torch.optim.AdamW(algo.train_policy.parameters(), lr=rate)
    for rollout in rollouts(algo, 2):
        algo.update(rollout)
    assert algo.policy_optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.05)
    algo.close()


def test_the_quicker_engine_is_taken_again_where_it_fits():
    """After an optimiser that has no other than the plain one, which fits everything."""
    algo = algorithm("flat")
    used = []
    for number, rollout in enumerate(rollouts(algo, 3)):
        kind = torch.optim.SGD if number == 1 else torch.optim.AdamW
        algo.policy_optimizer = kind(algo.train_policy.parameters(), lr=1e-2)
        algo.critic_optimizer = kind(algo.critic_agent.parameters(), lr=1e-2)
        algo.update(rollout)
        used.append(type(algo._engine))
    assert used == [FlatUpdate, Update, FlatUpdate]
    algo.close()


# ------------------------------------------------------------------------------------- agents


def frozen(algo):
    first = next(algo.train_policy.parameters())
    first.requires_grad_(False)


def policy_frozen(algo):
    algo.train_policy.requires_grad_(False)


def both_frozen(algo):
    """No loss has a gradient then."""
    algo.train_policy.requires_grad_(False)
    algo.critic_agent.requires_grad_(False)


def copied_into(algo):
    for parameter in algo.train_policy.parameters():
        parameter.data = parameter.data * 1.5


def new_policy(algo):
    algo.train_policy = DiscretePolicy(3, [5], 2)


def new_critic(algo):
    algo.critic_agent = VAgent(3, [5])


def new_both(algo):
    algo.train_policy, algo.critic_agent = shared_agents(Model())


def new_head(algo):
    """And set again, which makes the optimiser anew."""
    algo.train_policy.model[-1] = nn.Linear(8, 2)
    algo.train_policy = algo.train_policy


def new_head_in_a_group(algo):
    algo.train_policy.model[-1] = head = nn.Linear(8, 2)
    algo.policy_optimizer.add_param_group({"params": head.parameters()})


def spread_out(algo):
    """Other values in the same weights, as `load_state_dict` leaves them."""
    state = algo.train_policy.state_dict()
    algo.train_policy.load_state_dict({name: 1.5 * value for name, value in state.items()})


CHANGED_AGENTS = {
    "loaded": spread_out,
    "a layer is frozen": frozen,
    "a whole network is frozen": policy_frozen,
    "both networks are frozen": both_frozen,
    "data": copied_into,
    "policy": new_policy,
    "critic": new_critic,
    "both": new_both,
    "a layer": new_head,
    "a layer in a group": new_head_in_a_group,
}


@pytest.mark.wide(4)
@pytest.mark.parametrize("case", CHANGED_AGENTS)
def test_what_is_changed_at_the_agents_is_used(case):
    all_engines(CHANGED_AGENTS[case])


@pytest.mark.wide(2)
@pytest.mark.parametrize("case", ["a layer is frozen", "both", "policy", "critic", "data"])
def test_what_is_changed_at_shared_agents_is_used(case):
    results = all_engines(CHANGED_AGENTS[case], "shared")
    for engine in ENGINES:
        apart = results[engine].policy_optimizer is not results[engine].critic_optimizer
        assert apart == (case in ("policy", "critic"))


@pytest.mark.parametrize("engine", ENGINES)
def test_agents_may_change_their_precision(engine):
    """Moments follow their weights, which torch's own optimisers fail on."""
    algo = algorithm(engine)
    for number, rollout in enumerate(rollouts(algo, 3)):
        if number == 1:
            algo.train_policy.double()
            algo.critic_agent.double()
        algo.update(rollout)
    assert {weight.dtype for weight in weights(algo)} == {torch.float64}
    for optimizer in (algo.policy_optimizer, algo.critic_optimizer):
        for state in optimizer.state.values():
            assert state["exp_avg"].dtype == torch.float64
            assert state["step"] == 3 * 4
    assert next(algo.old_policy.parameters()).dtype == torch.float64
    algo.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_frozen_layer_stays_and_learns_again_when_it_is_thawed(engine):
    algo = algorithm(engine)
    layer = algo.train_policy.model[0].weight
    seen = []
    for number, rollout in enumerate(rollouts(algo, 4)):
        layer.requires_grad_(number != 1)
        before = layer.detach().clone()
        algo.update(rollout)
        seen.append(not torch.equal(before, layer))
    assert seen == [True, False, True, True]
    algo.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_new_policy_is_the_one_of_everything(engine):
    """It acts, is evaluated, copied before each update, kept as the best, and optimised."""
    algo = algorithm(engine)
    run(algo)
    policy, critic_moments = DiscretePolicy(3, [5], 2), algo.critic_optimizer.state_dict()["state"]
    critic_optimizer = algo.critic_optimizer
    algo.train_policy = policy
    assert algo.train_policy is policy
    assert algo.eval_policy.wrapped is policy
    assert algo.critic_optimizer is critic_optimizer
    assert algo.critic_optimizer.state_dict()["state"].keys() == critic_moments.keys()
    run(algo)
    last = copy.deepcopy(policy.state_dict())
    for rollout in rollouts(algo, 1):
        algo.update(rollout)
    for name, weight in last.items():
        assert torch.equal(algo.old_policy.state_dict()[name], weight)
        assert not torch.equal(policy.state_dict()[name], weight)
    algo.evaluate(force=True)
    assert [w.shape for w in algo.best_policy.parameters()] == [
        w.shape for w in policy.parameters()
    ]
    algo.close()


def test_a_policy_that_does_not_fit_is_refused_and_the_old_one_stays():
    class Remembers(DiscretePolicy):
        has_memory = True

    algo = algorithm("flat")
    policy, optimizer = algo.train_policy, algo.policy_optimizer
    for wrong in (nn.Linear(3, 2), Remembers(3, [4], 2), algo.eval_policy):
        with pytest.raises(ConfigError):
            algo.train_policy = wrong
        assert algo.train_policy is policy
        assert algo.eval_policy.wrapped is policy
        assert algo.policy_optimizer is optimizer
    algo.close()


class NotAnOptimizer:
    param_groups = ()


def needs_a_closure(algo):
    algo.policy_optimizer = torch.optim.LBFGS(algo.train_policy.parameters())


def of_another(algo):
    algo.policy_optimizer = torch.optim.Adam(DiscretePolicy(3, [8], 2).parameters())


def twice(algo):
    algo.policy_optimizer = torch.optim.Adam(
        [*algo.train_policy.parameters(), *algo.critic_agent.parameters()]
    )


REFUSED = {
    "no optimiser": (lambda algo: setattr(algo, "policy_optimizer", NotAnOptimizer()), "torch opt"),
    "none": (
        lambda algo: setattr(algo, "critic_optimizer", None),
        "critic_optimizer is a NoneType",
    ),
    "of another policy": (of_another, "policy_optimizer holds no parameter of train_policy"),
    "twice": (twice, "stepped twice"),
    "closure": (needs_a_closure, "LBFGS, the policy optimiser, cannot make a step"),
    "new parameter": (
        lambda algo: algo.train_policy.model.__setitem__(0, nn.Linear(3, 8)),
        r"train_policy has a new parameter model\.0\.weight",
    ),
    "tied": (
        lambda algo: algo.critic_agent.model.__setitem__(0, algo.train_policy.model[0]),
        r"critic_agent has a new parameter model\.0\.weight",
    ),
}


@pytest.mark.wide(21)
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", REFUSED)
def test_what_would_silently_not_learn_is_refused_in_one_line(case, engine, before):
    change, told = REFUSED[case]
    algo = algorithm(engine)
    for number, rollout in enumerate(rollouts(algo, before + 1)):
        if number < before:
            algo.update(rollout)
            continue
        change(algo)
        for _ in range(2):
            with pytest.raises(UserError, match=told) as error:
                algo.update(rollout)
            assert "\n" not in str(error.value)
    algo.close()


def test_two_optimisers_on_a_shared_trunk_are_refused():
    algo = algorithm("flat", "shared")
    algo.policy_optimizer = setup_optimizer(ADAMW, algo.train_policy)
    with pytest.raises(UserError, match="need the same optimiser in both"):
        algo.update(next(rollouts(algo, 1)))
    algo.close()
