"""Every engine makes the same update, and every engine calls the algorithm's own losses."""

from dataclasses import replace

import hidden_envs  # noqa: F401 - registers Hidden-v0
import masked_envs  # noqa: F401 - registers Masked-v0
import pytest
import torch
from probe_envs import config, fresh_log
from torch import nn
from torch.distributions import Categorical

from ppo_bbrl import DiscretePolicy, PPOClip, VAgent, setup_optimizer, shared_agents
from ppo_bbrl.errors import UserError
from ppo_bbrl.fast import compiled
from ppo_bbrl.fast.compiled import CompiledUpdate
from ppo_bbrl.fast.flat import FlatUpdate
from ppo_bbrl.update import Objective, Update

ADAMW = {"classname": "torch.optim.AdamW", "lr": 1e-2, "eps": 1e-5}
SGD = {"classname": "torch.optim.SGD", "lr": 1e-1}


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.heads = nn.Linear(3, 8), nn.ModuleList((nn.Linear(8, 2), nn.Linear(8, 1)))

    def forward(self, x):
        latent = self.trunk(x).tanh()
        return Categorical(logits=self.heads[0](latent)), self.heads[1](latent).squeeze(-1)


def trunk():
    return dict(zip(("train_policy", "critic_agent"), shared_agents(Trunk()), strict=True))


def double():
    policy, critic = DiscretePolicy(3, [8], 2).double(), VAgent(3, [8]).double()
    return {"train_policy": policy, "critic_agent": critic}


STOPPED = "stopped in the first minibatch"
#: settings, agents, optimiser, and the engines that can make such an update
CASES = {
    "one environment": ({"n_envs": 1}, dict, ADAMW, ("flat", "compiled")),
    "eight environments": ({"n_envs": 8}, dict, ADAMW, ("flat", "compiled")),
    "odd minibatches": ({"batch_size": 7}, dict, ADAMW, ("flat", "compiled")),
    "stopped in the first minibatch": ({"target_kl": 1e-3}, dict, ADAMW, ("flat", "compiled")),
    "schedules": (
        {"clip_range_schedule": "linear", "learning_rate_schedule": "linear"},
        dict, ADAMW, ("flat", "compiled"),
    ),
    "value clipping": ({"clip_range_vf": 0.05}, dict, ADAMW, ("flat", "compiled")),
    "normalised advantages": ({"normalize_advantage": True}, dict, ADAMW, ("flat", "compiled")),
    "raw advantages": ({"normalize_advantage": False}, dict, ADAMW, ("flat", "compiled")),
    "advantages anew in each epoch": (
        {"recompute_advantage": True, "opt_epochs": 4}, dict, ADAMW, ("flat", "compiled")
    ),
    "one limit for both gradients": (
        {"global_grad_norm": True, "max_grad_norm": 0.01}, dict, ADAMW, ("flat", "compiled")
    ),
    "asymmetric and dual clip": (
        {"clip_range": 0.01, "clip_range_high": 0.02, "dual_clip": 1.01}, dict, ADAMW,
        ("flat", "compiled"),
    ),
    "KL penalty instead of clipping": (
        {"clip_range": None, "kl_penalty": 5.0, "kl_target": 1e-3}, dict, ADAMW,
        ("flat", "compiled"),
    ),
    "learning rate by the KL": (
        {"learning_rate_schedule": "adaptive_kl", "kl_target": 1e-3}, dict, ADAMW,
        ("flat", "compiled"),
    ),
    "scheduled entropy": (
        {"entropy_coef": 0.5, "entropy_schedule": "cosine"}, dict, ADAMW, ("flat", "compiled")
    ),
    "shared trunk, advantages anew": (
        {"recompute_advantage": True, "clip_range_vf": 0.05}, trunk, ADAMW, ("flat", "compiled")
    ),
    "normalised observations, rewards and values": (
        {
            "normalize_observation": True, "clip_observation": 1.0, "normalize_reward": True,
            "clip_reward": 1.0, "normalize_value": True, "clip_range_vf": 0.05,
        },
        dict, ADAMW, ("flat", "compiled"),
    ),
    "curiosity": (
        {"curiosity": "rnd", "recompute_advantage": True}, dict, ADAMW, ("flat", "compiled")
    ),
    "shared trunk, curiosity": ({"curiosity": "rnd"}, trunk, ADAMW, ("flat", "compiled")),
    "weight decay": ({}, dict, {**ADAMW, "weight_decay": 0.1}, ("flat", "compiled")),
    "SGD": ({}, dict, SGD, ()),
    "shared trunk": ({}, trunk, ADAMW, ("flat", "compiled")),
    "double precision": ({}, double, ADAMW, ()),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_inductor(monkeypatch):
    """The compiled step without a compiler: traced in one piece, as it would be compiled."""
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    fresh_log()


class WithPlainUpdate(PPOClip):
    def update(self, rollout):
        objective = Objective(self._learners(), self._settings, self.losses)
        self._engine = Always()
        assert objective.losses == self.losses
        return super().update(rollout)


class Always(Update):
    def fits(self, objective, transitions):
        return True


def algorithm(kind, engine, settings, agents, optimizer, env="Chance"):
    torch.manual_seed(0)
    cfg = config(env, **{"max_epochs": 3, "opt_epochs": 3, "batch_size": 16, **settings})
    cfg["optimizer"] = optimizer
    cfg["compute"] = {"compile": "always" if engine == "compiled" else "never", "threads": 1}
    return kind(cfg, **agents())


def trained(algo, shift=0.0):
    """Weights and steps after all rollouts; `shift` makes what acted another policy."""
    steps = []
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        rollout.log_prob.sub_(shift)
        report = algo.update(rollout)
        steps.append((report.n_minibatches, report.stopped_early))
    algo.close()
    weights = [*algo.train_policy.parameters(), *algo.critic_agent.parameters()]
    return [weight.detach().clone() for weight in weights], steps, type(algo._engine)


@pytest.mark.wide(5)
@pytest.mark.parametrize("case", CASES)
def test_all_engines_give_the_same_weights(case):
    """Against torch's own backward, clipping and optimisers, in the loop as users run it."""
    *how, able = CASES[case]
    shift = 1.0 if case == STOPPED else 0.0
    start = algorithm(PPOClip, "eager", *how)
    before = [w.detach().clone() for w in start.train_policy.parameters()]
    start.close()
    expected, steps, _ = trained(algorithm(WithPlainUpdate, "eager", *how), shift)
    moved = any(not torch.equal(a, b) for a, b in zip(before, expected, strict=False))
    assert moved == (case != STOPPED)
    for engine, kind in (("flat", FlatUpdate), ("compiled", CompiledUpdate)):
        weights, made, used = trained(algorithm(PPOClip, engine, *how), shift)
        assert used is (kind if engine in able else Update)
        assert made == steps
        torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)


def test_a_critic_that_sees_more_than_the_policy_in_all_engines():
    how = {"policy_keys": ["sensors"], "critic_keys": ["simulator"], "normalize_observation": True}
    found = [
        trained(algorithm(kind, engine, how, dict, ADAMW, "Hidden"))
        for kind, engine in ((WithPlainUpdate, "eager"), (PPOClip, "eager"), (PPOClip, "compiled"))
    ]
    for (weights, steps, used), engine in zip(
        found, (Always, FlatUpdate, CompiledUpdate), strict=True
    ):
        assert used is engine
        assert steps == found[0][1]
        torch.testing.assert_close(weights, found[0][0], rtol=1e-4, atol=1e-6)


@pytest.mark.wide(1)
@pytest.mark.parametrize("batch_size", [0, 16])
def test_masks_in_all_engines(batch_size):
    """Fewer transitions than there is room for, as episodes end: what fills it must be allowed."""
    how = {"batch_size": batch_size, "opt_epochs": 2}
    found = [
        trained(algorithm(kind, engine, how, dict, ADAMW, "Masked"))
        for kind, engine in ((WithPlainUpdate, "eager"), (PPOClip, "eager"), (PPOClip, "compiled"))
    ]
    for (weights, _, used), engine in zip(found, (Always, FlatUpdate, CompiledUpdate), strict=True):
        assert used is engine
        torch.testing.assert_close(weights, found[0][0], rtol=1e-4, atol=1e-6)


class Penalised(PPOClip):
    """A loss of one's own: the values are drawn to 5, and how far they are is logged."""

    def losses(self, minibatch):
        losses, metrics = super().losses(minibatch)
        value = self.critic_agent.value(minibatch.variables["env/env_obs"])
        distance = (value - 5).square().mean()
        return {**losses, "distance": 10 * distance}, {**metrics, "distance": distance.detach()}


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_loss_of_ones_own_is_what_every_engine_minimises(engine):
    settings = {"max_epochs": 15, "batch_size": 0}
    algo = algorithm(Penalised, engine, settings, dict, ADAMW)
    distances = [
        float(algo.update(algo.record(workspace)).metrics["distance"])
        for workspace in algo.iter_partial_episodes(17)
    ]
    assert isinstance(algo._engine, CompiledUpdate) == (engine == "compiled")
    assert distances[-1] < distances[0] / 3
    algo.close()


class Bare(PPOClip):
    """A loss that does not say how far the policy has moved."""

    def losses(self, minibatch):
        losses, metrics = super().losses(minibatch)
        del metrics["approx_kl"]
        return losses, metrics


@pytest.mark.parametrize("engine", ["eager", "compiled"])
def test_a_loss_without_a_divergence(engine, capsys):
    """It is trained without being compiled; what needs the divergence is refused by name."""
    algo = algorithm(Bare, engine, {}, dict, ADAMW)
    rollout = algo.record(next(algo.iter_partial_episodes(17)))
    assert "approx_kl" not in algo.update(rollout).metrics
    assert isinstance(algo._engine, FlatUpdate)
    told = capsys.readouterr().out
    assert ("the losses give no metric approx_kl" in told) == (engine == "compiled")
    algo.close()
    for needs in ({"target_kl": 0.1}, {"kl_penalty": 1.0}):
        algo = algorithm(Bare, engine, needs, dict, ADAMW)
        rollout = algo.record(next(algo.iter_partial_episodes(17)))
        with pytest.raises(UserError, match="gives no metric approx_kl, which target_kl"):
            algo.update(rollout)
        algo.close()


def test_the_plain_engine_gives_way_to_a_faster_one():
    """With another optimiser, which has a flat step."""
    algo = algorithm(PPOClip, "eager", {}, dict, SGD)
    rollout = algo.record(next(algo.iter_partial_episodes(17)))
    algo.update(rollout)
    assert type(algo._engine) is Update
    algo.policy_optimizer = setup_optimizer(ADAMW, algo.train_policy)
    algo.critic_optimizer = setup_optimizer(ADAMW, algo.critic_agent)
    algo.update(rollout)
    assert isinstance(algo._engine, FlatUpdate)
    algo.close()


class Rewarded(PPOClip):
    """An intrinsic reward: 3 for each step."""

    def compute_targets(self, rollout):
        return super().compute_targets(replace(rollout, reward=rollout.reward + 3))


def test_targets_of_ones_own_are_what_is_learned():
    settings = {"max_epochs": 1, "gae": 0.0, "discount_factor": 0.0}
    results = []
    for kind in (PPOClip, Rewarded):
        algo = algorithm(kind, "eager", settings, dict, ADAMW)
        workspace = next(algo.iter_partial_episodes(17))
        results.append(algo.record(workspace))
        assert torch.equal(
            workspace["return"][:-1][~workspace["env/done"][:-1]], results[-1].returns
        )
        algo.close()
    plain, rewarded = results
    torch.testing.assert_close(rewarded.returns, plain.returns + 3)
    torch.testing.assert_close(rewarded.advantage, plain.advantage + 3)
