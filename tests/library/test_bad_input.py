"""Bad input: one clear line that names the thing, and not a single file."""

import multiprocessing
from pathlib import Path

import bbrl.agents
import pytest
import torch
from omegaconf import OmegaConf
from probe_envs import config

from ppo_bbrl import ConfigError, EpisodicAlgo, PPOClip


def changed(**values):
    """The small configuration with dotted keys changed: `algorithm__n_envs=0`."""
    cfg = OmegaConf.create(config("Chance"))
    for key, value in values.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, force_add=True)
    return cfg


def refused(cfg, make=PPOClip):
    """The message, which is one line; nothing has been written."""
    before = OmegaConf.to_yaml(cfg) if OmegaConf.is_config(cfg) else None
    with pytest.raises(ConfigError) as error:
        make(cfg)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 400
    assert not list(Path().iterdir())
    if before is not None:
        assert OmegaConf.to_yaml(cfg) == before
    return message


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("algorithm__clip_rnge", ["algorithm.clip_rnge", "did you mean algorithm.clip_range"]),
        ("algoritm", ["algoritm", "did you mean algorithm"]),
        ("n_envs", ["n_envs", "algorithm.n_envs"]),
        ("gym_env__name", ["gym_env.name", "env_name"]),
        ("algorithm__architecture__hidden_size", ["architecture.hidden_size", "actor_hidden_size"]),
        ("notes", ["notes", "extra"]),
    ],
)
def test_an_unknown_key(key, told):
    """Upstream ignores a misspelt key: the run is another one than was asked for."""
    message = refused(changed(**{key: 0.3}))
    assert "unknown key" in message
    assert "0.3" in message
    for text in told:
        assert text in message


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("algorithm__n_envs", "many", "integer"),
        ("algorithm__n_envs", 2.5, "integer"),
        ("algorithm__n_envs", True, "integer"),
        ("algorithm__n_envs", None, "integer"),
        ("algorithm__discount_factor", "high", "number"),
        ("algorithm__normalize_advantage", "perhaps", "true or false"),
        ("algorithm__architecture__actor_hidden_size", 64, "list"),
        ("algorithm__architecture__actor_hidden_size", [64, "x"], "list"),
        ("algorithm", 3, "mapping"),
        ("gym_env__env_name", 5, "string"),
        ("gym_env__env_args", "fast", "mapping"),
        ("base_dir", 7, "string"),
        ("base_dir", "", "string"),
    ],
)
def test_a_wrong_type(key, value, told):
    """Named with the key, the value and what it should be."""
    message = refused(changed(**{key: value}))
    assert key.replace("__", ".") in message
    assert repr(value) in message
    assert told in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("discount_factor", 1.5),
        ("discount_factor", -0.1),
        ("discount_factor", float("nan")),
        ("gae", 2),
        ("clip_range", -0.2),
        ("clip_range", 0),
        ("clip_range", float("nan")),
        ("clip_range", float("inf")),
        ("clip_range_vf", -1),
        ("n_envs", 0),
        ("n_steps", 0),
        ("max_epochs", 0),
        ("opt_epochs", 0),
        ("batch_size", -1),
        ("nb_evals", 0),
        ("eval_interval", -1),
        ("max_grad_norm", 0),
        ("max_grad_norm", -0.5),
        ("target_kl", 0),
        ("entropy_coef", -0.01),
        ("seed", -1),
        ("max_eval_steps", 0),
        ("learning_rate_schedule", "falling"),
        ("policy_type", "SquashedPolicy"),
    ],
)
def test_an_impossible_value(key, value):
    """Upstream accepts most of these in silence."""
    message = refused(changed(**{f"algorithm__{key}": value}))
    assert f"algorithm.{key} = {value!r}" in message
    assert "must be" in message


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        ({"classname": "subprocess.Popen"}, ["subprocess.Popen", "torch.optim.AdamW"]),
        ({"classname": "torch.optim.Atom"}, ["torch.optim.Atom", "torch.optim.Adam"]),
        ({"classname": "torch.optim.Adam", "learning_rate": 1}, ["learning_rate", "lr"]),
        ({"classname": "torch.optim.Adam", "lr": -1}, ["lr", "-1", "> 0"]),
        ({"classname": "torch.optim.Adam", "betas": [2.0, 0.9]}, ["Adam", "2.0"]),
        ({"classname": "torch.optim.Adam", "lr": "fast"}, ["lr", "fast"]),
        ({}, ["optimizer"]),
    ],
)
def test_an_optimizer_that_is_none(optimizer, told):
    """A class outside the allow-list is not even imported, let alone called."""
    cfg = config("Chance")
    cfg["optimizer"] = optimizer
    if not optimizer:
        cfg["optimizer"] = {"classname": None}
    message = refused(cfg)
    assert "optimizer" in message or "classname" in message
    for text in told:
        assert text in message


def test_a_logger_that_is_none():
    """`classname:` of a logger starts no program either."""
    message = refused(changed(logger__classname="subprocess.Popen"))
    assert "logger.classname = 'subprocess.Popen'" in message
    assert "bbrl.utils.logger.TFLogger" in message


@pytest.mark.parametrize("make", [PPOClip, EpisodicAlgo])
@pytest.mark.parametrize(
    ("env_name", "told"),
    [
        ("CartPol-v1", "CartPol"),
        ("CartPole-v99", "`v1`"),
        ("CartPole", "CartPole"),
        ("no_such_module:Env-v0", "no_such_module"),
        ("highway-fast-v0", "highway_env"),
        ("not a name", "not a name"),
        ("", "gym_env.env_name"),
    ],
)
def test_an_environment_that_does_not_exist(env_name, told, make):
    message = refused(changed(gym_env__env_name=env_name), make)
    assert "gym_env.env_name" in message
    assert told in message


def test_no_environment_at_all():
    message = refused({})
    assert "gym_env.env_name" in message
    assert "missing" in message


def test_arguments_that_the_environment_refuses():
    message = refused(changed(gym_env__env_name="CartPole-v1", gym_env__env_args={"gravty": 1}))
    assert "CartPole-v1" in message
    assert "gravty" in message


@pytest.mark.parametrize("make", [PPOClip, EpisodicAlgo])
@pytest.mark.parametrize(
    ("env_name", "told"),
    [("ManyActions-v0", "action space Text"), ("TextObservation-v0", "its part words, Text")],
)
def test_a_space_that_is_not_supported(env_name, told, make):
    """Upstream makes a policy of 3 actions for MultiDiscrete([3, 5, 7])."""
    message = refused(changed(gym_env__env_name=env_name), make)
    assert env_name in message
    assert told in message
    assert "Box" in message
    assert "Discrete" in message


@pytest.mark.parametrize(
    ("env_name", "policy_type", "fitting"),
    [
        ("Chance-v0", "GaussianPolicy", "DiscretePolicy"),
        ("LoggedBox-v0", "DiscretePolicy", "GaussianPolicy"),
    ],
)
def test_a_policy_that_does_not_fit(env_name, policy_type, fitting):
    message = refused(changed(gym_env__env_name=env_name, algorithm__policy_type=policy_type))
    assert f"algorithm.policy_type = '{policy_type}'" in message
    assert env_name in message
    assert fitting in message


@pytest.mark.parametrize(
    ("make_cfg", "told"),
    [
        (lambda: changed(base_dir="${gym_env.envname}/x"), "envname"),
        (lambda: changed(base_dir="${unknown_resolver:}"), "unknown_resolver"),
        (lambda: changed(base_dir="${base_dir}"), "base_dir"),
        (lambda: None, "configuration"),
        (lambda: [1, 2], "configuration"),
        (lambda: 5, "configuration"),
        (lambda: "no_such_file.yaml", "no_such_file.yaml"),
    ],
)
def test_a_configuration_that_is_none(make_cfg, told):
    """Interpolations that lead nowhere, and things of another kind altogether."""
    assert told in refused(make_cfg())


@pytest.mark.parametrize(
    "values",
    [
        {"algorithm__policy_type": "GaussianPolicy"},
        {"optimizer__betas": [2.0, 0.9]},
        {"gym_env__env_name": "ManyActions-v0"},
    ],
)
def test_no_process_is_left_after_a_refusal(values):
    """Environments that were made before the mistake was found are closed again."""
    refused(changed(gym_env__vectorization="async", **values))
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.terminate()
    assert not workers


def test_a_wrong_kind_of_vectorization():
    message = refused(changed(gym_env__vectorization="vector_entry_point"))
    assert "Chance-v0" in message
    message = refused(changed(gym_env__vectorization="threads"))
    assert "gym_env.vectorization = 'threads'" in message


def test_an_action_of_the_wrong_shape_is_named():
    """By a student's policy; Gymnasium's own message is an assertion without a text."""

    class Wrong(bbrl.agents.Agent):
        def forward(self, t, **kwargs):
            self.set(("action", t), torch.zeros(4, 1, dtype=torch.int64))

    algo = EpisodicAlgo(config("Chance"), autoreset=True)
    algo.train_policy = Wrong()
    with pytest.raises(ValueError, match=r"\[4, 1\].*\[4\]"):
        next(algo.iter_partial_episodes())
    algo.close()
