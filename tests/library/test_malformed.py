"""Malformed configurations: one line with key, value and what is allowed, before any file."""

import re
import warnings
from pathlib import Path

import pytest
from command_line import call
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from space_envs import space_config

from ppo_bbrl import ConfigError, PPOClip, load_config
from ppo_bbrl.cli.options import typed
from ppo_bbrl.config.schema import known_keys
from ppo_bbrl.errors import shown

NAMED = {"gym_env": {"env_name": "CartPole-v1"}}
TASK = "gym_env.env_name=CartPole-v1"

# What is typed, and what the line must contain: the key, the value, what is allowed.
TYPED = {
    # values
    "algorithm.seed=-1": ("algorithm.seed = -1", r"\[0, "),
    "algorithm.seed=1.5": ("algorithm.seed = 1.5", "an integer"),
    "algorithm.seed=true": ("algorithm.seed = True", "an integer"),
    "algorithm.n_envs=0": ("algorithm.n_envs = 0", r"\[1, 100000\]"),
    "algorithm.n_envs=many": ("algorithm.n_envs = 'many'", "an integer"),
    "algorithm.n_steps=": ("algorithm.n_steps = None", "an integer"),
    "algorithm.n_steps=[1]": ("algorithm.n_steps = [1]", "an integer"),
    "algorithm.max_epochs=1e3": ("algorithm.max_epochs = 1000.0", "an integer"),
    "algorithm.max_epochs=null": ("algorithm.max_epochs = None", "an integer"),
    "algorithm.discount_factor=1.01": ("algorithm.discount_factor = 1.01", r"\[0, 1\]"),
    "algorithm.gae=.nan": ("algorithm.gae = nan", r"\[0, 1\]"),
    "algorithm.gae={a: 1}": ("algorithm.gae = {'a': 1}", "a number"),
    "algorithm.clip_range=0": ("algorithm.clip_range = 0", "> 0"),
    "algorithm.clip_range=.inf": ("algorithm.clip_range = inf", "> 0"),
    "algorithm.clip_reward=1e39": ("algorithm.clip_reward = 1e+39", "> 0 or null; beyond ±3.4e"),
    "algorithm.entropy_coef=-0.1": ("algorithm.entropy_coef = -0.1", "≥ 0"),
    "algorithm.batch_size=-2": ("algorithm.batch_size = -2", "≥ 0"),
    "algorithm.target_kl=0": ("algorithm.target_kl = 0", "> 0"),
    "algorithm.dual_clip=1": ("algorithm.dual_clip = 1", "> 1"),
    "algorithm.max_grad_norm=-1": ("algorithm.max_grad_norm = -1", "null"),
    "algorithm.normalize_advantage=1": ("algorithm.normalize_advantage = 1", "true or false"),
    "algorithm.normalize_observation='maybe'": (
        "algorithm.normalize_observation = 'maybe'", "true or false"
    ),
    "algorithm.normalize_value='1'": ("algorithm.normalize_value = '1'", "true or false"),
    "save_best=sometimes": ("save_best = 'sometimes'", "true or false"),
    "save_every=-1": ("save_every = -1", "≥ 0"),
    "algorithm.policy_type=Discrete": ("algorithm.policy_type = 'Discrete'", "DiscretePolicy"),
    "algorithm.clip_range_schedule=lin": ("algorithm.clip_range_schedule = 'lin'", "linear"),
    "algorithm.curiosity=icm": ("algorithm.curiosity = 'icm'", "rnd"),
    "algorithm.architecture.activation=Tanh": (
        "algorithm.architecture.activation = 'Tanh'", "tanh"
    ),
    "algorithm.architecture.memory=rnn": ("algorithm.architecture.memory = 'rnn'", "lstm"),
    "algorithm.architecture.actor_hidden_size=64": (
        "algorithm.architecture.actor_hidden_size = 64", "a list"
    ),
    "algorithm.architecture.actor_hidden_size=[64, 0]": (
        "algorithm.architecture.actor_hidden_size = [64, 0]", "a list"
    ),
    "compute.threads=0": ("compute.threads = 0", "auto"),
    "compute.device=gpu": ("compute.device = 'gpu'", "cuda"),
    "compute.compile=true": ("compute.compile = True", "always"),
    "logger.log_dir=3": ("logger.log_dir = 3", "a string"),
    "logger.classname=os.system": ("logger.classname = 'os.system'", "TFLogger"),
    "logger.every_n_seconds=-1": ("logger.every_n_seconds = -1", "≥ 0"),
    "gym_env.vectorization=threads": ("gym_env.vectorization = 'threads'", "async"),
    "gym_env.env_args=3": ("gym_env.env_args = 3", "a mapping"),
    "gym_env.wrappers=FlattenObservation": (
        "gym_env.wrappers = 'FlattenObservation'", "a list"
    ),
    "gym_env.wrappers=[RecordVideo]": ("gym_env.wrappers[0] = 'RecordVideo'", "one of"),
    "gym_env.env_args.max_episode_steps=0": ("gym_env.env_args.max_episode_steps = 0", "≥ 1"),
    "gym_env.action_mask=mask": ("gym_env.action_mask = 'mask'", "none"),
    # optimisers
    "optimizer.classname=Adam": ("optimizer.classname = 'Adam'", "torch.optim.Adam"),
    "optimizer.classname=torch.optim.LBFGS": ("optimizer.classname = 'torch.optim.LBFGS'", "Adam"),
    "optimizer.lr=0": ("optimizer.lr = 0", "> 0"),
    "optimizer.lr=fast": ("optimizer.lr = 'fast'", "a number"),
    "optimizer.momentum=0.9": ("optimizer.momentum = 0.9", "allowed are"),
    "optimizer.betas=[0.9]": ("optimizer.betas = [0.9]", "a list of 2"),
    "optimizer.amsgrad=7": ("optimizer.amsgrad = 7", "true or false"),
    "optimizer.weight_decay=-1": ("optimizer", "-1"),
    # keys
    "algorithm.clip_rnge=0.2": ("algorithm.clip_rnge = 0.2", "algorithm.clip_range"),
    "algorithm.learning_rate=1e-3": ("algorithm.learning_rate = 0.001", "learning_rate_schedule"),
    "lr=1e-3": ("lr = 0.001", "allowed are"),
    "n_envs=3": ("n_envs = 3", "algorithm.n_envs"),
    "algorithm.env_name=X": ("algorithm.env_name = 'X'", "gym_env.env_name"),
    "algorithms.seed=1": ("algorithms = ", "algorithm"),
    "algorithm.architecture.hidden=[4]": ("algorithm.architecture.hidden = [4]", "hidden_gain"),
    # sections and places
    "algorithm=3": ("algorithm = 3", "a mapping"),
    "algorithm.seed.x=3": ("algorithm.seed", "an integer"),
    "base_dir=../x": ("base_dir = '../x'", "below outputs/"),
    "base_dir=/tmp/x": ("base_dir = '/tmp/x'", "below outputs/"),
    "base_dir=tblogs": ("base_dir = 'tblogs'", "must not"),
    "base_dir=": ("base_dir = None", "a string"),
    # interpolations and YAML
    "base_dir=${nothing.there}": ("base_dir", "nothing.there"),
    "algorithm.seed=${algorithm.seed}": ("algorithm", "itself|[Rr]ecursive|depth"),
    "algorithm.seed=[": ("algorithm.seed=[", ""),
    "algorithm.seed": ("algorithm.seed", "key=value"),
    # together
    "algorithm.clip_range=null algorithm.clip_range_high=0.3": (
        "algorithm.clip_range_high = 0.3", "algorithm.clip_range"
    ),
    # environments
    "gym_env.env_name=CartPole-v9": ("gym_env.env_name = 'CartPole-v9'", "v1"),
    "gym_env.env_name=Cartpole-v1": ("gym_env.env_name = 'Cartpole-v1'", "CartPole"),
    "gym_env.env_name=nowhere:X-v0": ("gym_env.env_name = 'nowhere:X-v0'", "nowhere"),
    "gym_env.env_args.gravity=3": ("gym_env.env_name = 'CartPole-v1'", "gravity"),
    "algorithm.use_sde=true": ("algorithm.use_sde = true", "Box"),
    "algorithm.policy_type=GaussianPolicy": ("algorithm.policy_type", "DiscretePolicy"),
}  # fmt: skip


@pytest.mark.parametrize("words", TYPED)
def test_what_is_typed_wrong_is_one_line(words, monkeypatch, capsys):
    key, allowed = TYPED[words]
    parts = words.split(" algorithm.") if " algorithm." in words else [words]
    overrides = [parts[0], *(f"algorithm.{part}" for part in parts[1:])]
    status, out, err = call(monkeypatch, capsys, "train", TASK, *overrides)
    assert (status, out, err.count("\n")) == (1, "", 1), err
    assert "PPO_BBRL_TRACEBACK" not in err, err
    assert key in err
    assert re.search(allowed, err.replace(key, "", 1)), err
    assert not [*Path().iterdir()]


def test_a_task_without_a_file(monkeypatch, capsys):
    """Keys alone are a configuration; the name of a task is told how to be one."""
    words = ["algorithm.n_steps=8", "algorithm.n_envs=2"]
    assert load_config(*typed(Path(TASK), words)).algorithm.n_steps == 8
    status, _, err = call(monkeypatch, capsys, "profile", TASK, *words, "--rollouts", "1")
    assert status == 0, err
    for command in ("train", "profile"):
        status, _, err = call(monkeypatch, capsys, command, "CartPole-v1")
        assert (status, err.count("\n")) == (1, 1)
        assert TASK in err


IDLE = {
    "architecture.memory_size": ({"memory_size": 8}, {"memory": "lstm"}),
    "architecture.log_std_init": ({"log_std_init": -1.0}, None),
    "kl_target": ({"kl_target": 0.1}, {"kl_penalty": 1.0}),
    "entropy_schedule": ({"entropy_schedule": "linear"}, {"entropy_coef": 0.1}),
    "clip_range_schedule": (
        {"clip_range_schedule": "linear", "clip_range": None, "kl_penalty": 1.0},
        {"clip_range_vf": 0.2},
    ),
    "curiosity_coef": ({"curiosity_coef": 2.0}, {"curiosity": "rnd"}),
}


@pytest.mark.parametrize("key", IDLE)
def test_a_key_without_effect_is_told_of(key):
    """Once; where it has an effect nothing is said."""

    def made(values, acts):
        inner = {"architecture": values} if key.startswith("architecture.") else values
        PPOClip(space_config("vector", acts, **inner)).close()

    alone, used = IDLE[key]
    with pytest.warns(UserWarning, match=rf"algorithm\.{key} has no effect, since "):
        made(alone, "discrete")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "algorithm.*has no effect")
        made(alone | (used or {}), "discrete" if used else "box")


# ------------------------------------------------------------------------------------ by chance

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-2, 70), max_size=3),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(), max_size=2),
)
LEAVES = [name for name in known_keys() if name not in ("optimizer", "extra", "gym_env.env_args")]


@st.composite
def misspelt(draw):
    """A key with one letter too many, too few, changed, or two exchanged."""
    name = draw(st.sampled_from(LEAVES))
    head, _, last = name.rpartition(".")
    at = draw(st.integers(0, len(last) - 1))
    letter = draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    wrong = draw(
        st.sampled_from(
            [
                last[:at] + last[at + 1 :],
                last[:at] + letter + last[at:],
                last[:at] + letter + last[at + 1 :],
                last[:at] + last[at : at + 2][::-1] + last[at + 2 :],
            ]
        )
    )
    return name, f"{head}.{wrong}" if head else wrong


def source(key, value):
    made = OmegaConf.create(NAMED)
    OmegaConf.update(made, key, value, force_add=True, merge=False)
    return OmegaConf.to_container(made)


def check_a_value(key, value):
    """Taken as it is allowed, or refused in one line that says what is."""
    rule = known_keys()[key][0]
    text = isinstance(value, str) and "${" in value
    try:
        cfg = load_config(source(key, value))
    except ConfigError as error:
        told = str(error)
        assert "\n" not in told
        assert told.startswith((f"{key} = {shown(value)}: ", f"{key}[", key)), told
        assert len(told) < 1000
    else:
        assert not text
        assert rule.allows(OmegaConf.to_container(cfg)[key] if "." not in key else plain(cfg, key))
    assert not Path("outputs").exists()


def plain(cfg, key):
    found = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(found) if OmegaConf.is_config(found) else found


def check_a_key(pair):
    """The nearest key is named."""
    name, wrong = pair
    if wrong in known_keys() or not wrong.rpartition(".")[2]:
        return
    with pytest.raises(ConfigError) as error:
        load_config(source(wrong, 3))
    told = str(error.value)
    assert told.startswith(f"{wrong} = 3: unknown key; "), told
    assert "did you mean " in told or "allowed are " in told
    if len(name.rpartition(".")[2]) > 5:
        assert name.rpartition(".")[0] in told


@settings(max_examples=25)
@given(st.sampled_from(LEAVES), VALUES)
def test_a_value_by_chance(key, value):
    check_a_value(key, value)


@settings(max_examples=15)
@given(misspelt())
def test_a_key_by_chance(pair):
    check_a_key(pair)


@pytest.mark.slow
@settings(max_examples=350)
@given(st.sampled_from(LEAVES), VALUES)
def test_many_values_by_chance(key, value):
    check_a_value(key, value)


@pytest.mark.slow
@settings(max_examples=150)
@given(misspelt())
def test_many_keys_by_chance(pair):
    check_a_key(pair)
