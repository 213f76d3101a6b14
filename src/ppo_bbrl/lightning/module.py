"""PPO as a LightningModule: subclass it, write `forward`, and let the Trainer do the rest."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.advantages import normalise
from ppo_bbrl.agents.networks import evaluation_mode
from ppo_bbrl.distributions import entropy_of
from ppo_bbrl.errors import UserError
from ppo_bbrl.lightning.checks import check_arguments, clip_value
from ppo_bbrl.lightning.environments import step_timeout_of
from ppo_bbrl.lightning.episodes import play_episodes, watch_episodes
from ppo_bbrl.lightning.loader import Batch
from ppo_bbrl.lightning.model import Model
from ppo_bbrl.lightning.processes import Processes
from ppo_bbrl.lightning.run import Run
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, value_loss
from ppo_bbrl.runs.replay import show
from ppo_bbrl.seeding import DirectDraws, Seeds, action_stream


class PPO(Model):
    """Proximal policy optimisation with clipping (Schulman et al., 2017).

    A subclass defines `forward(x) -> (distribution, value)` for observations `[N, …]`, with values
    `[N]`, and `configure_optimizers()`. It may override `predict` and `training_step`. Clip
    gradients with `Trainer(gradient_clip_val=…)`, as usual in Lightning. docs/lightning.md
    says what forward gets for each observation space, and what is logged.

    Args:
        env: the environment to learn from: an environment, a vector environment with next-step
            autoreset, or a registered name.
        eval_env: the environment to evaluate on: an environment, not vectorised, or a registered
            name; None when a trained model is loaded.
        buffer_length: steps in each environment per rollout.
        num_rollouts: rollouts in one epoch of the Trainer. This only sets how often the model is
            evaluated: at the end of each epoch of the Trainer.
        batch_size: maximum number of transitions in a minibatch.
        epochs_per_rollout: passes over each rollout.
        num_eval_episodes: episodes per evaluation; 0 turns evaluation off.
        gamma: discount factor.
        gae_lambda: λ of generalised advantage estimation.
        clip_range: clip range of the probability ratio: a number, or a function of the remaining
            progress, which falls from 1 to 0.
        clip_range_vf: clip range of the value function, in units of the return: a number, a
            function as above, or None for no clipping.
        target_kl: end the epochs over a rollout before the first minibatch whose KL divergence
            from the policy that acted exceeds 1.5 × this. None: never.
        value_coef: weight of the value loss.
        entropy_coef: weight of the entropy.
        use_sde: explore with gSDE: the model has a `StateDependentNoise`, or its own `reset_noise`.
        sde_sample_freq: draw new noise matrices after this many steps; -1: only at the start of
            each rollout.
        verbose: 0 prints nothing, 1 a line for each evaluation, 2 also one for each rollout.
        seed: seed of weights, actions, minibatches, environments and evaluations. It also seeds
            torch's global generator, from which the layers of a subclass draw. None: a random
            seed is drawn from that generator.

    Raises:
        UserError: for an argument that PPO cannot use.
    """

    _run: Run | None = None
    _n_evaluations = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one minibatch. Override this to change the algorithm.

        The loss is that of this process's transitions. Lightning averages gradients over the
        processes, and `backward` weights each process by its number of transitions.
        """
        del batch_idx
        dist, value = self(batch.observations)
        log_prob = dist.log_prob(batch.actions)
        run = self._run
        policy_loss, policy_metrics = clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=batch.old_log_probs,
            advantage=run.normalised_advantages(batch) if run else normalise(batch.advantages),
            clip_range=clip_value("clip_range", self.clip_range, self.progress_remaining),
        )
        critic_loss, critic_metrics = value_loss(
            value=value,
            old_value=batch.old_values,
            target=batch.returns,
            clip_range_vf=clip_value("clip_range_vf", self.clip_range_vf, self.progress_remaining),
        )
        exploration_loss, _ = entropy_loss(entropy=entropy_of(dist, log_prob))
        if run:
            losses = {
                "policy_loss": policy_loss,
                "value_loss": critic_loss,
                "entropy_loss": exploration_loss,
            }
            run.add_metrics({**losses, **policy_metrics, **critic_metrics}, batch)
        return policy_loss + self.value_coef * critic_loss + self.entropy_coef * exploration_loss

    # -------------------------------------------------------------------------------- evaluation

    def evaluate(
        self, num_eval_episodes: int | None = None, deterministic: bool = True, render: bool = False
    ) -> tuple[list[float], list[int]]:
        """Run episodes on `eval_env`, with seeds that training does not use.

        Args:
            num_eval_episodes: number of episodes; default: the constructor's argument.
            deterministic: passed to `predict`.
            render: show the episodes in a window. Without a screen, or if `eval_env` renders
                rgb_array, record a video in `video/`, in the Trainer's log folder if there is one,
                otherwise in the current folder.

        Returns:
            The undiscounted return of each episode, and its length in steps.

        Raises:
            UserError: if there is no `eval_env`, or it cannot be rendered.
        """
        if self.eval_env is None:
            raise UserError("eval_env = None: pass one to the model to evaluate it")
        n_episodes = self.num_eval_episodes if num_eval_episodes is None else num_eval_episodes
        check_arguments(num_eval_episodes=n_episodes)
        self._n_evaluations += 1
        streams = Seeds(self.seed_entropy) if self._run is None else self._run.seeds
        seeds = streams.sequence("evaluation", self._n_evaluations)

        def predict(observation: Tensor) -> Any:
            with DirectDraws():
                return self.predict(self.for_network(observation), deterministic=deterministic)

        processes = Processes() if self._run is None else self._run.processes
        # The stream comes first: other threads wait for it, and must not see evaluation mode.
        with (
            processes.while_environments_work(),
            action_stream(seeds).direct(lends=True),
            evaluation_mode(self),
        ):
            given = predict, self.eval_env, n_episodes, seeds
            limit = step_timeout_of(self.env)
            if not render or n_episodes == 0:
                return play_episodes(*given, step_timeout=limit)
            returns, lengths, video = watch_episodes(*given, self._video_path(), step_timeout=limit)
        if video is not None:
            shown = show(video)
            if not isinstance(shown, Path):
                from IPython.display import display  # noqa: PLC0415 - there only in a notebook

                display(shown)  # type: ignore[no-untyped-call]
        return returns, lengths

    # --------------------------------------------------------------------------- Lightning's side

    def train_dataloader(self) -> Iterable[Batch]:
        """The rollouts of one epoch, as minibatches. Resets the environments."""
        self._run = Run(self)
        return self._run.loader()

    def on_train_epoch_end(self) -> None:
        """Log the metrics of the rollouts and minibatches; evaluate, and log the result."""
        if self._run is None:
            return
        self._run.move_statistics()
        metrics, several = self._run.epoch_metrics(), self._run.processes.size > 1
        for name, value in metrics.items():
            self.log(name, value, prog_bar=name == "approx_kl", sync_dist=several)
        if self.num_eval_episodes:
            evaluation = self._evaluate_together(self._run.processes)
            self.log_dict(evaluation, prog_bar=True, sync_dist=several)
            metrics |= evaluation
        if self.verbose:
            text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            self.print(f"epoch {self.current_epoch}: {text}")

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate, weighted by this process's share of the minibatch's transitions."""
        weight = 1.0
        if self._run is not None:
            weight = self._run.weight
            self._run.steps.before_backward()
        super().backward(loss if weight == 1.0 else loss * weight, *args, **kwargs)

    # ----------------------------------------------------------------------------------- within

    def _evaluate_together(self, processes: Processes) -> dict[str, float]:
        """Evaluate, with the episodes divided among the processes."""
        whole, rest = divmod(self.num_eval_episodes, processes.size)
        n_episodes = whole + (processes.rank < rest)
        returns, lengths = self.evaluate(n_episodes) if n_episodes else ([], [])
        sums = [sum(returns), float(np.square(returns).sum()), float(sum(lengths))]
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        own = torch.tensor(sums, dtype=exact, device=self.device)
        means = processes.total(own, patient=True) / self.num_eval_episodes
        mean, square, length = means.tolist()
        return {
            "eval_return": mean,
            "eval_return_std": max(0.0, square - mean**2) ** 0.5,
            "eval_length": length,
        }

    def _video_path(self) -> Path:
        log_dir = None if self._trainer is None else self._trainer.log_dir
        process = f"-process-{self.global_rank}" if self.global_rank else ""
        return Path(log_dir or ".") / "video" / f"evaluation-{self._n_evaluations}{process}.mp4"
