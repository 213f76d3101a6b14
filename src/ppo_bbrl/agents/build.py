"""Makes the package's agents from a configuration and the spaces of an environment."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from omegaconf import DictConfig
from torch import nn

from ppo_bbrl.agents.base import Critic, Policy
from ppo_bbrl.agents.continuous import ContinuousPolicy, SDEPolicy
from ppo_bbrl.agents.critics import VALUE_GAIN, VAgent
from ppo_bbrl.agents.encoders import StateDim
from ppo_bbrl.agents.features import features_of, head_sizes, initialise
from ppo_bbrl.agents.heads import has_bounds
from ppo_bbrl.agents.memory import Memory
from ppo_bbrl.agents.multi import (
    CompositePolicy,
    HeadPolicy,
    MultiBinaryPolicy,
    MultiDiscretePolicy,
)
from ppo_bbrl.agents.normalisers import (
    Normalised,
    ObservationNormaliser,
    normalisers_of,
    share_normaliser,
)
from ppo_bbrl.agents.policies import ACTION_GAIN, DiscretePolicy, GaussianPolicy
from ppo_bbrl.agents.recurrent import RecurrentCritic, RecurrentPolicy, without_memory
from ppo_bbrl.agents.seen_parts import space_seen
from ppo_bbrl.agents.walking import weights_in
from ppo_bbrl.config.algorithm import AlgorithmConfig
from ppo_bbrl.config.loading import load_episodic_config
from ppo_bbrl.config.sources import Source
from ppo_bbrl.envs.actions import OwnSpace, leaves
from ppo_bbrl.envs.parts import parts_of
from ppo_bbrl.envs.spaces import HasSpaces, is_image, size
from ppo_bbrl.errors import ConfigError, UserError, one_line
from ppo_bbrl.seeding import Seeds
from ppo_bbrl.system.compute import check_layer


@contextmanager
def seeded(cfg: Source) -> Iterator[None]:
    """Let `algorithm.seed` determine the initial weights of agents of your own.

    Such agents are created before the run, with random weights from torch's global generator.
    Inside `with seeded(cfg): policy, critic = MyPolicy(…), MyCritic(…)` these come from the run's
    seed instead. Each block starts the same stream, so create all agents of a run in one block.

    Args:
        cfg: the configuration of the run.

    Raises:
        ConfigError: if it is invalid.
    """
    with Seeds(load_episodic_config(cfg).algorithm.seed).own_weights.active():
        yield


def note_weights(cfg: DictConfig, given: list[str]) -> None:
    """Record which agents came with weights, since the run's seed cannot reproduce these.

    Args:
        cfg: the configuration of the run; `extra.weights_given` is changed.
        given: the names of the arguments; they replace those of an earlier run.
    """
    cfg.extra.pop("weights_given", None)
    if given:
        cfg.extra.weights_given = given


def put_on(agent: nn.Module, device: str) -> None:
    """Move an agent to a device.

    Raises:
        ConfigError: if its weights cannot be moved, such as those on the device meta.
    """
    try:
        agent.to(device)
    except (NotImplementedError, RuntimeError) as error:
        raise ConfigError(
            f"{type(agent).__name__} cannot be moved to {device}: {one_line(error)}"
        ) from error


def check_has_weights(agent: nn.Module, name: str) -> None:
    """Refuse an agent on the device meta, whose weights have no values.

    Raises:
        UserError: naming the agent.
    """
    if any(weight.is_meta for weight in weights_in(agent)):
        raise UserError(
            f"{name}: its weights are on the device meta, where they have no values; create it on "
            "another device, or load weights with to_empty(device='cpu') and load_state_dict"
        )


def build_policy(cfg: DictConfig, env: HasSpaces) -> Policy:
    """The package's policy for an environment's spaces.

    Raises:
        ConfigError: if `policy_type` does not fit the action space, or if observations are to be
            normalised that have no numbers.
    """
    settings, space = cfg.algorithm, env.action_space
    fitting = _fitting(space).__name__
    if settings.policy_type not in ("auto", fitting):
        raise ConfigError(
            f"algorithm.policy_type = {settings.policy_type!r}: the action space of "
            f"{cfg.gym_env.env_name} is {one_line(space)}, which needs {fitting} (or auto)"
        )
    _check_options(cfg, space)
    _check_sizes(cfg, env)
    architecture, features = settings.architecture, features_of(cfg, env, "policy")
    memory = _memory(architecture, features)
    policy = _policy(settings, features if memory is None else memory.size, space)
    initialise(
        cast("nn.Module", policy.model), architecture, architecture.actor_output_gain / ACTION_GAIN
    )
    policy = policy if memory is None else RecurrentPolicy(memory, policy)
    _put_normaliser_before(_seeing(policy), cfg, env, "policy")
    return policy


def _memory(architecture: Any, features: StateDim) -> Memory | None:
    """The memory in front of an agent's own layers; None without one."""
    if architecture.memory == "none":
        return None
    return Memory(architecture.memory, features, architecture.memory_size)


def _policy(settings: Any, seen: StateDim, space: Any) -> Any:
    """The policy for an action space, from features or whatever an agent takes as `state_dim`."""
    architecture = settings.architecture
    hidden = head_sizes(architecture, "actor")
    activation, log_std_init = architecture.activation, architecture.log_std_init
    kind = _fitting(space)
    if kind is DiscretePolicy:
        return DiscretePolicy(seen, hidden, int(space.n), activation=activation)
    described: dict[Any, Any] = {MultiDiscretePolicy: "nvec", MultiBinaryPolicy: "shape"}
    options: dict[str, Any] = {"activation": activation}
    if kind in (HeadPolicy, *described):
        actions = getattr(space, described[kind]) if kind in described else space
        return kind(seen, hidden, actions, **options)
    options["log_std_init"] = log_std_init
    chosen = {
        "squash": settings.squash_actions,
        "state_dependent_std": architecture.state_dependent_std,
    }
    if kind is CompositePolicy:
        return CompositePolicy(seen, hidden, space, **options, **chosen)
    if settings.use_sde:
        how = {"sample_freq": settings.sde_sample_freq, "squash": settings.squash_actions}
        return SDEPolicy(seen, hidden, space, **options, **how)
    if any(chosen.values()):
        return ContinuousPolicy(seen, hidden, space, **options, **chosen)
    return GaussianPolicy(seen, hidden, size(space), **options)


def _check_options(cfg: DictConfig, space: Space[Any]) -> None:
    """Refuse options for Box actions where there are none."""
    settings, state_dependent = cfg.algorithm, cfg.algorithm.architecture.state_dependent_std
    found = f"the action space of {cfg.gym_env.env_name} is {one_line(space)}"
    if settings.use_sde and _fitting(space) is not GaussianPolicy:
        raise ConfigError(f"algorithm.use_sde = true: gSDE is for Box actions; {found}")
    if settings.use_sde and state_dependent:
        raise ConfigError(
            "algorithm.architecture.state_dependent_std = true: must be false with "
            "algorithm.use_sde, whose standard deviation depends on the state by itself"
        )
    boxes = [
        part for part in leaves(space) if isinstance(part, Box) and not isinstance(part, OwnSpace)
    ]
    for key, on in (
        ("squash_actions", settings.squash_actions),
        ("architecture.state_dependent_std", state_dependent),
    ):
        if on and not boxes:
            raise ConfigError(f"algorithm.{key} = true: it is for Box actions; {found}")
    if settings.squash_actions and not all(map(has_bounds, boxes)):
        raise ConfigError(
            "algorithm.squash_actions = true: must be false where a component of an action has "
            f"no bounds, or equal ones; {found}"
        )


def _check_sizes(cfg: DictConfig, env: HasSpaces) -> None:
    """Refuse spaces of so many numbers or values that no network for them fits in the memory."""
    hidden = cfg.algorithm.architecture.actor_hidden_size or [1]
    for role, space, beside in (
        ("observation", space_seen(cfg, env, "policy"), hidden[0]),
        ("action", env.action_space, hidden[-1]),
    ):
        numbers = [0] if isinstance(space, OwnSpace) else map(_numbers, parts_of(space).values())
        check_layer(
            f"gym_env.env_name = {cfg.gym_env.env_name!r}",
            f"training a network for its {role} space {one_line(space, 200)} takes",
            sum(numbers) * int(beside),
        )


def _numbers(part: Space[Any]) -> int:
    """How many inputs or outputs a network has for a part of a space; 0 for images."""
    if isinstance(part, Discrete):
        return int(part.n)
    if isinstance(part, MultiDiscrete):
        return sum(map(int, part.nvec.flat))
    return 0 if is_image(part) else math.prod(part.shape or ())


def _fitting(space: Space[Any]) -> Any:
    """The policy class for an action space."""
    if isinstance(space, OwnSpace):
        return HeadPolicy
    table: dict[type[Space[Any]], type[Policy]] = {
        Discrete: DiscretePolicy,
        MultiDiscrete: MultiDiscretePolicy,
        MultiBinary: MultiBinaryPolicy,
        Dict: CompositePolicy,
        Tuple: CompositePolicy,
    }
    fitting = (policy for kind, policy in table.items() if isinstance(space, kind))
    return next(fitting, GaussianPolicy)


def build_critic(cfg: DictConfig, env: HasSpaces, *, policy: Any = None) -> Critic:
    """The package's critic for an environment's observations.

    Args:
        cfg: the configuration.
        env: with the spaces.
        policy: of `build_policy`, whose normaliser it has too; its trunk where `shared_trunk` says
            so, and its memory where `shared_memory` does.

    Raises:
        ConfigError: if there is no such trunk, because the policy is one of your own.
    """
    architecture = cfg.algorithm.architecture
    known = (_fitting(env.action_space), ContinuousPolicy, SDEPolicy)
    for key in ("shared_trunk", "shared_memory"):
        if architecture[key] and type(without_memory(policy)) not in known:
            raise ConfigError(
                f"algorithm.architecture.{key} = True: {type(policy).__name__} is an agent of "
                "your own: give a critic_agent that shares what it should, or use shared_agents"
            )
    if architecture.shared_memory and isinstance(policy, RecurrentPolicy):
        memory: Memory | None = policy.memory
        seen: StateDim = policy.memory.size
    else:
        features = features_of(cfg, env, "critic")
        if architecture.shared_trunk:
            features = (_seeing(policy).encoder, features[1])
        memory = _memory(architecture, features)
        seen = features if memory is None else memory.size
    critic = VAgent(
        seen,
        head_sizes(architecture, "critic"),
        activation=architecture.activation,
        normalise=cfg.algorithm.normalize_value,
    )
    initialise(critic.model, architecture, architecture.critic_output_gain / VALUE_GAIN)
    agent = critic if memory is None else RecurrentCritic(memory, critic)
    shared = memory is not None and memory is getattr(policy, "memory", None)
    if not (architecture.shared_trunk or shared):  # which have its normaliser
        _put_normaliser_before(_seeing(agent), cfg, env, "critic")
        if cfg.algorithm.policy_keys == cfg.algorithm.critic_keys:
            share_normaliser(_seeing(policy), _seeing(agent))
    return agent


def _seeing(agent: Any) -> Any:
    """What has the encoder of an agent: its memory, if there is one."""
    return agent.memory if isinstance(agent, RecurrentPolicy | RecurrentCritic) else agent


def _put_normaliser_before(agent: Any, cfg: DictConfig, env: HasSpaces, role: str) -> None:
    """Let an agent see its observations normalised and clipped, as the configuration says."""
    scale, clip = cfg.algorithm.normalize_observation, cfg.algorithm.clip_observation
    if not scale and clip is None:
        return
    if not ObservationNormaliser(env.observation_space).paths:
        key = "normalize_observation = True" if scale else f"clip_observation = {clip!r}"
        raise ConfigError(
            f"algorithm.{key}: the observations of {cfg.gym_env.env_name} are "
            f"{one_line(env.observation_space, 200)}, which has no part to normalise: images and "
            "discrete parts stay as they are"
        )
    normaliser = ObservationNormaliser(space_seen(cfg, env, role), scale=scale, clip=clip)
    agent.encoder = Normalised(normaliser, agent.encoder)


def check_normalised(settings: AlgorithmConfig, policy: nn.Module, critic: nn.Module) -> None:
    """Refuse agents of one's own that do not do what the configuration says.

    Raises:
        ConfigError: names the key, the agent and what to do.
    """
    for key in ("normalize_observation", "clip_observation"):
        if getattr(settings, key) and not normalisers_of(policy):
            raise ConfigError(
                f"algorithm.{key} = {getattr(settings, key)}: {type(policy).__name__} is an agent "
                "of your own: put an ObservationNormaliser of ppo_bbrl.agents.normalisers in front "
                "of its network"
            )
    if settings.normalize_value and getattr(critic, "moments", None) is None:
        raise ConfigError(
            f"algorithm.normalize_value = True: {type(critic).__name__} is an agent of your own, "
            "which has to normalise its values itself: set this to false, or make it a VAgent(…, "
            "normalise=True)"
        )
