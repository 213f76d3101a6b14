"""Keys that have no meaning without one another: each alone is right, together they are not."""

import warnings
from collections.abc import Mapping
from typing import Any

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


def warn_of_idle_keys(algorithm: Any) -> None:
    """Say which keys of the `algorithm` section are set, and do nothing as the others are."""
    net = algorithm.architecture
    idle = {
        "architecture.shared_memory": (
            net.shared_memory and net.memory == "none",
            "architecture.memory is none",
        ),
        "sde_sample_freq": (
            algorithm.sde_sample_freq != -1 and not algorithm.use_sde,
            "use_sde is false",
        ),
        "global_grad_norm": (
            algorithm.global_grad_norm and algorithm.max_grad_norm is None,
            "max_grad_norm is null",
        ),
    }
    for key, (is_idle, why) in idle.items():
        if is_idle:
            warnings.warn(f"algorithm.{key} has no effect, since algorithm.{why}", stacklevel=2)
