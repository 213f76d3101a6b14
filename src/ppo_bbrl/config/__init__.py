"""Configurations: their keys, where they come from, and what they may say."""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from ppo_bbrl.config.loading import load_config as load_config
    from ppo_bbrl.config.loading import load_episodic_config as load_episodic_config
    from ppo_bbrl.config.loading import save_config as save_config
    from ppo_bbrl.config.schema import EpisodicConfig as EpisodicConfig
    from ppo_bbrl.config.schema import PPOConfig as PPOConfig
    from ppo_bbrl.errors import ConfigError as ConfigError

_HOME = {
    "ConfigError": "ppo_bbrl.errors",
    "EpisodicConfig": "ppo_bbrl.config.schema",
    "PPOConfig": "ppo_bbrl.config.schema",
    "load_config": "ppo_bbrl.config.loading",
    "load_episodic_config": "ppo_bbrl.config.loading",
    "save_config": "ppo_bbrl.config.loading",
}
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
