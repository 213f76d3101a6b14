"""Wrappers by name in a configuration, by hand in a program, and what a run remembers of them."""

import inspect
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers as gymnasiums
from gymnasium.spaces import Box, Dict, Discrete
from omegaconf import OmegaConf
from probe_envs import config

from ppo_bbrl.config.loading import load_config, load_episodic_config
from ppo_bbrl.config.wrappers import ALLOWED, Named, Own, combine, describe, parse
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.episodic import EpisodicAlgo
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.ppo import PPOClip

STACK = {"classname": "FrameStackObservation", "stack_size": 4}


class Add(gym.RewardWrapper):
    """A wrapper of a user's program."""

    def __init__(self, env, number=1.0):
        super().__init__(env)
        self.number = number

    def reward(self, reward):
        return reward + self.number


def double(env):
    return gymnasiums.TransformReward(env, lambda reward: 2 * reward)


class Maker:
    """A wrapper that is an object."""

    def __call__(self, env):
        return Add(env)


# ------------------------------------------------------------------------------ by name


@pytest.mark.parametrize(
    ("entry", "name", "arguments"),
    [
        ("FlattenObservation", "FlattenObservation", {}),
        ("gymnasium.wrappers.FlattenObservation", "FlattenObservation", {}),
        ({"classname": "FlattenObservation"}, "FlattenObservation", {}),
        ({"FlattenObservation": None}, "FlattenObservation", {}),
        ({"FlattenObservation": {}}, "FlattenObservation", {}),
        (STACK, "FrameStackObservation", {"stack_size": 4}),
        (
            {"classname": "gymnasium.wrappers.FrameStackObservation", "stack_size": 4},
            "FrameStackObservation",
            {"stack_size": 4},
        ),
        ({"FrameStackObservation": {"stack_size": 4}}, "FrameStackObservation", {"stack_size": 4}),
        (
            {"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 5}},
            "TimeLimit",
            {"max_episode_steps": 5},
        ),
    ],
    ids=str,
)
def test_the_ways_of_writing_one(entry, name, arguments):
    """In a dict, in a YAML file, in an override: it is the same."""
    assert parse(entry) == Named(name, arguments)
    cfg = {"gym_env": {"env_name": "CartPole-v1", "wrappers": [entry]}}
    Path("a.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(cfg)))
    for loaded in (load_config(cfg), load_config("a.yaml"), load_episodic_config(cfg)):
        (again,) = loaded.gym_env.wrappers
        assert parse(again) == Named(name, arguments)


def test_on_the_command_line():
    overrides = ["gym_env.wrappers=[ClipAction,{FrameStackObservation: {stack_size: 2}}]"]
    cfg = load_config({"gym_env": {"env_name": "CartPole-v1"}}, overrides)
    assert [parse(entry).name for entry in cfg.gym_env.wrappers] == [
        "ClipAction",
        "FrameStackObservation",
    ]


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("FrameStack", "did you mean FrameStackObservation?"),
        ("Flatten", "did you mean FlattenObservation?"),
        ("gymnasium.wrappers.NormaliseReward", "did you mean NormalizeReward?"),
        ("os.system", "must be one of gymnasium.wrappers: AddRenderObservation, "),
        ("gymnasium.wrappers.RecordVideo", "must be one of"),
        ("gymnasium.wrappers.vector.FlattenObservation", "must be one of"),
        ("TransformReward", "must be one of"),
        ("my_module:MyWrapper", "must be one of"),
        ("", "must be one of"),
        ({"classname": "subprocess.Popen", "args": "ls"}, "must be one of"),
        ({"callable": 3}, "must be"),
        ({"TimeLimit": {"max_steps": 5}}, "max_episode_steps"),
        ({"classname": "TimeLimit"}, "max_episode_steps"),
        ({"TimeLimit": {"env": 1, "max_episode_steps": 2}}, "env"),
        ({"TimeLimit": 5}, "must be the name of a wrapper, or a mapping"),
        ({"TimeLimit": {"max_episode_steps": 5}, "ClipAction": {}}, "a mapping such as"),
        ({}, "a mapping such as"),
        (5, "must be the name of a wrapper"),
        (None, "must be the name of a wrapper"),
        ([STACK], "must be the name of a wrapper"),
        ({"classname": ["TimeLimit"]}, "must be the name of a wrapper"),
    ],
    ids=str,
)
def test_what_is_refused(entry, told):
    """One line with the key, the value and what is allowed, before any file is made."""
    cfg = config("Chance")
    cfg["gym_env"]["wrappers"] = ["ClipReward", entry]
    cfg["gym_env"]["wrappers"][0] = {"ClipReward": {"min_reward": 0}}
    for load in (load_config, load_episodic_config, PPOClip):
        with pytest.raises(ConfigError) as error:
            load(cfg)
        message = str(error.value)
        assert message.startswith("gym_env.wrappers[1] = ")
        assert told in message
        assert "\n" not in message
    assert not Path("outputs").exists()


#: for each allowed wrapper: an environment that it fits, and arguments as YAML has them
TRIED = {
    "AddRenderObservation": ("Logged", {"render_only": True}),
    "AtariPreprocessing": None,  # needs an Atari environment
    "ClipAction": ("LoggedBox", {}),
    "ClipReward": ("Chance", {"min_reward": -1, "max_reward": 1.0}),
    "DelayObservation": ("Chance", {"delay": 2}),
    "DiscretizeAction": ("LoggedBox", {"bins": [3, 4]}),
    "DiscretizeObservation": ("Bounded", {"bins": [3, 4]}),
    "DtypeObservation": ("Chance", {"dtype": "float64"}),
    "FilterObservation": ("Near", {"filter_keys": ["near"]}),
    "FlattenObservation": ("Near", {}),
    "FrameStackObservation": ("Chance", {"stack_size": 2, "padding_type": "zero"}),
    "GrayscaleObservation": ("Picture", {"keep_dim": True}),
    "MaxAndSkipObservation": ("Chance", {"skip": 2}),
    "NormalizeObservation": ("Chance", {"epsilon": 1e-6}),
    "NormalizeReward": ("Chance", {"gamma": 0.9}),
    "RecordEpisodeStatistics": ("Chance", {"buffer_length": 7}),
    "RepeatAction": ("Chance", {"num_repeats": 2}),
    "RescaleAction": ("LoggedBox", {"min_action": [-1.0, 0.0], "max_action": 2}),
    "RescaleObservation": ("Bounded", {"min_obs": -1, "max_obs": [1.0, 2.0]}),
    "ReshapeObservation": ("Chance", {"shape": [3, 1]}),
    "ResizeObservation": ("Picture", {"shape": [4, 5]}),
    "StickyAction": (
        "Chance",
        {"repeat_action_probability": 0.5, "repeat_action_duration": [1, 3]},
    ),
    "TimeAwareObservation": ("Limited", {"flatten": True, "normalize_time": True}),
    "TimeLimit": ("Chance", {"max_episode_steps": 2}),
}


class Bounded(gym.Env):
    observation_space = Box(-2, 2, (2,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 1.0, False, False, {}


class Picture(Bounded):
    observation_space = Box(0, 255, (8, 8, 3), np.uint8)


class Near(Bounded):
    observation_space = Dict({"near": Box(-1, 1, (1,), np.float32), "far": Discrete(3)})


gym.register("Bounded-v0", Bounded)
gym.register("Near-v0", Near)
gym.register("Picture-v0", Picture)
gym.register("Limited-v0", Bounded, max_episode_steps=5)


def test_every_allowed_wrapper_is_tried():
    assert set(TRIED) == set(ALLOWED)


@pytest.mark.parametrize("name", [name for name in ALLOWED if TRIED[name]])
def test_every_allowed_wrapper_works_as_a_configuration_writes_it(name):
    """Gymnasium takes tuples and arrays, which YAML does not have."""
    if not hasattr(gymnasiums, name):
        pytest.skip("this version of Gymnasium has none of that name")
    if name == "ResizeObservation":
        pytest.importorskip("cv2", reason="OpenCV is not installed")
    env_name, arguments = TRIED[name]
    cfg = {"gym_env": {"env_name": f"{env_name}-v0", "wrappers": [{name: arguments}]}}
    (entry,) = load_config(cfg).gym_env.wrappers
    kwargs = {"render_mode": "rgb_array"} if name == "AddRenderObservation" else {}
    env = parse(entry)(gym.make(f"{env_name}-v0", **kwargs))
    assert isinstance(env, getattr(gymnasiums, name))
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()


def test_no_allowed_wrapper_takes_code_or_a_place_to_write():
    for name in ALLOWED:
        if hasattr(gymnasiums, name):
            taken = set(inspect.signature(getattr(gymnasiums, name)).parameters)
            assert not taken & {"func", "video_folder", "name_prefix", "episode_trigger"}


# ---------------------------------------------------------------------------- from a program


@pytest.mark.parametrize(
    ("wrapper", "expected"),
    [
        (gymnasiums.FlattenObservation, Named("FlattenObservation")),
        (
            partial(gymnasiums.TimeLimit, max_episode_steps=5),
            Named("TimeLimit", {"max_episode_steps": 5}),
        ),
        (
            partial(partial(gymnasiums.TimeLimit, max_episode_steps=5), max_episode_steps=7),
            Named("TimeLimit", {"max_episode_steps": 7}),
        ),
        (
            partial(gymnasiums.ResizeObservation, shape=(np.int64(4), 5)),
            Named("ResizeObservation", {"shape": [4, 5]}),
        ),
        (
            partial(
                gymnasiums.RescaleAction, min_action=np.array([-1, 0.5]), max_action=np.float32(1)
            ),
            Named("RescaleAction", {"min_action": [-1, 0.5], "max_action": 1}),
        ),
        (
            partial(gymnasiums.DtypeObservation, dtype=np.float32),
            Named("DtypeObservation", {"dtype": "float32"}),
        ),
        (Add, Own("test_wrappers.Add")),
        (partial(Add, number=2), Own("test_wrappers.Add")),
        (double, Own("test_wrappers.double")),
        (Maker(), Own("test_wrappers.Maker")),
        (gymnasiums.Autoreset, Own("gymnasium.wrappers.common.Autoreset")),
    ],
)  # fmt: skip
def test_what_a_run_keeps_of_a_wrapper(wrapper, expected):
    assert describe(wrapper) == expected
    assert parse(expected.entry) == expected
    assert OmegaConf.create([expected.entry])  # YAML can write it


def test_what_only_looks_like_one_of_gymnasiums():
    """A class of the same name, a subclass, a partial whose argument is no plain value."""

    class TimeLimit(gym.Wrapper):
        pass

    class Flat(gymnasiums.FlattenObservation):
        pass

    padding = partial(gymnasiums.FrameStackObservation, stack_size=2, padding_type=object())
    for wrapper in (TimeLimit, Flat, padding, lambda env: env):
        assert isinstance(describe(wrapper), Own)


def test_both_kinds_in_their_order():
    """Those of the configuration first; the first of each is applied first."""
    cfg = config("Chance")
    cfg["gym_env"]["wrappers"] = [{"TimeLimit": {"max_episode_steps": 3}}]
    algo = PPOClip(cfg, env_wrappers=[Add, double, gymnasiums.FlattenObservation])
    for env in (algo.train_env, algo.eval_env):
        outer = env.envs.envs[0]
        layers = [outer, outer.env, outer.env.env, outer.env.env.env]
        assert [type(layer).__name__ for layer in layers] == [
            "FlattenObservation",
            "TransformReward",
            "Add",
            "TimeLimit",
        ]
    kept = load_config(algo.folder.config).gym_env.wrappers
    assert list(kept) == [
        {"TimeLimit": {"max_episode_steps": 3}}
        if False
        else {"classname": "TimeLimit", "max_episode_steps": 3},
        {"callable": "test_wrappers.Add"},
        {"callable": "test_wrappers.double"},
        "FlattenObservation",
    ]
    algo.close()


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("vectorization", ["auto", "sync", "async"])
def test_named_wrappers_reach_every_environment(vectorization):
    cfg = config("CartPole-v1")
    cfg["gym_env"] |= {"vectorization": vectorization, "wrappers": [STACK, "FlattenObservation"]}
    algo = PPOClip(cfg)
    assert algo.train_env.observation_space.shape == (16,)
    assert algo.eval_env.observation_space.shape == (16,)
    next(algo.iter_partial_episodes(5))
    algo.close()


def test_a_students_algorithm_has_them_too():
    cfg = {
        "base_dir": "student",
        "gym_env": {"env_name": "Chance-v0", "wrappers": [STACK]},
        "algorithm": {"n_envs": 2, "gamma": 0.9},
        "mine": 3,
    }
    algo = EpisodicAlgo(cfg, env_wrappers=[Add])
    assert algo.train_env.observation_space.shape == (4, 3)
    kept = OmegaConf.load(algo.folder.config).gym_env.wrappers
    assert list(kept) == [STACK, {"callable": "test_wrappers.Add"}]
    assert cfg["gym_env"]["wrappers"] == [STACK], "the caller's configuration is never changed"
    algo.close()


def test_envpool_takes_none():
    cfg = config("Chance")
    cfg["gym_env"] |= {"vectorization": "envpool", "wrappers": ["FlattenObservation"]}
    with pytest.raises(ConfigError, match="envpool: its environments take no wrappers"):
        PPOClip(cfg)


# --------------------------------------------------------------------- the run's configuration


def names(wrappers):
    return [describe(wrapper).name for wrapper in wrappers]


def test_the_configuration_of_a_run_with_what_it_was_given():
    """Opened or trained again with the same call, no wrapper is there twice."""
    given = [gymnasiums.FlattenObservation, Add, double]
    kept, wrappers = combine([STACK], given)
    assert wrappers[1:] == [Named("FlattenObservation"), Add, double]
    again, same = combine(kept, given)
    assert again == kept
    assert same == wrappers


def test_the_configuration_of_a_run_with_what_it_cannot_name():
    """In their order, between those that it can."""
    kept, _ = combine([], [Add, gymnasiums.FlattenObservation, double])
    again, same = combine(kept, [Add, double])
    assert again == kept
    assert same[0] is Add
    assert same[1] == Named("FlattenObservation")
    assert same[2] is double


@pytest.mark.parametrize(
    "given",
    [[], [Add], [Add, double, double], [gymnasiums.FlattenObservation]],
)
def test_the_configuration_of_a_run_without_what_it_cannot_name(given):
    kept, _ = combine([], [Add, double, gymnasiums.FlattenObservation])
    with pytest.raises(ConfigError) as error:
        combine(kept, given)
    message = str(error.value)
    assert message.startswith("gym_env.wrappers: ")
    assert "test_wrappers.Add" in message
    assert "test_wrappers.double" in message
    assert "env_wrappers=[Add, double]" in message
    assert "\n" not in message


def test_another_wrapper_in_its_place_is_told():
    """A function may have been renamed; a wrong one would be another task."""
    kept, _ = combine([], [Add])
    with pytest.warns(UserWarning, match=r"'test_wrappers\.Add'.*'test_wrappers\.double'"):
        combine(kept, [double])


def test_the_module_of_a_wrapper_may_have_another_name():
    """That of a script depends on how it is started."""
    _, wrappers = combine([{"callable": "__main__.Add"}], [Add])
    assert wrappers == [Add]


def test_names_of_strangers_stay_on_one_line():
    with pytest.raises(ConfigError) as error:
        combine([{"callable": "a\x1b[2J\nb" + "c" * 999}], [])
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 800


@pytest.mark.parametrize("given", ["FlattenObservation", ["FlattenObservation"], Add, 3, [3]])
def test_what_is_no_list_of_wrappers(given):
    with pytest.raises(ConfigError, match=r"^env_wrappers"):
        PPOClip(config("Chance"), env_wrappers=given)


# ------------------------------------------------------------------------------- what fails


def test_a_wrapper_that_fails_is_named():
    def broken(_):
        raise RuntimeError("no such\nthing")

    for wrapper, told in ((broken, "broken fails: no such thing"), (lambda _: None, "NoneType")):
        with pytest.raises(ConfigError, match=told) as error:
            EnvAgent("Chance-v0", 1, wrappers=[wrapper])
        assert "\n" not in str(error.value)
    cfg = config("Chance")
    cfg["gym_env"]["wrappers"] = [{"RescaleAction": {"min_action": 0, "max_action": 1}}]
    with pytest.raises(ConfigError, match=r"Chance-v0.*RescaleAction fails: .*Box"):
        PPOClip(cfg)


# ------------------------------------------------------------------------- running statistics


@pytest.mark.wide(4)
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize("way", ["named", "given", "hidden"])
@pytest.mark.parametrize("name", ["NormalizeObservation", "NormalizeReward"])
def test_statistics_of_its_own_in_each_environment_are_told(vectorization, way, name):
    """One line that names the wrapper, wherever it comes from."""
    kind = getattr(gymnasiums, name)
    cfg = config("Chance", n_envs=2)
    cfg["gym_env"]["vectorization"] = vectorization
    cfg["gym_env"]["wrappers"] = [name] if way == "named" else []
    given = {"named": [], "given": [kind], "hidden": [lambda env: Add(kind(env))]}[way]
    with pytest.warns(UserWarning, match=name) as told:
        algo = PPOClip(cfg, env_wrappers=given)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    algo.close()


@pytest.mark.parametrize(
    "name", ["FrameStackObservation", "DelayObservation", "RecordEpisodeStatistics"]
)
def test_what_begins_anew_with_each_episode_is_no_fault(name):
    arguments = {"FrameStackObservation": {"stack_size": 2}, "DelayObservation": {"delay": 1}}
    cfg = config("Chance", n_envs=2)
    cfg["gym_env"]["wrappers"] = [{name: arguments.get(name, {})}]
    PPOClip(cfg).close()  # warnings are errors


def test_dict_observations_through_flatten():
    """By name, as one would write it in a file."""
    cfg = config("Near")
    cfg["gym_env"]["wrappers"] = ["FlattenObservation"]
    algo = PPOClip(cfg)
    assert algo.train_env.observation_space.shape == (4,)
    next(algo.iter_partial_episodes(5))
    algo.close()
