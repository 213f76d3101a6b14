"""Evaluation: the returns of whole episodes on environments of their own."""

import math
import warnings
from contextlib import ExitStack
from dataclasses import dataclass

import bbrl.agents
import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.agents import Policy
from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.errors import UserError
from ppo_bbrl.networks import evaluation_mode
from ppo_bbrl.seeding import action_stream
from ppo_bbrl.workspace import Workspace


class EvaluationError(UserError):
    """An evaluation without a meaningful result."""


@dataclass(frozen=True)
class EvalReport:
    """The episodes of one evaluation.

    Attributes:
        returns: `[N]` float32, undiscounted, one for each episode.
        lengths: `[N]` int64, in steps.
        unfinished: how many episodes were still running when the evaluation was ended.
    """

    returns: Tensor
    lengths: Tensor
    unfinished: int

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

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

    Touches no random stream but its own, and leaves the policy as it was.

    Args:
        policy: any agent that writes `action`.
        env: environments without autoreset.
        seeds: of the environments and of a stochastic policy.
        max_steps: where episodes end that would not end by themselves.

    Raises:
        EvaluationError: if a return is not a number.
    """
    workspace = Workspace(capacity=min(max_steps + 1, 512))
    with ExitStack() as prepared:
        prepared.enter_context(evaluation_mode(policy))
        prepared.enter_context(action_stream(seeds).active())
        for module in policy.modules():
            if isinstance(module, Policy):
                prepared.enter_context(module.on_arrays(env.num_envs))
        env.seed(seeds)
        env(workspace, t=0)
        for t in range(max_steps):
            policy(workspace, t=t)
            env(workspace, t=t + 1)
            if env.all_done():
                break
    last = workspace.variables["env/done"].time_size() - 1
    report = EvalReport(
        returns=workspace.get("env/cumulated_reward", last),
        lengths=workspace.get("env/timestep", last),
        unfinished=int((~workspace.get("env/done", last)).sum()),
    )
    if report.unfinished:
        warnings.warn(
            f"evaluation on {env.env_name} ended after {max_steps} steps: {report.unfinished} of "
            f"{env.num_envs} episodes were still running (algorithm.max_eval_steps)",
            stacklevel=2,
        )
    if not math.isfinite(report.mean):
        broken = [episode for episode, value in enumerate(report.returns) if not value.isfinite()]
        raise EvaluationError(
            f"evaluation on {env.env_name}: the return of episodes {broken} is "
            f"{float(report.returns[broken[0]])}; the environment's rewards are not all numbers"
        )
    return report
