"""The names, meanings and units of metrics."""

from typing import NamedTuple


class Metric(NamedTuple):
    """The name of a metric, its meaning (including its sign) and its unit."""

    name: str
    description: str
    unit: str

    @property
    def tag(self) -> str:
        """Its name in TensorBoard, chosen so that alphabetical order puts returns first."""
        if self.name.startswith(("episode/", "reward/")):
            return self.name
        return f"{'time' if self.name == 'steps_per_second' else 'train'}/{self.name}"


_TABLE = (
    ("critic_loss", "Value loss × critic_coef, as the critic minimises it.", "return²"),
    ("entropy_loss", "Mean entropy of the policy: the entropy itself, not its negative.", "nats"),
    ("actor_loss", "Clipped surrogate objective, to be maximised.", "advantage"),
    ("advantage", "Mean advantage in the policy loss, over the minibatches.", "advantage"),
    ("reward/mean", "Mean return of the evaluation episodes, to be maximised.", "return"),
    ("reward/max", "Return of the best evaluation episode.", "return"),
    ("reward/min", "Return of the worst evaluation episode.", "return"),
    ("reward/median", "Median return of the evaluation episodes.", "return"),
    ("approx_kl", "KL divergence from the policy that acted to the new one (k3 estimate).", "nats"),
    ("clip_fraction", "Fraction of transitions whose ratio leaves the clip range.", "fraction"),
    ("value_clip_fraction", "Fraction of transitions whose value leaves its range.", "fraction"),
    ("explained_variance", "Fraction of the returns' variance that the critic predicts.", "≤ 1"),
    ("grad_norm/policy", "Norm of the policy's gradient, before clipping.", "norm"),
    ("grad_norm/critic", "Norm of the critic's gradient, before clipping.", "norm"),
    ("grad_norm/shared", "Norm of both networks' joint gradient, before clipping.", "norm"),
    ("learning_rate", "Learning rate of the optimiser in this update.", "rate"),
    ("clip_range", "Clip range of the probability ratio in this update.", "ratio"),
    ("entropy_coef", "Weight of the entropy bonus in this update.", "nats⁻¹"),
    ("kl_penalty", "Weight β of the KL penalty in this update.", "nats⁻¹"),
    ("kl_divergence", "KL divergence of the whole update, measured after it.", "nats"),
    ("curiosity_loss", "How new observations are: mean error of their prediction.", "features²"),
    ("curiosity_value_loss", "Value loss of curiosity's critic × critic_coef.", "return²"),
    ("steps_per_second", "Environment steps per second, updates included.", "steps/s"),
    ("env_restarts", "Environments that took the place of failed ones, so far.", "environments"),
    ("episode/return", "Mean return of the training episodes ended in this rollout.", "return"),
    ("episode/length", "Mean length of the training episodes ended in this rollout.", "steps"),
)
METRICS: dict[str, Metric] = {row[0]: Metric(*row) for row in _TABLE}
#: those that only some runs have, by their configuration: no columns of the others' tables
OF_SOME_RUNS = frozenset(
    ("grad_norm/policy", "grad_norm/critic", "grad_norm/shared", "entropy_coef", "kl_penalty")
) | {"kl_divergence", "env_restarts", "curiosity_loss", "curiosity_value_loss"}
NAMES_OF_TAGS = {metric.tag: name for name, metric in METRICS.items()}


# Names of the same metrics in other libraries (Stable-Baselines3, CleanRL).
_ALIASES = {
    "policy_loss": "actor_loss",
    "policy_gradient_loss": "actor_loss",
    "value_loss": "critic_loss",
    "entropy": "entropy_loss",
    "clipfrac": "clip_fraction",
    "lr": "learning_rate",
    "fps": "steps_per_second",
    "SPS": "steps_per_second",
    "mean_reward": "reward/mean",
    "ep_rew_mean": "episode/return",
    "ep_len_mean": "episode/length",
    "episodic_return": "episode/return",
    "episodic_length": "episode/length",
}


def metric_name(name: str) -> str:
    """The name of a metric in `metrics.csv`.

    Args:
        name: this name, the metric's tag in TensorBoard, or its usual name elsewhere, such as
            `value_loss` or `losses/value_loss` for `critic_loss`; any other name is returned as it
            is. The values keep our signs: `policy_loss` finds the objective, which is maximised.
    """
    return NAMES_OF_TAGS.get(name) or _ALIASES.get(name.rpartition("/")[2], name)


def in_words(metric: str) -> str:
    """The name of a metric; that of a gradient's norm as what it is the norm of."""
    kind, _, part = metric.partition("grad_norm/")
    return metric if kind else f"the gradient (of the {part.replace('shared', 'two networks')})"
