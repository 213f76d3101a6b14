"""Where configurations come from: larger ones, Hydra, NumPy, the environment, any YAML file."""

import copy
import os
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from ppo_bbrl.config.loading import load_config, load_episodic_config, load_saved_config
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.ppo import PPOClip

CARTPOLE = {"gym_env": {"env_name": "CartPole-v1"}}


def refused(source, *overrides, load=load_config):
    """The message of the one error, which is one printable line."""
    with pytest.raises(ConfigError) as error:
        load(source, *([overrides] if overrides else []))
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 2000
    return message


# ------------------------------------------------------------------- parts of larger ones


def larger(**more):
    return OmegaConf.create(
        {
            "seed": 7,
            "task": "CartPole-v1",
            "agents": [
                {
                    "ppo": {
                        "base_dir": "run-${seed}-${.algorithm.n_steps}",
                        "gym_env": {
                            "env_name": "${task}",
                            "env_args": {"sutton_barto_reward": "${sutton}"},
                        },
                        "algorithm": {"seed": "${seed}", "n_steps": 16},
                        "extra": {"beside": "${..other}", "above": "${...seed}"},
                    },
                    "other": "beside",
                }
            ],
            "sutton": True,
            **more,
        }
    )


def test_a_part_of_a_larger_configuration_has_the_values_that_omegaconf_gives_it():
    """As `cfg.ppo` in a program of Hydra."""
    cfg = larger()
    part = cfg.agents[0].ppo
    part.extra = {"beside": "${...other}", "root": "${agents[0].ppo.algorithm.seed}"}
    before = copy.deepcopy(OmegaConf.to_container(cfg, resolve=False))
    loaded = load_config(part)
    assert loaded.algorithm.seed == part.algorithm.seed == 7
    assert loaded.gym_env.env_name == part.gym_env.env_name
    assert loaded.gym_env.env_args.sutton_barto_reward is True
    assert loaded.base_dir == part.base_dir == "run-7-16"
    assert OmegaConf.to_container(loaded.extra) == OmegaConf.to_container(part.extra, resolve=True)
    assert OmegaConf.to_container(cfg, resolve=False) == before
    assert loaded._get_parent() is None


def test_overrides_of_a_part_reach_what_refers_to_it():
    part = larger().agents[0].ppo
    part.extra = {}
    loaded = load_config(part, ["algorithm.n_steps=5", "algorithm.seed=3"])
    assert (loaded.base_dir, loaded.algorithm.seed) == ("run-7-5", 3)


def test_the_defaults_of_a_part_are_made_of_the_part():
    """Not of keys of the larger configuration that have the same names."""
    cfg = OmegaConf.create(
        {
            "gym_env": {"env_name": "Another-v0"},
            "algorithm": {"seed": 5},
            "ppo": {**CARTPOLE, "algorithm": {"seed": 2}},
        }
    )
    assert load_config(cfg.ppo).base_dir.startswith("CartPole-v1/ppo-clip-S2_")


def test_a_part_that_refers_to_itself_as_if_it_stood_alone():
    """A file of ours, put into a larger configuration as it is."""
    cfg = OmegaConf.create({"ppo": {**CARTPOLE, "base_dir": "${gym_env.env_name}/x"}})
    assert load_config(cfg.ppo).base_dir == "CartPole-v1/x"


def test_a_section_of_a_part_may_come_from_elsewhere():
    cfg = OmegaConf.create(
        {"common": {"seed": "${s}"}, "s": 4, "ppo": {**CARTPOLE, "algorithm": "${common}"}}
    )
    assert load_config(cfg.ppo).algorithm.seed == 4
    assert load_config(cfg.ppo).algorithm.n_envs == 8
    assert load_episodic_config(cfg.ppo).algorithm.seed == 4


def test_a_part_of_a_list():
    configs = OmegaConf.create([{**CARTPOLE, "algorithm": {"seed": "${[1].seed}"}}, {"seed": 6}])
    assert load_config(configs[0]).algorithm.seed == 6


def test_parts_of_several_configurations_in_a_dict():
    """Each is resolved where it comes from."""
    cfg = larger()
    part = cfg.agents[0].ppo
    loaded = load_config({"gym_env": part.gym_env, "algorithm": part.algorithm})
    assert (loaded.gym_env.env_name, loaded.algorithm.seed) == ("CartPole-v1", 7)


def test_what_a_part_cannot_resolve_is_named():
    cfg = OmegaConf.create({"x": "???", "ppo": {**CARTPOLE, "algorithm": {"seed": "${nowhere}"}}})
    assert "algorithm.seed" in refused(cfg.ppo)
    cfg.ppo.algorithm.seed = "${x}"
    assert "algorithm.seed" in refused(cfg.ppo)
    assert "algorithm" in refused({**CARTPOLE, "algorithm": cfg.ppo.algorithm})


def test_the_algorithm_takes_a_part():
    part = larger().agents[0].ppo
    part.extra = {}
    algo = PPOClip(part)
    try:
        assert algo.cfg.algorithm.seed == 7
    finally:
        algo.close()


# -------------------------------------------------------------------------------- Hydra


def test_flags_of_hydra_are_no_obstacle():
    cfg = OmegaConf.create({**CARTPOLE, "hydra": {"run": {"dir": "${hydra.job.name}"}}})
    OmegaConf.set_readonly(cfg, True)
    OmegaConf.set_struct(cfg, True)
    loaded = load_config(cfg, ["algorithm.seed=3", "extra.note=mine"])
    assert loaded.algorithm.seed == 3
    assert "hydra" not in loaded
    assert "hydra" in cfg


@dataclass
class Task:
    env_name: str = "CartPole-v1"


@dataclass
class Application:
    gym_env: Task = field(default_factory=Task)


@dataclass
class Unusable:
    what: object = field(default_factory=object)


def test_structured_configurations_of_others():
    for source in (Application(), Application, OmegaConf.structured(Application)):
        assert load_config(source, ["algorithm.seed=3"]).gym_env.env_name == "CartPole-v1"
    assert load_config({"gym_env": Task()}).gym_env.env_name == "CartPole-v1"
    assert "extra.made" in refused({**CARTPOLE, "extra": {"made": Unusable()}})


@pytest.mark.parametrize("key", ["algorithm", "algorithm.n_envs", "extra.mine", "optimizer"])
def test_what_is_to_be_given_is_missing(key):
    source = OmegaConf.create(CARTPOLE)
    OmegaConf.update(source, key, "???", force_add=True)
    assert refused(source) == f"{key} is missing: give it a value"


def test_what_is_to_be_given_may_be_given():
    source = OmegaConf.create({**CARTPOLE, "algorithm": {"seed": "???"}})
    assert load_config(source, ["algorithm.seed=2"]).algorithm.seed == 2


# ----------------------------------------------------------- values of other libraries


@pytest.mark.parametrize(
    "number", [np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), "3", " 3", "+3", "0x3"]
)
def test_integers_of_any_kind(number):
    loaded = load_config({**CARTPOLE, "algorithm": {"seed": number}})
    assert loaded.algorithm.seed == 3
    assert type(loaded.algorithm.seed) is int


@pytest.mark.parametrize(
    "number",
    [
        np.float64(0.5), np.float32(0.5), np.array(0.5), torch.tensor(0.5), Decimal("0.5"),
        Fraction(1, 2), "0.5", "5e-1", "5E-1",
    ],
)  # fmt: skip
def test_numbers_of_any_kind(number):
    source = {**CARTPOLE, "algorithm": {"gae": number}, "extra": {"mine": [number]}}
    loaded = load_config(source)
    assert loaded.algorithm.gae == 0.5
    assert type(loaded.algorithm.gae) is float
    assert loaded.extra.mine == [number if isinstance(number, str) else 0.5]


@pytest.mark.parametrize("yes", [np.bool_(True), np.array(True), torch.tensor(True), "true", "yes"])
def test_truth_values_of_any_kind(yes):
    loaded = load_config({**CARTPOLE, "save_best": yes})
    assert loaded.save_best is True


@pytest.mark.parametrize(
    "sizes",
    [
        (32, 16),
        [np.int64(32), np.int32(16)],
        np.array([32, 16]),
        ("32", "16"),
        "[32, 16]",
        OmegaConf.create([32, 16]),
    ],
    ids=str,
)
def test_lists_of_any_kind(sizes):
    loaded = load_config({**CARTPOLE, "algorithm": {"architecture": {"actor_hidden_size": sizes}}})
    assert OmegaConf.to_container(loaded.algorithm.architecture.actor_hidden_size) == [32, 16]


@pytest.mark.parametrize("wrong", [np.float64(2.0), np.array([1, 2]), torch.tensor(2.5), "2.0"])
def test_what_is_no_integer_stays_none(wrong):
    assert refused({**CARTPOLE, "algorithm": {"seed": wrong}}).startswith("algorithm.seed = ")


def test_paths_are_strings():
    loaded = load_config(
        {**CARTPOLE, "base_dir": PurePosixPath("a/b"), "logger": {"log_dir": Path("logs")}}
    )
    assert (loaded.base_dir, loaded.logger.log_dir) == ("a/b", "logs")


def test_null_in_the_environment():
    loaded = load_config({**CARTPOLE, "algorithm": {"target_kl": "null", "max_grad_norm": "~"}})
    assert loaded.algorithm.target_kl is None
    assert loaded.algorithm.max_grad_norm is None


def test_environment_variables(monkeypatch):
    monkeypatch.setenv("SEED", "3")
    monkeypatch.setenv("RATE", "1e-3")
    monkeypatch.setenv("THREADS", "1")
    source = {
        **CARTPOLE,
        "algorithm": {"seed": "${oc.env:SEED}", "clip_range": "${oc.env:RATE}"},
        "optimizer": {"lr": "${oc.env:RATE}"},
        "compute": {"threads": "${oc.env:THREADS}"},
    }
    loaded = load_config(source)
    assert (loaded.algorithm.seed, loaded.algorithm.clip_range) == (3, 1e-3)
    assert loaded.optimizer.lr == 1e-3
    assert loaded.compute.threads == 1


def test_what_stands_in_strings_stays_there_where_strings_are_meant():
    source = {
        "gym_env": {"env_name": "CartPole-v1", "env_args": {"level": "3"}},
        "extra": {"v": "1e-3"},
    }
    loaded = load_config(source)
    assert (loaded.gym_env.env_args.level, loaded.extra.v) == ("3", "1e-3")


def test_numbers_of_pyyaml():
    """To which `1e-3` is a string."""
    source = yaml.safe_load("gym_env: {env_name: CartPole-v1}\noptimizer: {lr: 1e-3}")
    assert load_config(source).optimizer.lr == 1e-3


def test_what_contains_itself_is_refused():
    source = {**CARTPOLE, "extra": {}}
    source["extra"]["again"] = source["extra"]
    assert "extra.again" in refused(source)
    many = []
    many.append(many)
    assert "extra.mine" in refused({**CARTPOLE, "extra": {"mine": many}})


@pytest.mark.parametrize(
    "value",
    [10**5000, "x" * 10**5, "\udcff", "\x1b[31m", [1] * 999],
    ids=["digits", "long", "surrogate", "escape", "list"],
)
def test_an_odd_value_is_one_short_line(value):
    assert "algorithm.seed = " in refused({**CARTPOLE, "algorithm": {"seed": value}})
    assert "gym_env" in refused({"gym_env": value})


def test_a_key_at_fault_is_named_and_not_one_that_is_made_of_it():
    """The default of base_dir is made of the environment's name."""
    for wrong in ("", None, 3, "${nowhere}", "${oc.env:NOWHERE}"):
        assert refused({"gym_env": {"env_name": wrong}}).startswith("gym_env.env_name")
    assert refused({**CARTPOLE, "algorithm": {"seed": "${nowhere}"}}).startswith("algorithm.seed")


# ------------------------------------------------------------------------- YAML files


def laughs(levels, width):
    lines = ["a0: &a0 [1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (laughs(40, 9), "values"),
        ("extra: &x {again: *x}", "part of itself"),
        ("extra: &x [1, [*x]]", "part of itself"),
        ("extra: " + "[" * 100_000, "levels deep"),
        ("extra: " + "{a: " * 3_000, "levels deep"),
        ("\n".join(" " * i + "a:" for i in range(400)), "levels deep"),
        ("extra: [" + "1," * 50_000 + "1]", "values"),
        ("extra: &x " + "y" * 9_000 + "\nmore: [" + "*x," * 900 + "1]", "values"),
        ("# " + "x" * 10**6, "bytes"),
        ("extra:\n\tx: 1", "line 2: found a tab"),
        ("save_best: true\nsave_best: false", "line 2"),
        ("extra: {a: 1, b: 2, a: 3}", "duplicate key a"),
        ("extra: " + "9" * 5_000, "digits"),
        ("\x00", "character"),
        ("a: b: c", "line 1"),
    ],
)
def test_a_file_that_would_not_end_or_is_no_yaml_is_one_line(text, told):
    Path("wrong.yaml").write_text(text, newline="")
    message = refused("wrong.yaml")
    assert message.startswith("wrong.yaml: not a configuration: ")
    assert told in message


@pytest.mark.parametrize(
    "line",
    [
        "x{i}: ${{extra.x{j}}}${{extra.x{j}}}",
        "x{i}: ${{.x{j}}} and ${{ .x{j} }}",
        "x{i}: [${{extra.x{j}}}, '${{extra.x{j}}}']",
        "x{i}: {{a: '${{extra.x{j}}}', b: ['${{..x{j}}}']}}",
        "x{i}: ${{oc.select:extra.x{j}}}${{oc.select:extra.x{j}}}",
        "x{i}: ${{extra.${{extra.k{j}}}}}${{extra.${{extra.k{j}}}}}\n  k{i}: x{i}",
    ],
)
def test_interpolations_that_would_double_again_and_again_are_refused(line):
    """As aliases can: thirty lines for a billion values."""
    lines = [line.format(i=i, j=i - 1) for i in range(1, 40)]
    text = "\n  ".join(["gym_env: {env_name: CartPole-v1}\nextra:", "x0: ha", "k0: x0", *lines])
    Path("laughs.yaml").write_text(text)
    assert len(refused("laughs.yaml")) < 200


def test_a_long_chain_of_interpolations_is_one_line():
    chain = {f"x{i}": f"${{extra.x{i + 1}}}" for i in range(3_000)}
    assert refused({**CARTPOLE, "extra": {**chain, "x3000": "1"}})


def test_many_harmless_interpolations_are_fine():
    mine = {f"x{i}": "${algorithm.seed}" for i in range(200)}
    assert load_config({**CARTPOLE, "extra": mine}).extra.x7 == 1


@pytest.mark.parametrize("value", ["{again: &x [*x]}", "[" * 1_000, "[" + "1," * 50_000 + "1]"])
def test_an_override_has_the_same_limits(value):
    assert refused(CARTPOLE, f"extra={value}").startswith("override 'extra=")


def test_a_file_from_windows():
    """With a byte order mark and other line ends."""
    Path("windows.yaml").write_bytes(b"\xef\xbb\xbfgym_env:\r\n  env_name: CartPole-v1\r\n")
    assert load_config("windows.yaml").gym_env.env_name == "CartPole-v1"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding(encoding):
    Path("other.yaml").write_bytes("gym_env: {env_name: Müll-v1}".encode(encoding))
    assert "not UTF-8" in refused("other.yaml")


def test_anchors_and_merge_keys_work():
    Path("anchors.yaml").write_text(
        "extra: {mine: &mine {seed: 3, n_envs: 2}}\n"
        "algorithm: {<<: *mine, n_envs: 4}\n"
        "gym_env: {env_name: CartPole-v1}\n"
    )
    loaded = load_config("anchors.yaml")
    assert (loaded.algorithm.seed, loaded.algorithm.n_envs) == (3, 4)


# ------------------------------------------------------------------------ strangers' runs


@pytest.mark.parametrize(
    "line",
    [
        "base_dir: x-${oc.env:SECRET}",
        "extra: {a: [1, '${oc.env:SECRET}']}",
        "extra: {'${oc.env:SECRET}': 1}",
        "gym_env: {env_name: CartPole-v1, env_args: {x: 'a ${oc.env:SECRET}'}}",
        "optimizer: ${extra}",
    ],
)
def test_a_strangers_run_reads_nothing_of_this_machine(line, monkeypatch):
    """Its values would end up in messages, files and names of folders."""
    monkeypatch.setenv("SECRET", "xyzzy")
    Path("config.yaml").write_text(
        f"{line}\n" + ("" if "gym_env" in line else "gym_env: {env_name: A-v0}")
    )
    message = refused(Path("config.yaml"), load=load_saved_config)
    assert message.startswith("config.yaml: ")
    assert "xyzzy" not in message


def test_one_override_needs_no_list():
    assert load_config(CARTPOLE, "algorithm.seed=3").algorithm.seed == 3


def test_a_saved_run_opens():
    Path("config.yaml").write_text("gym_env: {env_name: CartPole-v1}\nbase_dir: $x{}")
    assert load_saved_config(Path("config.yaml")).base_dir == "$x{}"


def test_a_run_of_an_older_version_opens_wherever_it_was():
    """Opening reads; a new run with this configuration is refused, as ever."""
    old = Path("config.yaml")
    old.write_text("gym_env: {env_name: CartPole-v1}\nbase_dir: /tmp/run")
    assert load_saved_config(old).base_dir == "/tmp/run"
    assert "base_dir" in refused(load_saved_config(old))


def test_a_named_pipe_in_a_run_keeps_nobody_waiting():
    os.mkfifo("config.yaml")
    assert "not a regular file" in refused(Path("config.yaml"), load=load_saved_config)


class Mine(gym.Env):
    """An environment that nobody has registered."""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda: gym.spec("CartPole-v1"), "here 'CartPole-v1'"),
        (lambda: gym.make("CartPole-v1"), "here 'CartPole-v1'"),
        (lambda: Mine, r"register\(id='Mine-v0'"),
        (Mine, r"register\(id='Mine-v0'"),
        (lambda: lambda: gym.make("CartPole-v1"), r"register\(id='Mine-v0'"),
    ],
)
def test_an_environment_instead_of_its_name(given, told):
    cfg = {"gym_env": {"env_name": given()}}
    with pytest.raises(ConfigError, match=rf"^gym_env\.env_name = .*must be the name of.*{told}"):
        load_config(cfg)


def test_an_object_in_the_place_of_everything():
    with pytest.raises(ConfigError, match=r"^the configuration = <object"):
        load_config(object())
