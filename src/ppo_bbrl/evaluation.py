"""Evaluation: the returns of whole episodes on separate environments."""

import math
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import bbrl.agents
import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.agents.acting import row_actor
from ppo_bbrl.agents.base import Policy, copy_agent
from ppo_bbrl.agents.networks import evaluation_mode, no_numbers
from ppo_bbrl.agents.policies import drawing_from, draws_noise_alone
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.errors import UserError
from ppo_bbrl.seeding import action_stream
from ppo_bbrl.system.html import number, table
from ppo_bbrl.workspace.storage import Array, RowsGone
from ppo_bbrl.workspace.table import Workspace

_LISTED = 20  # episodes that a notebook shows

Result = TypeVar("Result")


class EvaluationError(UserError):
    """An evaluation without a meaningful result."""


@dataclass(frozen=True, repr=False)
class EvalReport:
    """The episodes of one evaluation.

    Attributes:
        returns: `[N]` float32, undiscounted, one for each episode.
        lengths: `[N]` int64, in steps.
        unfinished: number of episodes that were cut off at the step limit.
    """

    returns: Tensor
    lengths: Tensor
    unfinished: int

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    def __repr__(self) -> str:
        unfinished = f", {self.unfinished} unfinished" if self.unfinished else ""
        episodes = f"{len(self.returns)} episodes{unfinished}"
        return f"EvalReport({episodes}: mean {number(self.mean)}, std {number(self.std)})"

    def _repr_html_(self) -> str:
        """In a notebook: the mean, and the return and length of each episode."""
        rows = [
            (episode, number(value), length)
            for episode, (value, length) in enumerate(
                zip(self.returns.tolist(), self.lengths.tolist(), strict=True)
            )
        ]
        left = [("…", "", "")] if len(rows) > _LISTED else []
        return table(("episode", "return", "steps"), [*rows[:_LISTED], *left], repr(self))

    @property
    def std(self) -> float:
        """Standard deviation of the returns over the episodes."""
        return float(self.returns.std(correction=0))


@torch.no_grad()
def evaluate(
    policy: bbrl.agents.Agent,
    env: EnvAgent,
    seeds: np.random.SeedSequence,
    *,
    max_steps: int,
) -> EvalReport:
    """Run one episode in each environment and report their returns.

    Uses no random stream but its own, and leaves the policy unchanged. Memory does not grow with
    the length of the episodes, unless the policy reads rows before the previous one.

    Args:
        policy: any agent that writes `action`.
        env: environments without autoreset.
        seeds: the seeds of the environments and of a stochastic policy.
        max_steps: the number of steps after which episodes are cut off.

    Raises:
        EvaluationError: if a weight, an observation, an action or a return is not a number.
    """
    report = play(policy, env, seeds, max_steps=max_steps)
    if report.unfinished:
        warnings.warn(
            f"evaluation on {env.env_name} ended after {max_steps} steps: {report.unfinished} of "
            f"{env.num_envs} episodes were still running (algorithm.max_eval_steps)",
            stacklevel=2,
        )
    if env.was_cut_off.all():
        warnings.warn(
            f"evaluation on {env.env_name}: failing environments cut off all {env.num_envs} "
            "episodes; the returns are those until then",
            stacklevel=2,
        )
    if not math.isfinite(report.mean):  # finite rewards may add up to infinity
        broken = [episode for episode, value in enumerate(report.returns) if not value.isfinite()]
        raise EvaluationError(
            f"evaluation on {env.env_name}: the return of episodes {broken} is "
            f"{float(report.returns[broken[0]])}; the environment's rewards are too large"
        )
    return report


def play(
    policy: bbrl.agents.Agent,
    env: EnvAgent,
    seeds: np.random.SeedSequence,
    *,
    max_steps: int,
    on_row: Callable[[], None] = lambda: None,
) -> EvalReport:
    """Run one episode in each environment, and allow returns that are not finite.

    Episodes that a failing environment cut off are left out (`gym_env.on_failure: restart`).

    Args:
        policy: any agent that writes `action`.
        env: environments without autoreset.
        seeds: the seeds of the environments and of a stochastic policy.
        max_steps: the number of steps after which episodes are cut off.
        on_row: called after each row of the environments.

    Raises:
        EvaluationError: if a weight, an observation, an action or a reward is not a number.
    """

    def report_of(workspace: Workspace) -> EvalReport:
        play_episodes(policy, env, seeds, workspace, max_steps=max_steps, on_row=on_row)
        last = workspace.variables[f"{env.output}done"].time_size() - 1
        whole = torch.from_numpy(~env.was_cut_off)
        whole |= ~whole.any()  # if all were cut off, they are all that there is
        returns, lengths, done = (
            workspace.get(f"{env.output}{name}", last)[whole]
            for name in ("cumulated_reward", "timestep", "done")
        )
        return EvalReport(returns, lengths, unfinished=int((~done).sum()))

    return with_enough_rows(report_of)


def with_enough_rows(use: Callable[[Workspace], Result]) -> Result:
    """Call `use` with a workspace that keeps only the two newest rows.

    If an agent reads an earlier row, call it again with a workspace that keeps all rows.
    """
    try:
        return use(Workspace(newest_only=True))
    except RowsGone:
        return use(Workspace(capacity=512))


@torch.no_grad()
def play_episodes(
    policy: bbrl.agents.Agent,
    env: EnvAgent,
    seeds: np.random.SeedSequence,
    workspace: Workspace,
    *,
    max_steps: int,
    on_row: Callable[[], None] = lambda: None,
) -> None:
    """Run one episode in each environment, from row 0 of an empty workspace.

    Args:
        policy: any agent that writes `action`.
        env: environments without autoreset.
        seeds: the seeds of the environments and of a stochastic policy.
        workspace: an empty workspace.
        max_steps: the number of steps after which episodes are cut off.
        on_row: called after each row of the environments.

    Raises:
        EvaluationError: if a weight, an observation, an action or a reward is not a number.
    """
    if not isinstance(policy, bbrl.agents.Agent):
        hint = "its attribute agent is one" if hasattr(policy, "agent") else "it writes `action`"
        raise UserError(f"the policy is a {type(policy).__name__}, must be a BBRL agent: {hint}")
    if broken := no_numbers(policy):
        raise EvaluationError(f"the policy cannot be evaluated: {broken[0]} is not all numbers")
    if draws_noise_alone(policy):  # it needs no lock, so other threads may use it meanwhile
        policy = copy_agent(policy)
    # A custom agent may be able to use infinity; a network turns it into NaN.
    has_network = any(isinstance(module, Policy) for module in policy.modules())
    is_number = np.isfinite if has_network else is_no_nan
    with ExitStack() as prepared:
        # This comes first: other threads wait for it, and must not see the changed modes.
        prepared.enter_context(drawing_from(action_stream(seeds), policy))
        prepared.enter_context(evaluation_mode(policy))
        act = row_actor(policy, env.num_envs)
        env.seed(seeds)
        env(workspace, t=0)
        on_row()
        for t in range(max_steps):
            for name in env.observation_names:
                _check(workspace, env, name, t, is_number)
            act(workspace, t)
            _check(workspace, env, env.input, t, np.isfinite)
            env(workspace, t=t + 1)
            _check(workspace, env, f"{env.output}reward", t + 1, np.isfinite)
            on_row()
            if env.all_done():
                break


def is_no_nan(array: Array) -> Array:
    """Whether each value is a number (infinities included) and not NaN."""
    return ~np.isnan(array)


def _check(
    workspace: Workspace, env: EnvAgent, name: str, t: int, is_number: Callable[[Array], Array]
) -> None:
    """Check row t of a variable for NaN, because the argmax of NaN would be action 0."""
    row = workspace.row_array(name, t)
    if row.dtype.kind != "f" or is_number(row).all():
        return
    broken = ~is_number(row).reshape(len(row), -1)
    if name != f"{env.output}reward":  # the last observation of an episode is not acted on
        broken[workspace.row_array(f"{env.output}done", t)] = False
    episodes = np.flatnonzero(broken.any(1)).tolist()
    if episodes:
        value = float(row.reshape(broken.shape)[broken][0])
        which = f" of episodes {episodes}" if env.num_envs > 1 else ""
        raise EvaluationError(
            f"evaluation on {env.env_name}: in step {t}{which} {name} is {value}; "
            "observations, actions and rewards must be numbers"
        )
