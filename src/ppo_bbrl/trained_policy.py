"""What a run has learned, for other programs: its policy, made again from its files."""

from dataclasses import dataclass
from typing import Any

from gymnasium import Space

from ppo_bbrl.agents import DiscretePolicy, GaussianPolicy, KWAgentWrapper
from ppo_bbrl.build import build_policy
from ppo_bbrl.checkpoint import SavedPolicy, class_name, restore
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.errors import UserError, printable

_OF_THE_PACKAGE = (class_name(DiscretePolicy), class_name(GaussianPolicy))


@dataclass
class _Spaces:
    observation_space: Space[Any]
    action_space: Space[Any]


def restore_policy(saved: SavedPolicy) -> KWAgentWrapper:
    """The greedy policy of a run, made from its configuration, its spaces and its weights.

    Raises:
        UserError: if the run used an agent of the user's own, which no configuration makes.
    """
    if saved.agent not in _OF_THE_PACKAGE:
        raise _own_agent(saved)
    try:
        policy = build_policy(saved.cfg, _spaces(saved)).with_prefix("current_policy/")
        greedy = KWAgentWrapper(
            policy, stochastic=False, predict_proba=False, compute_entropy=False
        )
        # A policy that was registered by hand may have been saved as it is.
        wrapped = any(name.startswith("wrapped.") for name in saved.state)
        restore(greedy if wrapped else policy, saved)
    except (UserError, AttributeError) as error:  # a student's configuration lacks keys
        if saved.own_agent:
            raise _own_agent(saved) from error
        raise
    return greedy


def _spaces(saved: SavedPolicy) -> _Spaces:
    if saved.observation_space is not None and saved.action_space is not None:
        return _Spaces(saved.observation_space, saved.action_space)
    gym_env = saved.cfg.gym_env  # of an old file
    env = EnvAgent(
        gym_env.env_name, 1, env_args=gym_env.env_args, vectorization=gym_env.vectorization
    )
    env.close()
    return _Spaces(env.observation_space, env.action_space)


def _own_agent(saved: SavedPolicy) -> UserError:
    return UserError(
        f"the saved policy is a {printable(saved.agent)}, an agent of your own: make it in your "
        "program, and give it the weights with restore(policy, load_policy(folder)) of "
        "ppo_bbrl.checkpoint"
    )
