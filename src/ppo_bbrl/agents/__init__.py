"""The agents: policies, critics, and their parts."""

from typing import TYPE_CHECKING

from ppo_bbrl.system.lazy import lazy_names

if TYPE_CHECKING:
    from ppo_bbrl.agents.base import Agent as Agent
    from ppo_bbrl.agents.base import Critic as Critic
    from ppo_bbrl.agents.base import KWAgentWrapper as KWAgentWrapper
    from ppo_bbrl.agents.base import Policy as Policy
    from ppo_bbrl.agents.base import copy_agent as copy_agent
    from ppo_bbrl.agents.base import device_of as device_of
    from ppo_bbrl.agents.base import evaluate_actions as evaluate_actions
    from ppo_bbrl.agents.base import has_memory as has_memory
    from ppo_bbrl.agents.base import predict_values as predict_values
    from ppo_bbrl.agents.continuous import ContinuousPolicy as ContinuousPolicy
    from ppo_bbrl.agents.continuous import SDEPolicy as SDEPolicy
    from ppo_bbrl.agents.critics import VAgent as VAgent
    from ppo_bbrl.agents.encoders import encoder as encoder
    from ppo_bbrl.agents.multi import CompositePolicy as CompositePolicy
    from ppo_bbrl.agents.multi import HeadPolicy as HeadPolicy
    from ppo_bbrl.agents.multi import MultiBinaryPolicy as MultiBinaryPolicy
    from ppo_bbrl.agents.multi import MultiDiscretePolicy as MultiDiscretePolicy
    from ppo_bbrl.agents.networks import build_ortho_mlp as build_ortho_mlp
    from ppo_bbrl.agents.policies import DiscretePolicy as DiscretePolicy
    from ppo_bbrl.agents.policies import GaussianPolicy as GaussianPolicy
    from ppo_bbrl.agents.recurrent import RecurrentCritic as RecurrentCritic
    from ppo_bbrl.agents.recurrent import RecurrentPolicy as RecurrentPolicy
    from ppo_bbrl.agents.shared import shared_agents as shared_agents

_HOME = {
    "RecurrentCritic": "ppo_bbrl.agents.recurrent",
    "RecurrentPolicy": "ppo_bbrl.agents.recurrent",
    "SDEPolicy": "ppo_bbrl.agents.continuous",
    "ContinuousPolicy": "ppo_bbrl.agents.continuous",
    "MultiDiscretePolicy": "ppo_bbrl.agents.multi",
    "MultiBinaryPolicy": "ppo_bbrl.agents.multi",
    "CompositePolicy": "ppo_bbrl.agents.multi",
    "HeadPolicy": "ppo_bbrl.agents.multi",
    "Agent": "ppo_bbrl.agents.base",
    "Critic": "ppo_bbrl.agents.base",
    "DiscretePolicy": "ppo_bbrl.agents.policies",
    "GaussianPolicy": "ppo_bbrl.agents.policies",
    "KWAgentWrapper": "ppo_bbrl.agents.base",
    "Policy": "ppo_bbrl.agents.base",
    "VAgent": "ppo_bbrl.agents.critics",
    "build_ortho_mlp": "ppo_bbrl.agents.networks",
    "copy_agent": "ppo_bbrl.agents.base",
    "device_of": "ppo_bbrl.agents.base",
    "encoder": "ppo_bbrl.agents.encoders",
    "predict_values": "ppo_bbrl.agents.base",
    "has_memory": "ppo_bbrl.agents.base",
    "evaluate_actions": "ppo_bbrl.agents.base",
    "shared_agents": "ppo_bbrl.agents.shared",
}
__getattr__ = lazy_names(__name__, _HOME)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
