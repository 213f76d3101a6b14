"""Saved policies: the same again, in one stroke, and never code from a file."""

import io
import pickle
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from omegaconf import OmegaConf
from torch import nn

from ppo_bbrl.agents.base import KWAgentWrapper
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.runs.best_policy import load_policy, restore, save_policy

FOLDER = Path("run/best")
FILE = FOLDER / "policy.pt"


def policy():
    return DiscretePolicy(4, [8], 2)


@pytest.fixture
def cfg():
    return load_config({"gym_env": {"env_name": "CartPole-v1"}, "extra": {"note": "λ"}})


@pytest.fixture
def saved(cfg):
    """A policy that lies on disk."""
    agent = policy()
    save_policy(FOLDER, agent, cfg, reward=487.5, steps=1234)
    return agent


class Touch:
    """A pickle of this runs code when it is loaded."""

    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def damaged(file=FILE):
    """The one error of a file that is no policy of ours."""
    with pytest.raises(ValueError, match="not a policy of ppo-bbrl, or a damaged") as error:
        load_policy(file.parent)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------------------------- round trip


def test_round_trip(saved, cfg):
    """Weights to the last bit, the configuration, and what the policy achieved."""
    loaded = load_policy(FOLDER)
    assert same(loaded.state, saved.state_dict())
    assert loaded.cfg == cfg
    assert (loaded.reward, loaded.steps) == (487.5, 1234)
    again = policy()
    restore(again, loaded)
    assert same(again.state_dict(), saved.state_dict())


def test_buffers_and_wrappers_are_saved(cfg):
    """Running statistics belong to a policy; the best one is a greedy wrapper."""
    agent = policy()
    agent.statistics = nn.BatchNorm1d(4)
    agent.statistics(torch.randn(32, 4) * 3 + 1)
    save_policy(FOLDER, KWAgentWrapper(agent, stochastic=False), cfg, 1.0, 1)
    other = policy()
    other.statistics = nn.BatchNorm1d(4)
    restore(KWAgentWrapper(other, stochastic=False), load_policy(FOLDER))
    assert torch.equal(other.statistics.running_mean, agent.statistics.running_mean)


def test_spaces_are_saved_with_the_weights(cfg):
    """As plain data, so that a policy is made again without its environment."""
    spaces = SimpleNamespace(
        observation_space=Box(-1, 1, (4,), np.float32), action_space=Discrete(2, start=3)
    )
    save_policy(FOLDER, policy(), cfg, 1.0, 1, env=spaces)
    loaded = load_policy(FOLDER)
    assert loaded.spaces.observation_space == spaces.observation_space
    assert loaded.spaces.action_space == spaces.action_space
    assert loaded.own_agent is False
    content = torch.load(FILE, weights_only=True)
    assert content["action_space"] == {"kind": "Discrete", "n": 2, "start": 3, "dtype": "int64"}


@pytest.mark.usefixtures("saved")
def test_a_file_of_an_older_version():
    """It has no spaces, and does not say whose agent it holds."""
    content = torch.load(FILE)
    old = {name: content[name] for name in ("policy", "reward", "steps", "agent")}
    torch.save(old, FILE)
    loaded = load_policy(FOLDER)
    assert (loaded.own_agent, loaded.spaces) == (None, None)


def test_numbers_of_other_types_are_saved_as_numbers(cfg):
    """An evaluation's mean may come as a tensor; minus infinity is a number."""
    save_policy(FOLDER, policy(), cfg, torch.tensor(3.5), 7)
    assert load_policy(FOLDER).reward == 3.5
    save_policy(FOLDER, policy(), cfg, -float("inf"), 8)
    assert load_policy(FOLDER).reward == -float("inf")


@pytest.mark.usefixtures("saved")
def test_a_better_policy_replaces_the_earlier_one(cfg):
    better = policy()
    save_policy(FOLDER, better, cfg, 500.0, 2000)
    loaded = load_policy(FOLDER)
    assert same(loaded.state, better.state_dict())
    assert loaded.steps == 2000
    assert {path.name for path in FOLDER.iterdir()} == {"policy.pt", "config.yaml"}


def test_saving_is_one_stroke(saved, cfg, monkeypatch):
    """A run that is killed, or whose disk is full, while it saves leaves the earlier policy."""

    def full_disk(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_policy(FOLDER, policy(), cfg, 500.0, 2000)
    loaded = load_policy(FOLDER)
    assert same(loaded.state, saved.state_dict())
    assert loaded.steps == 1234
    assert {path.name for path in FOLDER.iterdir()} == {"policy.pt", "config.yaml"}


# ------------------------------------------------------------------------------------- refused


def test_a_folder_without_a_policy():
    """Its name, and how one comes to be there."""
    FOLDER.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^run/best: no saved policy here; .*save_best"):
        load_policy(FOLDER)
    with pytest.raises(ValueError, match=r"^elsewhere: no saved policy here"):
        load_policy(Path("elsewhere"))


@pytest.mark.usefixtures("saved")
def test_another_architecture():
    """The message is one line, not torch's list of missing keys."""
    with pytest.raises(ValueError, match="do not fit the policy") as error:
        restore(DiscretePolicy(4, [9], 2), load_policy(FOLDER))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("saved")
def test_a_configuration_that_was_damaged():
    (FOLDER / "config.yaml").write_text("algorithm: {sed: 3}\n")
    with pytest.raises(ConfigError, match=r"^run/best/config\.yaml: algorithm\.sed"):
        load_policy(FOLDER)
    (FOLDER / "config.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"^run/best/config\.yaml: gym_env\.env_name is missing"):
        load_policy(FOLDER)
    (FOLDER / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_policy(FOLDER)


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n", b"\x89PNG\r\n\x1a\n" + bytes(64), b"PK\x05\x06" + bytes(18), b"\x80\x02."],
    ids=["empty", "text", "picture", "empty zip", "pickle of nothing"],
)
def test_a_foreign_file(content):
    FILE.write_bytes(content)
    damaged()


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    "thing",
    [
        3,
        [1, 2],
        torch.zeros(3),
        {"weights": {}},
        {"policy": 3, "reward": 1.0, "steps": 1},
        {"policy": {1: torch.zeros(1)}, "reward": 1.0, "steps": 1},
        {"policy": {}, "reward": "much", "steps": 1},
        {"policy": {}, "reward": 1.0, "steps": float("inf")},
        {"policy": {}, "reward": 1.0},
        {"policy": {}, "reward": 1.0, "steps": 1, "agent": "A", "observation_space": {"n": 3}},
    ],
    ids=repr,
)
def test_a_file_of_torch_that_holds_something_else(thing):
    torch.save(thing, FILE)
    damaged()


@pytest.mark.usefixtures("saved")
def test_a_truncated_file():
    """What an interrupted copy leaves."""
    content = FILE.read_bytes()
    for length in range(0, len(content), 97):
        FILE.write_bytes(content[:length])
        damaged()


@pytest.mark.usefixtures("saved")
def test_a_scrambled_file():
    """Whatever bytes are wrong: the one error, or a policy that loads; nothing else."""
    content, chance = FILE.read_bytes(), random.Random(0)
    for _ in range(150):
        scrambled = bytearray(content)
        for _ in range(chance.randrange(1, 20)):
            scrambled[chance.randrange(len(content))] = chance.randrange(256)
        FILE.write_bytes(scrambled)
        try:
            loaded = load_policy(FOLDER)
        except ValueError as error:
            assert "damaged" in str(error)  # noqa: PT017 - either outcome is right
        else:
            assert loaded.state.keys()


def bomb_by_pickle():
    return pickle.dumps(Touch())


def bomb_by_torch():
    file = io.BytesIO()
    torch.save({"policy": Touch(), "reward": 1.0, "steps": 1}, file)
    return file.getvalue()


def bomb_by_old_torch():
    file = io.BytesIO()
    torch.save(Touch(), file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def bomb_as_whole_agent():
    """What bbrl's `save_model` writes: loading it runs the classes it names."""
    file = io.BytesIO()
    torch.save(policy(), file)
    return file.getvalue()


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    "bomb", [bomb_by_pickle, bomb_by_torch, bomb_by_old_torch, bomb_as_whole_agent]
)
def test_a_file_cannot_run_code(bomb):
    """Tensors and numbers are read, never code."""
    FILE.write_bytes(bomb())
    damaged()
    assert not Path("pwned").exists()


def test_the_bomb_is_one():
    """The test above would fail on a loader that trusts its file."""
    pickle.loads(bomb_by_pickle())
    assert Path("pwned").exists()


def test_what_was_saved_can_be_loaded_by_torch_as_it_is(saved):
    """Upstream's `load_model` fails on torch ≥ 2.6, which reads weights only by default."""
    content = torch.load(FILE)
    assert same(content["policy"], saved.state_dict())
    assert OmegaConf.load(FOLDER / "config.yaml").gym_env.env_name == "CartPole-v1"
