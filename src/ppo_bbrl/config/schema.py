"""The schema of a configuration: every key with its type, default, range and meaning.

Those of `algorithm` are in `algorithm.py`.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

from ppo_bbrl.config.algorithm import (
    AlgorithmConfig,
    ArchitectureConfig,
    CollectConfig,
)
from ppo_bbrl.config.rules import Rule, key

__all__ = [
    "AlgorithmConfig",
    "ArchitectureConfig",
    "CollectConfig",
    "ComputeConfig",
    "EnvironmentConfig",
    "EpisodicConfig",
    "LoggerConfig",
    "PPOConfig",
    "describe_keys",
    "known_keys",
    "nested",
]
TENSORBOARD_LOGGERS = (
    "bbrl.utils.logger.TFLogger",
    "ppo_bbrl.metrics.Logger",  # its former name, found in older runs and configurations
    "ppo_bbrl.runs.metrics.Logger",
)
VECTORIZATION_MODES = ("auto", "sync", "async", "vector_entry_point", "envpool")


@dataclass
class EnvironmentConfig:
    """The Gymnasium environment."""

    env_name: str = key(
        "???",
        Rule(str),
        "Registered name of the environment; `module:Name-v0` imports the module first "
        "(`ppo-bbrl train` also looks in the current folder and next to the configuration file)",
    )
    env_args: dict[str, Any] = key({}, Rule(dict), "Keyword arguments for the environment")
    vectorization: str = key(
        "auto",
        Rule(str, choices=VECTORIZATION_MODES),
        "How the environments run in parallel; auto: the task's own vectorised implementation "
        "where it is known to be equivalent, otherwise sync; envpool: EnvPool's task of the same "
        "name (needs the extra `envpool`; videos show Gymnasium's version)",
    )
    action_mask: str = key(
        "auto",
        Rule(str),
        "Masks of invalid actions (Discrete, MultiDiscrete, and such parts of a Dict or Tuple): "
        "auto: info['action_mask'], a method action_masks(), or the key action_mask of a Dict "
        "observation, which the policy does not "
        "see then; none: no masks; or the name of the observation's key",
    )
    step_timeout: float | None = key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Seconds that an environment may take for a reset, a step or to close; one that takes "
        "longer has failed (vectorization sync: in the main thread, and not in C code that does "
        "not return; async: whatever it does; not with envpool); null: no limit",
    )
    on_failure: str = key(
        "stop",
        Rule(str, choices=("stop", "restart")),
        "When an environment raises, hangs (step_timeout) or its process ends: stop: the run ends "
        "and names it; restart: another one takes its place, and its episode counts as truncated "
        "at the last observation (vectorization sync and async)",
    )
    wrappers: list[Any] = key(
        [],
        Rule(list),
        "Gymnasium wrappers, applied in this order: names such as FlattenObservation, or, with "
        "arguments, {classname: FrameStackObservation, stack_size: 4}",
    )
    training_wrappers: list[Any] = key(
        [],
        Rule(list),
        "Further ones around these for training alone, such as EpisodicLife and ClipReward: "
        "evaluations and videos are of the task itself",
    )


@dataclass
class LoggerConfig:
    """Logging to TensorBoard and CSV."""

    classname: str = key(
        TENSORBOARD_LOGGERS[0],
        Rule(str, choices=TENSORBOARD_LOGGERS),
        "Logger; all of these names stand for ppo-bbrl's own",
    )
    cache_size: int = key(
        10_000, Rule(int, low=1), "No effect: accepted because configurations of BBRL have it"
    )
    every_n_seconds: float = key(
        10, Rule(float, low=0), "Seconds between flushes of TensorBoard's file"
    )
    modulo: int = key(1, Rule(int, low=1), "Steps are rounded down to a multiple of this")
    verbose: bool = key(False, Rule(bool), "Print every logged value")
    log_dir: str | None = key(
        None,
        Rule(str, optional=True),
        "TensorBoard folder; each run writes to <log_dir>/<base_dir>; null: outputs/tblogs",
    )


@dataclass
class ComputeConfig:
    """How the run computes. The run's config.yaml records what `auto` chose."""

    compile: str = key(
        "auto",
        Rule(str, choices=("auto", "always", "never")),
        "Compile the update; auto: if the run is long enough to make up for compiling",
    )
    threads: Any = key(
        "auto", Rule(int, low=1, words=("auto",)), "torch threads; auto: by minibatch size"
    )
    device: str = key(
        "auto", Rule(str, choices=("auto", "cpu", "cuda")), "Device of the networks; auto: cpu"
    )


_BASE_DIR = Rule(str)
_BASE_DIR_DOC = "Folder of the run, below outputs/"
_SAVE_BEST_DOC = "Save best/ after each better evaluation; false: only when the run ends"
_SAVE_EVERY_DOC = (
    "Rollouts between two checkpoints, from which `ppo-bbrl train --resume RUN` goes on (long ones "
    "have more, one every 15 s or so); 0: none at all"
)
_DEFAULT_OPTIMIZER = {"classname": "torch.optim.AdamW", "lr": 1e-3, "eps": 1e-5}


@dataclass
class EpisodicConfig:
    """The keys that `EpisodicAlgo` reads; users may add keys of their own."""

    base_dir: str = key("${.gym_env.env_name}/run_${current_time:}", _BASE_DIR, _BASE_DIR_DOC)
    save_best: bool = key(True, Rule(bool), _SAVE_BEST_DOC)
    save_every: int = key(0, Rule(int, low=0), _SAVE_EVERY_DOC)
    gym_env: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    algorithm: CollectConfig = field(default_factory=CollectConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)


@dataclass
class PPOConfig:
    """The whole schema, for `PPOClip` and the command line."""

    base_dir: str = key(
        "${.gym_env.env_name}/ppo-clip-S${.algorithm.seed}_${current_time:}",
        _BASE_DIR,
        _BASE_DIR_DOC,
    )
    save_best: bool = key(True, Rule(bool), _SAVE_BEST_DOC)
    save_every: int = key(100, Rule(int, low=0), _SAVE_EVERY_DOC)
    gym_env: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    optimizer: dict[str, Any] = key(
        _DEFAULT_OPTIMIZER, Rule(dict), "Optimiser: its `classname` (torch.optim.…) and arguments"
    )
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    extra: dict[str, Any] = key({}, Rule(dict), "Anything else to keep with the run")


def nested(one: Any) -> type | None:
    """The dataclass of a nested section; None for a plain key."""
    default = one.default_factory
    return cast("type", default) if is_dataclass(default) else None


def known_keys(schema: type = PPOConfig, prefix: str = "") -> dict[str, tuple[Rule, str]]:
    """Every key of a schema: its dotted name, with its rule and meaning."""
    table: dict[str, tuple[Rule, str]] = {}
    for one in fields(schema):
        section = nested(one)
        if section is None:
            table[prefix + one.name] = (one.metadata["rule"], one.metadata["doc"])
        else:
            table |= known_keys(section, f"{prefix}{one.name}.")
    return table


def describe_keys() -> str:
    """Every key of the schema with its default, meaning and allowed values."""
    lines = []
    for name, (rule, doc) in known_keys().items():
        default: Any = PPOConfig()
        for part in name.split("."):
            default = getattr(default, part)
        allowed = f"[{rule.describe()}]"
        lines.append(f"{name} = {default}\n    {doc} {allowed}")
    return "\n".join(lines)
