"""The policy of a run, for use in other programs, restored from the run's files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict
from numpy.typing import NDArray
from torch import Tensor

from ppo_bbrl.agents.base import KWAgentWrapper, Policy
from ppo_bbrl.agents.build import build_policy
from ppo_bbrl.agents.continuous import ContinuousPolicy, SDEPolicy
from ppo_bbrl.agents.multi import (
    CompositePolicy,
    HeadPolicy,
    MultiBinaryPolicy,
    MultiDiscretePolicy,
)
from ppo_bbrl.agents.policies import DiscretePolicy, GaussianPolicy
from ppo_bbrl.agents.recurrent import RecurrentPolicy
from ppo_bbrl.agents.seen_parts import space_seen, without_others
from ppo_bbrl.config.wrappers import Env, Wrapper, combine, warn_of_statistics
from ppo_bbrl.envs.actions import action_converter, each_action
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.faults import UnfitError
from ppo_bbrl.envs.masks import AUTO, KEY, MaskReader
from ppo_bbrl.envs.names import check_trusted
from ppo_bbrl.envs.spaces import (
    HasSpaces,
    Spaces,
    check_same_spaces,
)
from ppo_bbrl.envs.vector import make_env
from ppo_bbrl.errors import UserError, printable
from ppo_bbrl.runs.best_policy import SavedPolicy, class_name, find_policy, load_policy, restore
from ppo_bbrl.runs.extent import BoundedLayers
from ppo_bbrl.runs.given_observation import as_batch
from ppo_bbrl.runs.stepwise import Stepwise
from ppo_bbrl.system.compute import on_cpu
from ppo_bbrl.system.console import as_return
from ppo_bbrl.system.seals import DamagedError

Array = NDArray[Any]

_OF_THE_PACKAGE = [
    class_name(policy)
    for policy in (
        DiscretePolicy, GaussianPolicy, MultiDiscretePolicy, MultiBinaryPolicy, CompositePolicy,
        ContinuousPolicy, SDEPolicy, RecurrentPolicy, HeadPolicy,
    )
]  # fmt: skip


def load(
    path: str | Path,
    *,
    which: str = "best",
    env_wrappers: Iterable[Wrapper] = (),
    trust: bool = False,
) -> "TrainedPolicy":
    """Load the policy of a run into your own program.

    `action = load(run).predict(observation)`. This makes no environment, and imports nothing that
    the run's files name.

    Args:
        path: the folder of a run, or of one of its policies, such as `RUN/last`.
        which: best or last.
        env_wrappers: the wrappers of your own, which the run's files record only by name; or all
            the wrappers that you passed to the run.
        trust: whether `make_env` may import the module of an environment `module:Name-v0`. Not
            needed if your program has already imported it.

    Raises:
        UserError: if there is no policy, or if it needs something that only your program has: a
            wrapper or an agent of your own.
    """
    return TrainedPolicy(load_policy(find_policy(path, which)), env_wrappers, trust=trust)


class TrainedPolicy:
    """The policy of a run, independent of the run.

    Args:
        saved: what `load_policy` read.
        env_wrappers: the wrappers of your own, which the run's files record only by name.
        trust: whether a module that the run's files name may be imported.

    Raises:
        UserError: if the policy cannot be restored.

    Attributes:
        saved: the run's configuration, the policy's evaluation and its number of steps.
        agent: the greedy policy as a BBRL agent, which writes `action`.
        wrappers: the wrappers of the run's environments; the first is applied first.
        observation_space, action_space: the spaces of the run's environments.
        seen: the space of the observations that the policy sees, which may lack parts.
    """

    def __init__(
        self,
        saved: SavedPolicy,
        env_wrappers: Iterable[Wrapper] = (),
        *,
        trust: bool = False,
    ) -> None:
        if saved.agent not in _OF_THE_PACKAGE:
            raise _own_agent(saved)
        self.saved, self._trust = saved, trust
        self._action_mask: str = saved.cfg.gym_env.action_mask
        _, self.wrappers = combine(saved.cfg.gym_env.wrappers, env_wrappers)
        spaces = self._spaces()
        self.observation_space, self.action_space = spaces.observation_space, spaces.action_space
        self.seen = space_seen(saved.cfg, spaces, "policy")
        self.agent = _greedy(saved, spaces)
        self._policy: Policy = self.agent.wrapped
        self._stepwise = Stepwise(self._policy) if self._policy.has_memory else None
        self._act: Any = self._policy.act if self._stepwise is None else self._stepwise.act

    def __repr__(self) -> str:
        name = printable(self.saved.cfg.gym_env.env_name)
        evaluated = f"mean return {as_return(float(self.saved.reward))}"
        return f"{type(self).__name__}({name} after {self.saved.steps:,} steps, {evaluated})"

    @property
    def env_name(self) -> str:
        """The name of the run's environment, for making one.

        Raises:
            UserError: if that would import a module that is neither trusted nor already imported.
        """
        name: str = self.saved.cfg.gym_env.env_name
        check_trusted(name, self._trust)
        return name

    def reset(self) -> None:
        """Let an episode begin with the next observation: a policy with memory forgets."""
        if self._stepwise is not None:
            self._stepwise.reset()

    def predict(
        self,
        observation: Any,
        *,
        deterministic: bool = True,
        action_mask: Any = None,
        episode_start: Any = None,
    ) -> Any:
        """The action for an observation, or the actions for a batch of observations.

        A policy with memory takes each observation for the one after that of the last call. Call
        `reset()` where an episode begins, or give `episode_start`.

        Args:
            observation: as the (wrapped) environment returns it, `[…]`, or a batch, `[N, …]`; a
                dict or tuple of these where the observation space is one. Parts that the policy
                does not see (`algorithm.policy_keys`) may be left out.
            deterministic: take the most likely action; otherwise sample from torch's global
                generator.
            action_mask: which actions are allowed, `[A]` of zeros and ones as the environment
                gives it (for MultiDiscrete also an array for each component); for a batch one for
                each observation. None: that of the observation, if it is one of its keys; else
                all are.
            episode_start: whether an episode begins with the observation; for a batch, one
                boolean for each. Without memory it makes no difference.

        Returns:
            An action for `env.step`, an element of `action_space`; for a batch, an array `[N, …]`,
            or a dict or tuple of arrays if the space is one.

        Raises:
            UserError: for an observation that is not in `observation_space`, or a mask that does
                not fit the action space.
        """
        if isinstance(observation, dict) and isinstance(self.observation_space, Dict):
            key = KEY if self._action_mask == AUTO else self._action_mask
            if key in observation and key not in self.observation_space.spaces:
                observation = {**observation}
                own = observation.pop(key)
                action_mask = own if action_mask is None else action_mask
        needed = without_others(self.observation_space, self.seen, observation)
        with torch.no_grad(), on_cpu():
            batch, n, single = as_batch(self.seen, needed)
            masks = None if action_mask is None else [action_mask] if single else action_mask
            given: dict[str, Any] = {} if masks is None else {"mask": self._mask(masks, n)}
            if self._stepwise is not None:
                given["begins"] = episode_start
            chosen = self._act(batch, stochastic=not deterministic, **given)
        actions = action_converter(self.action_space, n)(chosen)
        return each_action(self.action_space, actions, 1)[0] if single else actions

    def _mask(self, masks: Any, n: int) -> Tensor:
        reader = MaskReader(self.action_space)
        if not reader.sizes or not self._policy.takes_mask:
            raise UserError(f"action_mask: {type(self._policy).__name__} takes no masks")
        if len(masks) != n:
            raise UserError(f"action_mask: there are {len(masks)} for {n} observations")
        try:
            return torch.from_numpy(np.stack([reader.checked(one) for one in masks]))
        except UnfitError as error:
            raise UserError(f"action_mask: {error}") from None

    def make_env(self, **env_args: Any) -> Env:
        """Make an environment as in the run, wrappers included.

        Args:
            env_args: such as `render_mode="human"`; they override those of the run.

        Raises:
            UserError: if it cannot be made, or its spaces differ from those in the run.
        """
        env_args = {**self.saved.cfg.gym_env.env_args, **env_args}
        env = make_env(self.env_name, env_args, self.wrappers, self._action_mask)
        try:
            check_same_spaces(self.env_name, env, self)
            warn_of_statistics(env)
        except Exception:
            env.close()
            raise
        return env

    def _spaces(self) -> HasSpaces:
        saved, gym_env = self.saved, self.saved.cfg.gym_env
        if saved.spaces is not None:
            return saved.spaces
        env = EnvAgent(  # the file is old
            self.env_name,
            1,
            env_args=gym_env.env_args,
            wrappers=self.wrappers,
            vectorization=gym_env.vectorization,
            action_mask=self._action_mask,
        )
        env.close()
        return Spaces(env.observation_space, env.action_space)


def restore_policy(saved: SavedPolicy, *, env_wrappers: Iterable[Wrapper] = ()) -> KWAgentWrapper:
    """The greedy policy of a run, restored from its configuration, spaces and weights.

    Args:
        saved: what `load_policy` read.
        env_wrappers: the wrappers of your own, which the run's files record only by name.

    Raises:
        UserError: if the run used an agent of your own, or a wrapper of yours is missing.
    """
    return TrainedPolicy(saved, env_wrappers).agent


def _greedy(saved: SavedPolicy, spaces: HasSpaces) -> KWAgentWrapper:
    try:
        if not any("encoder." in name for name in saved.state):
            # No network for images, or a run from before there were any.
            saved.cfg.algorithm.architecture.features = "mlp"
        # The initial weights are random, then replaced.
        with torch.random.fork_rng(devices=[]), on_cpu(), BoundedLayers(saved.state):
            policy = build_policy(saved.cfg, spaces).with_prefix("current_policy/")
        policy.to(_precision(policy, saved))
        greedy = KWAgentWrapper(
            policy, stochastic=False, predict_proba=False, compute_entropy=False
        )
        restore(policy, saved)
    except DamagedError as error:
        raise UserError(f"the policy of the configuration: {error}") from error
    except (UserError, AttributeError) as error:  # a user's own configuration may lack keys
        if saved.own_agent:
            raise _own_agent(saved) from error
        raise
    greedy.eval()
    return greedy


def _precision(policy: Policy, saved: SavedPolicy) -> torch.dtype:
    """The precision of the saved weights; buffers may have others."""
    weights = [name for name, _ in policy.named_parameters()]
    names = [*weights, *(f"wrapped.{name}" for name in weights)]
    found = [saved.state[name] for name in names if name in saved.state]
    return next((one.dtype for one in found if one.is_floating_point()), torch.float32)


def _own_agent(saved: SavedPolicy) -> UserError:
    return UserError(
        f"the saved policy is a {printable(saved.agent)}, an agent of your own: make it in your "
        "program, and load its weights with restore(policy, load_policy(folder)) from "
        "ppo_bbrl.runs.best_policy"
    )
