"""The schema of a configuration: every key with its type, default, range and meaning."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

from ppo_bbrl.config.rules import Rule
from ppo_bbrl.schedules import SCHEDULES

TENSORBOARD_LOGGERS = (
    "bbrl.utils.logger.TFLogger",
    "ppo_bbrl.metrics.Logger",  # its former name, which runs and configurations have
    "ppo_bbrl.runs.metrics.Logger",
)
VECTORIZATION_MODES = ("auto", "sync", "async", "vector_entry_point", "envpool")


def _key(default: Any, rule: Rule, doc: str) -> Any:
    """A configuration key: its default, what is allowed, what it means."""
    metadata = {"rule": rule, "doc": doc}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


_SIZES = Rule(int, low=1, high=65_536, items=True)


@dataclass
class ArchitectureConfig:
    """The networks of the package's agents."""

    actor_hidden_size: list[int] = _key([64, 64], _SIZES, "neurons of the policy's hidden layers")
    critic_hidden_size: list[int] = _key([64, 64], _SIZES, "neurons of the critic's hidden layers")
    activation: str = _key("relu", Rule(str, choices=("relu", "tanh")), "between the layers")
    log_std_init: float = _key(
        0.0, Rule(float), "log standard deviation of a Gaussian policy at the start"
    )


@dataclass
class EnvironmentConfig:
    """The Gymnasium environment."""

    env_name: str = _key(
        "???",
        Rule(str),
        "registered name; `module:Name-v0` imports the module first, which `ppo-bbrl train` finds "
        "in the current folder and beside the file, too",
    )
    env_args: dict[str, Any] = _key({}, Rule(dict), "keyword arguments of the environment")
    vectorization: str = _key(
        "auto",
        Rule(str, choices=VECTORIZATION_MODES),
        "auto: the task's own vectorised implementation where it is known to be the same task, "
        "else sync; envpool: EnvPool's task of that name (extra `envpool`), whose videos show "
        "Gymnasium's",
    )
    wrappers: list[Any] = _key(
        [],
        Rule(list),
        "Gymnasium's wrappers, the first applied first: names as FlattenObservation, or with "
        "arguments {classname: FrameStackObservation, stack_size: 4}",
    )


@dataclass
class LoggerConfig:
    """TensorBoard and CSV."""

    classname: str = _key(
        TENSORBOARD_LOGGERS[0], Rule(str, choices=TENSORBOARD_LOGGERS), "all names mean our logger"
    )
    cache_size: int = _key(
        10_000, Rule(int, low=1), "accepted for the configs of BBRL; rows are never held back"
    )
    every_n_seconds: float = _key(10, Rule(float, low=0), "how often TensorBoard's file is flushed")
    modulo: int = _key(1, Rule(int, low=1), "log only steps rounded down to a multiple of this")
    verbose: bool = _key(False, Rule(bool), "print each value")
    log_dir: str | None = _key(
        None,
        Rule(str, optional=True),
        "TensorBoard's folder, anywhere: each run writes into <log_dir>/<base_dir>; null: "
        "outputs/tblogs",
    )


@dataclass
class CollectConfig:
    """What any episodic algorithm needs: how to collect and how to evaluate."""

    seed: int = _key(1, Rule(int, low=0, high=2**63 - 1), "seed of every random stream of the run")
    n_envs: int = _key(8, Rule(int, low=1, high=100_000), "training environments, in parallel")
    n_steps: int = _key(
        128,
        Rule(int, low=1, high=1_000_000),
        "length of a rollout, in each environment: transitions for PPOClip's `run`, rows for "
        "`iter_partial_episodes`",
    )
    max_epochs: int = _key(1000, Rule(int, low=1, high=10**12), "rollouts until training ends")
    eval_interval: int = _key(
        10_000, Rule(int, low=0), "environment steps between two evaluations, at least"
    )
    nb_evals: int = _key(
        10, Rule(int, low=1, high=100_000), "episodes of one evaluation, in parallel"
    )
    max_eval_steps: int | None = _key(
        None,
        Rule(int, low=1, optional=True),
        "longest episode of an evaluation; null: the environment's own limit, or 10 000",
    )


@dataclass
class AlgorithmConfig(CollectConfig):
    """PPO-clip."""

    discount_factor: float = _key(0.99, Rule(float, low=0, high=1), "γ")
    gae: float = _key(0.95, Rule(float, low=0, high=1), "λ of the advantage estimation")
    normalize_advantage: bool = _key(False, Rule(bool), "per minibatch, to mean 0, deviation 1")
    opt_epochs: int = _key(10, Rule(int, low=1, high=1_000_000), "passes over each rollout")
    batch_size: int = _key(
        256, Rule(int, low=0), "largest minibatch, in transitions; 0: the whole rollout"
    )
    clip_range: float = _key(
        0.2, Rule(float, low=0, low_allowed=False), "ε of the policy: |ratio - 1| beyond is clipped"
    )
    clip_range_vf: float = _key(
        0.0, Rule(float, low=0), "ε of the critic, in units of the return; 0: no clipping"
    )
    entropy_coef: float = _key(0.0, Rule(float, low=0), "weight of the entropy bonus")
    policy_coef: float = _key(1.0, Rule(float, low=0), "weight of the policy loss")
    critic_coef: float = _key(1.0, Rule(float, low=0), "weight of the value loss")
    max_grad_norm: float | None = _key(
        0.5, Rule(float, low=0, low_allowed=False, optional=True), "each network's; null: unlimited"
    )
    target_kl: float | None = _key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "the optimisation of a rollout ends before a step whose approx_kl exceeds 1.5 × this",
    )
    learning_rate_schedule: str = _key(
        "constant", Rule(str, choices=tuple(SCHEDULES)), "of optimizer.lr over the run"
    )
    clip_range_schedule: str = _key(
        "constant", Rule(str, choices=tuple(SCHEDULES)), "of clip_range and clip_range_vf"
    )
    policy_type: str = _key(
        "auto",
        Rule(str, choices=("auto", "DiscretePolicy", "GaussianPolicy")),
        "auto: by the action space",
    )
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)


@dataclass
class ComputeConfig:
    """What the run computes with. What `auto` chose is written into the run's config.yaml."""

    compile: str = _key(
        "auto",
        Rule(str, choices=("auto", "always", "never")),
        "compile the update; auto: when the run is long enough to repay the wait",
    )
    threads: Any = _key(
        "auto", Rule(int, low=1, words=("auto",)), "of torch; auto: by the size of a minibatch"
    )
    device: str = _key("auto", Rule(str, choices=("auto", "cpu", "cuda")), "auto: cpu")


_BASE_DIR = Rule(str)
_BASE_DIR_DOC = "folder of the run, below outputs/"
_SAVE_BEST_DOC = "write best/ at each better evaluation; false: only when the run ends"
_DEFAULT_OPTIMIZER = {"classname": "torch.optim.AdamW", "lr": 1e-3, "eps": 1e-5}


@dataclass
class EpisodicConfig:
    """What `EpisodicAlgo` reads; a student's other keys stand beside these."""

    base_dir: str = _key("${.gym_env.env_name}/run_${current_time:}", _BASE_DIR, _BASE_DIR_DOC)
    save_best: bool = _key(True, Rule(bool), _SAVE_BEST_DOC)
    gym_env: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    algorithm: CollectConfig = field(default_factory=CollectConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)


@dataclass
class PPOConfig:
    """The whole schema, for `PPOClip` and the command line."""

    base_dir: str = _key(
        "${.gym_env.env_name}/ppo-clip-S${.algorithm.seed}_${current_time:}",
        _BASE_DIR,
        _BASE_DIR_DOC,
    )
    save_best: bool = _key(True, Rule(bool), _SAVE_BEST_DOC)
    gym_env: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    optimizer: dict[str, Any] = _key(
        _DEFAULT_OPTIMIZER, Rule(dict), "`classname` (torch.optim.…) and its arguments"
    )
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    extra: dict[str, Any] = _key({}, Rule(dict), "anything you want to keep with the run")


def nested(key: Any) -> type | None:
    """The dataclass of a nested section, None for a plain key."""
    default = key.default_factory
    return cast("type", default) if is_dataclass(default) else None


def known_keys(schema: type = PPOConfig, prefix: str = "") -> dict[str, tuple[Rule, str]]:
    """Every key of a schema by its dotted name, with its rule and its meaning."""
    table: dict[str, tuple[Rule, str]] = {}
    for key in fields(schema):
        section = nested(key)
        if section is None:
            table[prefix + key.name] = (key.metadata["rule"], key.metadata["doc"])
        else:
            table |= known_keys(section, f"{prefix}{key.name}.")
    return table


def describe_keys() -> str:
    """Every key of the schema, one to a line: name, default, what is allowed, what it means."""
    lines = []
    for name, (rule, doc) in known_keys().items():
        default: Any = PPOConfig()
        for part in name.split("."):
            default = getattr(default, part)
        allowed = f"[{rule.describe()}]"
        lines.append(f"{name} = {default}\n    {doc} {allowed}")
    return "\n".join(lines)
