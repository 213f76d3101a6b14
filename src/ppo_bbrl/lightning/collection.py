"""Acting in the environments: a rollout of Lightning's PPO."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any, NamedTuple, cast

import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from torch import Tensor
from torch.distributions import Distribution

from ppo_bbrl.advantages import gae, lambda_returns
from ppo_bbrl.envs.faults import check_rows, reason
from ppo_bbrl.envs.spaces import action_converter, as_observation, observation_template
from ppo_bbrl.envs.workers import AFTER_A_FAULT, close_workers
from ppo_bbrl.errors import EnvironmentFailed, UserError
from ppo_bbrl.seeding import env_seeds

Forward = Callable[[Tensor], tuple[Distribution, Tensor]]


class Batch(NamedTuple):
    """A minibatch of M transitions.

    Attributes:
        observations: `[M, …]`.
        actions: `[M, …]`, as sampled.
        old_values: `[M]`, under the weights that acted.
        old_log_probs: `[M]`, under the weights that acted.
        advantages: `[M]`, not normalised.
        returns: `[M]`, λ-returns.
        counts: the valid transitions of each process in this minibatch; empty in one process. A
            process with none has one row, which does not count.
    """

    observations: Tensor
    actions: Tensor
    old_values: Tensor
    old_log_probs: Tensor
    advantages: Tensor
    returns: Tensor
    counts: tuple[int, ...] = ()

    def select(self, index: Tensor) -> "Batch":
        """The transitions of an index, `[K]`."""
        return Batch(
            self.observations[index],
            self.actions[index],
            self.old_values[index],
            self.old_log_probs[index],
            self.advantages[index],
            self.returns[index],
        )


@dataclass(frozen=True)
class Transitions:
    """A rollout, on the CPU.

    Attributes:
        valid: the N valid transitions; autoreset steps are left out.
        spare: one row, valid or not, for a process that has nothing else.
        episode_returns: of the episodes that ended, undiscounted.
        n_rows: T·B, autoreset steps counted.
    """

    valid: Batch
    spare: Batch
    episode_returns: list[float]
    n_rows: int

    def __len__(self) -> int:
        """N."""
        return len(self.valid.advantages)

    def observed_in(self, dtype: torch.dtype) -> "Transitions":
        """The same with observations that are float32 in the precision of a model."""
        if self.valid.observations.dtype != torch.float32 or dtype == torch.float32:
            return self
        valid, spare = (
            batch._replace(observations=batch.observations.to(dtype))
            for batch in (self.valid, self.spare)
        )
        return replace(self, valid=valid, spare=spare)


@dataclass
class Collector:
    """Acts in vector environments, and continues where it stood.

    Args:
        env: with next-step autoreset: the step after the end of an episode only resets.
    """

    env: VectorEnv[Any, Any, Any]
    _observation: Tensor = field(init=False)  # [B, …], and whether an episode has ended with it:
    _done: Tensor = field(init=False)  # [B]
    _return: Tensor = field(init=False)  # [B], of the running episodes
    _checked: bool = field(init=False, default=False)  # whether rows have the expected shapes

    def start(self, seeds: Any) -> Tensor:
        """Reset the environments and return what is seen, `[B, …]`.

        Args:
            seeds: a `numpy.random.SeedSequence`.
        """
        n_envs = self.env.num_envs
        one_by_one = isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv)
        # One seed for each environment; for all of them where they are vectorised otherwise.
        numbers = cast("Any", env_seeds(seeds, n_envs if one_by_one else 1))
        seed = numbers if one_by_one else numbers[0]
        observed, _ = self._ask("a reset", self.env.reset, seed=seed)
        self._observation = self._seen("a reset", observed)
        self._done = torch.zeros(n_envs, dtype=torch.bool)
        self._return = torch.zeros(n_envs, dtype=torch.float64)
        return self._observation

    def _ask(self, what: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the environments answer. One that fails is told in one line, and ends the others."""
        try:
            answer = method(*args, **kwargs)
            if not self._checked:
                check_rows(self.env.single_observation_space, self.env.num_envs, *answer[:-1])
                self._checked = len(answer) > 2  # a step
        except EnvironmentFailed:
            raise
        except (Exception, SystemExit) as error:
            told, envs = reason(error), self.env.unwrapped
            if isinstance(envs, AsyncVectorEnv):
                if isinstance(error, EOFError | OSError):
                    processes = [process.sentinel for process in envs.processes]
                    for ended in wait(processes, AFTER_A_FAULT):
                        which = processes.index(cast("int", ended))
                        told = f"the process of environment {which} ended ({told})"
                close_workers(envs, AFTER_A_FAULT)
            raise EnvironmentFailed(f"env failed in {what}: {told}") from error
        return answer

    def _seen(self, what: str, observed: Any) -> Tensor:
        """Observations, `[B, …]`; of a NaN a distribution would say that its logits are wrong."""
        row = as_observation(self.env.single_observation_space, observed)
        if row.is_floating_point() and bool(row.isnan().any()):
            raise EnvironmentFailed(f"env failed in {what}: its observations are not all numbers")
        return row

    @torch.no_grad()
    def collect(
        self,
        forward: Forward,
        n_steps: int,
        *,
        gamma: float,
        gae_lambda: float,
        before_step: Callable[[int], None] = lambda _: None,
    ) -> Transitions:
        """Act for `n_steps` steps in each environment.

        Row t holds the observation and whether an episode ended with it, as in a workspace;
        transition t leads from row t to row t+1 and is valid unless an episode ended in row t.

        Args:
            forward: the model: observations `[B, …]`, on the CPU, to (distribution, values `[B]`).
            n_steps: T.
            gamma: discount factor.
            gae_lambda: λ.
            before_step: called with t before the action of row t is chosen.
        """
        space, n_envs = self.env.single_observation_space, self.env.num_envs
        to_env = action_converter(self.env.single_action_space, n_envs)
        template = observation_template(space, n_envs)
        observations = template.new_empty(n_steps + 1, *template.shape)  # [T + 1, B, …]
        done = torch.empty(n_steps + 1, n_envs, dtype=torch.bool)
        terminated = torch.empty(n_steps, n_envs, dtype=torch.bool)
        reward = torch.empty(n_steps, n_envs, dtype=torch.float64)
        actions, values, log_probs = [], [], []
        episode_returns: list[float] = []
        observations[0], done[0] = self._observation, self._done
        for t in range(n_steps):
            before_step(t)
            dist, value = forward(observations[t])
            action = dist.sample()
            log_probs.append(dist.log_prob(action).cpu())
            values.append(value.cpu())
            actions.append(action.cpu())
            seen = self._ask("a step", self.env.step, to_env(actions[-1]))
            observed, earned, ended, cut, _ = seen
            observations[t + 1] = self._seen("a step", observed)
            reward[t], terminated[t] = torch.as_tensor(earned), torch.as_tensor(ended)
            done[t + 1] = terminated[t] | torch.as_tensor(cut)
            self._return += torch.where(done[t], 0.0, reward[t])
            if done[t + 1].any():
                episode_returns += self._return[done[t + 1]].tolist()
                self._return[done[t + 1]] = 0
        self._observation, self._done = observations[-1].clone(), done[-1].clone()
        values.append(forward(observations[-1])[1].cpu())
        value = torch.stack(values)
        # In half precision a return of 300 would be rounded to the next 2.
        value = value.to(torch.promote_types(value.dtype, torch.float32))
        reward = reward.to(value.dtype)
        if not bool(torch.isfinite(reward).all()):
            raise UserError(f"env: its rewards are not all numbers of {value.dtype}")
        advantage = gae(
            reward=reward,
            value=value[:-1],
            next_value=value[1:],
            terminated=terminated,
            done=done[1:],
            discount_factor=gamma,
            gae_lambda=gae_lambda,
        )
        target = lambda_returns(advantage=advantage, value=value[:-1])
        everything = Batch(
            observations[:-1].flatten(0, 1),
            torch.stack(actions).flatten(0, 1),
            value[:-1].flatten(),
            torch.stack(log_probs).flatten(),
            advantage.flatten(),
            target.flatten(),
        )
        return Transitions(
            valid=everything.select((~done[:-1]).flatten().nonzero().squeeze(-1)),
            spare=everything.select(torch.tensor([0])),
            episode_returns=episode_returns,
            n_rows=n_steps * n_envs,
        )
