"""Agents: the critic and the policies. They read observations and write what they decide.

`policy.dist(obs)` and `critic.value(obs)` are pure functions of tensors with any leading
dimensions; `forward(t)` reads the workspace, calls them, writes the workspace.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self, TypeGuard, TypeVar, cast

import bbrl.agents
import torch
from gymnasium import Space
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from ppo_bbrl import spaces
from ppo_bbrl.distributions import entropy_of, mode_of
from ppo_bbrl.networks import MLP, Array, FlatOrOneHot, Flatten, OneHot, build_ortho_mlp
from ppo_bbrl.numpy_actor import (
    ArrayActor,
    Network,
    choose,
    deviate,
    is_small,
    network_on_arrays,
)
from ppo_bbrl.seeding import RandomStream, generator
from ppo_bbrl.sizes import shape_of, size_of, size_or_shape
from ppo_bbrl.workspace import Workspace, one_row

StateDim = int | tuple[int, ...] | Space[Any]
ACTION_GAIN = 0.01  # details 2 and 23 of the 37: every action about equally likely at first
VALUE_GAIN = 1.0

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_WITHOUT_CHANCE = {MLP, nn.Linear, nn.ReLU, nn.Tanh, nn.Identity, Flatten, OneHot, FlatOrOneHot}


class Agent(bbrl.agents.Agent):
    """bbrl's agent, which lets go of its workspace even when it is interrupted."""

    prefix: str

    def __call__(self, workspace: Any, **kwargs: Any) -> None:
        """Run on a workspace."""
        if workspace is None:
            raise ValueError(f"{type(self).__name__} needs a workspace")
        # Not through nn.Module's __setattr__, which looks for parameters: this is a hot path.
        object.__setattr__(self, "workspace", workspace)
        try:
            self.forward(**kwargs)
        finally:
            object.__setattr__(self, "workspace", None)

    def with_prefix(self, prefix: str) -> Self:
        """Write under names that begin with `prefix`, as in `current_policy/`."""
        self.prefix = prefix
        return self


class KWAgentWrapper(bbrl.agents.KWAgentWrapper):
    """Calls an agent with fixed keyword arguments, which win over the caller's.

    `KWAgentWrapper(policy, stochastic=False)` is the greedy version of a policy.
    """

    def __call__(self, workspace: Any, **kwargs: Any) -> None:
        """Run the wrapped agent on a workspace."""
        self.wrapped(workspace, **{**kwargs, **self.kwargs})

    def with_prefix(self, prefix: str) -> Self:
        """Let the wrapped agent write under names that begin with `prefix`."""
        self.prefix = prefix
        self.wrapped.with_prefix(prefix)
        return self

    def forward(self, t: int, *args: Any, **kwargs: Any) -> None:
        """Run the wrapped agent on the workspace this agent holds."""
        self.wrapped(self.workspace, t=t, **{**kwargs, **self.kwargs})


class Critic(Agent):
    """What critics have in common: they write `{prefix}v_values`, `[B]`, an estimate of V(s).

    A subclass needs `value` alone.
    """

    def value(self, obs: Tensor) -> Tensor:
        """V(s): `[..., *observation]` to `[...]`."""
        raise NotImplementedError(f"{type(self).__name__} must define value(obs)")

    def forward(self, t: int, **kwargs: Any) -> None:
        """Write the value of row t."""
        del kwargs
        observation = self.get(("env/env_obs", t)).to(device_of(self))
        self.set((f"{self.prefix}v_values", t), self.value(observation))


class VAgent(Critic):
    """The package's critic, a network of its own.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_layers: neurons of the hidden layers.
        name: bbrl's name of the agent.
        activation: relu or tanh.
    """

    def __init__(
        self,
        state_dim: StateDim,
        hidden_layers: Sequence[int],
        name: str = "critic",
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__(name)
        self.is_q_function = False
        self.encoder, n_features = spaces.encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_layers", hidden_layers), 1],
            activation,
            output_gain=VALUE_GAIN,
        )

    def value(self, obs: Tensor) -> Tensor:
        """V(s): `[..., *observation]` to `[...]`."""
        return cast("Tensor", self.model(self.encoder(obs))).squeeze(-1)


class Policy(Agent):
    """What the policies have in common: `forward` in terms of a few pure functions.

    A subclass needs `dist` alone; the others follow from it, and are there to be overridden by
    cheaper ones. A subclass that overrides `dist` of a policy gets them back, so that what acts
    and what learns are always the same distribution.
    """

    #: noise for the rows of a rollout, `[T, B, …]`, while one is being collected
    noise: Tensor | None = None
    _noise_array: Array | None = None  # the same
    #: `act` on arrays, while many small rows are to be decided one after the other
    _act_on_arrays: ArrayActor | None = None
    _action_row: Tensor  # of the shape and type of the actions that it decides

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

        def origin(name: str) -> int:
            """How far up `name` is defined; in cls itself: 0."""
            return next(i for i, base in enumerate(cls.__mro__) if name in vars(base))

        for name in ("log_prob_and_entropy", "draw_noise", "act"):
            if origin(name) > origin("dist"):
                setattr(cls, name, getattr(Policy, name))

    def dist(self, obs: Tensor) -> Distribution:
        """π(·|s): `[..., *observation]` to a distribution with batch shape `[...]`.

        It needs `sample`, `log_prob` and a `mode` (`distributions.mode_of` knows more of them than
        torch does); without an `entropy`, -log π(a|s) stands for it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define dist(obs)")

    def log_prob_and_entropy(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy of π(·|s), both `[...]`."""
        dist = self.dist(obs)
        log_prob = dist.log_prob(action)
        return log_prob, entropy_of(dist, log_prob)

    def draw_noise(self, *leading: int) -> Tensor:
        """Standard noise for `leading` decisions, from torch's global generator.

        The package's own policies draw it from `seeding.generator()` instead.
        """
        return torch.zeros(leading)  # nothing to prepare: `act` samples by itself

    def act(self, obs: Tensor, noise: Tensor | None) -> Tensor:
        """The action that the noise selects; without noise the most likely one."""
        dist = self.dist(obs)
        return mode_of(dist) if noise is None else dist.sample()

    def forward(
        self,
        t: int,
        *,
        stochastic: bool = True,
        predict_proba: bool = False,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> None:
        """Act in row t, or judge the action that is there.

        Args:
            t: the row.
            stochastic: sample the action; else take the most likely one.
            predict_proba: take no action; write the log-probability of the one in row t as
                `{prefix}logprob_predict`, `[B]`.
            compute_entropy: write `{prefix}entropy`, `[B]`.
            kwargs: ignored.
        """
        del kwargs
        act_on_arrays, workspace = self._act_on_arrays, self.workspace
        if (
            act_on_arrays
            and not (predict_proba or compute_entropy)
            and type(workspace) is Workspace
        ):
            # Not one operation of torch: after those of an environment each takes some 5 µs.
            observed, array = workspace.row_array("env/env_obs", t), None
            if stochastic:
                noises = self._noise_array
                array = self.draw_noise(len(observed)).numpy() if noises is None else noises[t]
            workspace.put("action", t, act_on_arrays(observed, array), self._action_row)
            return
        observation = self.get(("env/env_obs", t))
        if not predict_proba:
            drawn = self._noise_of_row(t, observation.shape[0]) if stochastic else None
            # The workspace stays where the environments are; the network may be elsewhere.
            here, there = observation.device, device_of(self)
            noise = None if drawn is None else drawn.to(there)
            self.set(("action", t), self.act(observation.to(there), noise).detach().to(here))
            if not compute_entropy:
                return
        there = device_of(self)
        log_prob, entropy = self.log_prob_and_entropy(
            observation.to(there), self.get(("action", t)).to(there)
        )
        if predict_proba:
            self.set((f"{self.prefix}logprob_predict", t), log_prob)
        if compute_entropy:
            self.set((f"{self.prefix}entropy", t), entropy)

    @contextmanager
    def noise_for(self, n_rows: int, n_envs: int) -> Iterator[None]:
        """Draw the noise of a whole rollout at once, for use inside the `with` block."""
        self.noise = self.draw_noise(n_rows, n_envs)
        self._noise_array = self.noise.numpy()
        try:
            yield
        finally:
            self.noise = self._noise_array = None

    def _noise_of_row(self, t: int, n_envs: int) -> Tensor:
        return self.draw_noise(n_envs) if self.noise is None else self.noise[t]

    @contextmanager
    def on_arrays(self, n_envs: int) -> Iterator[None]:
        """Inside the `with` block `forward` acts in NumPy, where that is the faster way."""
        self._act_on_arrays = self._array_actor() if is_small(self, n_envs) else None
        if self._act_on_arrays:
            self._action_row = self._empty_actions(n_envs)
        try:
            yield
        finally:
            self._act_on_arrays = None

    def _array_actor(self) -> ArrayActor | None:
        """`act` on arrays; None if this policy has none."""
        return None

    def _empty_actions(self, n: int) -> Tensor:
        """A tensor of the shape and type of n actions."""
        raise NotImplementedError

    def _array_network(self, *methods: str) -> Network | None:
        """The network on arrays, if there is one and a subclass has changed none of the methods."""
        own = all(getattr(type(self), name).__module__ == __name__ for name in methods)
        return network_on_arrays(self) if own else None


class DiscretePolicy(Policy):
    """A categorical policy, for Discrete action spaces. Writes `action`, `[B]` int64.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_size: neurons of the hidden layers.
        n_actions: number of actions.
        name: bbrl's name of the agent.
        activation: relu or tanh.
    """

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        n_actions: int,
        name: str = "policy",
        *,
        activation: str = "relu",
    ) -> None:
        super().__init__(name)
        self.n_actions = size_of("n_actions", n_actions)
        self.encoder, n_features = spaces.encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_size", hidden_size), self.n_actions],
            activation,
            output_gain=ACTION_GAIN,
        )

    def logits(self, obs: Tensor) -> Tensor:
        """Unnormalised log-probabilities, `[..., n_actions]`."""
        return cast("Tensor", self.model(self.encoder(obs)))

    def dist(self, obs: Tensor) -> Categorical:
        """π(·|s) over 0..n_actions-1."""
        return Categorical(logits=self.logits(obs))

    def log_prob_and_entropy(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy of π(·|s), both `[...]`; finite at any gap of the logits."""
        log_probs = self.logits(obs).log_softmax(-1)
        log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        finite, least = log_probs, torch.finfo(log_probs.dtype).min
        # An action with the logit -inf is forbidden: 0·log 0 counts 0, and so does its gradient.
        # A compiler cannot ask whether there is one; for anybody else that is cheaper.
        if torch.compiler.is_compiling() or (action.numel() and log_probs.min().item() < least):
            finite = log_probs.clamp(min=least)
        return log_prob, -(log_probs.exp() * finite).sum(-1)

    def draw_noise(self, *leading: int) -> Tensor:
        """Standard Gumbel noise, `[*leading, n_actions]`."""
        noise = torch.empty(*leading, self.n_actions)
        return noise.exponential_(generator=generator()).log_().neg_()

    def act(self, obs: Tensor, noise: Tensor | None) -> Tensor:
        """The Gumbel-max trick: argmax(logits + Gumbel noise) has the distribution π(·|s)."""
        logits = self.logits(obs)
        return (logits if noise is None else logits + noise).argmax(-1)

    def _array_actor(self) -> ArrayActor | None:
        network = self._array_network("act", "dist", "logits")
        return None if network is None else choose(network)

    def _empty_actions(self, n: int) -> Tensor:
        return torch.empty(n, dtype=torch.int64)


class GaussianPolicy(Policy):
    """A diagonal Gaussian policy, for Box action spaces. Writes `action`, `[B, …]` float32.

    The standard deviation is a parameter of its own, the same in every state (detail 24 of the
    37). Actions are unbounded here; the environment agent clips them for the environment.

    Args:
        state_dim: number of features, shape of an observation, or the observation space.
        hidden_size: neurons of the hidden layers.
        n_actions: length or shape of an action.
        name: bbrl's name of the agent.
        activation: relu or tanh.
        log_std_init: the logarithm of the standard deviation at the start.
    """

    def __init__(
        self,
        state_dim: StateDim,
        hidden_size: Sequence[int],
        n_actions: int | tuple[int, ...],
        name: str = "policy",
        *,
        activation: str = "relu",
        log_std_init: float = 0.0,
    ) -> None:
        super().__init__(name)
        shape = size_or_shape("n_actions", n_actions)
        self.action_shape = (shape,) if isinstance(shape, int) else shape
        self.encoder, n_features = spaces.encoder(state_dim)
        self.model = build_ortho_mlp(
            [n_features, *shape_of("hidden_size", hidden_size), math.prod(self.action_shape)],
            activation,
            output_gain=ACTION_GAIN,
        )
        self.log_std = nn.Parameter(torch.full(self.action_shape, float(log_std_init)))

    def mean(self, obs: Tensor) -> Tensor:
        """The mean action, `[..., *action_shape]`."""
        flat = cast("Tensor", self.model(self.encoder(obs)))
        return flat.reshape((*flat.shape[:-1], *self.action_shape))

    def dist(self, obs: Tensor) -> Distribution:
        """π(·|s); the components of an action are one event."""
        mean = self.mean(obs)
        normal = Normal(mean, self.log_std.exp().expand_as(mean))
        return Independent(normal, len(self.action_shape))

    def log_prob_and_entropy(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a|s) and the entropy of π(·|s), both `[...]`: sums over the components."""
        mean, event = self.mean(obs), len(self.action_shape)
        error = (action - mean) * (-self.log_std).exp()
        log_probs = -0.5 * error.square() - self.log_std - _HALF_LOG_2PI
        log_prob = log_probs.flatten(-event).sum(-1) if event else log_probs
        entropy = (self.log_std + 0.5 + _HALF_LOG_2PI).sum()
        return log_prob, entropy.expand_as(log_prob)

    def draw_noise(self, *leading: int) -> Tensor:
        """Standard normal noise, `[*leading, *action_shape]`."""
        shape, dtype = (*leading, *self.action_shape), self.log_std.dtype
        return torch.randn(shape, generator=generator(), dtype=dtype)

    def act(self, obs: Tensor, noise: Tensor | None) -> Tensor:
        """Mean + standard deviation × noise."""
        mean = self.mean(obs)
        return mean if noise is None else mean + self.log_std.exp() * noise

    def _array_actor(self) -> ArrayActor | None:
        network = self._array_network("act", "dist", "mean")
        return None if network is None else deviate(network, self.action_shape, self.log_std)

    def _empty_actions(self, n: int) -> Tensor:
        return torch.empty(n, *self.action_shape, dtype=torch.float32)


def device_of(agent: nn.Module) -> torch.device:
    """Where the weights of an agent are; the CPU if it has none."""
    parameter = next(agent.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def has_memory(agent: nn.Module) -> bool:
    """Whether an agent says, by an attribute `has_memory`, that rows depend on earlier rows."""
    return any(getattr(module, "has_memory", False) for module in agent.modules())


def draws_noise_alone(policy: nn.Module) -> bool:
    """Whether chance enters by `draw_noise` alone: in the package's own policies on MLPs."""
    policy = getattr(policy, "wrapped", policy)
    inner = {type(module) for module in policy.modules() if module is not policy}
    return type(policy) in (DiscretePolicy, GaussianPolicy) and inner <= _WITHOUT_CHANCE


def drawing_from(stream: RandomStream, policy: nn.Module) -> AbstractContextManager[None]:
    """What a policy has to be run in for it to draw from a stream."""
    return stream.direct() if draws_noise_alone(policy) else stream.active()


def judges_tensors(policy: nn.Module) -> TypeGuard[Policy]:
    """Whether `judge` needs no workspace for this policy, but observations and actions alone."""
    return isinstance(policy, Policy) and type(policy).forward is Policy.forward


def estimates_tensors(critic: nn.Module) -> TypeGuard[Critic]:
    """Whether `estimate` needs no workspace for this critic, but observations alone."""
    return isinstance(critic, Critic) and type(critic).forward is Critic.forward


def judge(policy: bbrl.agents.Agent, variables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """log π(a|s) and entropy, `[N]` each, by any policy that follows the seed's `forward`.

    Args:
        policy: the package's own, or any agent that writes `{prefix}logprob_predict` and
            `{prefix}entropy` when asked to.
        variables: the workspace's variables for N decisions, `[N, …]` each.
    """
    if judges_tensors(policy):
        return policy.log_prob_and_entropy(variables["env/env_obs"], variables["action"])
    workspace = one_row(variables)
    policy(workspace, t=0, stochastic=True, predict_proba=True, compute_entropy=True)
    prefix = policy.prefix
    return workspace.get(f"{prefix}logprob_predict", 0), workspace.get(f"{prefix}entropy", 0)


def estimate(critic: bbrl.agents.Agent, variables: Mapping[str, Tensor]) -> Tensor:
    """V(s), `[N]`, by any critic that writes `{prefix}v_values`."""
    if estimates_tensors(critic):
        return critic.value(variables["env/env_obs"])
    workspace = one_row(variables)
    critic(workspace, t=0)
    return workspace.get(f"{critic.prefix}v_values", 0)


AnyAgent = TypeVar("AnyAgent", bound=nn.Module)


def copy_agent(agent: AnyAgent) -> AnyAgent:
    """A deep copy without what an agent has only while it acts, as it may in another thread."""
    held = [getattr(module, "workspace", None) for module in agent.modules()]
    copied = copy.deepcopy(agent, {id(workspace): None for workspace in held})
    for module in copied.modules():
        if isinstance(module, Policy):
            module.noise = module._noise_array = module._act_on_arrays = None
    return copied
