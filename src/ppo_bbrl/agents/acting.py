"""How a policy acts row by row, in the fastest way available for it.

`policy(workspace, t=t)` works for every policy. For the package's own, there are faster ways: the
noise for a whole rollout is drawn at once, and small networks run in NumPy.
"""

from collections.abc import Callable
from typing import Any

import bbrl.agents
import torch
from torch import Tensor

from ppo_bbrl.agents.base import MASK, KWAgentWrapper, Policy, device_of, mask_at
from ppo_bbrl.agents.continuous import SDEPolicy
from ppo_bbrl.agents.heads import Head
from ppo_bbrl.agents.multi import CompositePolicy, HeadPolicy, MultiDiscretePolicy
from ppo_bbrl.agents.numpy_actor import ArrayActor, choose, deviate, is_small, network_on_arrays
from ppo_bbrl.agents.observations import NAME, any_part, moved, observation_at
from ppo_bbrl.agents.policies import DiscretePolicy, GaussianPolicy
from ppo_bbrl.agents.recurrent import is_recurrent, without_memory
from ppo_bbrl.distributions import gumbel_noise, normal_noise
from ppo_bbrl.seeding import generator
from ppo_bbrl.workspace.storage import Array
from ppo_bbrl.workspace.table import Workspace

#: writes the actions of row t
Act = Callable[[Workspace, int], None]


def row_actor(agent: bbrl.agents.Agent, n_envs: int, n_rows: int = 0) -> Act:
    """Return a function that lets an agent act in row t of a workspace, with its current weights.

    Args:
        agent: an agent that writes `action`.
        n_envs: B.
        n_rows: number of rows for which noise is drawn at once; 0: draw it row by row.
    """
    policy, stochastic = agent, True
    if type(agent) is KWAgentWrapper and not (
        agent.kwargs.get("predict_proba") or agent.kwargs.get("compute_entropy")
    ):
        policy, stochastic = agent.wrapped, agent.kwargs.get("stochastic", True)
    head = without_memory(policy)
    if isinstance(head, SDEPolicy) and is_known(head):
        act = _in_torch(head, _matrices(head, n_envs) if stochastic else lambda _: None)
        if is_recurrent(policy):
            return lambda workspace, t: act(policy.behind(workspace, t), t)
        return act
    if not is_known(policy):
        return lambda workspace, t: agent(workspace, t=t)
    drawn = draw_noise(policy, n_rows, n_envs) if stochastic and n_rows else None
    decide = array_actor(policy, n_envs)
    if decide is not None:
        # Rows of an array: taking one of a tensor costs as much as a layer of a small network.
        rows = None if drawn is None else drawn.numpy()

        def array_of(t: int) -> Array | None:
            if not stochastic:
                return None
            return draw_noise(policy, n_envs).numpy() if rows is None else rows[t]

        return _in_numpy(policy, decide, array_of, n_envs)

    def noise_of(t: int) -> Tensor | None:
        if not stochastic:
            return None
        return draw_noise(policy, n_envs) if drawn is None else drawn[t]

    return _in_torch(policy, noise_of)


def _matrices(policy: SDEPolicy, n_envs: int) -> Callable[[int], Tensor]:
    """The matrices of gSDE, one for each environment: new ones at first, and as it says."""
    drawn: Tensor | None = None

    def noise_of(t: int) -> Tensor:
        nonlocal drawn
        if drawn is None or (policy.sample_freq > 0 and t % policy.sample_freq == 0):
            drawn = policy.noise(n_envs)
        return drawn

    return noise_of


def draw_noise(policy: Any, *leading: int) -> Tensor:
    """Standard noise for `leading` actions of a package's policy, from this thread's stream.

    Gumbel noise `[*leading, A]` for Discrete, normal noise `[*leading, *shape]` for Box, for other
    action spaces what their distributions take.
    """
    if isinstance(policy, HeadPolicy):
        noise: Tensor = policy.head.noise(*leading)
        return noise
    if isinstance(policy, DiscretePolicy):
        return gumbel_noise((*leading, policy.n_actions), generator())
    return normal_noise((*leading, *policy.action_shape), generator(), policy.log_std.dtype)


def is_known(policy: bbrl.agents.Agent) -> bool:
    """Whether a policy acts as a class of the package does; subclasses may act differently."""
    known: tuple[tuple[type[Policy], str], ...] = (
        (DiscretePolicy, "logits"),
        (GaussianPolicy, "mean"),
        (MultiDiscretePolicy, "outputs"),
        (SDEPolicy, "noise"),
        (CompositePolicy, "outputs"),
        (HeadPolicy, "outputs"),
    )
    for cls, network in known:
        methods = ("forward", "act", "dist", network)
        if isinstance(policy, cls):
            own = vars(policy).keys() & set(methods)
            same = all(getattr(type(policy), name) is getattr(cls, name) for name in methods)
            return same and not own and isinstance(getattr(policy, "head", None), Head | None)
    return False


def array_actor(policy: Any, n_envs: int) -> ArrayActor | None:
    """A function for a known policy's actions on arrays; None if NumPy would not be faster."""
    if isinstance(policy, HeadPolicy):
        return None
    network = network_on_arrays(policy) if is_small(policy, n_envs) else None
    if network is None:
        return None
    if isinstance(policy, DiscretePolicy):
        return choose(network)
    return deviate(network, policy.action_shape, policy.log_std)


def _in_torch(policy: Any, noise_of: Callable[[int], Tensor | None]) -> Act:
    def act(workspace: Workspace, t: int) -> None:
        obs, noise, mask = observation_at(workspace, t), noise_of(t), mask_at(policy, workspace, t)
        device = device_of(policy)
        given = () if mask is None else (mask.to(device),)
        dist = policy.dist(moved(obs, device), *given)
        action = dist.mode if noise is None else dist.with_noise(noise)
        workspace.set("action", t, action.detach().to(any_part(obs).device))

    return act


def _in_numpy(
    policy: Any, decide: ArrayActor, noise_of: Callable[[int], Array | None], n_envs: int
) -> Act:
    # No torch operations: right after an environment's step, each takes about 5 µs.
    if isinstance(policy, DiscretePolicy):
        row = torch.empty(n_envs, dtype=torch.int64)
    else:
        row = torch.empty(n_envs, *policy.action_shape, dtype=torch.float32)
    takes_mask = policy.takes_mask

    def act(workspace: Workspace, t: int) -> None:
        masked = takes_mask and MASK in workspace.variables
        mask = workspace.row_array(MASK, t) if masked else None
        workspace.put("action", t, decide(workspace.row_array(NAME, t), noise_of(t), mask), row)

    return act
