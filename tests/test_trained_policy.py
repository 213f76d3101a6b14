"""A run's policy in another program: made again from files alone, or refused with a reason."""

from pathlib import Path

import pytest
import torch
from probe_envs import config
from torch import nn

from ppo_bbrl.agents import DiscretePolicy
from ppo_bbrl.checkpoint import load_policy, save_policy
from ppo_bbrl.config import load_config
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.episodic import EpisodicAlgo
from ppo_bbrl.errors import UserError
from ppo_bbrl.ppo import PPOClip, restore_policy


def saved_run(cfg, **kwargs):
    """The folder of a policy that was evaluated once."""
    algo = PPOClip(cfg, **kwargs)
    algo.evaluate(force=True)
    algo.close()
    return algo.save_best()


def test_no_environment_is_made(monkeypatch):
    """Its spaces lie with the weights: the task may be missing, slow, or a stranger's."""
    folder = saved_run(config("Chance"))
    monkeypatch.setattr(EnvAgent, "__init__", lambda *_, **__: pytest.fail("made an environment"))
    assert isinstance(restore_policy(load_policy(folder)).wrapped, DiscretePolicy)


def test_an_old_file_without_spaces():
    """The environment of the configuration is made to learn them."""
    folder = saved_run(config("Chance"))
    content = torch.load(folder / "policy.pt")
    for name in ("observation_space", "action_space", "own_agent"):
        del content[name]
    torch.save(content, folder / "policy.pt")
    policy = restore_policy(load_policy(folder))
    assert all(
        torch.equal(policy.state_dict()[name], content["policy"][name])
        for name in content["policy"]
    )


def told(folder):
    with pytest.raises(UserError) as error:
        restore_policy(load_policy(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


class Mine(DiscretePolicy):
    """An agent of a user's program."""


@pytest.mark.parametrize("agent", [Mine, DiscretePolicy])
def test_an_agent_of_ones_own_is_named(agent):
    """Of a class, or of sizes, that the configuration does not know."""
    cfg = config("Chance")
    message = told(saved_run(cfg, train_policy=agent(3, [5], 2)))
    assert f"{agent.__module__}.{agent.__qualname__}" in message
    assert "agent of your own" in message


def test_only_an_agent_of_ones_own_is_called_that():
    """What does not fit for another reason has another line."""
    folder = saved_run(config("Chance"))
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("- 16", "- 8"))
    message = told(folder)
    assert "do not fit" in message
    assert "your own" not in message


def test_an_agent_of_ones_own_that_the_configuration_makes_too():
    cfg = config("Chance")
    mine = DiscretePolicy(3, [16], 2)
    again = restore_policy(load_policy(saved_run(cfg, train_policy=mine))).wrapped
    assert torch.equal(
        again.log_prob_and_entropy(torch.ones(3), torch.tensor(1))[0],
        mine.log_prob_and_entropy(torch.ones(3), torch.tensor(1))[0],
    )


@pytest.mark.parametrize("architecture", [None, {"actor_hidden_size": [4]}])
def test_a_run_of_a_students_algorithm(architecture):
    """With agents and keys of its own: named as such, not called a damaged configuration."""
    cfg = {
        "base_dir": "student",
        "gym_env": {"env_name": "Chance-v0"},
        "algorithm": {"n_envs": 2, "nb_evals": 2, "beta": 0.5},
    }
    if architecture:
        cfg["algorithm"]["architecture"] = architecture
    algo = EpisodicAlgo(cfg)
    algo.train_policy = DiscretePolicy(3, [4], 2)
    algo.evaluate(force=True)
    algo.close()
    assert "agent of your own" in told(algo.save_best())


def test_a_policy_that_was_saved_by_hand():
    """`save_policy` without spaces, as before there were any."""
    cfg = load_config({"gym_env": {"env_name": "CartPole-v1"}})
    policy = DiscretePolicy(4, [64, 64], 2)
    save_policy(Path("run/best"), policy, cfg, 1.0, 1)
    weights = restore_policy(load_policy(Path("run/best"))).wrapped.parameters()
    assert torch.equal(
        nn.utils.parameters_to_vector(weights), nn.utils.parameters_to_vector(policy.parameters())
    )
