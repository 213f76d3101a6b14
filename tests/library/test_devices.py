"""Networks elsewhere than the environments: tensors go there and come back, each where it belongs.

No second device is needed: `meta` takes tensors without their numbers, and torch's fake tensors may
even come back from one that is not there.
"""

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ppo_bbrl import DiscretePolicy, GaussianPolicy, VAgent
from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.agents.base import Critic, Policy, device_of
from ppo_bbrl.distributions import ActionCategorical, ActionGaussian
from ppo_bbrl.rollout import (
    Rollout,
    Transitions,
    all_rows,
    as_rollout,
    evaluate_rollout,
    transitions,
    with_values,
)
from ppo_bbrl.workspace.table import Workspace

ELSEWHERE = torch.device("privateuseone", 0)
META = torch.device("meta")


@contextmanager
def another_device(*agents):
    """Inside, the weights of these agents are on a second device."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        for agent in agents:
            for module in agent.modules():
                for name, weight in module._parameters.items():
                    moved = weight.detach().to(ELSEWHERE)
                    module._parameters[name] = nn.Parameter(moved, requires_grad=False)
        yield


class Table(dict):
    """A workspace as far as an agent sees it: what is set in a row can be got from it."""

    @property
    def variables(self):
        return {name for name, _ in self}

    def get(self, name, t):
        return self[name, t]

    def set(self, name, t, value):
        self[name, t] = value


class Watched(Policy):
    """A policy whose weights are elsewhere, and which notes where its observations are."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(1, device=ELSEWHERE)), []
        self.weight.requires_grad_(False)

    def dist(self, obs):
        self.seen.append(obs.device)
        return ActionGaussian(obs * self.weight, self.weight)


class Value(Critic):
    """A critic likewise."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.zeros(1, device=META)), []

    def value(self, obs):
        self.seen.append(obs.device)
        return torch.zeros(len(obs))


POLICIES = pytest.mark.parametrize(
    "make", [lambda: DiscretePolicy(4, [8], 3), lambda: GaussianPolicy(4, [8], 2)]
)


@POLICIES
def test_a_policy_acts_where_its_weights_are(make):
    """From observations where the environments are to actions there, by the noise of the CPU."""
    policy = make()
    with another_device(policy):
        assert device_of(policy) == ELSEWHERE
        workspace = Table({("env/env_obs", 0): torch.zeros(5, 4)})
        policy(workspace, t=0)
        assert workspace["action", 0].device.type == "cpu"
        assert policy.act(torch.zeros(5, 4, device=ELSEWHERE)).device == ELSEWHERE


@POLICIES
@pytest.mark.parametrize("n_rows", [0, 1])
def test_row_by_row_too(make, n_rows):
    policy = make()
    with another_device(policy):
        workspace = Table({("env/env_obs", 0): torch.zeros(5, 4)})
        row_actor(policy, 5, n_rows)(workspace, 0)
        assert workspace["action", 0].device.type == "cpu"
        assert len(workspace["action", 0]) == 5


def test_what_a_policy_judges_goes_where_its_weights_are():
    with FakeTensorMode():
        policy = Watched()
        rows = {("env/env_obs", 0): torch.zeros(5, 1), ("action", 0): torch.zeros(5, 1)}
        workspace = Table(rows)
        policy(workspace, t=0, predict_proba=True, compute_entropy=True)
        assert policy.seen == [ELSEWHERE]
        assert workspace[f"{policy.prefix}logprob_predict", 0].device == ELSEWHERE


def test_a_critic_reads_where_its_weights_are():
    critic = Value()
    critic(Table({("env/env_obs", 0): torch.zeros(5, 4)}), t=0)
    assert critic.seen == [META]


def test_noise_goes_where_the_distribution_is():
    with FakeTensorMode():
        there, scale = torch.zeros(5, 3, device=ELSEWHERE), torch.zeros(3, device=ELSEWHERE)
        for dist in (ActionCategorical(there), ActionGaussian(there, scale)):
            assert dist.noise(5).device.type == "cpu"  # a seed gives the same everywhere
            assert dist.sample().device == ELSEWHERE


# ------------------------------------------------------------------------------------- rollouts


def rows(n_steps=3, n_envs=2):
    done = torch.zeros(n_steps + 1, n_envs, dtype=torch.bool)
    done[2, 1] = True
    return {
        "env/env_obs": torch.zeros(n_steps + 1, n_envs, 4),
        "action": torch.zeros(n_steps + 1, n_envs, 2),
        "env/reward": torch.zeros(n_steps + 1, n_envs),
        "env/terminated": done,
        "env/done": done,
    }


def test_a_rollout_is_judged_there_and_stays_here():
    policy, critic = GaussianPolicy(4, [8], 2), VAgent(4, [8])
    with another_device(policy, critic), torch.no_grad():
        workspace = Workspace()
        for name, tensor in rows().items():
            workspace.set_full(name, tensor)
        rollout = evaluate_rollout(workspace, policy, critic)
        for tensor in (rollout.log_prob, rollout.value, rollout.next_value):
            assert tensor.device.type == "cpu"
            assert tensor.shape == (3, 2)


class NoWeights(Critic):
    """A critic that has nothing to learn may be anywhere."""

    def value(self, obs):
        return obs.new_zeros(obs.shape[:-1])


def test_a_critic_without_weights_estimates_where_the_policy_is():
    policy, critic = GaussianPolicy(4, [8], 2), NoWeights()
    with another_device(policy), torch.no_grad():
        workspace = Workspace()
        for name, tensor in rows().items():
            workspace.set_full(name, tensor)
        assert evaluate_rollout(workspace, policy, critic).value.device.type == "cpu"


def test_a_rollout_is_valued_anew_there_too():
    critic = VAgent(4, [8])
    with another_device(critic), torch.no_grad():
        rollout = with_values(a_rollout(), critic)
        for tensor in (rollout.value, rollout.next_value):
            assert tensor.device.type == "cpu"
            assert tensor.shape == (3, 2)


def a_rollout() -> Rollout:
    found = rows()
    return as_rollout(found, log_prob=torch.zeros(4, 2), value=torch.zeros(4, 2))


def test_transitions_are_where_the_policy_learns(monkeypatch):
    """With the indices by which they are chosen, which would else be copied for each tensor."""
    indices, select = [], Transitions.select

    def watched(self, index):
        indices.append(index.device)
        return select(self, index)

    monkeypatch.setattr(Transitions, "select", watched)
    policy, advantage = GaussianPolicy(4, [8], 2).to(META), torch.zeros(3, 2)
    found = transitions(a_rollout(), policy, NoWeights(), advantage=advantage, returns=advantage)
    assert len(found) == 5
    tensors = (*found.variables.values(), found.log_prob, found.value)
    assert {tensor.device for tensor in (*tensors, found.advantage, found.returns)} == {META}
    assert len(list(found.parts(2, torch.Generator()))) == 2
    assert indices == [META] * 3


def test_all_rows_are_where_they_are_asked_for():
    rollout = a_rollout()
    own = {"env/env_obs": rollout.variables["env/env_obs"][:-1]}
    every = all_rows(rollout, own, advantage=rollout.value, returns=rollout.value, device=META)
    tensors = (every.variables["env/env_obs"], every.log_prob, every.value)
    assert {tensor.device for tensor in (*tensors, every.advantage, every.returns)} == {META}
