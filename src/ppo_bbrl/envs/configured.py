"""Environments as the section `gym_env` of a configuration describes them."""

from collections.abc import Sequence
from typing import Any

from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.guard import OnFailure
from ppo_bbrl.envs.vector import choose_vectorization


def configured_env(
    gym_env: Any,
    n_envs: int,
    *,
    wrappers: Sequence[Wrapper],
    autoreset: bool = True,
    env_name: str | None = None,
) -> EnvAgent:
    """The environments of a configuration, as an agent.

    Args:
        gym_env: the section.
        n_envs: B.
        wrappers: the section's, read, and others.
        autoreset: as in `EnvAgent`.
        env_name: instead of the section's.

    Raises:
        ConfigError: if they cannot be made.
    """
    return EnvAgent(
        env_name or gym_env.env_name,
        n_envs,
        autoreset=autoreset,
        env_args=gym_env.env_args,
        wrappers=wrappers,
        vectorization=gym_env.vectorization,
        action_mask=gym_env.action_mask,
        on_failure=OnFailure.of(gym_env),
    )


def configured_vectorization(gym_env: Any, wrappers: Sequence[Wrapper]) -> str:
    """How the environments of a configuration run, with `auto` resolved.

    Raises:
        ConfigError: if the environment does not exist.
    """
    return choose_vectorization(
        gym_env.env_name,
        gym_env.env_args,
        wrappers,
        gym_env.vectorization,
        one_by_one=OnFailure.of(gym_env).restart,
    )
