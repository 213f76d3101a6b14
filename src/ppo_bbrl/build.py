"""The package's agents for the spaces of an environment, as a configuration describes them."""

from gymnasium.spaces import Discrete
from omegaconf import DictConfig

from ppo_bbrl.agents import DiscretePolicy, GaussianPolicy, Policy, VAgent
from ppo_bbrl.config import ConfigError
from ppo_bbrl.errors import one_line
from ppo_bbrl.spaces import HasSpaces, size


def build_policy(cfg: DictConfig, env: HasSpaces) -> Policy:
    """The package's policy for an environment's spaces.

    Raises:
        ConfigError: if `policy_type` does not fit the action space.
    """
    settings, space = cfg.algorithm, env.action_space
    fitting = "DiscretePolicy" if isinstance(space, Discrete) else "GaussianPolicy"
    if settings.policy_type not in ("auto", fitting):
        raise ConfigError(
            f"algorithm.policy_type = {settings.policy_type!r}: the action space of "
            f"{cfg.gym_env.env_name} is {one_line(space)}, which needs {fitting} (or auto)"
        )
    architecture = settings.architecture
    hidden, activation = architecture.actor_hidden_size, architecture.activation
    if isinstance(space, Discrete):
        return DiscretePolicy(env.observation_space, hidden, int(space.n), activation=activation)
    return GaussianPolicy(
        env.observation_space,
        hidden,
        size(space),
        activation=activation,
        log_std_init=architecture.log_std_init,
    )


def build_critic(cfg: DictConfig, env: HasSpaces) -> VAgent:
    """The package's critic for an environment's observations."""
    architecture = cfg.algorithm.architecture
    return VAgent(
        env.observation_space,
        architecture.critic_hidden_size,
        activation=architecture.activation,
    )
