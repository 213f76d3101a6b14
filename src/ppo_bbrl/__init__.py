"""ppo-bbrl: PPO on BBRL's agents and workspace.

Importing the package loads nothing: each name below comes with its module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bbrl.agents import Agents, TemporalAgent

    from ppo_bbrl.agents import Agent, DiscretePolicy, GaussianPolicy, KWAgentWrapper, VAgent
    from ppo_bbrl.build import seeded
    from ppo_bbrl.config import ConfigError, load_config
    from ppo_bbrl.episodic import EpisodicAlgo, iter_episodes, iter_partial_episodes
    from ppo_bbrl.networks import build_ortho_mlp
    from ppo_bbrl.notebook import setup_tensorboard
    from ppo_bbrl.optimizers import copy_parameters, setup_optimizer
    from ppo_bbrl.ppo import PPOClip, run
    from ppo_bbrl.shared_trunk import shared_agents
    from ppo_bbrl.trained_policy import load
    from ppo_bbrl.workspace import Workspace

__version__ = "0.1.0"

_HOME = {
    "Agent": "ppo_bbrl.agents",
    "Agents": "bbrl.agents",
    "ConfigError": "ppo_bbrl.config",
    "DiscretePolicy": "ppo_bbrl.agents",
    "EpisodicAlgo": "ppo_bbrl.episodic",
    "GaussianPolicy": "ppo_bbrl.agents",
    "KWAgentWrapper": "ppo_bbrl.agents",
    "PPOClip": "ppo_bbrl.ppo",
    "TemporalAgent": "bbrl.agents",
    "VAgent": "ppo_bbrl.agents",
    "Workspace": "ppo_bbrl.workspace",
    "build_ortho_mlp": "ppo_bbrl.networks",
    "copy_parameters": "ppo_bbrl.optimizers",
    "iter_episodes": "ppo_bbrl.episodic",
    "iter_partial_episodes": "ppo_bbrl.episodic",
    "load": "ppo_bbrl.trained_policy",
    "load_config": "ppo_bbrl.config",
    "run": "ppo_bbrl.ppo",
    "seeded": "ppo_bbrl.build",
    "setup_optimizer": "ppo_bbrl.optimizers",
    "setup_tensorboard": "ppo_bbrl.notebook",
    "shared_agents": "ppo_bbrl.shared_trunk",
}

__all__ = [
    "Agent",
    "Agents",
    "ConfigError",
    "DiscretePolicy",
    "EpisodicAlgo",
    "GaussianPolicy",
    "KWAgentWrapper",
    "PPOClip",
    "TemporalAgent",
    "VAgent",
    "Workspace",
    "build_ortho_mlp",
    "copy_parameters",
    "iter_episodes",
    "iter_partial_episodes",
    "load",
    "load_config",
    "run",
    "seeded",
    "setup_optimizer",
    "setup_tensorboard",
    "shared_agents",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ppo_bbrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
