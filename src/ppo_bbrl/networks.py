"""The networks of the agents, under the name that notebooks and documents use."""

from ppo_bbrl.agents.encoders import FlatOrOneHot, Flatten, MultiOneHot, OneHot
from ppo_bbrl.agents.networks import ACTIVATIONS, MLP, build_ortho_mlp

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "FlatOrOneHot",
    "Flatten",
    "MultiOneHot",
    "OneHot",
    "build_ortho_mlp",
]
