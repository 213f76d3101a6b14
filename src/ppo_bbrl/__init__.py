"""ppo-bbrl: PPO on BBRL's agents and workspace.

Importing the package loads nothing: each name below comes with its module when it is first used.
"""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from bbrl.agents import Agents as Agents
    from bbrl.agents import TemporalAgent as TemporalAgent

    from ppo_bbrl.agents.base import Agent as Agent
    from ppo_bbrl.agents.base import KWAgentWrapper as KWAgentWrapper
    from ppo_bbrl.agents.build import seeded as seeded
    from ppo_bbrl.agents.continuous import ContinuousPolicy as ContinuousPolicy
    from ppo_bbrl.agents.continuous import SDEPolicy as SDEPolicy
    from ppo_bbrl.agents.critics import VAgent as VAgent
    from ppo_bbrl.agents.multi import CompositePolicy as CompositePolicy
    from ppo_bbrl.agents.multi import MultiBinaryPolicy as MultiBinaryPolicy
    from ppo_bbrl.agents.multi import MultiDiscretePolicy as MultiDiscretePolicy
    from ppo_bbrl.agents.networks import build_ortho_mlp as build_ortho_mlp
    from ppo_bbrl.agents.policies import DiscretePolicy as DiscretePolicy
    from ppo_bbrl.agents.policies import GaussianPolicy as GaussianPolicy
    from ppo_bbrl.agents.recurrent import RecurrentCritic as RecurrentCritic
    from ppo_bbrl.agents.recurrent import RecurrentPolicy as RecurrentPolicy
    from ppo_bbrl.agents.shared import shared_agents as shared_agents
    from ppo_bbrl.checking.check import check_env as check_env
    from ppo_bbrl.config.loading import load_config as load_config
    from ppo_bbrl.config.optimizers import copy_parameters as copy_parameters
    from ppo_bbrl.config.optimizers import setup_optimizer as setup_optimizer
    from ppo_bbrl.episodic import EpisodicAlgo as EpisodicAlgo
    from ppo_bbrl.episodic import iter_episodes as iter_episodes
    from ppo_bbrl.episodic import iter_partial_episodes as iter_partial_episodes
    from ppo_bbrl.errors import ConfigError as ConfigError
    from ppo_bbrl.experiments.seeds import train_seeds as train_seeds
    from ppo_bbrl.ppo import PPOClip as PPOClip
    from ppo_bbrl.ppo import run as run
    from ppo_bbrl.runs.export import export_policy as export_policy
    from ppo_bbrl.runs.notebook import setup_tensorboard as setup_tensorboard
    from ppo_bbrl.runs.trackers import Tracker as Tracker
    from ppo_bbrl.runs.trained_policy import load as load
    from ppo_bbrl.workspace.table import Workspace as Workspace

__version__ = "0.1.0"

_HOME = {
    "RecurrentCritic": "ppo_bbrl.agents.recurrent",
    "RecurrentPolicy": "ppo_bbrl.agents.recurrent",
    "SDEPolicy": "ppo_bbrl.agents.continuous",
    "ContinuousPolicy": "ppo_bbrl.agents.continuous",
    "MultiDiscretePolicy": "ppo_bbrl.agents.multi",
    "MultiBinaryPolicy": "ppo_bbrl.agents.multi",
    "CompositePolicy": "ppo_bbrl.agents.multi",
    "Agent": "ppo_bbrl.agents.base",
    "Agents": "bbrl.agents",
    "ConfigError": "ppo_bbrl.errors",
    "DiscretePolicy": "ppo_bbrl.agents.policies",
    "EpisodicAlgo": "ppo_bbrl.episodic",
    "GaussianPolicy": "ppo_bbrl.agents.policies",
    "KWAgentWrapper": "ppo_bbrl.agents.base",
    "PPOClip": "ppo_bbrl.ppo",
    "TemporalAgent": "bbrl.agents",
    "Tracker": "ppo_bbrl.runs.trackers",
    "VAgent": "ppo_bbrl.agents.critics",
    "Workspace": "ppo_bbrl.workspace.table",
    "build_ortho_mlp": "ppo_bbrl.agents.networks",
    "check_env": "ppo_bbrl.checking.check",
    "copy_parameters": "ppo_bbrl.config.optimizers",
    "export_policy": "ppo_bbrl.runs.export",
    "iter_episodes": "ppo_bbrl.episodic",
    "iter_partial_episodes": "ppo_bbrl.episodic",
    "load": "ppo_bbrl.runs.trained_policy",
    "load_config": "ppo_bbrl.config.loading",
    "run": "ppo_bbrl.ppo",
    "seeded": "ppo_bbrl.agents.build",
    "setup_optimizer": "ppo_bbrl.config.optimizers",
    "setup_tensorboard": "ppo_bbrl.runs.notebook",
    "shared_agents": "ppo_bbrl.agents.shared",
    "train_seeds": "ppo_bbrl.experiments.seeds",
}
__all__ = list(_HOME)
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
