"""Random network distillation: by hand, in runs, saved, and what it is for."""

import copy

import corridor_envs  # noqa: F401 - registers an environment
import pytest
import space_envs  # noqa: F401 - likewise
import torch
from gymnasium.spaces import Box, Discrete
from probe_envs import config, fresh_log
from torch import nn

import ppo_bbrl
from ppo_bbrl import ConfigError, PPOClip, VAgent, run
from ppo_bbrl.agents.convolutional import Convolutional
from ppo_bbrl.agents.curiosity import NEXT, RETURN, Curiosity, curiosity_of
from ppo_bbrl.curiosity import Watching, with_curiosity, with_losses, with_returns
from ppo_bbrl.minibatches import Minibatch
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.rollout import evaluate_rollout
from ppo_bbrl.workspace.table import Workspace


@pytest.fixture(autouse=True)
def _fresh():
    fresh_log()


def test_novelty_is_the_error_of_a_prediction():
    """Of the predictor alone, which learns; what was not learned stays new."""
    torch.manual_seed(0)
    curiosity = Curiosity(Discrete(6), [16])
    assert not [*curiosity.target.parameters()]
    before = copy.deepcopy(curiosity.target.state_dict())
    obs = torch.arange(6)
    by_hand = (curiosity.predictor(obs) - curiosity.target(obs)).square().mean(-1)
    torch.testing.assert_close(curiosity.novelty(obs), by_hand)
    optimizer = torch.optim.Adam(curiosity.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        curiosity.novelty(obs[:3]).mean().backward()
        optimizer.step()
    after = curiosity.novelty(obs)
    assert after[:3].max() < 0.01 * by_hand.min()
    assert after[3:].min() > 10 * after[:3].max()
    assert all(
        torch.equal(one, before[name]) for name, one in curiosity.target.state_dict().items()
    )


def test_the_networks_see_normalised_observations_up_to_five():
    curiosity = Curiosity(Box(-1e9, 1e9, (2,)), [8])
    curiosity.normaliser.update(torch.tensor([[10.0, 0.0], [30.0, 0.0]]))
    assert curiosity.normaliser(torch.tensor([25.0, 1e6])).tolist() == pytest.approx(
        [0.5, 5.0], abs=1e-3
    )
    far = curiosity.novelty(torch.tensor([[1e6, 1e6], [1e8, 1e8]])).detach()
    assert float(far[0]) == float(far[1])


@pytest.mark.parametrize(
    ("hidden", "of_target", "of_predictor"),
    [([8, 16], [2, 8, 16, 64], [2, 8, 16, 16, 64]), ([], [2, 64, 64], [2, 64, 64, 64])],
)
def test_the_predictor_has_one_layer_more_than_its_target(hidden, of_target, of_predictor):
    curiosity = Curiosity(Box(-1, 1, (2,)), hidden)

    def sizes(network):
        layers = [one for one in network.modules() if isinstance(one, nn.Linear)]
        return [layers[0].in_features, *(one.out_features for one in layers)]

    assert sizes(curiosity.target) == of_target
    assert sizes(curiosity.predictor) == of_predictor
    assert sizes(curiosity.critic) == [*of_target[:-1], 1]
    assert not any(one.requires_grad for one in curiosity.target.buffers())


def test_as_an_agent_it_writes_reward_and_value_of_a_row():
    curiosity, workspace = Curiosity(Box(-1, 1, (2,)), [8]), Workspace()
    obs = torch.randn(2, 3, 2)
    workspace.set_full("env/env_obs", obs)
    for t in range(2):
        curiosity(workspace, t=t)
    torch.testing.assert_close(workspace["curiosity/reward"], curiosity.novelty(obs))
    torch.testing.assert_close(workspace["curiosity/v_values"], curiosity.value(obs))


def test_only_transitions_are_learned_from():
    """By hand: of two steps one is none, and its novelty and value are in no loss."""
    critic, obs = VAgent(2, [4]), torch.tensor([[0.5, 0.1], [0.9, -0.3]])
    critic.curiosity = curiosity = Curiosity(Box(-1, 1, (2,)), [4])
    variables = {
        "env/env_obs": obs,
        NEXT + "env/env_obs": 2 * obs,
        RETURN: torch.tensor([1.0, 99.0]),
    }
    zeros = torch.zeros(2)
    computed = {"policy": zeros[0]}, {"kl": zeros[0]}
    novelty, value = curiosity.novelty(2 * obs), curiosity.value(obs)
    columns = {name: one.unsqueeze(1) for name, one in variables.items()}  # as of sequences
    some = torch.tensor([True, False])
    for own, mask, kept in ((variables, some, 1), (columns, some, 1), (variables, None, 2)):
        minibatch = Minibatch(own, zeros, zeros, zeros, zeros, 0.2, 0.1, mask)
        losses, metrics = with_losses(critic, minibatch, 0.25, computed)
        torch.testing.assert_close(losses["curiosity"], novelty[:kept].mean())
        error = (value - variables[RETURN])[:kept].square().mean()
        torch.testing.assert_close(losses["curiosity_value"], 0.25 * error)
        assert set(losses) == {"policy", "curiosity", "curiosity_value"}
        assert set(metrics) == {"kl", "curiosity_loss", "curiosity_value_loss"}
        assert not any(one.requires_grad for one in metrics.values())  # they may be kept
    del critic.curiosity
    assert with_losses(critic, minibatch, 0.25, computed) is computed


@pytest.mark.parametrize(("discount_factor", "used"), [(0.9, 0.9), (0.999, 0.99)])
def test_its_advantages_go_on_over_ends_and_after_the_last_step(discount_factor, used):
    """γ is at most 0.99, the paper's; the last row's value stands for all that comes after it."""
    algo = PPOClip(config("Logged", curiosity="rnd", discount_factor=discount_factor, gae=0.8))
    workspace = next(algo.iter_partial_episodes(17))
    algo.record(workspace)
    reward = workspace["curiosity/reward"][1:] / algo._watching._next.moments.std.float()
    value, mask = workspace["curiosity/v_values"], ~workspace["env/done"][:-1]
    sums = []
    for b in range(value.shape[1]):
        kept = mask[:, b].nonzero().flatten().tolist()
        running, following, next_value = 0.0, 0.0, value[16, b]
        for t in kept:
            running = used * running + float(workspace["curiosity/reward"][t + 1, b])
            sums.append(running)
        for t in reversed(kept):
            following = reward[t, b] + used * next_value - value[t, b] + used * 0.8 * following
            next_value = value[t, b]
            torch.testing.assert_close(workspace["curiosity/advantage"][t, b], following)
    std = algo._watching._next.moments.std.item()  # of what is summed over ends of episodes, too
    assert std == pytest.approx(torch.tensor(sums).std(correction=0).item(), rel=1e-3)
    algo.close()


def test_the_scale_of_its_rewards_is_saved():
    """Else a run that goes on would learn from rewards of another size."""
    algo = PPOClip(config("Chance", curiosity="rnd", max_epochs=1))
    run(algo)
    algo.close()
    other = PPOClip(config("Logged", curiosity="rnd"))
    other.record(next(other.iter_partial_episodes(17)))
    for watching in (Watching(), other._watching):  # one that has watched other rollouts
        watching.load_state_dict(algo._watching.state_dict())
        for scale in (watching._scale, watching._next):
            assert torch.equal(scale.moments.var, algo._watching._scale.moments.var)
    other.close()
    assert float(watching._scale.moments.count) > 16


def test_without_the_setting_nobody_is_curious():
    """Everything stays as it is; a user's attribute of that name is none of ours."""
    algo = PPOClip(config("Chance"))
    algo.critic_agent.curiosity = 0.5
    assert curiosity_of(algo.critic_agent) is None
    workspace = next(algo.iter_partial_episodes(5))
    rollout = evaluate_rollout(workspace, algo.train_policy, algo.critic_agent)
    how, advantage = algo.cfg.algorithm, torch.ones(4, 2)
    watching, critic = Watching(), algo.critic_agent
    assert watching.watch(critic, workspace, rollout, how) is rollout
    assert watching.evaluate(critic, rollout, how) is rollout
    assert with_curiosity(advantage, rollout, how) is advantage
    algo.close()


def test_values_that_were_computed_anew_have_their_returns():
    old, new = {"action": 1, RETURN: 2}, {"action": 3, RETURN: 4}
    assert with_returns(old, new) == {"action": 1, RETURN: 4}
    assert with_returns({"action": 1}, {"action": 3}) == {"action": 1}


def test_its_networks_are_as_large_as_the_critics_and_as_curved():
    cfg = config("Chance", curiosity="rnd")
    cfg["algorithm"]["architecture"] |= {
        "actor_hidden_size": [9], "critic_hidden_size": [12], "activation": "tanh"
    }  # fmt: skip
    algo = PPOClip(cfg)
    curiosity = curiosity_of(algo.critic_agent)
    for network in (curiosity.target, curiosity.predictor, curiosity.critic):
        layers = [one for one in network.modules() if isinstance(one, nn.Linear)]
        between = {type(one) for one in network.modules()} & {nn.ReLU, nn.Tanh}
        assert (layers[0].out_features, between) == (12, {nn.Tanh})
    algo.close()


def test_what_a_rollout_learns_from():
    """Rewards come with the row they are about; their scale includes the rollout itself."""
    how = {"discount_factor": 0.0, "gae": 0.0, "curiosity": "rnd", "curiosity_coef": 3.0}
    algo = PPOClip(config("Logged", **how))
    curiosity, steps = curiosity_of(algo.critic_agent), 0.0
    for workspace in algo.iter_partial_episodes(17):
        obs = workspace["env/env_obs"]
        with torch.no_grad():
            novelty, value = curiosity.novelty(obs), curiosity.value(obs)
        rollout = algo.record(workspace)
        algo.record(workspace)  # once more changes nothing
        torch.testing.assert_close(workspace["curiosity/reward"], novelty)
        torch.testing.assert_close(workspace["curiosity/v_values"], value)
        valid = ~workspace["env/done"][:-1]
        assert not valid.all()
        if algo.epoch == 0:
            std = novelty[1:][valid].double().std(correction=0)
        else:
            moments = algo._watching._next.moments
            assert float(moments.count) == pytest.approx(steps + int(valid.sum()), abs=1e-3)
            std = moments.std
        scaled = novelty[1:] / std.float()
        intrinsic = (scaled - value[:-1])[valid]
        extrinsic = (workspace["env/reward"][1:] - workspace["critic/v_values"][:-1])[valid]
        torch.testing.assert_close(
            rollout.advantage, extrinsic + 3 * intrinsic, rtol=1e-3, atol=1e-3
        )
        torch.testing.assert_close(
            workspace["curiosity/return"][:-1][valid], scaled[valid], rtol=1e-3, atol=1e-3
        )
        assert torch.equal(rollout.returns, workspace["return"][:-1][valid])
        following = rollout.variables["curiosity/next/env/env_obs"]
        assert torch.equal(following, obs[1:][valid])
        before = copy.deepcopy(curiosity.state_dict())
        report = algo.update(rollout)
        assert {"curiosity_loss", "curiosity_value_loss"} <= set(report.metrics)
        moved = {
            name.split(".")[0]
            for name, one in curiosity.state_dict().items()
            if not torch.equal(one, before[name]) and "normaliser" not in name
        }
        assert moved == {"predictor", "critic"}
        steps = float(algo._watching._scale.moments.count)
    algo.close()


@pytest.mark.wide(3)
@pytest.mark.parametrize("kind", ["dict", "image", "tuple"])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_every_observation_makes_curious(kind, memory):
    cfg = config("Space", curiosity="rnd", max_epochs=2)
    cfg["algorithm"]["architecture"] |= {"memory": memory}
    cfg["algorithm"]["batch_size"] = 0
    cfg["gym_env"]["env_args"] = {"observation": kind, "action": "dict"}
    algo = PPOClip(cfg)
    run(algo)
    algo.close()
    assert read_metrics(algo.base_dir)["curiosity_loss"].notna().all()
    observation = algo.train_env.observation_space.sample()
    assert ppo_bbrl.load(algo.base_dir).predict(observation) in algo.train_env.action_space


@pytest.mark.parametrize(("features", "convolutions"), [("auto", True), ("mlp", False)])
def test_it_sees_images_as_policy_and_critic_do(features, convolutions):
    cfg = config("Space", curiosity="rnd")
    cfg["algorithm"]["architecture"] |= {"features": features}
    cfg["gym_env"]["env_args"] = {"observation": "image", "action": "discrete"}
    algo = PPOClip(cfg)
    predictor = curiosity_of(algo.critic_agent).predictor
    for agent in (algo.train_policy, predictor):
        assert any(isinstance(one, Convolutional) for one in agent.modules()) == convolutions
    algo.close()


def test_it_looks_for_channels_where_policy_and_critic_do():
    found = []
    for channels in ("first", "last"):
        cfg = config("Space", curiosity="rnd")
        cfg["algorithm"]["architecture"] |= {"features": "cnn", "channels": channels}
        cfg["gym_env"]["env_args"] = {"observation": "image", "action": "discrete"}
        algo = PPOClip(cfg)
        agents = algo.train_policy, curiosity_of(algo.critic_agent).predictor
        of_both = [next(one for one in agent.modules() if isinstance(one, nn.Conv2d))
                   for agent in agents]  # fmt: skip
        assert of_both[0].in_channels == of_both[1].in_channels
        found.append(of_both[1].in_channels)
        algo.close()
    assert found[0] != found[1]


def test_another_critic_has_it_too():
    algo = PPOClip(config("Chance", curiosity="rnd"))
    before = curiosity_of(algo.critic_agent)
    algo.critic_agent = VAgent(3, [4])
    assert curiosity_of(algo.critic_agent) is before
    assert curiosity_of(algo.old_critic_agent) is not None
    run(algo)
    algo.cfg.algorithm.curiosity = "none"
    with pytest.raises(ConfigError, match=r"algorithm\.curiosity = 'none': the algorithm was made"):
        algo.evaluate()
    algo.cfg.algorithm.curiosity = "rnd"
    algo.close()
    with pytest.raises(ConfigError, match=r"algorithm\.curiosity = 'icm': must be one of none, r"):
        PPOClip(config("Chance", curiosity="icm"))


def furthest(curiosity):
    cfg = config(
        "LongCorridor", curiosity=curiosity, max_epochs=25, n_steps=64, n_envs=4, opt_epochs=4,
        batch_size=64, normalize_advantage=True,
    )  # fmt: skip
    cfg["compute"] = {"compile": "never", "threads": 1}
    cfg["base_dir"] = curiosity
    cfg["optimizer"]["lr"] = 3e-3
    algo, place = PPOClip(cfg), 0
    for workspace in algo.iter_partial_episodes(65):
        place = max(place, int(workspace["env/env_obs"].max()))
        algo.update(algo.record(workspace))
    algo.close()
    return place


@pytest.mark.slow
def test_curiosity_gets_further():
    """In a corridor whose only reward is at its end."""
    without, curious = furthest("none"), furthest("rnd")
    assert curious == 39
    assert without < 30
