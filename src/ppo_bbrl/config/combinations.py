"""Keys that have no meaning without one another: each alone is right, together they are not."""

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
