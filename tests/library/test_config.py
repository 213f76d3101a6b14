"""The configuration: what merges, what is refused and in which words, what stays untouched."""

import copy
import re
from pathlib import Path

import pytest
import torch
from gymnasium.vector import AutoresetMode
from omegaconf import DictConfig, OmegaConf

from ppo_bbrl.config import PPOConfig, load_config, load_episodic_config, save_config
from ppo_bbrl.config import loading as config
from ppo_bbrl.errors import ConfigError, shown

CARTPOLE = {"gym_env": {"env_name": "CartPole-v1"}}

# The `params` of the PPO-clip notebook of BBRL, key by key.
SEED_PARAMS = {
    "base_dir": "${gym_env.env_name}/ppo-clip-S${algorithm.seed}_${current_time:}",
    "save_best": False,
    "logger": {
        "classname": "bbrl.utils.logger.TFLogger",
        "cache_size": 10000,
        "every_n_seconds": 10,
        "verbose": False,
    },
    "algorithm": {
        "seed": 12,
        "max_grad_norm": 0.5,
        "n_envs": 8,
        "n_steps": 32,
        "eval_interval": 1000,
        "nb_evals": 10,
        "gae": 0.8,
        "discount_factor": 0.98,
        "normalize_advantage": False,
        "max_epochs": 5_000,
        "opt_epochs": 10,
        "batch_size": 256,
        "clip_range": 0.2,
        "clip_range_vf": 0,
        "entropy_coef": 2e-7,
        "policy_coef": 1,
        "critic_coef": 1.0,
        "policy_type": "DiscretePolicy",
        "architecture": {"actor_hidden_size": [64, 64], "critic_hidden_size": [64, 64]},
    },
    "gym_env": {"env_name": "CartPole-v1"},
    "optimizer": {"classname": "torch.optim.AdamW", "lr": 1e-3, "eps": 1e-5},
}

# The minimal configuration that the same notebook shows.
MINIMAL = {
    "base_dir": "${gym_env.env_name}/myalgo_${current_time:}",
    "gym_env": {"env_name": "CartPoleContinuous-v1"},
    "algorithm": {
        "seed": 1023,
        "n_envs": 8,
        "eval_interval": 500,
        "nb_evals": 10,
        "max_epochs": 40000,
        "n_steps": 100,
    },
}


@pytest.fixture(autouse=True)
def nothing_on_disk(tmp_path):
    """Reading a configuration, right or wrong, makes no file."""
    before = set(tmp_path.rglob("*"))
    yield
    made = set(tmp_path.rglob("*")) - before
    assert {path.suffix for path in made} <= {".yaml"}  # those that a test wrote itself


def nested(key, value):
    """`{"a": {"b": value}}` for "a.b"."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merged(*parts):
    return OmegaConf.to_container(OmegaConf.merge(*parts))


def refused(source, *overrides):
    """The message of the one error, which is one line."""
    with pytest.raises(ConfigError) as error:
        load_config(source, overrides)
    message = str(error.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------------------- accepted


def test_the_seeds_params_are_accepted():
    """With each value where the notebook put it."""
    cfg = load_config(OmegaConf.create(SEED_PARAMS))
    assert cfg.algorithm.seed == 12
    assert cfg.algorithm.architecture.actor_hidden_size == [64, 64]
    assert cfg.optimizer == SEED_PARAMS["optimizer"]
    assert re.fullmatch(r"CartPole-v1/ppo-clip-S12_\d{8}-\d{6}", cfg.base_dir)
    given = {**SEED_PARAMS, "base_dir": cfg.base_dir}
    assert OmegaConf.merge(cfg, given) == cfg


def test_a_name_is_all_that_is_needed():
    """Every other key has a default that keeps its own rule."""
    cfg = load_config(CARTPOLE)
    assert cfg.algorithm.n_envs == 8
    assert cfg.optimizer.classname == "torch.optim.AdamW"
    for key, (rule, doc) in config.known_keys().items():
        value = OmegaConf.select(cfg, key)
        plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        assert rule.allows(plain), key
        assert doc, key


def test_the_minimal_configuration_is_enough_for_episodic_algo():
    """No optimizer, gae or logger, and `save_best` left out."""
    cfg = load_episodic_config(OmegaConf.create(MINIMAL))
    assert cfg.algorithm.n_steps == 100
    assert cfg.save_best is True
    assert cfg.logger.classname == "bbrl.utils.logger.TFLogger"
    assert re.fullmatch(r"CartPoleContinuous-v1/myalgo_\d{8}-\d{6}", cfg.base_dir)


def test_students_may_add_whatever_they_like():
    """EpisodicAlgo checks the keys it knows and leaves the rest, PPO's keys included."""
    mine = {
        "my_section": {"a": [1, 2]},
        "note": None,
        "algorithm": {"tau": 0.05, "clip_range": "my own meaning", "n_envs": 3},
        "optimizer": {"classname": "my.Optimizer"},
    }
    cfg = load_episodic_config(merged(MINIMAL, mine))
    assert cfg.my_section.a == [1, 2]
    assert cfg.algorithm.tau == 0.05
    assert cfg.algorithm.clip_range == "my own meaning"
    assert cfg.optimizer.classname == "my.Optimizer"
    assert cfg.algorithm.n_envs == 3


def test_students_known_keys_are_checked():
    with pytest.raises(
        ConfigError, match=r"algorithm\.n_envs = 0: must be an integer in \[1, 100000\]"
    ):
        load_episodic_config(merged(MINIMAL, {"algorithm": {"n_envs": 0}}))
    with pytest.raises(ConfigError, match=r"^gym_env\.env_name is missing"):
        load_episodic_config({"base_dir": "x"})
    with pytest.raises(ConfigError, match="logger = 3: must be a mapping"):
        load_episodic_config({**MINIMAL, "logger": 3})


def test_extra_information_goes_under_extra():
    cfg = load_config({**CARTPOLE, "extra": {"hypothesis": "smaller λ", "tries": [1, 2]}})
    assert cfg.extra.tries == [1, 2]


def test_whole_numbers_do_for_fractions_but_not_the_other_way():
    cfg = load_config({**CARTPOLE, "algorithm": {"gae": 1, "clip_range_vf": 0}})
    assert isinstance(cfg.algorithm.gae, float)
    assert "must be an integer" in refused({**CARTPOLE, "algorithm": {"n_envs": 8.0}})


# ------------------------------------------------------------------------------------ merging


def test_defaults_then_file_then_overrides():
    """Each wins over what comes before it, key by key."""
    Path("task.yaml").write_text(
        "gym_env: {env_name: CartPole-v1}\nalgorithm: {seed: 2, n_envs: 4, gae: 0.8}\n"
    )
    for source in ("task.yaml", Path("task.yaml")):
        cfg = load_config(source, ["algorithm.seed=3", "algorithm.n_envs=5", "algorithm.seed=4"])
        assert cfg.algorithm.seed == 4  # the last override
        assert cfg.algorithm.n_envs == 5  # an override over the file
        assert cfg.algorithm.gae == 0.8  # the file over the default
        assert cfg.algorithm.n_steps == 128  # the default


def test_overrides_are_typed_as_in_yaml():
    cfg = load_config(
        CARTPOLE,
        [
            "optimizer.lr=1e-4",
            "save_best=true",
            "algorithm.max_grad_norm=null",
            "algorithm.architecture.actor_hidden_size=[32, 16]",
            "extra.note=a=b",
        ],
    )
    assert cfg.optimizer.lr == 1e-4
    assert cfg.save_best is True
    assert cfg.algorithm.max_grad_norm is None
    assert cfg.algorithm.architecture.actor_hidden_size == [32, 16]
    assert cfg.extra.note == "a=b"


def test_yaml_knows_1e_3_as_a_number():
    """PyYAML itself reads `1e-3` as a text."""
    Path("task.yaml").write_text("gym_env: {env_name: CartPole-v1}\noptimizer: {lr: 1e-3}\n")
    assert load_config("task.yaml").optimizer.lr == 1e-3


def test_another_optimizer_does_not_inherit_arguments():
    """AdamW's default eps is no argument of SGD; a single changed key keeps the rest."""
    cfg = load_config({**CARTPOLE, "optimizer": {"classname": "torch.optim.SGD", "lr": 0.1}})
    assert cfg.optimizer == {"classname": "torch.optim.SGD", "lr": 0.1}
    cfg = load_config({**CARTPOLE, "optimizer": {"lr": 0.1}})
    assert cfg.optimizer == {"classname": "torch.optim.AdamW", "lr": 0.1, "eps": 1e-5}


@pytest.mark.parametrize("make", [copy.deepcopy, OmegaConf.create], ids=["dict", "DictConfig"])
@pytest.mark.parametrize("load", [load_config, load_episodic_config])
def test_the_callers_object_is_never_changed(make, load):
    """Upstream writes into it; here the result is nobody's alias either."""
    source = make(SEED_PARAMS)
    cfg = load(source)
    cfg.algorithm.seed = 99
    cfg.algorithm.architecture.actor_hidden_size.append(7)
    cfg.optimizer.lr = 1.0
    if isinstance(source, DictConfig):
        source = OmegaConf.to_container(source, resolve=False)
    assert source == SEED_PARAMS


def test_a_frozen_object_may_be_read():
    """A read-only or struct DictConfig is as good as any, and overrides do not reach it."""
    source = OmegaConf.create(SEED_PARAMS)
    OmegaConf.set_readonly(source, True)
    OmegaConf.set_struct(source, True)
    assert load_config(source, ["algorithm.seed=3", "extra.x=1"]).algorithm.seed == 3
    assert source.algorithm.seed == 12


# ----------------------------------------------------------------------------- interpolations


def test_interpolations_are_resolved_once(monkeypatch):
    """Upstream resolves `${current_time:}` at each access: a run has many folders."""
    times = iter(["20250101-000000", "20250101-000001"])
    monkeypatch.setattr(config, "strftime", lambda _: next(times))
    cfg = load_config(SEED_PARAMS)
    assert cfg.base_dir == "CartPole-v1/ppo-clip-S12_20250101-000000"
    assert cfg.base_dir == "CartPole-v1/ppo-clip-S12_20250101-000000"
    assert "${" not in OmegaConf.to_yaml(cfg)
    assert load_config(SEED_PARAMS).base_dir.endswith("000001")


def test_interpolations_see_overrides_and_defaults():
    cfg = load_config(
        {**CARTPOLE, "base_dir": "${gym_env.env_name}_${algorithm.n_steps}_${algorithm.seed}"},
        ["algorithm.seed=3"],
    )
    assert cfg.base_dir == "CartPole-v1_128_3"


def test_a_resolved_value_is_checked_too():
    source = {**CARTPOLE, "algorithm": {"n_envs": "${extra.n}"}, "extra": {"n": -1}}
    assert refused(source) == "algorithm.n_envs = -1: must be an integer in [1, 100000]"


@pytest.mark.parametrize(
    "value", ["${nothing.there}", "${no_such_resolver:}", "${extra.loop}", "${"]
)
def test_a_broken_interpolation_is_one_error(value):
    """It names the key."""
    source = {**CARTPOLE, "base_dir": value, "extra": {"loop": "${base_dir}"}}
    assert "base_dir" in refused(source) or "${" in refused(source)


def test_a_section_may_be_an_interpolation():
    """It comes with the defaults of its other keys, and overrides reach it by both names."""
    source = {**CARTPOLE, "algorithm": "${extra.mine}", "extra": {"mine": {"seed": 3}}}
    assert load_config(source).algorithm == {**load_config(CARTPOLE).algorithm, "seed": 3}
    assert load_config(source, ["algorithm.seed=4"]).algorithm.seed == 4
    assert load_config(source, ["extra.mine.seed=5"]).algorithm.seed == 5
    assert load_episodic_config(source).algorithm.seed == 3
    message = refused({**source, "extra": {"mine": 3}})
    assert message.startswith("algorithm = '${extra.mine}': must be a mapping with")


# ------------------------------------------------------------------------------------ refused

BAD_VALUES = {
    "base_dir": ["", None, 3, ["x"]],
    "save_best": [None, 1, "maybe", "1"],
    "save_every": [None, -1, 0.5, "often"],
    "gym_env.env_name": ["", None, 3],
    "gym_env.env_args": [None, 3, "render", [1]],
    "gym_env.vectorization": ["threads", None, 1],
    "gym_env.action_mask": ["", None, 3, True],
    "gym_env.step_timeout": [0, -1, "soon", True, float("nan"), float("inf")],
    "gym_env.on_failure": ["retry", None, True, 1],
    "gym_env.wrappers": [None, "FlattenObservation", {"FlattenObservation": None}, 3],
    "gym_env.training_wrappers": [None, "ClipReward", {"ClipReward": None}, 3],
    "algorithm.seed": [-1, 2**63, 10**400, 1.5, None, True, "one"],
    "algorithm.n_envs": [0, -3, 2.0, None, True],
    "algorithm.n_steps": [0, -3, 2.5, None],
    "algorithm.max_epochs": [0, "many"],
    "algorithm.eval_interval": [-1, 0.5, None],
    "algorithm.nb_evals": [0, 1.5],
    "algorithm.max_eval_steps": [0, -1, 1.5],
    "algorithm.discount_factor": [1.5, -0.1, float("nan"), float("inf"), "1.9", None, True],
    "algorithm.gae": [1.01, -0.1, float("nan"), 10**400],
    "algorithm.normalize_advantage": [1, "never", "0", None],
    "algorithm.opt_epochs": [0, -1],
    "algorithm.batch_size": [-1, 2.5, None],
    "algorithm.clip_range": [0, -0.2, float("nan"), float("inf"), 10**400],
    "algorithm.clip_range_high": [0, -0.2, float("nan"), True],
    "algorithm.dual_clip": [1, 0.5, float("inf")],
    "algorithm.normalize_observation": [None, 1],
    "algorithm.clip_observation": [0, -1, True],
    "algorithm.normalize_reward": [None, "yes please"],
    "algorithm.clip_reward": [0, float("inf")],
    "algorithm.normalize_value": [None, 0],
    "algorithm.policy_keys": [[], "position", [""], [1], True, {"a": 1}],
    "algorithm.critic_keys": [[], 3, [None]],
    "algorithm.kl_penalty": [0, -1, True],
    "algorithm.kl_target": [0, -0.01, None],
    "algorithm.global_grad_norm": [None, 1],
    "algorithm.recompute_advantage": [None, 1],
    "algorithm.entropy_schedule": ["adaptive_kl", None],
    "algorithm.curiosity": ["icm", None, True],
    "algorithm.curiosity_coef": [-1, float("nan"), None],
    "algorithm.clip_range_vf": [-0.1, float("nan")],
    "algorithm.entropy_coef": [-1, float("inf")],
    "algorithm.policy_coef": [-1, "-1", ""],
    "algorithm.critic_coef": [-1, None],
    "algorithm.max_grad_norm": [0, -0.5, float("inf")],
    "algorithm.target_kl": [0, -0.01],
    "algorithm.learning_rate_schedule": ["lin", None],
    "algorithm.clip_range_schedule": ["step", 1],
    "algorithm.squash_actions": [1, None, "maybe"],
    "algorithm.use_sde": [1, None, "maybe"],
    "algorithm.sde_sample_freq": [-2, 1.5, None],
    "algorithm.policy_type": ["MyPolicy", None],
    "algorithm.architecture.actor_hidden_size": [
        64,
        "64",
        [0],
        [64.0],
        ["64.0"],
        [[64]],
        [True],
        None,
        {"0": 4},
    ],
    "algorithm.architecture.critic_hidden_size": [[-1], [None]],
    "algorithm.architecture.activation": ["softplus", None],
    "algorithm.architecture.state_dependent_std": [1, None, "maybe"],
    "algorithm.architecture.features": ["vgg", None],
    "algorithm.architecture.channels": ["middle", None],
    "algorithm.architecture.shared_trunk": ["maybe", None],
    "algorithm.architecture.ortho_init": ["maybe", None],
    "algorithm.architecture.hidden_gain": [0, -1, None],
    "algorithm.architecture.actor_output_gain": [0, -1, None],
    "algorithm.architecture.critic_output_gain": [0, -1, None],
    "algorithm.architecture.memory": ["rnn", True, None],
    "algorithm.architecture.memory_size": [0, 1.5, None],
    "algorithm.architecture.shared_memory": ["maybe", None],
    "algorithm.architecture.log_std_init": ["small", float("nan"), None],
    "optimizer": [None, "AdamW", [1]],
    "compute.compile": ["yes", None, True],
    "compute.threads": [0, -1, 1.5, "many", None],
    "compute.device": ["tpu", None],
    "logger.classname": ["subprocess.Popen", None],
    "logger.cache_size": [0, 1.5],
    "logger.every_n_seconds": [-1, None],
    "logger.modulo": [0],
    "logger.verbose": [None, 0],
    "logger.log_dir": [3, ""],
    "extra": [None, 3, []],
}


def test_the_table_of_bad_values_is_complete():
    """A new key comes with what it refuses."""
    assert set(BAD_VALUES) == set(config.known_keys())


@pytest.mark.wide(120)
@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BAD_VALUES.items() for value in values]
)
def test_a_bad_value_is_one_error(key, value):
    """It names the key, the value and what is allowed."""
    source = merged(CARTPOLE, {})
    OmegaConf.update(source := OmegaConf.create(source), key, value, force_add=True, merge=False)
    message = refused(OmegaConf.to_container(source))
    assert message.startswith(f"{key} = {shown(value)}: must be ")
    assert message.partition("; ")[0].endswith(config.known_keys()[key][0].describe())


@pytest.mark.parametrize("section", ["gym_env", "algorithm", "logger", "algorithm.architecture"])
@pytest.mark.parametrize("value", [None, 3, "auto", [1]])
def test_a_section_is_a_mapping(section, value):
    source = merged(CARTPOLE, {"algorithm": {}})
    source |= nested(section, value)
    message = refused(source)
    assert message.startswith(f"{section} = {value!r}: must be a mapping with the keys ")


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("algorithm.discount_facto", "algorithm.discount_factor"),
        ("algorithm.clip_rage", "algorithm.clip_range"),
        ("algorithm.nenvs", "algorithm.n_envs"),
        ("algoritm", "algorithm"),
        ("gym_env.envname", "gym_env.env_name"),
        ("algorithm.architecture.actor_hiden_size", "algorithm.architecture.actor_hidden_size"),
        ("logger.verbos", "logger.verbose"),
        ("saveBest", "save_best"),
        ("seed", "algorithm.seed"),  # the right name in the wrong place
        ("algorithm.env_name", "gym_env.env_name"),
    ],
)
def test_a_misspelt_key_gets_the_nearest_one(key, nearest):
    """Upstream ignores it and trains with the default."""
    for message in (
        refused(merged(CARTPOLE, nested(key, 3))),
        refused(CARTPOLE, f"{key}=3"),
    ):
        assert message == f"{key} = 3: unknown key; did you mean {nearest}?"


def test_an_unlikely_key_gets_the_list():
    message = refused({**CARTPOLE, "xyzzy": 1})
    assert message.startswith("xyzzy = 1: unknown key; allowed are base_dir, save_best, ")
    assert message.endswith("(put anything else under extra:)")


def test_a_missing_name_is_named():
    for source in ({}, {"gym_env": {}}, {"gym_env": {"env_name": "???"}}):
        assert refused(source) == "gym_env.env_name is missing: give it a value"


@pytest.mark.parametrize(
    "source", [None, 3, [1, 2], OmegaConf.create([1])], ids=["None", "3", "list", "ListConfig"]
)
def test_what_is_no_mapping_is_refused(source):
    assert refused(source).startswith("the configuration: not a configuration: ")


@pytest.mark.parametrize(
    "value",
    [torch.zeros(1), object(), {1, 2}, int, AutoresetMode.NEXT_STEP, 1j, print],
    ids=["tensor", "object", "set", "class", "enum", "complex", "function"],
)
def test_objects_do_not_belong_in_a_configuration(value):
    """A class or an Enum would train, and be saved as what no one reads without running code."""
    message = refused({**CARTPOLE, "extra": {"thing": value}})
    assert message.startswith(f"extra.thing = {value!r}: must be ")


def test_keys_are_texts():
    assert "1" in refused({"gym_env": {"env_name": "CartPole-v1", "env_args": {1: 2}}})
    assert refused({**CARTPOLE, 1: 2}).startswith("1 = 2: unknown key")


@pytest.mark.parametrize("override", ["algorithm.seed", "=3", "", " =3"])
def test_an_override_is_key_equals_value(override):
    message = refused(CARTPOLE, override)
    assert message == f"override {override!r}: must be key=value, as in algorithm.seed=3"


@pytest.mark.parametrize("override", ["algorithm.seed=[", "algorithm.seed=a: b: c"])
def test_an_override_that_is_no_yaml(override):
    assert refused(CARTPOLE, override).startswith(f"override {override!r}: ")


# -------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    "text",
    ["- a list", "3", "a: [", "a: 1\na: 2", "\tx: 1", b"\xff\xfe\x00\x80"],
)
def test_a_file_that_is_no_configuration(text):
    """One line that names the file."""
    Path("wrong.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refused("wrong.yaml").startswith("wrong.yaml: not a configuration: ")


def test_a_file_that_is_not_there(tmp_path):
    assert refused("nowhere.yaml") == "nowhere.yaml: there is no such configuration file"
    assert refused(str(tmp_path)).startswith(f"{tmp_path}: this is a folder")
    assert refused("a" * 5000).endswith(": there is no such configuration file")


def test_a_file_cannot_run_code():
    """Python tags of YAML are not obeyed."""
    Path("bomb.yaml").write_text("a: !!python/object/apply:pathlib.Path.touch ['pwned.yaml']\n")
    assert refused("bomb.yaml").startswith("bomb.yaml: not a configuration: ")
    assert not Path("pwned.yaml").exists()


# ------------------------------------------------------------------------------------ classes


@pytest.mark.parametrize(
    "classname", ["subprocess.Popen", "torch.optim.LBFGS", "torch.load", "AdamW", "my.Adam", ""]
)
def test_optimizer_classes_come_from_an_allow_list(classname):
    """`classname:` with any class of any module would run code of the file's choice."""
    message = refused({**CARTPOLE, "optimizer": {"classname": classname, "args": ["true"]}})
    assert message.startswith(f"optimizer.classname = {classname!r}: must be one of torch.optim.")


def test_logger_classes_come_from_an_allow_list():
    message = refused({**CARTPOLE, "logger": {"classname": "os.system"}})
    assert message == (
        "logger.classname = 'os.system': must be one of bbrl.utils.logger.TFLogger, "
        "ppo_bbrl.metrics.Logger, ppo_bbrl.runs.metrics.Logger"
    )
    for name in (
        "bbrl.utils.logger.TFLogger",
        "ppo_bbrl.metrics.Logger",
        "ppo_bbrl.runs.metrics.Logger",
    ):
        assert load_config({**CARTPOLE, "logger": {"classname": name}}).logger.classname == name


def test_optimizer_arguments_are_checked():
    """Before any environment or file is made."""
    section = {"classname": "torch.optim.SGD", "lr": 0.1}
    message = refused({**CARTPOLE, "optimizer": {**section, "eps": 1e-5}})
    assert message.startswith("optimizer.eps = 1e-05: SGD has no such argument; allowed are lr, ")
    message = refused({**CARTPOLE, "optimizer": {**section, "lr": 0}})
    assert message == "optimizer.lr = 0: must be a number > 0"


# ------------------------------------------------------------------------------------- saving


def test_a_saved_configuration_is_the_same_again():
    """The file in a run's folder starts the same run."""
    cfg = load_config(SEED_PARAMS, ["algorithm.target_kl=0.01", "extra.list=[1, {a: null}]"])
    save_config(cfg, Path("saved.yaml"))
    assert load_config("saved.yaml") == cfg
    cfg = load_episodic_config(MINIMAL)
    save_config(cfg, Path("saved.yaml"))
    assert load_episodic_config("saved.yaml") == cfg


def test_current_time_is_the_only_resolver_we_register():
    """A configuration of ours reads nothing but the clock and itself."""
    load_config(CARTPOLE)
    load_config(CARTPOLE)
    assert OmegaConf.has_resolver("current_time")
    assert re.fullmatch(r"\d{8}-\d{6}", OmegaConf.create({"now": "${current_time:}"}).now)


def test_the_result_is_typed():
    """A later wrong assignment fails where it is made."""
    cfg = load_config(CARTPOLE)
    assert OmegaConf.get_type(cfg) is PPOConfig
    with pytest.raises(Exception, match="seed"):
        cfg.algorithm.seed = "three"
    with pytest.raises(Exception, match="sed"):
        cfg.algorithm.sed = 3


@pytest.mark.parametrize("base_dir", ["/run", "../run", ".", "tblogs/run", "a\0b", "x" * 5000])
@pytest.mark.parametrize("load", [load_config, load_episodic_config])
def test_a_folder_that_no_run_can_have_is_refused_with_the_configuration(load, base_dir):
    """Before there is a file or an environment; `runs` has the cases."""
    with pytest.raises(ConfigError, match=r"^base_dir = ") as caught:
        load(merged(CARTPOLE, {"base_dir": base_dir}))
    assert len(str(caught.value)) < 400


def test_a_folder_for_events_may_lie_anywhere_that_is_a_path():
    for log_dir in ("/tmp/tb", "../tb", "~/tb", "tb/"):
        assert load_config(merged(CARTPOLE, {"logger": {"log_dir": log_dir}}))
    for log_dir in ("a\0b", "x" * 5000, "tb\x1b[31m"):
        with pytest.raises(ConfigError, match=r"^logger\.log_dir = .* must be printable") as caught:
            load_config(merged(CARTPOLE, {"logger": {"log_dir": log_dir}}))
        assert len(str(caught.value)) < 400
