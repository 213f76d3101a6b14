"""What `losses` and `compute_targets` of a user's own give is used, or refused in one line."""

import re

import pytest
import torch
from probe_envs import config

from ppo_bbrl import PPOClip, iter_partial_episodes, run
from ppo_bbrl.errors import StateError, UserError
from ppo_bbrl.fast import compiled


def small(compiling="never", **algorithm):
    made = config("CartPole-v1", max_epochs=1, n_steps=8, nb_evals=2, **algorithm)
    made["gym_env"]["env_args"] = {"max_episode_steps": 30}
    return made | {"base_dir": "own", "compute": {"compile": compiling}}


def of_losses(change):
    """An algorithm that changes the losses and the metrics in its own way."""

    class Own(PPOClip):
        def losses(self, minibatch):
            return change(*super().losses(minibatch))

    return Own


def without_gradient(losses, metrics):
    return {name: loss.detach() for name, loss in losses.items()}, metrics


WRONG_LOSSES = {
    "gives None: must be a pair of dicts": lambda *_: None,
    "must be a pair of dicts": lambda losses, metrics: (sum(losses.values()), metrics),
    "the loss mine as 0.3": lambda losses, metrics: (losses | {"mine": 0.3}, metrics),
    "the loss mine as a Tensor of shape [4]": lambda losses, metrics: (
        losses | {"mine": torch.ones(4, requires_grad=True)}, metrics,
    ),
    "the metric mine as 4": lambda losses, metrics: (losses, metrics | {"mine": 4}),
    "(policy, entropy, value) have no gradient": without_gradient,
}  # fmt: skip


@pytest.mark.parametrize("compiling", ["never", "always"])
@pytest.mark.parametrize("told", WRONG_LOSSES)
def test_losses_that_cannot_be_learned_from(told, compiling, monkeypatch):
    monkeypatch.setattr(compiled, "_backend", lambda _: {"backend": "eager"})
    with pytest.raises(UserError, match=re.escape(told)) as error:
        run(of_losses(WRONG_LOSSES[told])(small(compiling)))
    assert "\n" not in str(error.value)


def test_losses_are_checked_before_the_first_step():
    algo = of_losses(WRONG_LOSSES["the loss mine as 0.3"])(small(batch_size=0, opt_epochs=1))
    with pytest.raises(UserError, match="the loss mine as"):
        algo.update(algo.record(next(iter_partial_episodes(algo, 9))))
    algo.close()


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_nothing_would_be_learned_without_gradients(off):
    with off(), pytest.raises(UserError, match="gradients are turned off"):
        run(PPOClip(small()))


def test_weights_made_in_inference_mode_are_refused_at_once():
    """They could never be changed afterwards, whatever mode training is in."""
    with torch.inference_mode(), pytest.raises(UserError, match="gradients are turned off"):
        PPOClip(small())


def test_weights_that_are_to_stay_as_they_are():
    algo = PPOClip(small())
    for agent in (algo.train_policy, algo.critic_agent):
        agent.requires_grad_(False)
    run(algo)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda advantage, _: advantage, "must be (advantages, returns)"),
        (lambda advantage, returns: (advantage[:, :1], returns), "advantages as a Tensor of shape"),
        (lambda advantage, returns: (advantage, returns.numpy()), "returns as a ndarray of shape"),
        (
            lambda advantage, returns: (advantage.long(), returns),
            "int64: must be a tensor of float",
        ),
    ],
)
def test_targets_of_another_kind(change, told):
    class Own(PPOClip):
        def compute_targets(self, rollout):
            return change(*super().compute_targets(rollout))

    with pytest.raises(UserError, match=re.escape(told)):
        run(Own(small()))


def test_rewards_changed_in_place_change_once():
    """They are computed anew for each pass; the workspace keeps those of the environment."""
    seen = []

    class Own(PPOClip):
        def compute_targets(self, rollout):
            rollout.reward.mul_(3)
            seen.append(rollout.reward.max().item())
            return super().compute_targets(rollout)

    algo = Own(small(recompute_advantage=True, opt_epochs=3))
    for workspace in iter_partial_episodes(algo, 9):
        algo.update(algo.record(workspace))
        assert workspace["env/reward"].max() == 1
    assert seen == [3, 3, 3]


def half(rate):
    return rate / 2


def test_a_schedule_that_is_forgotten_on_resuming():
    """The run would go on with the one of the configuration."""
    algo = PPOClip(small(), schedules={"entropy": half})
    run(algo)
    algo.close()
    with pytest.raises(StateError, match=r"schedule of entropy .* schedules=\{'entropy': …\}"):
        PPOClip.resume("outputs/own", schedules={"learning_rate": half})
    PPOClip.resume("outputs/own", schedules={"entropy": half}).close()


@pytest.mark.parametrize("method", ["losses", "compute_targets"])
def test_a_class_that_is_forgotten_on_resuming(method):
    """The run would go on with what the package's class learns."""

    class Own(PPOClip):
        pass

    setattr(Own, method, getattr(PPOClip, method))
    algo = Own(small())
    run(algo)
    algo.close()
    with pytest.raises(StateError, match=rf"its {method} by Own\.{method}, .* Own\.resume\(RUN\)"):
        PPOClip.resume("outputs/own")
    type("Further", (Own,), {}).resume("outputs/own").close()
