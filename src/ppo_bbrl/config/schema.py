"""The schema of a configuration: every key with its type, default, range and meaning."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, cast

from ppo_bbrl.config.rules import Rule
from ppo_bbrl.schedules import SCHEDULES

TENSORBOARD_LOGGERS = (
    "bbrl.utils.logger.TFLogger",
    "ppo_bbrl.metrics.Logger",  # its former name, found in older runs and configurations
    "ppo_bbrl.runs.metrics.Logger",
)
POLICY_TYPES = (
    "auto", "DiscretePolicy", "GaussianPolicy", "MultiDiscretePolicy", "MultiBinaryPolicy",
    "CompositePolicy",
)  # fmt: skip
VECTORIZATION_MODES = ("auto", "sync", "async", "vector_entry_point", "envpool")


def _key(default: Any, rule: Rule, doc: str) -> Any:
    """A configuration key: its default, the values it allows and its meaning."""
    metadata = {"rule": rule, "doc": doc}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


_SIZES = Rule(int, low=1, high=65_536, items=True)


@dataclass
class ArchitectureConfig:
    """The networks of the package's own agents."""

    actor_hidden_size: list[int] = _key([64, 64], _SIZES, "Sizes of the policy's hidden layers")
    critic_hidden_size: list[int] = _key([64, 64], _SIZES, "Sizes of the critic's hidden layers")
    activation: str = _key(
        "relu",
        Rule(str, choices=("relu", "tanh", "elu", "gelu", "leaky_relu", "silu")),
        "Activation function of the hidden layers (policies with relu or tanh act the fastest)",
    )
    features: str = _key(
        "auto",
        Rule(str, choices=("auto", "mlp", "cnn", "nature_cnn")),
        "How images are seen: flattened (mlp), by two small convolutions (cnn), by the network of "
        "the Nature paper on Atari (nature_cnn); auto: nature_cnn for uint8 images of at least "
        "36 × 36, cnn for smaller ones",
    )
    shared_trunk: bool = _key(
        False,
        Rule(bool),
        "Policy and critic share the network for images and the hidden layers; each has an output "
        "layer of its own. They are optimised together, with one clipped gradient",
    )
    ortho_init: bool = _key(
        True, Rule(bool), "Orthogonal initial weights, zero biases; false: torch's own, uniform"
    )
    hidden_gain: float = _key(
        2**0.5,
        Rule(float, low=0, low_allowed=False),
        "Gain of the orthogonal weights of hidden layers",
    )
    actor_output_gain: float = _key(
        0.01, Rule(float, low=0, low_allowed=False), "The same of the policy's output layer"
    )
    critic_output_gain: float = _key(
        1.0, Rule(float, low=0, low_allowed=False), "The same of the critic's output layer"
    )
    state_dependent_std: bool = _key(
        False, Rule(bool), "The network gives the log standard deviations of Box actions, too"
    )
    memory: str = _key(
        "none",
        Rule(str, choices=("none", "lstm", "gru")),
        "Memory of policy and critic, in front of their hidden layers, for tasks that do not show "
        "their whole state; minibatches are then made of environments (docs/memory.md)",
    )
    memory_size: int = _key(
        64, Rule(int, low=1, high=65_536), "Number of features that the memory gives"
    )
    shared_memory: bool = _key(
        False, Rule(bool), "Whether policy and critic have one memory together, or one each"
    )
    log_std_init: float = _key(
        0.0, Rule(float), "Initial log standard deviation of a Gaussian policy"
    )


@dataclass
class EnvironmentConfig:
    """The Gymnasium environment."""

    env_name: str = _key(
        "???",
        Rule(str),
        "Registered name of the environment; `module:Name-v0` imports the module first "
        "(`ppo-bbrl train` also looks in the current folder and next to the configuration file)",
    )
    env_args: dict[str, Any] = _key({}, Rule(dict), "Keyword arguments for the environment")
    vectorization: str = _key(
        "auto",
        Rule(str, choices=VECTORIZATION_MODES),
        "How the environments run in parallel; auto: the task's own vectorised implementation "
        "where it is known to be equivalent, otherwise sync; envpool: EnvPool's task of the same "
        "name (needs the extra `envpool`; videos show Gymnasium's version)",
    )
    action_mask: str = _key(
        "auto",
        Rule(str),
        "Masks of invalid actions (Discrete, MultiDiscrete): auto: info['action_mask'], a method "
        "action_masks(), or the key action_mask of a Dict observation, which the policy does not "
        "see then; none: no masks; or the name of the observation's key",
    )
    wrappers: list[Any] = _key(
        [],
        Rule(list),
        "Gymnasium wrappers, applied in this order: names such as FlattenObservation, or, with "
        "arguments, {classname: FrameStackObservation, stack_size: 4}",
    )


@dataclass
class LoggerConfig:
    """Logging to TensorBoard and CSV."""

    classname: str = _key(
        TENSORBOARD_LOGGERS[0],
        Rule(str, choices=TENSORBOARD_LOGGERS),
        "Logger; all of these names stand for ppo-bbrl's own",
    )
    cache_size: int = _key(
        10_000, Rule(int, low=1), "No effect: accepted because configurations of BBRL have it"
    )
    every_n_seconds: float = _key(
        10, Rule(float, low=0), "Seconds between flushes of TensorBoard's file"
    )
    modulo: int = _key(1, Rule(int, low=1), "Steps are rounded down to a multiple of this")
    verbose: bool = _key(False, Rule(bool), "Print every logged value")
    log_dir: str | None = _key(
        None,
        Rule(str, optional=True),
        "TensorBoard folder; each run writes to <log_dir>/<base_dir>; null: outputs/tblogs",
    )


@dataclass
class CollectConfig:
    """How any episodic algorithm collects transitions and evaluates."""

    seed: int = _key(1, Rule(int, low=0, high=2**63 - 1), "Seed of every random stream")
    n_envs: int = _key(
        8, Rule(int, low=1, high=100_000), "Number of training environments, run in parallel"
    )
    n_steps: int = _key(
        128,
        Rule(int, low=1, high=1_000_000),
        "Length of a rollout in each environment: transitions for PPOClip's `run`, rows for "
        "`iter_partial_episodes`",
    )
    max_epochs: int = _key(1000, Rule(int, low=1, high=10**12), "Number of rollouts in the run")
    eval_interval: int = _key(
        10_000, Rule(int, low=0), "Minimum number of environment steps between two evaluations"
    )
    nb_evals: int = _key(
        10, Rule(int, low=1, high=100_000), "Episodes per evaluation, run in parallel"
    )
    max_eval_steps: int | None = _key(
        None,
        Rule(int, low=1, optional=True),
        "Step limit of an evaluation episode; null: the environment's own limit, or 10,000",
    )


@dataclass
class AlgorithmConfig(CollectConfig):
    """PPO-clip."""

    discount_factor: float = _key(0.99, Rule(float, low=0, high=1), "Discount factor γ")
    gae: float = _key(
        0.95, Rule(float, low=0, high=1), "λ of generalised advantage estimation (GAE)"
    )
    normalize_advantage: bool = _key(
        False,
        Rule(bool),
        "Normalise the advantages of each minibatch to mean 0 and standard deviation 1",
    )
    normalize_observation: bool = _key(
        False,
        Rule(bool),
        "Normalise observations by their running mean and standard deviation; statistics are saved "
        "with the policy, and move after each update. Images and discrete parts stay as they are",
    )
    clip_observation: float | None = _key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Largest absolute value of what the networks see of observations, after normalising them "
        "(10 is usual); null: no limit",
    )
    normalize_reward: bool = _key(
        False,
        Rule(bool),
        "Divide rewards by the running standard deviation of the discounted return, for learning "
        "alone; logged returns are those of the environment",
    )
    clip_reward: float | None = _key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Largest absolute value of a reward that is learned from, after scaling it (10 is usual); "
        "null: no limit",
    )
    normalize_value: bool = _key(
        False,
        Rule(bool),
        "Let the critic's network give returns normalised by their running mean and standard "
        "deviation, its last layer adapted whenever these move (PopArt); clip_range_vf is in units "
        "of this deviation then",
    )
    opt_epochs: int = _key(10, Rule(int, low=1, high=1_000_000), "Passes over each rollout")
    batch_size: int = _key(
        256, Rule(int, low=0), "Maximum size of a minibatch, in transitions; 0: the whole rollout"
    )
    clip_range: float | None = _key(
        0.2,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Clip range ε of the policy: its probability ratio is clipped to [1 - ε, 1 + ε]; null: no "
        "clipping, as in the paper's other PPO (see kl_penalty)",
    )
    clip_range_high: float | None = _key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Another ε for the upper bound: the ratio is clipped to [1 - clip_range, 1 + this]; "
        "null: clip_range",
    )
    dual_clip: float | None = _key(
        None,
        Rule(float, low=1, low_allowed=False, optional=True),
        "Bound of the objective of bad actions: where the advantage A is negative it is at least "
        "this times A; null: no bound",
    )
    clip_range_vf: float = _key(
        0.0,
        Rule(float, low=0),
        "Clip range of the critic's values, in units of the return; 0: no clipping",
    )
    kl_penalty: float | None = _key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Initial weight β of a penalty on the KL divergence from the policy that acted; after each "
        "update β is doubled or halved where the divergence is beyond 1.5 times kl_target; null: "
        "no penalty. With clip_range: null this is the paper's other PPO",
    )
    kl_target: float = _key(
        0.01,
        Rule(float, low=0, low_allowed=False),
        "KL divergence of an update, in nats, that kl_penalty and learning_rate_schedule: "
        "adaptive_kl aim at",
    )
    entropy_coef: float = _key(0.0, Rule(float, low=0), "Weight of the entropy bonus")
    policy_coef: float = _key(1.0, Rule(float, low=0), "Weight of the policy loss")
    critic_coef: float = _key(1.0, Rule(float, low=0), "Weight of the value loss")
    max_grad_norm: float | None = _key(
        0.5,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Maximum norm of each network's gradient; null: no clipping",
    )
    global_grad_norm: bool = _key(
        False,
        Rule(bool),
        "Apply max_grad_norm to the gradients of both networks as one, as where they share weights",
    )
    recompute_advantage: bool = _key(
        False,
        Rule(bool),
        "Compute values, advantages and returns anew for each pass over a rollout, with the critic "
        "as it is then",
    )
    target_kl: float | None = _key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Target KL divergence: an update ends before the first step whose approx_kl exceeds 1.5 "
        "times this; null: no limit",
    )
    learning_rate_schedule: str = _key(
        "constant",
        Rule(str, choices=(*SCHEDULES, "adaptive_kl")),
        "Schedule of optimizer.lr over the run; adaptive_kl: after each update divided by 1.5 if "
        "its KL divergence is above 2 kl_target, multiplied by 1.5 if below kl_target / 2, within "
        "[1e-5, 1e-2]",
    )
    clip_range_schedule: str = _key(
        "constant",
        Rule(str, choices=tuple(SCHEDULES)),
        "Schedule of clip_range, clip_range_high and clip_range_vf over the run",
    )
    entropy_schedule: str = _key(
        "constant", Rule(str, choices=tuple(SCHEDULES)), "Schedule of entropy_coef over the run"
    )
    squash_actions: bool = _key(
        False,
        Rule(bool),
        "Squash the actions of a Gaussian policy by tanh into the bounds of a Box, which must be "
        "finite; false: they are clipped for the environment",
    )
    use_sde: bool = _key(
        False, Rule(bool), "Generalised state-dependent exploration (gSDE), for Box actions"
    )
    sde_sample_freq: int = _key(
        -1,
        Rule(int, low=-1),
        "Steps after which gSDE draws new noise matrices; -1: only when a rollout begins",
    )
    policy_type: str = _key(
        "auto",
        Rule(str, choices=POLICY_TYPES),
        "Policy class; auto: chosen by the action space",
    )
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)


@dataclass
class ComputeConfig:
    """How the run computes. The run's config.yaml records what `auto` chose."""

    compile: str = _key(
        "auto",
        Rule(str, choices=("auto", "always", "never")),
        "Compile the update; auto: if the run is long enough to make up for compiling",
    )
    threads: Any = _key(
        "auto", Rule(int, low=1, words=("auto",)), "torch threads; auto: by minibatch size"
    )
    device: str = _key(
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

    base_dir: str = _key("${.gym_env.env_name}/run_${current_time:}", _BASE_DIR, _BASE_DIR_DOC)
    save_best: bool = _key(True, Rule(bool), _SAVE_BEST_DOC)
    save_every: int = _key(0, Rule(int, low=0), _SAVE_EVERY_DOC)
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
    save_every: int = _key(100, Rule(int, low=0), _SAVE_EVERY_DOC)
    gym_env: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    optimizer: dict[str, Any] = _key(
        _DEFAULT_OPTIMIZER, Rule(dict), "Optimiser: its `classname` (torch.optim.…) and arguments"
    )
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    extra: dict[str, Any] = _key({}, Rule(dict), "Anything else to keep with the run")


def nested(key: Any) -> type | None:
    """The dataclass of a nested section; None for a plain key."""
    default = key.default_factory
    return cast("type", default) if is_dataclass(default) else None


def known_keys(schema: type = PPOConfig, prefix: str = "") -> dict[str, tuple[Rule, str]]:
    """Every key of a schema: its dotted name, with its rule and meaning."""
    table: dict[str, tuple[Rule, str]] = {}
    for key in fields(schema):
        section = nested(key)
        if section is None:
            table[prefix + key.name] = (key.metadata["rule"], key.metadata["doc"])
        else:
            table |= known_keys(section, f"{prefix}{key.name}.")
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
