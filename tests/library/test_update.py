"""One optimisation phase, against the formulas written out."""

import copy
import math

import pytest
import torch
from probe_envs import config, fresh_log

from ppo_bbrl import DiscretePolicy, GaussianPolicy, PPOClip, run
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.errors import UserError
from ppo_bbrl.fast import compiled
from ppo_bbrl.minibatches import Minibatch
from ppo_bbrl.ppo import TrainingFailedError
from ppo_bbrl.update import ppo_losses


def collected(env_name="Logged", lr=1e-3, **algorithm):
    """An algorithm and its first rollout, the same one each time."""
    fresh_log()
    cfg = config(env_name, **algorithm)
    cfg["optimizer"]["lr"] = lr
    algo = PPOClip(cfg)
    rollout = algo.record(next(algo.iter_partial_episodes(algo.cfg.algorithm.n_steps + 1)))
    return algo, rollout


def weights(agent):
    return copy.deepcopy(agent.state_dict())


def same(before, after):
    return all(torch.equal(before[name], after[name]) for name in before)


def by_hand(algo, rollout, lr, clip_factor=1.0):
    """Whole-rollout steps of plain gradient descent, as the definitions say; returns metrics."""
    settings = algo.cfg.algorithm
    policy, critic = copy.deepcopy(algo.train_policy), copy.deepcopy(algo.critic_agent)
    obs, action = rollout.variables["env/env_obs"], rollout.variables["action"]
    history = []
    for _ in range(settings.opt_epochs):
        advantage = rollout.advantage
        if settings.normalize_advantage:
            advantage = (advantage - advantage.mean()) / advantage.std()
        dist = policy.dist(obs)
        log_ratio = dist.log_prob(action) - rollout.log_prob
        ratio = log_ratio.exp()
        clip_range = clip_factor * settings.clip_range
        clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
        objective = torch.min(ratio * advantage, clipped * advantage).mean()
        entropy = dist.entropy().mean()
        value = critic.value(obs)
        errors = (value - rollout.returns) ** 2
        if settings.clip_range_vf > 0:
            change = value - rollout.value
            bound = clip_factor * settings.clip_range_vf
            near = rollout.value + change.clamp(-bound, bound)
            errors = torch.max(errors, (near - rollout.returns) ** 2)
        loss = -settings.policy_coef * objective - settings.entropy_coef * entropy
        loss = loss + settings.critic_coef * errors.mean()
        facts = {
            "critic_loss": settings.critic_coef * errors.mean(),
            "actor_loss": objective,
            "entropy_loss": entropy,
            "advantage": advantage.mean(),
            "approx_kl": (ratio - 1 - log_ratio).mean(),
            "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
        }
        if settings.clip_range_vf > 0:
            facts["value_clip_fraction"] = (change.abs() > bound).float().mean()
        for name, agent in (("policy", policy), ("critic", critic)):
            parameters = list(agent.parameters())
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
            norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
            facts[f"grad_norm/{name}"] = torch.tensor(norm)
            limit = settings.max_grad_norm or math.inf
            factor = min(1.0, limit / norm)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(lr * factor * gradient)
        history.append({name: float(value.detach()) for name, value in facts.items()})
    means = {name: sum(facts[name] for facts in history) / len(history) for name in history[0]}
    return policy, critic, means


@pytest.mark.parametrize(
    ("env_name", "algorithm"),
    [
        ("Logged", {}),
        ("LoggedBox", {}),
        ("Logged", {"normalize_advantage": True, "entropy_coef": 0.1}),
        ("LoggedBox", {"clip_range_vf": 0.05, "policy_coef": 0.5, "critic_coef": 0.3}),
        ("Logged", {"max_grad_norm": None, "clip_range": 0.02}),
        ("LoggedBox", {"max_grad_norm": 0.05, "entropy_coef": 0.01}),
        ("Logged", {"clip_range": 0.06, "clip_range_vf": 0.3, "clip_range_schedule": "linear"}),
    ],
)
def test_an_update_is_what_the_formulas_say(env_name, algorithm):
    """Signs, coefficients, both clippings, the separate limits of the gradients, the metrics.

    Four steps on the whole rollout, the ratio is 1 in the first one only.
    """
    lr = 0.5
    algo, rollout = collected(env_name, lr, batch_size=0, opt_epochs=4, n_steps=32, **algorithm)
    algo.policy_optimizer = torch.optim.SGD(algo.train_policy.parameters(), lr)
    algo.critic_optimizer = torch.optim.SGD(algo.critic_agent.parameters(), lr)
    clip_factor = 1.0
    if algo.cfg.algorithm.clip_range_schedule == "linear":
        algo.epoch, clip_factor = 2, 1 / 3  # of three epochs two are over
    policy, critic, metrics = by_hand(algo, rollout, lr, clip_factor)
    report = algo.update(rollout)
    assert metrics["approx_kl"] > 1e-5
    rest = float((rollout.target - rollout.value).var() / rollout.target.var())
    metrics["explained_variance"] = 1 - rest
    for name, value in metrics.items():
        assert float(report.metrics[name]) == pytest.approx(value, rel=1e-3, abs=1e-5), name
    for agent, expected in ((algo.train_policy, policy), (algo.critic_agent, critic)):
        for weight, by_formula in zip(agent.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(weight, by_formula, rtol=1e-3, atol=1e-5)
    algo.close()


def test_the_losses_go_down():
    """In the direction they are said to: the critic's down, the objective up."""
    algo, rollout = collected(lr=1e-2, opt_epochs=20, normalize_advantage=True)
    first = algo.update(rollout).metrics
    last = algo.update(rollout).metrics
    assert last["critic_loss"] < first["critic_loss"]
    assert last["actor_loss"] > first["actor_loss"] > 0
    algo.close()


@pytest.mark.parametrize(("batch_size", "per_epoch"), [(0, 1), (10_000, 1), (20, None)])
def test_batch_size(batch_size, per_epoch):
    """0 is the whole rollout; otherwise no minibatch is larger, and nothing is left out."""
    algo, rollout = collected(batch_size=batch_size, opt_epochs=3)
    expected = per_epoch or math.ceil(len(rollout) / batch_size)
    report = algo.update(rollout)
    assert report.n_minibatches == 3 * expected
    assert not report.stopped_early
    algo.close()


def test_target_kl_stops_before_the_step_that_would_go_further():
    """Fails if it is not looked at, or only after all epochs."""
    kls = {}
    for target_kl in (None, 1e9, 1e-3):
        algo, rollout = collected(lr=1e-2, opt_epochs=20, batch_size=0, target_kl=target_kl)
        report = algo.update(rollout)
        with torch.no_grad():
            dist = algo.train_policy.dist(rollout.variables["env/env_obs"])
            change = dist.log_prob(rollout.variables["action"]) - rollout.log_prob
        kls[target_kl] = float((change.exp() - 1 - change).mean())
        if target_kl == 1e-3:
            assert report.stopped_early
            assert 1 < report.n_minibatches < 20
            assert {float(one["step"]) for one in algo.policy_optimizer.state.values()} == {
                report.n_minibatches  # and none was looked at after the one that ended it
            }
        else:
            assert not report.stopped_early
            assert report.n_minibatches == 20
        algo.close()
    assert kls[None] == kls[1e9]
    # The update ended with the weights whose divergence was found to be too large.
    assert 1.5e-3 < kls[1e-3] < kls[None]


def test_coefficients_of_zero_switch_a_loss_off():
    """And only that one."""
    for algorithm, policy_stays, critic_stays in (
        ({"policy_coef": 0.0}, True, False),
        ({"critic_coef": 0.0}, False, True),
        ({"policy_coef": 0.0, "entropy_coef": 0.1}, False, False),
    ):
        algo, rollout = collected(**algorithm)
        policy, critic = weights(algo.train_policy), weights(algo.critic_agent)
        algo.update(rollout)
        assert same(policy, weights(algo.train_policy)) == policy_stays
        assert same(critic, weights(algo.critic_agent)) == critic_stays
        algo.close()


def test_the_entropy_bonus_raises_the_entropy():
    """A bonus with the wrong sign makes the policy certain of nothing it has learned."""
    algo, rollout = collected("LoggedBox", 1e-2, opt_epochs=20, policy_coef=0.0, entropy_coef=1.0)
    before = algo.train_policy.log_std.sum().item()
    algo.update(rollout)
    assert algo.train_policy.log_std.sum().item() > before
    algo.close()


def test_advantages_are_normalised_in_each_minibatch():
    """Their mean is then 0 in each, hence in the metric; without, it is what it is."""
    algo, rollout = collected(normalize_advantage=True, batch_size=20)
    assert abs(float(algo.update(rollout).metrics["advantage"])) < 1e-6
    algo.close()
    algo, rollout = collected(normalize_advantage=False, batch_size=0)
    mean = float(rollout.advantage.mean())
    assert float(algo.update(rollout).metrics["advantage"]) == pytest.approx(mean, abs=1e-6)
    assert abs(mean) > 1e-3
    algo.close()


def test_old_policy_and_old_critic_are_those_that_collected():
    """They are copied before the update, not after it."""
    algo, rollout = collected()
    policy, critic = weights(algo.train_policy), weights(algo.critic_agent)
    algo.update(rollout)
    assert same(policy, weights(algo.old_policy))
    assert same(critic, weights(algo.old_critic_agent))
    assert not same(policy, weights(algo.train_policy))
    assert not same(critic, weights(algo.critic_agent))
    algo.close()


def test_a_rollout_is_not_changed_by_an_update():
    """So that it can be looked at, or learned from again."""
    algo, rollout = collected(normalize_advantage=True)
    tensors = [rollout.log_prob, rollout.value, rollout.advantage, rollout.returns]
    tensors += list(rollout.variables.values())
    before = [tensor.clone() for tensor in tensors]
    algo.update(rollout)
    assert all(map(torch.equal, tensors, before))
    algo.close()


@pytest.mark.parametrize("normalize_advantage", [False, True])
@pytest.mark.parametrize("env_name", ["Chance", "ConstantReward"])
def test_the_smallest_rollouts(env_name, normalize_advantage):
    """One transition at a time, or none: where every episode is one step, every other rollout of
    one step is the step between two episodes. The weights must stay numbers."""
    algo = PPOClip(
        config(
            env_name,
            n_envs=1,
            n_steps=1,
            max_epochs=6,
            normalize_advantage=normalize_advantage,
        )
    )
    sizes = []
    for workspace in algo.iter_partial_episodes(2):
        rollout = algo.record(workspace)
        sizes.append(len(rollout))
        report = algo.update(rollout)
        algo.log(workspace, report, 1.0, 1)
    assert sizes == ([1, 0, 1, 0, 1, 0] if env_name == "ConstantReward" else [1, 1, 1, 1, 0, 1])
    for agent in (algo.train_policy, algo.critic_agent):
        assert all(weight.isfinite().all() for weight in agent.state_dict().values())
    algo.close()


class Wide(GaussianPolicy):
    """One number for each component of an action, as of a Normal that is no Independent."""

    wide = None  # "entropy" or "log-probability"; None: as it should be

    def evaluate_actions(self, obs, action):
        log_prob, entropy = super().evaluate_actions(obs, action)
        if self.wide is None or not torch.is_grad_enabled():  # only while it learns
            return log_prob, entropy
        wide = (self.log_std + self.mean(obs)).expand_as(action)
        return (wide, entropy) if self.wide == "log-probability" else (log_prob, wide)


@pytest.mark.parametrize("engine", ["eager", "flat", "compiled"])
@pytest.mark.parametrize("wide", ["entropy", "log-probability"])
def test_numbers_of_each_component_are_refused_by_every_engine(engine, wide, monkeypatch):
    """The mean of such an entropy would be taken without a word: too small by the components."""
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    cfg = config("LoggedBox", entropy_coef=0.01)
    cfg["compute"] = {"compile": "always" if engine == "compiled" else "never", "threads": 1}
    if engine == "eager":
        cfg["optimizer"] = {"classname": "torch.optim.SGD", "lr": 1e-2}
    algo = PPOClip(cfg, train_policy=Wide(2, [8], 2))
    algo.train_policy.wide = wide  # after the trial before the first step, which would refuse it
    with pytest.raises(UserError, match=rf"the {wide} has shape \[\d+, 2\]"):
        run(algo)
    algo.close()


class NeverTwice(DiscretePolicy):
    """Forbids the last action by a logit of -inf."""

    def logits(self, obs):
        last = torch.arange(3) == obs[..., 1:]
        return super().logits(obs).masked_fill(last, -torch.inf)


@pytest.mark.parametrize("engine", ["eager", "flat", "compiled"])
def test_forbidden_actions_leave_every_engine_finite(engine, monkeypatch):
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    cfg = config("Logged", entropy_coef=0.01)
    cfg["compute"] = {"compile": "always" if engine == "compiled" else "never", "threads": 1}
    if engine == "eager":
        cfg["optimizer"] = {"classname": "torch.optim.SGD", "lr": 1e-2}
    algo = PPOClip(cfg, train_policy=NeverTwice(2, [8], 3))
    run(algo)
    algo.close()
    assert all(parameter.isfinite().all() for parameter in algo.train_policy.parameters())


@pytest.mark.parametrize("factor", [1.4, 1.5, 1.6])
def test_target_kl_leaves_half_as_much_again(factor):
    """An approx_kl of up to 1.5 × target_kl is no reason to stop."""
    algo, rollout = collected(lr=1e-2, opt_epochs=2, batch_size=0)
    kl = 2 * float(algo.update(rollout).metrics["approx_kl"])  # 0 in the first of the two steps
    algo.close()
    algo, rollout = collected(lr=1e-2, opt_epochs=2, batch_size=0, target_kl=kl / factor)
    report = algo.update(rollout)
    assert report.stopped_early == (factor > 1.5)
    # Those that were made: the minibatch that ended the update has no step.
    assert report.n_minibatches == 2 - report.stopped_early
    steps = {float(state["step"]) for state in algo.policy_optimizer.state.values()}
    assert steps == {report.n_minibatches}
    algo.close()


def test_an_update_ends_at_the_first_minibatch_that_is_too_far():
    """Though the next ones, of other transitions, would not be."""

    class OneIsFar(PPOClip):
        seen = 0

        def losses(self, minibatch):
            terms, metrics = super().losses(minibatch)
            self.seen += 1
            return terms, metrics | {"approx_kl": torch.tensor(1.0 if self.seen == 2 else 0.0)}

    fresh_log()
    algo = OneIsFar(config("Logged", batch_size=8, opt_epochs=2, target_kl=0.1))
    report = algo.update(algo.record(next(algo.iter_partial_episodes(17))))
    assert (report.n_minibatches, report.stopped_early, algo.seen) == (1, True, 2)
    algo.close()


def test_a_metric_is_the_mean_over_the_minibatches_that_have_it():
    class Sometimes(PPOClip):
        seen = 0

        def losses(self, minibatch):
            terms, metrics = super().losses(minibatch)
            self.seen += 1
            return terms, metrics | (
                {"mine": torch.tensor(float(self.seen))} if self.seen < 4 else {}
            )

    fresh_log()
    algo = Sometimes(config("Logged", batch_size=8, opt_epochs=2))
    metrics = algo.update(algo.record(next(algo.iter_partial_episodes(17)))).metrics
    assert algo.seen > 4
    assert metrics["mine"] == 2
    algo.close()


def test_where_every_episode_had_just_ended_nothing_is_learned():
    """No transition, no step, and no gradient of an earlier update that could be followed again."""
    algo, rollout = collected()
    algo.update(rollout)
    parameters = [*algo.train_policy.parameters(), *algo.critic_agent.parameters()]
    for parameter in parameters:
        parameter.grad = None
    before = weights(algo.train_policy), weights(algo.critic_agent)
    report = algo.update(rollout.select(torch.arange(0)))
    assert set(report.metrics) == {"clip_range", "learning_rate"}
    assert (report.n_minibatches, report.stopped_early) == (0, False)
    assert same(before[0], weights(algo.train_policy))
    assert same(before[1], weights(algo.critic_agent))
    assert all(parameter.grad is None for parameter in parameters)
    algo.close()


@pytest.mark.parametrize("entropy_coef", [None, 0.4])
def test_the_losses_of_a_minibatch_by_hand(entropy_coef):
    """With every coefficient set, each to another number; the minibatch's own come first."""
    drawn = torch.randn(7, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_prob, entropy, value, old_log_prob, old_value, advantage, returns = drawn
    minibatch = Minibatch(
        {}, old_log_prob, old_value, advantage, returns, clip_range=0.2, clip_range_vf=0.1,
        clip_range_high=0.3, entropy_coef=entropy_coef, kl_coef=0.7, value_scale=2.0,
    )  # fmt: skip
    losses, metrics = ppo_losses(
        minibatch, log_prob=log_prob, entropy=entropy, value=value,
        settings=AlgorithmConfig(
            policy_coef=2.0, critic_coef=0.3, entropy_coef=0.2, dual_clip=1.5,
            normalize_advantage=False,
        ),
    )  # fmt: skip
    ratio = (log_prob - old_log_prob).exp()
    objective = torch.min(ratio * advantage, ratio.clamp(0.8, 1.3) * advantage)
    objective[advantage < 0] = torch.max(objective, 1.5 * advantage)[advantage < 0]
    change = (value - old_value) / 2
    near = old_value / 2 + change.clamp(-0.1, 0.1)
    error = torch.max((value / 2 - returns / 2) ** 2, (near - returns / 2) ** 2)
    divergence = (ratio - 1 - ratio.log()).mean()
    expected = {
        "policy": -2 * objective.mean(),
        "entropy": -(entropy_coef or 0.2) * entropy.mean(),
        "value": 0.3 * error.mean(),
        "kl": 0.7 * divergence,
    }
    told = {
        "critic_loss": 0.3 * error.mean(),
        "actor_loss": objective.mean(),
        "entropy_loss": entropy.mean(),
        "advantage": advantage.mean(),
        "approx_kl": divergence,
        "clip_fraction": ((ratio < 0.8) | (ratio > 1.3)).double().mean(),
        "value_clip_fraction": (change.abs() > 0.1).double().mean(),
    }
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(metrics, told, check_dtype=False)


@pytest.mark.parametrize(("clip_range_vf", "normalised"), [(0.0, True), (0.1, False)])
def test_a_masked_minibatch_is_the_one_without_the_padding(clip_range_vf, normalised):
    """In every loss and every metric: the compiled step pads its minibatches."""
    drawn = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(12) < 7
    settings = AlgorithmConfig(critic_coef=0.3, normalize_advantage=normalised)

    def losses_of(numbers, mask):
        now = dict(zip(("log_prob", "entropy", "value"), numbers, strict=False))
        minibatch = Minibatch({}, *numbers[3:], 0.2, clip_range_vf, mask)
        return ppo_losses(minibatch, **now, settings=settings)

    torch.testing.assert_close(losses_of(drawn, mask), losses_of(drawn[:, mask], None))


def test_old_policy_is_copied_before_every_update():
    """Buffers too, such as running statistics."""

    class Counts(GaussianPolicy):
        def __init__(self):
            super().__init__(2, [8], 2)
            self.register_buffer("seen", torch.zeros(()))

        def evaluate_actions(self, obs, action):
            self.seen += len(obs)
            return super().evaluate_actions(obs, action)

    fresh_log()
    algo = PPOClip(config("LoggedBox", max_epochs=3), train_policy=Counts())
    for workspace in algo.iter_partial_episodes(17):
        rollout = algo.record(workspace)
        policy, critic = weights(algo.train_policy), weights(algo.critic_agent)
        algo.update(rollout)
        assert same(policy, weights(algo.old_policy))
        assert same(critic, weights(algo.old_critic_agent))
        assert not same(policy, weights(algo.train_policy))
    assert algo.old_policy.seen > 0
    algo.close()


def test_what_is_no_number_is_named():
    """A gradient may be none though the losses are: that of a root at 0."""

    def root(loss):
        return (0 * loss).sqrt()

    class Fails(PPOClip):
        change, seen = None, 0

        def losses(self, minibatch):
            terms, metrics = super().losses(minibatch)
            self.seen += 1
            if self.seen == 2:
                terms["value"] = self.change(terms["value"])
            return terms, metrics

    for change, told in (
        (lambda loss: loss * torch.inf, "the value loss is inf in minibatch 2"),
        (root, r"the gradient \(of the critic\) is nan in minibatch 2"),
    ):
        fresh_log()
        algo = Fails(config("Logged", batch_size=16))
        algo.change = change
        rollout = algo.record(next(algo.iter_partial_episodes(17)))
        with pytest.raises(TrainingFailedError, match=told):
            algo.update(rollout)
        algo.close()


def test_a_critic_without_numbers_ends_the_training():
    """Though the policy's loss is one. No step is made with it, not of the policy either."""
    algo, rollout = collected(batch_size=0, opt_epochs=1)
    before = weights(algo.train_policy), weights(algo.critic_agent)
    rollout.returns[0] = torch.inf
    with pytest.raises(TrainingFailedError):
        algo.update(rollout)
    assert same(before[0], weights(algo.train_policy))
    assert same(before[1], weights(algo.critic_agent))
    algo.close()
