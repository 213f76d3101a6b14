"""Checks that a user's agents fit an environment: tried once, on copies, before the first step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from torch import Tensor, nn

from ppo_bbrl.agents.answers import (
    asked,
    check_actions,
    check_learns,
    check_one_number_each,
    check_values,
    check_weights,
    seen,
)
from ppo_bbrl.agents.base import (
    Policy,
    copy_agent,
    device_of,
    evaluate_actions,
    is_plain_policy,
    predict_values,
    remembers,
)
from ppo_bbrl.agents.encoders import OneHot
from ppo_bbrl.agents.memory import memory_name
from ppo_bbrl.agents.networks import evaluation_mode
from ppo_bbrl.agents.observations import Observation, any_part, as_variables, moved
from ppo_bbrl.agents.shared import SharedCritic, SharedPolicy
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.parts import observation_template, parts_of
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.seeding import RandomStream
from ppo_bbrl.workspace.table import one_row

# A number of observations that is unlikely to be any other size, so that mix-ups are noticed.
_N_ROWS = 7
_MAX_ACTIONS = 1000  # for checking that probabilities add up to 1


class _MisfitError(Exception):
    """What does not fit, and for which agent; a head is named after its model."""

    def __init__(self, agent: nn.Module, problem: str) -> None:
        super().__init__(problem)
        named = agent.model if isinstance(agent, SharedPolicy | SharedCritic) else agent
        self.name = type(named).__name__


def check_fits(policy: nn.Module, critic: nn.Module, env: EnvAgent) -> None:
    """Try copies of both agents: let them act on observations from the space, and evaluate them.

    Neither the environment nor any random stream is affected. An agent may accept only some
    observations: of the several kinds tried, one must work.

    Raises:
        ConfigError: in one line, naming the agent, the environment and what does not fit.
    """
    copies: Any = copy_agent(nn.ModuleList((policy, critic)))
    rows = _N_ROWS if is_plain_policy(policy) else env.num_envs
    misfits: list[_MisfitError] = []
    with RandomStream(0).active(), torch.no_grad(), evaluation_mode(copies):
        for observation in observations(env.observation_space, rows):
            try:
                _try(copies[0], copies[1], env, observation, (policy, critic, copies))
            except _MisfitError as misfit:
                misfits.append(misfit)
            else:
                return
    first = misfits[0]
    raise ConfigError(f"{first.name} on {env.env_name}: {first}") from first.__cause__


def _check_parts(agent: nn.Module, space: Space[Any]) -> None:
    """Check what a trial run would not show."""
    with _errors_name(agent):
        check_weights(agent)
    encoder = getattr(agent, "encoder", None)
    coded = getattr(encoder, "one_hot", encoder)  # one of more states would never show
    if isinstance(coded, OneHot) and isinstance(space, Discrete) and coded.n != space.n:
        raise _MisfitError(agent, f"it is for {coded.n} states, the observation space is {space}")


def _check_memory(agent: Any, observation: Observation) -> None:
    """Refuse an agent that declares memory, and does not write it for the row after."""
    if not remembers(agent):
        return
    rows = len(any_part(observation))
    row = one_row({**as_variables(observation), **_other_variables(rows)})
    _run(agent, seen(observation), partial(agent, row, t=0))
    name, wanted = memory_name(agent), [rows, agent.memory_size]
    found = row.variables.get(name)
    if found is None or found.time_size() != 2 or list(found.get(1).shape) != wanted:
        raise _MisfitError(
            agent, f"it has memory, so that in row t it must write row t+1 of {name}, {wanted}"
        )


def _check_names(policy: nn.Module) -> None:
    """Refuse methods that are overridden under their former names, which nothing calls."""
    if isinstance(policy, Policy):
        if type(policy).log_prob_and_entropy is not Policy.log_prob_and_entropy:
            raise _MisfitError(policy, "log_prob_and_entropy is called evaluate_actions now")
        if hasattr(type(policy), "draw_noise"):
            raise _MisfitError(
                policy, "draw_noise is not called any more: `act` and `dist` decide what it does"
            )


def observations(space: Space[Any], rows: int) -> Iterator[Observation]:
    """Some, `[rows, …]`, of several kinds: masks among them may be all 0 or all 1."""
    if isinstance(space, Discrete):
        yield torch.linspace(0, int(space.n) - 1, max(rows, 2)).round().long()[-rows:]
        return
    parts = parts_of(space)
    for kinds in zip(*(_arrays(part, rows) for part in parts.values()), strict=True):
        yield kinds[0] if "" in parts else dict(zip(parts, kinds, strict=True))


def _arrays(space: Any, rows: int) -> Iterator[Tensor]:
    """Observations that are one array: any, zeros, and the largest ones; indices from 0."""
    random: Any = np.random.default_rng(0)
    if isinstance(space, Box):
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    else:
        several = isinstance(space, MultiDiscrete)
        most = space.nvec if several else space.n if isinstance(space, Discrete) else 2
        low, high = np.zeros(space.shape), np.broadcast_to(most - 1, space.shape)
    shape, dtype = (rows, *space.shape), observation_template(space, rows).numpy().dtype
    with np.errstate(over="ignore", invalid="ignore"):
        anywhere = np.clip(random.normal(size=shape), low, high)
        between = low + random.random(shape) * (high - low)
        drawn = np.where(np.isfinite(low) & np.isfinite(high), between, anywhere)
        largest = np.where(np.isfinite(high), high, 1.0)
        kinds = (drawn if isinstance(space, Box) else drawn.round(), 0, largest)
        arrays = [np.broadcast_to(kind, shape).astype(dtype) for kind in kinds]
    yield from map(torch.from_numpy, arrays)


def _try(
    policy: nn.Module,
    critic: nn.Module,
    env: EnvAgent,
    observation: Observation,
    learning: tuple[nn.Module, ...],
) -> None:
    """Act, and evaluate states and actions; `observation` is `[B, …]`.

    The weights of `learning` learn: those of the copies, and those that a closure still means.

    Raises:
        _MisfitError: for the first thing that does not fit.
    """
    for agent in (policy, critic):
        _check_parts(agent, env.observation_space)
        _check_memory(agent, observation)
    _check_names(policy)
    space, rows = env.action_space, len(any_part(observation))
    given = seen(observation)
    for greedy in ({"stochastic": False}, {}):
        row = one_row({**as_variables(observation), **_other_variables(rows)})
        _run(policy, given, partial(policy, row, t=0, **greedy))
        if "action" not in row.variables:
            raise _MisfitError(policy, "it must write `action`, and does not")
        _check_action(policy, space, row.get("action", 0), observation)
    repeated = torch.arange(_N_ROWS) % rows
    device = device_of(policy)
    variables = {
        name: variable.get(0)[repeated].to(device) for name, variable in row.variables.items()
    }
    with torch.enable_grad():
        value = _run(critic, given, lambda: predict_values(critic, variables))
    with _errors_name(critic):
        check_values(value, _N_ROWS)
    _check_numbers(critic, "value", value)
    with _errors_name(critic):
        check_learns("value", value, critic, *learning)
    _check_evaluation(policy, variables, given, learning)
    if isinstance(space, Discrete) and space.n <= _MAX_ACTIONS:
        _check_probabilities(policy, space, variables)


def _other_variables(rows: int) -> dict[str, Tensor]:
    """The variables that environments write besides observations, as after a reset."""
    numbers, no = torch.zeros(rows, dtype=torch.float32), torch.zeros(rows, dtype=torch.bool)
    return {
        "env/reward": numbers,
        "env/terminated": no,
        "env/truncated": no,
        "env/done": no,
        "env/timestep": torch.zeros(rows, dtype=torch.int64),
        "env/cumulated_reward": numbers,
    }


@contextmanager
def _errors_name(agent: nn.Module) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise _MisfitError(agent, str(error)) from error.__cause__ or error


def _run(agent: nn.Module, given: str, function: Callable[[], Any]) -> Any:
    with _errors_name(agent):
        return asked(function, given)


def _check_action(
    policy: nn.Module, space: Space[Any], action: Tensor, observation: Observation
) -> None:
    """Refuse actions that the environment does not accept, or too many or too few of them."""
    dist: Any = None
    if is_plain_policy(policy):
        with suppress(Exception):  # a policy that overrides everything else needs no `dist`
            dist = policy.dist(moved(observation, device_of(policy)))
    with _errors_name(policy):
        check_actions(action.cpu(), space, len(any_part(observation)), dist)
    if not isinstance(space, Discrete):
        return
    n_actions = int(space.n)
    if int(action.min()) < 0 or int(action.max()) >= n_actions:
        raise _MisfitError(
            policy,
            f"it takes action {int(action.max())}, but the actions of {space} are numbered from 0",
        )


def _check_evaluation(
    policy: nn.Module, variables: dict[str, Tensor], given: str, learning: tuple[nn.Module, ...]
) -> None:
    with torch.enable_grad():
        log_prob, entropy = _run(policy, given, lambda: evaluate_actions(policy, variables))
    for name, tensor in (("log-probability", log_prob), ("entropy", entropy)):
        with _errors_name(policy):
            check_one_number_each(name, tensor, _N_ROWS)
        _check_numbers(policy, name, tensor)
    with _errors_name(policy):
        check_learns("log-probability", log_prob, policy, *learning)


def _check_probabilities(
    policy: nn.Module, space: Discrete[Any], variables: dict[str, Tensor]
) -> None:
    """Refuse a policy for fewer actions, which cannot evaluate the last one, or for more."""
    n = int(space.n)
    of_one = {name: tensor[:1].expand(n, *tensor.shape[1:]) for name, tensor in variables.items()}
    of_one["action"] = torch.arange(n, device=of_one["action"].device)
    given = f"one of the actions 0 to {n - 1} of {space}"
    evaluate = partial(evaluate_actions, policy, of_one)
    totals = [_run(policy, given, evaluate)[0].double().exp().sum() for _ in range(2)]
    always = bool(totals[0] == totals[1])  # else it draws its weights, or the like
    if always and abs(float(totals[0]) - 1) > 1e-3:
        raise _MisfitError(
            policy,
            f"its probabilities of the actions of {space} add up to {float(totals[0]):.3f}, not "
            "to 1: is it for another number of actions?",
        )


def _check_numbers(agent: nn.Module, name: str, tensor: Tensor) -> None:
    if bool(tensor.isnan().any()):
        raise _MisfitError(agent, f"its {name} is not a number")
