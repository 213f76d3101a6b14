"""The data of one epoch of Lightning's Trainer: rollouts, split into minibatches."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ppo_bbrl.agents.base import Agent
from ppo_bbrl.errors import EnvironmentFailedError, UserError
from ppo_bbrl.lightning.checks import Forward
from ppo_bbrl.lightning.processes import Processes
from ppo_bbrl.minibatches import Transitions, n_minibatches
from ppo_bbrl.rollout import all_rows, as_rollout, gae_targets, valid_rows
from ppo_bbrl.seeding import DirectDraws
from ppo_bbrl.workspace.table import Workspace

_LOG_PROB, _VALUE = "current_policy/logprob", "critic/v_values"


class Batch(NamedTuple):
    """A minibatch of M transitions.

    Attributes:
        observations: `[M, …]`.
        actions: `[M, …]`, as sampled.
        old_values: `[M]`, from the weights that acted.
        old_log_probs: `[M]`, from the weights that acted.
        advantages: `[M]`, not normalised.
        returns: `[M]`, λ-returns.
        counts: the number of valid transitions of each process in this minibatch; empty if there
            is only one process. A process with none gets one row, which does not count.
    """

    observations: Tensor
    actions: Tensor
    old_values: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, part: Transitions, counts: tuple[int, ...]) -> Self:
        """Make a minibatch of this process's transitions; `counts` are those of all processes."""
        return cls(
            part.variables["env/env_obs"],
            part.variables["action"],
            part.value,
            part.log_prob,
            part.advantage,
            part.returns,
            counts if len(counts) > 1 else (),
        )


class Collected(NamedTuple):
    """A rollout, on the CPU.

    Attributes:
        valid: the N valid transitions; autoreset steps are left out.
        spare: one row, valid or not, for a process that would otherwise have none.
        episode_returns: the undiscounted returns of the episodes that ended.
    """

    valid: Transitions
    spare: Transitions
    episode_returns: list[float]


class Actor(Agent):
    """An agent that acts and computes values in one pass of a model.

    It writes `action`, its log-probability and the value; in the last row, where the next rollout
    continues, only the value.

    Args:
        model: maps observations `[B, …]`, on the CPU, to (distribution, values `[B]`).
        n_steps: the index of the last row, T.
        before_step: called with t before the action of row t is chosen.
    """

    def __init__(
        self, model: Forward, n_steps: int, before_step: Callable[[int], None] = lambda _: None
    ) -> None:
        super().__init__()
        self.answer, self.n_steps, self.before_step = model, n_steps, before_step

    @torch.no_grad()
    def forward(self, t: int, **kwargs: Any) -> None:
        """Write action, log-probability and value of row t.

        Raises:
            EnvironmentFailedError: if an observation is NaN, for which the distribution would
                only report wrong logits.
        """
        del kwargs
        observation = self.get(("env/env_obs", t))
        if observation.is_floating_point() and bool(observation.isnan().any()):
            where = "a step" if t else "a reset"
            raise EnvironmentFailedError(
                f"env failed in {where}: its observations are not all numbers"
            )
        if t < self.n_steps:
            with DirectDraws():
                self.before_step(t)
        dist, value = self.answer(observation)
        # In half precision, a return of 300 would be rounded to a multiple of 2.
        exact = torch.promote_types(value.dtype, torch.float32)
        self.set((_VALUE, t), value.to("cpu", exact))
        if t < self.n_steps:
            with DirectDraws():
                action = dist.sample()
            self.set((_LOG_PROB, t), dist.log_prob(action).cpu())
            self.set(("action", t), action.cpu())


def collected(
    workspace: Workspace, *, gamma: float, gae_lambda: float, dtype: torch.dtype = torch.float32
) -> Collected:
    """The transitions of a workspace that an `Actor` has filled.

    Args:
        workspace: the workspace, with T + 1 rows.
        gamma: discount factor.
        gae_lambda: λ of generalised advantage estimation.
        dtype: the dtype that the model needs for observations that are floats.
    """
    rows = {name: variable.view() for name, variable in workspace.variables.items()}
    rollout = as_rollout(rows, log_prob=rows[_LOG_PROB], value=rows[_VALUE])
    if not bool(torch.isfinite(rollout.reward).all()):
        raise UserError(f"env: its rewards are not all numbers of {rollout.reward.dtype}")
    advantage, returns = gae_targets(rollout, discount_factor=gamma, gae_lambda=gae_lambda)
    observation = rows["env/env_obs"]
    if observation.is_floating_point():
        observation = observation.to(dtype)
    everything = all_rows(
        rollout,
        {"env/env_obs": observation, "action": rows["action"]},
        advantage=advantage,
        returns=returns,
        device=observation.device,
    )
    return Collected(
        valid=everything.select(valid_rows(rollout)),
        spare=everything.select(torch.tensor([0])),
        episode_returns=rows["env/cumulated_reward"][1:][rollout.done].tolist(),
    )


class RolloutLoader:
    """Collects rollouts and yields their minibatches: one pass is one epoch of the Trainer.

    It has a length, which makes Lightning fetch a minibatch only after the step on the previous
    one: otherwise a rollout could start before the last step on the weights. The length is an
    upper bound. A pass is shorter if `target_kl` ends the epochs over a rollout.

    Args:
        num_rollouts: rollouts per pass.
        epochs_per_rollout: epochs over each rollout.
        batch_size: maximum number of transitions in a minibatch.
        n_rows: rows of a rollout, including autoreset steps.
        collect: function that collects a rollout.
        processes: the processes that train together.
        device: device of the tensors that they exchange.
        generator: generator that shuffles the minibatches.
        too_far: function that says whether the policy has moved too far for another step; called
            before each minibatch of a rollout except the first.
        on_batch: called with each minibatch before it is yielded.
        on_end: called at the end of a pass that was shorter than its length.
    """

    def __init__(
        self,
        *,
        num_rollouts: int,
        epochs_per_rollout: int,
        batch_size: int,
        n_rows: int,
        collect: Callable[[int], Collected],
        processes: Processes,
        device: torch.device,
        generator: torch.Generator,
        too_far: Callable[[Batch], bool],
        on_batch: Callable[[Batch], None],
        on_end: Callable[[], None],
    ) -> None:
        self.num_rollouts, self.epochs_per_rollout = num_rollouts, epochs_per_rollout
        self.batch_size, self.n_rows = batch_size, n_rows
        self.collect, self.too_far = collect, too_far
        self.on_batch, self.on_end = on_batch, on_end
        self.processes, self.device, self.generator = processes, device, generator

    def __len__(self) -> int:
        """The maximum number of minibatches in a pass."""
        return (
            self.num_rollouts
            * self.epochs_per_rollout
            * n_minibatches(self.n_rows, self.batch_size)
        )

    def __iter__(self) -> Iterator[Batch]:
        """Collect a rollout and yield its minibatches, `num_rollouts` times."""
        for index in range(self.num_rollouts):
            rollout = self.collect(index)
            first = True
            for batch in self._epochs(rollout):
                if not first and self.too_far(batch):
                    break
                first = False
                self.on_batch(batch)
                yield batch
        self.on_end()

    def _epochs(self, rollout: Collected) -> Iterator[Batch]:
        counts = self.processes.all_counts(len(rollout.valid), self.device)
        n = n_minibatches(self.n_rows, self.batch_size)
        for _ in range(self.epochs_per_rollout):
            for i, part in enumerate(rollout.valid.parts(n, self.generator)):
                # tensor_split gives the first `count % n` parts one more.
                each = tuple(count // n + (i < count % n) for count in counts)
                if sum(each):  # there may be more minibatches than transitions
                    yield Batch.of(part if len(part) else rollout.spare, each)
