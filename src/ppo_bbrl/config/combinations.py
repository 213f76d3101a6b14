"""Keys that have no meaning without one another: each alone is right, together they are not."""

import warnings
from collections.abc import Mapping
from typing import Any

from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.errors import ConfigError


def check_combinations(algorithm: Mapping[str, Any]) -> None:
    """Refuse values of the `algorithm` section that contradict each other.

    Raises:
        ConfigError: names both keys.
    """
    if algorithm["clip_range"] is None and algorithm["clip_range_high"] is not None:
        raise ConfigError(
            f"algorithm.clip_range_high = {algorithm['clip_range_high']!r}: must be null where "
            "algorithm.clip_range is null, which means no clipping"
        )
    of_policy, of_critic = (algorithm[key] for key in ("policy_keys", "critic_keys"))
    for key in ("shared_trunk", "shared_memory"):
        if algorithm["architecture"][key] and of_policy != of_critic:
            name, keys = ("policy", of_policy) if of_critic is None else ("critic", of_critic)
            raise ConfigError(
                f"algorithm.{name}_keys = {keys!r}: policy and critic must see the same with "
                f"algorithm.architecture.{key}"
            )


def warn_of_idle_keys(algorithm: Any, *, continuous: bool = True) -> None:
    """Say which keys of the `algorithm` section are set, and do nothing as the others are.

    Args:
        algorithm: the section.
        continuous: whether a part of the action space is a Box.
    """
    net, no_kl = algorithm.architecture, algorithm.kl_penalty is None
    unclipped = algorithm.clip_range is None and not algorithm.clip_range_vf
    no_kl = no_kl and algorithm.learning_rate_schedule != "adaptive_kl"
    # By key: whether nothing reads it, and why.
    idle = {
        "architecture.shared_memory": (net.memory == "none", "architecture.memory is none"),
        "architecture.memory_size": (net.memory == "none", "architecture.memory is none"),
        "architecture.log_std_init": (not continuous, "no action is continuous"),
        "sde_sample_freq": (not algorithm.use_sde, "use_sde is false"),
        "global_grad_norm": (algorithm.max_grad_norm is None, "max_grad_norm is null"),
        "kl_target": (
            no_kl,
            "kl_penalty is null and learning_rate_schedule is not adaptive_kl",
        ),
        "entropy_schedule": (not algorithm.entropy_coef, "entropy_coef is 0"),
        "clip_range_schedule": (unclipped, "clip_range is null and clip_range_vf is 0"),
        "curiosity_coef": (algorithm.curiosity == "none", "curiosity is none"),
    }
    if not (algorithm.policy_coef or algorithm.critic_coef or algorithm.entropy_coef):
        warnings.warn(
            "algorithm.policy_coef, critic_coef and entropy_coef are 0: nothing is learned but by "
            "losses of your own",
            stacklevel=2,
        )
    for key, (is_idle, why) in idle.items():
        if is_idle and _is_set(algorithm, key):
            reason = why if why.startswith("no ") else f"algorithm.{why}"
            warnings.warn(f"algorithm.{key} has no effect, since {reason}", stacklevel=2)


def _is_set(algorithm: Any, key: str) -> bool:
    """Whether a key has another value than its default."""
    value, default = algorithm, AlgorithmConfig()
    for name in key.split("."):
        value, default = getattr(value, name), getattr(default, name)
    return bool(value != default)
