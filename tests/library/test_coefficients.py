"""What changes from update to update: schedules, the KL penalty, the rate by the measured KL."""

import math

import pytest
import torch
from probe_envs import config, fresh_log

from ppo_bbrl import ConfigError, PPOClip, load_config, run
from ppo_bbrl.coefficients import Coefficients, KLControl, coefficients
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.errors import UserError
from ppo_bbrl.losses import value_loss
from ppo_bbrl.plots import read_metrics


@pytest.fixture(autouse=True)
def _fresh():
    fresh_log()


def trained(schedules=None, lr=1e-3, **algorithm):
    """The table of a run's metrics, and the algorithm."""
    cfg = config("Logged", **algorithm)
    cfg["optimizer"]["lr"] = lr
    algo = PPOClip(cfg, schedules=schedules or {})
    run(algo)
    algo.close()
    return algo, read_metrics(algo.base_dir)


# ------------------------------------------------------------------------------- by the measured KL


@pytest.mark.parametrize(
    ("kl", "beta"),
    [
        (0.0151, 6.0), (0.01 * 1.5, 3.0), (0.0149, 3.0),
        (0.0067, 3.0), (0.01 / 1.5, 3.0), (0.0066, 1.5), (1.0, 6.0), (math.nan, 3.0),
    ],
)  # fmt: skip
def test_beta_follows_the_papers_rule(kl, beta):
    """Doubled beyond 1.5 times the target 0.01, halved below a 1.5th of it."""
    control = KLControl(3.0)
    control.follow(kl, AlgorithmConfig(kl_penalty=3.0), rate=1e-3)
    assert control.kl_coef == beta
    assert control.rate_factor == 1.0


@pytest.mark.parametrize(("kl", "back"), [(1.0, 0.0), (0.0, 1.0)])
def test_beta_comes_back_from_a_target_out_of_reach(kl, back):
    """Doubled, or halved, for ever it would be infinite, or 0 and never anything else."""
    control, settings = KLControl(1.0), AlgorithmConfig(kl_penalty=1.0)
    for _ in range(2000):
        control.follow(kl, settings, rate=1e-3)
    assert control.kl_coef == (1e9 if kl else 1e-9)
    assert 0 < torch.tensor(control.kl_coef).square() < math.inf  # in float32
    for _ in range(60):
        control.follow(back, settings, rate=1e-3)
    assert (control.kl_coef < 1) == (back == 0)


@pytest.mark.parametrize(
    ("kl", "rate", "expected"),
    [
        (0.0201, 3e-4, 2e-4), (0.02, 3e-4, 3e-4), (0.0199, 3e-4, 3e-4),
        (0.0051, 3e-4, 3e-4), (0.005, 3e-4, 3e-4), (0.0049, 3e-4, 4.5e-4),
        (1.0, 1.2e-5, 1e-5), (1.0, 1e-5, 1e-5), (1.0, 2e-6, 2e-6),
        (0.0, 9e-3, 1e-2), (0.0, 2e-2, 2e-2), (math.nan, 3e-4, 3e-4),
        (1.0, 0.0, 0.0), (0.0, 0.0, 0.0),
    ],
)  # fmt: skip
def test_the_rate_follows_rsl_rl(kl, rate, expected):
    """By 1.5, in steps that end at 1e-5 and 1e-2; a rate beyond these is not pulled back."""
    control = KLControl(None)
    control.follow(kl, AlgorithmConfig(learning_rate_schedule="adaptive_kl"), rate)
    assert rate * control.rate_factor == pytest.approx(expected)
    assert control.kl_coef is None


def test_the_learning_rate_of_a_run_follows_its_kl():
    how = {"learning_rate_schedule": "adaptive_kl", "kl_target": 1e-3, "max_epochs": 5}
    algo, table = trained(lr=5e-3, **how)
    rates, kls = table["learning_rate"].tolist(), table["kl_divergence"].tolist()
    assert rates[0] == pytest.approx(5e-3)
    for kl, before, after in zip(kls, rates, rates[1:], strict=False):
        factor = 1 / 1.5 if kl > 2e-3 else 1.5 if kl < 5e-4 else 1.0
        assert after == pytest.approx(min(before * factor, 1e-2))
    assert len(set(rates)) > 1
    assert algo.policy_optimizer.param_groups[0]["lr"] == pytest.approx(rates[-1])


def test_beta_of_a_run_follows_its_kl():
    _, table = trained(lr=1e-2, kl_penalty=0.1, kl_target=1e-4, clip_range=None, max_epochs=5)
    betas = table["kl_penalty"].tolist()
    assert betas == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert table["clip_range"].isna().all()
    assert (table["clip_fraction"] == 0).all()


def test_the_divergence_is_that_of_the_whole_update():
    """By hand from the weights before and after it."""
    algo = PPOClip(config("Logged", kl_penalty=1.0, opt_epochs=5))
    rollout = algo.record(next(algo.iter_partial_episodes(17)))
    report = algo.update(rollout)
    obs, action = rollout.variables["env/env_obs"], rollout.variables["action"]
    with torch.no_grad():
        change = algo.train_policy.dist(obs).log_prob(action) - rollout.log_prob
    expected = float((change.exp() - 1 - change).mean())
    assert float(report.metrics["kl_divergence"]) == pytest.approx(expected, rel=1e-4)
    algo.close()


def test_a_penalty_keeps_the_policy_near():
    kls = [
        trained(lr=1e-2, kl_penalty=beta, clip_range=None, opt_epochs=10, max_epochs=1)[1][
            "kl_divergence"
        ].item()
        for beta in (1e-6, 30.0)
    ]
    assert kls[1] < kls[0] / 3


def test_a_new_penalty_in_the_configuration_is_taken():
    algo = PPOClip(config("Logged", kl_penalty=1.0, max_epochs=2))
    for workspace in algo.iter_partial_episodes(17):
        algo.cfg.algorithm.kl_penalty = 7.0
        assert float(algo.update(algo.record(workspace)).metrics["kl_penalty"]) == 7.0
        break
    algo.close()


def test_no_clipping_has_no_second_bound():
    with pytest.raises(ConfigError, match=r"clip_range_high = 0\.3: must be null where"):
        load_config(config("Logged", clip_range=None, clip_range_high=0.3))


# ---------------------------------------------------------------------------------------- schedules


def test_coefficients_that_are_left_out_do_nothing():
    """A 0 is no clipping of the critic, None is no penalty, no scale, no bound of its own."""
    assert vars(Coefficients(clip_range=0.2)) == {
        "clip_range": 0.2, "clip_range_vf": 0.0, "clip_range_high": None,
        "entropy_coef": None, "kl_coef": None, "value_scale": None,
    }  # fmt: skip


def test_the_coefficients_of_an_update_by_hand():
    """One schedule is for the three clipping ranges, another for the entropy bonus."""
    settings = AlgorithmConfig(
        clip_range=0.2, clip_range_high=0.6, clip_range_vf=0.8, entropy_coef=0.4
    )
    factors = {"learning_rate": 3.0, "clip_range": 0.5, "entropy": 0.25}
    found = coefficients(settings, factors, kl_coef=7.0, value_scale=9.0)
    assert vars(found) == {
        "clip_range": 0.1, "clip_range_high": 0.3, "clip_range_vf": 0.4,
        "entropy_coef": 0.1, "kl_coef": 7.0, "value_scale": 9.0,
    }  # fmt: skip


def test_schedules_of_ones_own():
    """Functions of what is left of the run: of four epochs 1, 3/4, 1/2 and 1/4."""
    given = {
        "learning_rate": lambda remaining: remaining**2,
        "clip_range": lambda remaining: 2 - remaining,
        "entropy": lambda remaining: remaining * 10,
    }
    _, table = trained(given, max_epochs=4, entropy_coef=0.01)
    left = [1.0, 0.75, 0.5, 0.25]
    assert table["learning_rate"].tolist() == pytest.approx([1e-3 * p**2 for p in left])
    assert table["clip_range"].tolist() == pytest.approx([0.2 * (2 - p) for p in left])
    assert table["entropy_coef"].tolist() == pytest.approx([0.1 * p for p in left])


def test_a_rate_of_ones_own_is_moved_by_no_kl():
    """A schedule of one's own replaces that of the configuration, adaptive_kl as any other."""
    how = {"learning_rate_schedule": "adaptive_kl", "kl_target": 1e-6, "max_epochs": 3}
    _, table = trained({"learning_rate": lambda _: 1.0}, lr=5e-3, **how)
    assert table["learning_rate"].tolist() == pytest.approx([5e-3] * 3)
    assert "kl_divergence" not in table


@pytest.mark.parametrize("vf", [0.1, 0.0])
def test_a_schedule_of_nothing_leaves_no_room_for_values(vf):
    """It does not turn clipping off, as clip_range_vf: 0 does."""
    settings = AlgorithmConfig(clip_range_vf=vf)
    factors = {"clip_range": 0.0, "entropy": 1.0}
    now = coefficients(settings, factors, kl_coef=None, value_scale=None)
    value = torch.tensor([1.0, -1.0], requires_grad=True)
    old, target = torch.tensor([1.0, -1.0]), torch.tensor([1.0, -1.0])
    loss, _ = value_loss(
        value=value + torch.tensor([0.5, -0.5]), old_value=old, target=target * 9,
        clip_range_vf=now.clip_range_vf,
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(loss, value)
    assert bool(gradient.any()) == (vf == 0)


def test_schedules_of_the_configuration():
    _, table = trained(
        max_epochs=4,
        entropy_coef=0.01,
        entropy_schedule="linear",
        learning_rate_schedule="cosine",
        clip_range_schedule="linear",
    )
    assert table["entropy_coef"].tolist() == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    assert table["learning_rate"][2] == pytest.approx(0.5e-3)
    assert table["clip_range"].tolist() == pytest.approx([0.2, 0.15, 0.1, 0.05])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["entropy"], r"schedules = \['entropy'\]: must be a dict of functions by the names"),
        (None, r"schedules = None: must be a dict"),
        ({"lr": abs}, r"schedules\['lr'\]: must be one of learning_rate, clip_range, entropy"),
        ({"entropy": "linear"}, r"schedules\['entropy'\] = 'linear': must be a function of the"),
    ],
)
def test_what_is_no_schedule_is_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        PPOClip(config("Logged"), schedules=given)


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, None, "half"])
def test_a_schedule_gives_a_number(value):
    algo = PPOClip(config("Logged"), schedules={"clip_range": lambda _: value})
    rollout = algo.record(next(algo.iter_partial_episodes(17)))
    with pytest.raises(UserError, match=r"schedules\['clip_range'\]\(1\) = .*must be a number ≥ 0"):
        algo.update(rollout)
    algo.close()


# -------------------------------------------------------------------------------- advantages anew


def test_advantages_of_each_epoch_are_of_the_critic_as_it_is_then():
    """With γ = 0 the return is the reward, and the advantage what the critic does not foresee."""

    class Watched(PPOClip):
        seen = ()

        def losses(self, minibatch):
            value = self.critic_agent.value(minibatch.variables["env/env_obs"]).detach()
            self.seen = (*self.seen, (minibatch, value))
            return super().losses(minibatch)

    for anew in (True, False):
        cfg = config(
            "Logged", recompute_advantage=anew, discount_factor=0.0, opt_epochs=3, batch_size=0
        )
        cfg["optimizer"]["lr"] = 0.01
        algo = Watched(cfg)
        rollout = algo.record(next(algo.iter_partial_episodes(17)))
        algo.update(rollout)
        for epoch, (minibatch, value) in enumerate(algo.seen):
            fresh = torch.allclose(minibatch.advantage, minibatch.returns - value, atol=1e-5)
            assert fresh == (anew or epoch == 0)
            torch.testing.assert_close(minibatch.returns, rollout.returns)
            assert torch.equal(minibatch.log_prob, rollout.log_prob)
        algo.close()
