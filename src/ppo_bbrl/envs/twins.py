"""Which vectorised implementations are the same task as the single environment.

A task may be registered with a second implementation that runs many environments at once. It is
not always the same task: Atari's clips rewards, shows other images and has no sticky actions.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import VectorEnv

from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.errors import one_line

# Implementations that test_twins.py has compared step by step: the pair of entry points, and the
# arguments, besides the time limit, that the comparison covers.
_TWINS = {
    (
        "gymnasium.envs.classic_control.cartpole:CartPoleEnv",
        "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv",
    ): {"sutton_barto_reward"},
}
_LIMIT = "max_episode_steps"


def limit_of(spec: EnvSpec, env_args: Mapping[str, Any]) -> int | None:
    """The time limit of a task's episodes, in steps; None if there is none."""
    limit = env_args.get(_LIMIT, spec.max_episode_steps)
    return None if limit is None or limit < 0 else int(limit)


def is_same_task(spec: EnvSpec, env_args: Mapping[str, Any], wrappers: Sequence[Wrapper]) -> bool:
    """Whether the vectorised implementation is known to be the same task, with these arguments."""
    compared = _TWINS.get(_entry_points(spec))
    return (
        compared is not None
        and {*spec.kwargs, *(env_args.keys() - {_LIMIT})} <= compared
        and limit_of(spec, env_args) is not None
        and not wrappers
        and not spec.additional_wrappers
    )


def what_is_lost(spec: EnvSpec, env_args: Mapping[str, Any], wrappers: Sequence[Wrapper]) -> str:
    """What the vectorised implementation would ignore, judging by its signature.

    Raises:
        Exception: of any kind, if the implementation cannot be imported.
    """
    creator = spec.vector_entry_point
    if creator is None:
        return ""  # Gymnasium says so
    if wrappers:
        return "takes no wrappers"
    if spec.additional_wrappers:
        return "lacks the wrappers that the task is registered with"
    made_by: Any = load_env_creator(creator) if isinstance(creator, str) else creator
    parameters = inspect.signature(made_by).parameters
    for name in {*spec.kwargs, *env_args} - {_LIMIT}:
        if name not in parameters:
            return f"has no argument {name}"
    limit, known = limit_of(spec, env_args), parameters.get(_LIMIT)
    if limit is not None and known is None:
        return f"ignores the time limit of {limit} steps"
    if limit is None and (_LIMIT in env_args or (known is not None and known.default is not None)):
        return "has a time limit, but the task has none"
    return ""


def other_space(envs: VectorEnv[Any, Any, Any], one: gym.Env[Any, Any]) -> str:
    """How the spaces of a vectorised implementation differ from those of a single environment."""
    for role in ("observation", "action"):
        theirs, ours = getattr(envs, f"single_{role}_space"), getattr(one, f"{role}_space")
        if theirs != ours:
            return f"has the {role} space {one_line(theirs)} instead of {one_line(ours)}"
    return ""


def _entry_points(spec: EnvSpec) -> tuple[str, str]:
    return str(spec.entry_point), str(spec.vector_entry_point)
