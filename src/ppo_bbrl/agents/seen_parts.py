"""Which parts of a Dict observation the policy sees, and which the critic.

The critic is not needed to act, so it may learn from what only a simulator knows, such as hidden
states (asymmetric actor-critic, Pinto et al., 2018, arXiv:1710.06542).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import Space
from gymnasium.spaces import Dict, Tuple
from torch import nn

from ppo_bbrl.agents.encoders import Parts
from ppo_bbrl.agents.normalisers import Normalised
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.envs.parts import parts_of
from ppo_bbrl.envs.spaces import HasSpaces
from ppo_bbrl.errors import ConfigError, one_line

KEYS = {"policy": "policy_keys", "critic": "critic_keys"}


def space_seen(cfg: Any, env: HasSpaces, role: str) -> Space[Any]:
    """The observation space of an agent: the environment's, or the parts that its keys name.

    Args:
        cfg: the configuration.
        env: with the spaces.
        role: policy or critic.

    Raises:
        ConfigError: names the key, the parts that are unknown and those that there are.
    """
    space, keys = env.observation_space, cfg.algorithm.get(KEYS[role])  # none in an own config
    if keys is None:
        return space
    text = f"algorithm.{KEYS[role]} = {list(keys)}: "
    if not isinstance(space, Dict | Tuple):
        raise ConfigError(
            f"{text}must be null, since the observations of {cfg.gym_env.env_name} are "
            f"{one_line(space, 200)}, which has no keys"
        )
    paths = [*parts_of(space)]
    unknown = [key for key in keys if not _named(paths, [key])]
    if unknown:
        raise ConfigError(
            f"{text}the observations of {cfg.gym_env.env_name} have no {unknown[0]!r}; they have "
            f"{one_line(', '.join(paths), 200)}"
        )
    return _some_of(space, _named(paths, keys))


def without_others(space: Space[Any], seen: Space[Any], observation: Any) -> Any:
    """An observation without the parts that an agent does not see, whether it has them or not.

    Args:
        space: of the environment.
        seen: the result of `space_seen`.
        observation: of either space; it keeps what is in neither.
    """
    if seen is space or not isinstance(seen, Dict):
        return observation
    if isinstance(space, Tuple) and isinstance(observation, tuple | list):
        if len(observation) != len(space.spaces):
            return observation
        observation = {str(index): one for index, one in enumerate(observation)}
    if not isinstance(observation, Mapping):
        return observation
    own = _entries(space)
    return {
        key: without_others(own[key], seen.spaces[key], one) if key in seen.spaces else one
        for key, one in observation.items()
        if key in seen.spaces or key not in own
    }


def check_seen(settings: AlgorithmConfig, policy: Any, critic: Any, space: Space[Any]) -> None:
    """Refuse agents of one's own that see other parts than the configuration says.

    Raises:
        ConfigError: names the key and the agent.
    """
    for role, agent in (("policy", policy), ("critic", critic)):
        keys = getattr(settings, KEYS[role])
        if keys is None or _seen_by(agent) == _named([*parts_of(space)], keys):
            continue
        raise ConfigError(
            f"algorithm.{KEYS[role]} = {list(keys)}: {type(agent).__name__} is an agent of your "
            "own, which chooses the parts that it reads itself: set this to null"
        )


def _seen_by(agent: Any) -> list[str] | None:
    """The parts that an agent of the package sees; None if it does not say."""
    encoder: nn.Module | None = getattr(getattr(agent, "memory", agent), "encoder", None)
    if isinstance(encoder, Normalised):
        encoder = encoder.encoder
    return sorted(encoder.paths) if isinstance(encoder, Parts) else None


def _named(paths: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The paths that keys name: `a` names `a`, and every part of a Dict there, as `a/b`."""
    return sorted(one for one in paths if any(f"{one}/".startswith(f"{key}/") for key in keys))


def _entries(space: Any) -> dict[str, Space[Any]]:
    if isinstance(space, Tuple):
        return {str(index): one for index, one in enumerate(space.spaces)}
    return dict(space.spaces)


def _some_of(space: Space[Any], paths: Sequence[str], path: str = "") -> Space[Any]:
    """A space with some of its parts; a Tuple becomes a Dict, so that paths stay."""
    if not isinstance(space, Dict | Tuple):
        return space
    kept = {}
    for key, one in _entries(space).items():
        own = f"{path}/{key}" if path else key
        if any(f"{there}/".startswith(f"{own}/") for there in paths):
            kept[key] = _some_of(one, paths, own)
    return Dict(kept)
