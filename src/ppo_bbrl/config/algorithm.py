"""The keys of `algorithm`: how PPO collects, learns and explores, and its networks."""

from dataclasses import dataclass, field

from ppo_bbrl.config.rules import Rule, key
from ppo_bbrl.schedules import SCHEDULES

POLICY_TYPES = (
    "auto", "DiscretePolicy", "GaussianPolicy", "MultiDiscretePolicy", "MultiBinaryPolicy",
    "CompositePolicy", "HeadPolicy",
)  # fmt: skip
_SIZES = Rule(int, low=1, high=65_536, items=True)
_KEYS = Rule(str, items=True, least=1, optional=True)


@dataclass
class ArchitectureConfig:
    """The networks of the package's own agents."""

    actor_hidden_size: list[int] = key([64, 64], _SIZES, "Sizes of the policy's hidden layers")
    critic_hidden_size: list[int] = key([64, 64], _SIZES, "Sizes of the critic's hidden layers")
    activation: str = key(
        "relu",
        Rule(str, choices=("relu", "tanh", "elu", "gelu", "leaky_relu", "silu")),
        "Activation function of the hidden layers (policies with relu or tanh act the fastest)",
    )
    features: str = key(
        "auto",
        Rule(str, choices=("auto", "mlp", "cnn", "nature_cnn")),
        "How images are seen: flattened (mlp), by two small convolutions (cnn), by the network of "
        "the Nature paper on Atari (nature_cnn); auto: nature_cnn for uint8 images of at least "
        "36 × 36, cnn for smaller ones",
    )
    channels: str = key(
        "auto",
        Rule(str, choices=("auto", "first", "last")),
        "The axis of images that channels (or grey frames) are in; auto: the shorter one of the "
        "first and the last, before which frames may be stacked",
    )
    shared_trunk: bool = key(
        False,
        Rule(bool),
        "Policy and critic share the network for images and the hidden layers; each has an output "
        "layer of its own. They are optimised together, with one clipped gradient",
    )
    ortho_init: bool = key(
        True, Rule(bool), "Orthogonal initial weights, zero biases; false: torch's own, uniform"
    )
    hidden_gain: float = key(
        2**0.5,
        Rule(float, low=0, low_allowed=False),
        "Gain of the orthogonal weights of hidden layers",
    )
    actor_output_gain: float = key(
        0.01, Rule(float, low=0, low_allowed=False), "Gain of the policy's output layer"
    )
    critic_output_gain: float = key(
        1.0, Rule(float, low=0, low_allowed=False), "Gain of the critic's output layer"
    )
    state_dependent_std: bool = key(
        False, Rule(bool), "The network also gives the log standard deviations of Box actions"
    )
    memory: str = key(
        "none",
        Rule(str, choices=("none", "lstm", "gru")),
        "Memory of policy and critic, in front of their hidden layers, for tasks that do not show "
        "their whole state; minibatches are then made of environments (docs/memory.md)",
    )
    memory_size: int = key(
        64, Rule(int, low=1, high=65_536), "Number of features that the memory gives"
    )
    shared_memory: bool = key(
        False, Rule(bool), "Policy and critic share one memory; false: each has its own"
    )
    log_std_init: float = key(
        0.0, Rule(float), "Initial log standard deviation of a Gaussian policy"
    )


@dataclass
class CollectConfig:
    """How any episodic algorithm collects transitions and evaluates."""

    seed: int = key(1, Rule(int, low=0, high=2**63 - 1), "Seed of every random stream")
    n_envs: int = key(
        8, Rule(int, low=1, high=100_000), "Number of training environments, run in parallel"
    )
    n_steps: int = key(
        128,
        Rule(int, low=1, high=1_000_000),
        "Length of a rollout in each environment: transitions for PPOClip's `run`, rows for "
        "`iter_partial_episodes`",
    )
    max_epochs: int = key(1000, Rule(int, low=1, high=10**12), "Number of rollouts in the run")
    eval_interval: int = key(
        10_000, Rule(int, low=0), "Minimum number of environment steps between two evaluations"
    )
    nb_evals: int = key(
        10, Rule(int, low=1, high=100_000), "Episodes per evaluation, run in parallel"
    )
    max_eval_steps: int | None = key(
        None,
        Rule(int, low=1, optional=True),
        "Step limit of an evaluation episode; null: the environment's own limit, or 10,000",
    )


@dataclass
class AlgorithmConfig(CollectConfig):
    """PPO-clip."""

    discount_factor: float = key(0.99, Rule(float, low=0, high=1), "Discount factor γ")
    gae: float = key(
        0.95, Rule(float, low=0, high=1), "λ of generalised advantage estimation (GAE)"
    )
    normalize_advantage: bool = key(
        False,
        Rule(bool),
        "Normalise the advantages of each minibatch to mean 0 and standard deviation 1",
    )
    normalize_observation: bool = key(
        False,
        Rule(bool),
        "Normalise observations by their running mean and standard deviation; statistics are saved "
        "with the policy, and move after each update. Images and discrete parts stay as they are",
    )
    clip_observation: float | None = key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Largest absolute value of what the networks see of observations, after normalising them "
        "(10 is usual); null: no limit",
    )
    normalize_reward: bool = key(
        False,
        Rule(bool),
        "Divide rewards by the running standard deviation of the discounted return, for learning "
        "alone; logged returns are those of the environment",
    )
    clip_reward: float | None = key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Largest absolute value of a reward that is learned from, after scaling it (10 is usual); "
        "null: no limit",
    )
    normalize_value: bool = key(
        False,
        Rule(bool),
        "Let the critic's network give returns normalised by their running mean and standard "
        "deviation, its last layer adapted whenever these move (PopArt); clip_range_vf is in units "
        "of this deviation then",
    )
    policy_keys: list[str] | None = key(
        None,
        _KEYS,
        "The keys of a Dict observation that the policy sees, of a Dict within it as a/b, or a for "
        "all of it; null: all",
    )
    critic_keys: list[str] | None = key(
        None,
        _KEYS,
        "The same for the critic, which may see what the policy does not, since it is not needed "
        "for acting (docs/ppo.md)",
    )
    opt_epochs: int = key(10, Rule(int, low=1, high=1_000_000), "Passes over each rollout")
    batch_size: int = key(
        256, Rule(int, low=0), "Maximum size of a minibatch, in transitions; 0: the whole rollout"
    )
    clip_range: float | None = key(
        0.2,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Clip range ε of the policy: its probability ratio is clipped to [1 - ε, 1 + ε]; null: no "
        "clipping, as in the paper's other PPO (see kl_penalty)",
    )
    clip_range_high: float | None = key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Another ε for the upper bound: the ratio is clipped to [1 - clip_range, 1 + this]; "
        "null: clip_range",
    )
    dual_clip: float | None = key(
        None,
        Rule(float, low=1, low_allowed=False, optional=True),
        "Bound of the objective of bad actions: where the advantage A is negative it is at least "
        "this times A; null: no bound",
    )
    clip_range_vf: float = key(
        0.0,
        Rule(float, low=0),
        "Clip range of the critic's values, in units of the return; 0: no clipping",
    )
    kl_penalty: float | None = key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Initial weight β of a penalty on the KL divergence from the policy that acted; after each "
        "update β is doubled or halved where the divergence is beyond 1.5 times kl_target; null: "
        "no penalty. With clip_range: null this is the paper's other PPO",
    )
    kl_target: float = key(
        0.01,
        Rule(float, low=0, low_allowed=False),
        "KL divergence of an update, in nats, that kl_penalty and learning_rate_schedule: "
        "adaptive_kl aim at",
    )
    entropy_coef: float = key(0.0, Rule(float, low=0), "Weight of the entropy bonus")
    policy_coef: float = key(1.0, Rule(float, low=0), "Weight of the policy loss")
    critic_coef: float = key(1.0, Rule(float, low=0), "Weight of the value loss")
    max_grad_norm: float | None = key(
        0.5,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Maximum norm of each network's gradient; null: no clipping",
    )
    global_grad_norm: bool = key(
        False,
        Rule(bool),
        "Apply max_grad_norm to the gradients of both networks as one, as where they share weights",
    )
    recompute_advantage: bool = key(
        False,
        Rule(bool),
        "Compute values, advantages and returns anew for each pass over a rollout, with the critic "
        "as it is then",
    )
    target_kl: float | None = key(
        None,
        Rule(float, low=0, low_allowed=False, optional=True),
        "Target KL divergence: an update ends before the first step whose approx_kl exceeds 1.5 "
        "times this; null: no limit",
    )
    learning_rate_schedule: str = key(
        "constant",
        Rule(str, choices=(*SCHEDULES, "adaptive_kl")),
        "Schedule of optimizer.lr over the run; adaptive_kl: after each update divided by 1.5 if "
        "its KL divergence is above 2 kl_target, multiplied by 1.5 if below kl_target / 2, within "
        "[1e-5, 1e-2]",
    )
    clip_range_schedule: str = key(
        "constant",
        Rule(str, choices=tuple(SCHEDULES)),
        "Schedule of clip_range, clip_range_high and clip_range_vf over the run",
    )
    entropy_schedule: str = key(
        "constant", Rule(str, choices=tuple(SCHEDULES)), "Schedule of entropy_coef over the run"
    )
    squash_actions: bool = key(
        False,
        Rule(bool),
        "Squash the actions of a Gaussian policy by tanh into the bounds of a Box, which must be "
        "finite; false: they are clipped for the environment",
    )
    use_sde: bool = key(
        False, Rule(bool), "Generalised state-dependent exploration (gSDE), for Box actions"
    )
    sde_sample_freq: int = key(
        -1,
        Rule(int, low=-1),
        "Steps after which gSDE draws new noise matrices; -1: only when a rollout begins",
    )
    curiosity: str = key(
        "none",
        Rule(str, choices=("none", "rnd")),
        "A reward of the algorithm's own for observations that were rarely seen; rnd: random "
        "network distillation, with a value of its own (docs/ppo.md)",
    )
    curiosity_coef: float = key(
        0.5,
        Rule(float, low=0),
        "Weight of curiosity's advantages, which are added to those of the task",
    )
    policy_type: str = key(
        "auto",
        Rule(str, choices=POLICY_TYPES),
        "Policy class; auto: chosen by the action space",
    )
    architecture: ArchitectureConfig = field(default_factory=ArchitectureConfig)
