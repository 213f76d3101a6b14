"""One training of a model: its random streams, environments, processes and metrics."""

import os
from collections import defaultdict
from typing import Any, cast

import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from torch import Tensor, nn
from torch.distributions import Distribution

from ppo_bbrl.advantages import normalise
from ppo_bbrl.agents.networks import evaluation_mode
from ppo_bbrl.agents.normalisers import normalisers_of
from ppo_bbrl.agents.sde import StateDependentNoise
from ppo_bbrl.errors import UserError
from ppo_bbrl.lightning.checks import (
    RULES,
    SCHEDULED,
    StepCheck,
    check_arguments,
    check_forward,
    check_model,
    check_predict,
    clip_value,
    warn_of_others,
)
from ppo_bbrl.lightning.environments import GivenEnvs
from ppo_bbrl.lightning.loader import Actor, Batch, Collected, RolloutLoader, collected
from ppo_bbrl.lightning.model import Model
from ppo_bbrl.lightning.processes import Processes
from ppo_bbrl.losses import clipped_surrogate, explained_variance
from ppo_bbrl.rollout import collect
from ppo_bbrl.seeding import DirectDraws, Seeds
from ppo_bbrl.system.compute import check_autocast
from ppo_bbrl.update import KL_TOLERANCE
from ppo_bbrl.workspace.table import Workspace


class Run:
    """The state of a model's training by a Trainer.

    Args:
        model: a model attached to the Trainer.

    Raises:
        UserError: if training cannot work with this model or Trainer.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.trainer = model, model.trainer
        self.processes = Processes.of(self.trainer, model.device)
        # Each process, and each resumed training, has its own streams.
        own = np.random.SeedSequence(
            model.seed_entropy, spawn_key=(model.global_rank, self.trainer.current_epoch)
        )
        self.seeds = Seeds(int(own.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        #: the factor for the mean loss of this process
        self.weight = 1.0
        self._rollouts: list[dict[str, float]] = []
        self._unseen: Tensor | None = None  # what normalisers have not followed yet, `[N, …]`
        self._sums: dict[str, Tensor | float] = defaultdict(float)
        self._count = 0
        self._check_settings()
        self._check_steps()
        self.steps = StepCheck(model)
        self.n_steps = model.buffer_length
        self.workspace = Workspace(capacity=self.n_steps + 1)
        self.env = GivenEnvs("env", model.env).seed(self.seeds.sequence("train_env"))
        self.env(self.workspace, t=0)
        self._check_model(self.workspace.get("env/env_obs", 0))

    def loader(self) -> RolloutLoader:
        """The rollouts of one epoch of the Trainer."""
        model = self.model
        return RolloutLoader(
            num_rollouts=model.num_rollouts,
            epochs_per_rollout=model.epochs_per_rollout,
            batch_size=model.batch_size,
            n_rows=self.n_steps * model.env.num_envs,
            collect=self._collect,
            processes=self.processes,
            device=model.device,
            generator=self.seeds.minibatches,
            too_far=self._too_far,
            on_batch=self._weigh,
            on_end=self._end_epoch,
        )

    # ------------------------------------------------------------------------------ before it

    def _check_settings(self) -> None:
        model = self.model
        check_autocast()
        check_arguments(**{name: getattr(model, name) for name in RULES})  # may be assigned
        if model.eval_env is None and model.num_eval_episodes:
            raise UserError(
                "eval_env = None: training evaluates the model after each epoch; pass an eval_env, "
                "or set num_eval_episodes=0"
            )
        if isinstance(model.env.unwrapped, AsyncVectorEnv) and model.made_by != os.getpid():
            raise UserError(
                "env: this training process was forked, so several trainings would share the "
                "environments' processes; use strategy='ddp', or environments in the training "
                "process itself (DummyVecEnv)"
            )
        if any(one is model.eval_env for one in getattr(model.env, "envs", ())):
            raise UserError(
                "eval_env is also the training environment: an evaluation would end its episode; "
                "make a second one"
            )
        check_model(model, str(self.trainer.precision))
        functions = [name for name in SCHEDULED if callable(getattr(model, name))]
        missing = [name for name in model.functions_not_saved if name not in functions]
        if missing:
            raise UserError(
                f"{' and '.join(missing)}: was a function in the saved model, and checkpoints do "
                "not store functions; pass it to the model again"
            )
        if functions and self._remaining(0) is None:
            raise UserError(
                f"{' and '.join(functions)}: a function of the remaining progress needs a limit on "
                "training: Trainer(max_epochs=…) or Trainer(max_steps=…)"
            )
        has_noise = any(isinstance(module, StateDependentNoise) for module in model.modules())
        if model.use_sde and not has_noise and not model.resets_its_own_noise():
            raise UserError(
                "use_sde = True: the model has neither a StateDependentNoise nor its own "
                "reset_noise(n_envs)"
            )

    def _check_steps(self) -> None:
        """Check that every minibatch gets exactly one optimiser step, as PPO requires."""
        trainer = self.trainer
        for callback in trainer.callbacks:
            if isinstance(callback, GradientAccumulationScheduler):
                for factor in callback.scheduling.values():
                    _check_accumulation(factor)
            if isinstance(callback, StochasticWeightAveraging) and any(
                isinstance(module, nn.modules.batchnorm._BatchNorm)
                for module in self.model.modules()
            ):
                raise UserError(
                    "StochasticWeightAveraging: with batch normalisation, it adds an epoch that "
                    "collects rollouts without learning from them; use only one of the two"
                )
        _check_accumulation(trainer.accumulate_grad_batches)
        own_step = not type(self.model).training_step.__module__.startswith("ppo_bbrl.")
        if not self.model.automatic_optimization and not own_step:
            raise UserError(
                "automatic_optimization = False: PPO's training_step leaves the optimiser steps to "
                "Lightning; override training_step with one that makes them, or leave it True"
            )

    def _check_model(self, observation: Tensor) -> None:
        model = self.model
        with (
            self.seeds.actions.direct(lends=True),
            DirectDraws(),
            evaluation_mode(model),
            torch.no_grad(),
        ):
            if model.use_sde:
                model.reset_noise(model.env.num_envs)
            used = check_forward(self._forward, observation, model.action_space, model)
            if self.processes.size == 1:  # else the Trainer's strategy may have parts of its own
                warn_of_others(model, used, self.trainer.optimizers)
            check_predict(model.predict, model.for_network(observation[:1]), model.action_space)

    # ------------------------------------------------------------------------------ during it

    @torch.no_grad()
    def act(self, observation: Tensor) -> tuple[Distribution, Tensor]:
        """Call `forward` with the precision of the Trainer."""
        return self._forward(observation)

    def _forward(self, observation: Tensor) -> tuple[Distribution, Tensor]:
        with self.trainer.precision_plugin.train_step_context():
            answer = self.model(self.model.for_network(observation))
        return cast("tuple[Distribution, Tensor]", answer)

    def normalised_advantages(self, batch: Batch) -> Tensor:
        """This process's advantages, `[M]`, normalised over the minibatch of all processes."""
        if not batch.counts:
            return normalise(batch.advantages)
        rank, counts = self.processes.rank, batch.counts
        joined = normalise(self.processes.join(batch.advantages[: counts[rank]], counts))
        start = sum(counts[:rank])
        mine = joined[start : start + counts[rank]]
        return mine if len(mine) else torch.zeros_like(batch.advantages)

    def add_metrics(self, metrics: dict[str, Tensor], batch: Batch) -> None:
        """Add means over the valid transitions of a minibatch to the metrics of the epoch.

        Lightning's own averaging takes as much time as everything else in a step.
        """
        count = self._count_of(batch)
        self._count += count
        if count:
            for name, value in metrics.items():
                self._sums[name] = self._sums[name] + value.detach() * count

    def epoch_metrics(self) -> dict[str, float]:
        """The means of the metrics over all processes since the last call."""
        metrics = {}
        rollouts, self._rollouts = self._rollouts, []
        for name in dict.fromkeys(name for each in rollouts for name in each):
            metrics[name] = float(np.mean([each[name] for each in rollouts if name in each]))
        names = sorted(self._sums)
        sums = torch.tensor([*(float(self._sums[name]) for name in names), self._count])
        *totals, count = self.processes.total(sums.to(self.model.device)).tolist()
        self._sums.clear()
        self._count = 0
        if count:
            metrics |= {name: total / count for name, total in zip(names, totals, strict=True)}
        return metrics

    def move_statistics(self) -> None:
        """Let normalisers of observations follow the last rollout, after the update with it."""
        seen, self._unseen = self._unseen, None
        found = normalisers_of(self.model)
        if seen is None or not found:
            return
        seen = seen.to(self.model.device)
        seen = self.processes.join(seen, self.processes.all_counts(len(seen), seen.device))
        for normaliser in found:
            normaliser.update(seen)

    def _collect(self, index: int) -> Collected:
        self.move_statistics()
        model = self.model
        remaining = self._remaining(index)
        model.progress_remaining = 1.0 if remaining is None else remaining
        actor = Actor(self.act, self.n_steps, self._before_step)
        with (
            self.processes.while_environments_work(),
            self.seeds.actions.direct(lends=True),
            evaluation_mode(model),
        ):
            collect(self.env, actor, self.workspace, self.n_steps + 1)
        rollout = collected(
            self.workspace,
            gamma=model.gamma,
            gae_lambda=model.gae_lambda,
            dtype=cast("torch.dtype", model.dtype),
        )
        self._unseen = rollout.valid.variables["env/env_obs"]
        self._describe(rollout)
        return rollout

    def _before_step(self, t: int) -> None:
        model = self.model
        freq = model.sde_sample_freq
        if model.use_sde and (t == 0 or (freq > 0 and t % freq == 0)):
            model.reset_noise(model.env.num_envs)

    def _describe(self, rollout: Collected) -> None:
        model, device = self.model, self.model.device
        counts = self.processes.all_counts(len(rollout.valid), device)
        value, target = (
            self.processes.join(tensor.to(device), counts)
            for tensor in (rollout.valid.value, rollout.valid.returns)
        )
        metrics = {
            "clip_range": clip_value("clip_range", model.clip_range, model.progress_remaining),
            "stopped_early": 0.0,
            **self.env.counts(),
        }
        if sum(counts):
            metrics["explained_variance"] = float(explained_variance(value=value, target=target))
        ended = rollout.episode_returns
        sums = torch.tensor([sum(ended), float(len(ended))], device=device)
        total, number = self.processes.total(sums).tolist()
        if number:
            metrics["episode_return"] = total / number
        self._rollouts.append(metrics)
        if model.verbose > 1:
            text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            model.print(f"rollout: {sum(counts)} transitions, {number:.0f} episode ends, {text}")

    def _remaining(self, index: int) -> float | None:
        """The remaining progress at the start of rollout `index`; None without a limit."""
        trainer, num_rollouts, shares = self.trainer, self.model.num_rollouts, []
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            done = trainer.current_epoch * num_rollouts + index
            shares.append(done / (trainer.max_epochs * num_rollouts))
        if trainer.max_steps > 0:
            shares.append(trainer.global_step / trainer.max_steps)
        return max(0.0, 1.0 - max(shares)) if shares else None

    @torch.no_grad()
    def _too_far(self, batch: Batch) -> bool:
        """Whether the policy is too far from the one that acted; the same in every process."""
        if self.model.target_kl is None:
            return False
        moved: Any = self.trainer.strategy.batch_to_device(batch)
        log_prob = self.act(moved.observations)[0].log_prob(moved.actions)
        _, metrics = clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=moved.old_log_probs,
            advantage=moved.advantages,
            clip_range=1.0,
        )
        kl, count = metrics["approx_kl"], self._count_of(batch)
        total, number = self.processes.total(torch.stack((kl * count, torch.full_like(kl, count))))
        stop = bool(total / number > KL_TOLERANCE * self.model.target_kl)
        self._rollouts[-1]["stopped_early"] = float(stop)
        return stop

    def _count_of(self, batch: Batch) -> int:
        return batch.counts[self.processes.rank] if batch.counts else len(batch.advantages)

    def _weigh(self, batch: Batch) -> None:
        _check_accumulation(self.trainer.accumulate_grad_batches)  # a callback may have set it
        self.steps.begin()
        total = sum(batch.counts)
        size = self.processes.size
        self.weight = size * batch.counts[self.processes.rank] / total if batch.counts else 1.0

    def _end_epoch(self) -> None:
        # Lightning recognises the last minibatch by the length, which is an upper bound. If a pass
        # was shorter, do here what Lightning does after the last one.
        loop = self.trainer.fit_loop.epoch_loop
        loop.batch_progress.is_last_batch = True
        loop.update_lr_schedulers("epoch", update_plateau_schedulers=False)


def _check_accumulation(factor: int) -> None:
    if factor != 1:
        raise UserError(
            f"accumulate_grad_batches = {factor}: must be 1, since gradients would carry over from "
            "one rollout to the next; choose a larger batch_size"
        )
