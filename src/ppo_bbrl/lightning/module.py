"""PPO as a LightningModule: subclass it, write `forward`, and let the Trainer do the rest."""

import inspect
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from torch import Tensor
from torch.distributions import Distribution

from ppo_bbrl.advantages import normalise
from ppo_bbrl.agents.networks import evaluation_mode
from ppo_bbrl.distributions import entropy_of, mode_of
from ppo_bbrl.envs.spaces import both_as_data, both_from_data, check_same_spaces
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.lightning.arguments import check_arguments, clip_value, numbers_of_python
from ppo_bbrl.lightning.environments import evaluation_environment, training_environment
from ppo_bbrl.lightning.episodes import play_episodes, watch_episodes
from ppo_bbrl.lightning.loader import Batch
from ppo_bbrl.lightning.opened import Opened
from ppo_bbrl.lightning.processes import Processes
from ppo_bbrl.lightning.run import SCHEDULED, Run
from ppo_bbrl.lightning.sde import StateDependentNoise
from ppo_bbrl.lightning.stopping import stopped_by_sigterm
from ppo_bbrl.losses import clipped_surrogate, entropy_loss, value_loss
from ppo_bbrl.runs.replay import show
from ppo_bbrl.schedules import Schedule
from ppo_bbrl.seeding import Seeds, action_stream

_NOT_SAVED = ("env", "eval_env")
_CHECKPOINT_KEY = "ppo_bbrl"


class PPO(Opened):
    """Proximal policy optimisation, clipped (Schulman et al., 2017).

    A subclass defines `forward(x) -> (distribution, value)` for observations `[N, …]`, the values
    of shape `[N]`, and `configure_optimizers()`. `predict` and `training_step` may be overridden.
    Limit gradients by `Trainer(gradient_clip_val=…)`, as ever with Lightning. docs/lightning.md
    says what forward gets for each observation space, and what is logged.

    Args:
        env: to learn from: an environment, a vector environment with next-step autoreset, or a
            registered name.
        eval_env: to evaluate on: an environment, not vectorised, or a registered name; None when
            a trained model is loaded.
        buffer_length: steps in each environment for one rollout.
        num_rollouts: rollouts in one epoch of the Trainer. It only sets how often the model is
            evaluated: at the end of each such epoch.
        batch_size: transitions of a minibatch at most.
        epochs_per_rollout: how often each transition is learned from.
        num_eval_episodes: episodes of an evaluation; 0 switches evaluation off.
        gamma: discount factor.
        gae_lambda: λ of generalised advantage estimation.
        clip_range: of the probability ratio: a number, or a function of the remaining progress,
            which falls from 1 to 0.
        clip_range_vf: of the value function, in units of the return; likewise. None: no clipping.
        target_kl: ends the epochs over a rollout before the first minibatch for which the policy
            has gone farther than 1.5 × this from the one that acted. None: never.
        value_coef: weight of the value loss.
        entropy_coef: weight of the entropy.
        use_sde: explore by gSDE: the model has a `StateDependentNoise`, or its own `reset_noise`.
        sde_sample_freq: new noise matrices every so many steps; -1: once at the beginning of each
            rollout.
        verbose: 0 says nothing, 1 a line for each evaluation, 2 also one for each rollout.
        seed: of weights, actions, minibatches, environments and evaluations. It seeds torch's
            global generator, from which the layers of a subclass draw. None: drawn from there.

    Raises:
        UserError: for an argument that PPO cannot use.
    """

    def __init__(  # noqa: PLR0917 - Lightning-Baselines3's positional arguments
        self,
        env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any] | str,
        eval_env: gym.Env[Any, Any] | str | None,
        buffer_length: int = 2048,
        num_rollouts: int = 1,
        batch_size: int = 64,
        epochs_per_rollout: int = 10,
        num_eval_episodes: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        target_kl: float | None = None,
        value_coef: float = 0.5,
        entropy_coef: float = 0.0,
        use_sde: bool = False,
        sde_sample_freq: int = -1,
        verbose: int = 0,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        check_arguments(
            buffer_length=buffer_length,
            num_rollouts=num_rollouts,
            batch_size=batch_size,
            epochs_per_rollout=epochs_per_rollout,
            num_eval_episodes=num_eval_episodes,
            gamma=gamma,
            gae_lambda=gae_lambda,
            target_kl=target_kl,
            value_coef=value_coef,
            entropy_coef=entropy_coef,
            sde_sample_freq=sde_sample_freq,
            verbose=verbose,
            seed=seed,
        )
        clip_value("clip_range", clip_range, 1.0)
        clip_value("clip_range_vf", clip_range_vf, 1.0)
        self.buffer_length, self.num_rollouts = buffer_length, num_rollouts
        self.batch_size, self.epochs_per_rollout = batch_size, epochs_per_rollout
        self.num_eval_episodes = num_eval_episodes
        self.gamma, self.gae_lambda = gamma, gae_lambda
        self.clip_range, self.clip_range_vf, self.target_kl = clip_range, clip_range_vf, target_kl
        self.value_coef, self.entropy_coef = value_coef, entropy_coef
        self.use_sde, self.sde_sample_freq = use_sde, sde_sample_freq
        self.verbose, self.seed = verbose, seed

        self.env = training_environment(env)
        self.eval_env = evaluation_environment(eval_env)
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space
        self._check_spaces()

        #: from 1 at the start of training to 0 at its end, as the last rollout began
        self.progress_remaining = 1.0
        if seed is not None:
            torch.manual_seed(seed)
        #: what all random streams derive from
        self.seed_entropy = int(torch.randint(2**62, ())) if seed is None else int(seed)
        #: arguments that were functions in the checkpoint which this model was loaded from
        self.functions_not_saved: list[str] = []
        #: the process that made the model; other processes may have copies of it
        self.made_by = os.getpid()
        self._run: Run | None = None
        self._n_evaluations = 0

    # ------------------------------------------------------------------------- what users define

    def forward(self, x: Tensor) -> tuple[Distribution, Tensor]:
        """The policy's distribution and the value, `[N]`, of observations, `[N, …]`."""
        raise UserError(f"{type(self).__name__} must define forward(x) -> (distribution, value)")

    @torch.no_grad()
    def predict(self, x: Tensor, deterministic: bool = True) -> Any:
        """Actions, `[N, …]`, for observations, `[N, …]`: the most likely ones, or sampled."""
        dist, _ = self(x)
        return (mode_of(dist) if deterministic else dist.sample()).cpu().numpy()

    def reset_noise(self, n_envs: int) -> None:
        """Draw the noise of gSDE anew for `n_envs` environments; called if `use_sde`."""
        for module in self.modules():
            if isinstance(module, StateDependentNoise):
                module.reset_noise(n_envs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one minibatch. Override this to change the algorithm.

        Losses are those of this process's transitions. Lightning averages gradients over the
        processes, and `backward` weights them by the transitions that each of them has.
        """
        del batch_idx
        dist, value = self(batch.observations)
        log_prob = dist.log_prob(batch.actions)
        run = self._run
        policy_loss, policy_facts = clipped_surrogate(
            log_prob=log_prob,
            old_log_prob=batch.old_log_probs,
            advantage=run.normalised_advantages(batch) if run else normalise(batch.advantages),
            clip_range=clip_value("clip_range", self.clip_range, self.progress_remaining),
        )
        critic_loss, critic_facts = value_loss(
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
            run.note({**losses, **policy_facts, **critic_facts}, batch)
        return policy_loss + self.value_coef * critic_loss + self.entropy_coef * exploration_loss

    # -------------------------------------------------------------------------------- evaluation

    def evaluate(
        self, num_eval_episodes: int | None = None, deterministic: bool = True, render: bool = False
    ) -> tuple[list[float], list[int]]:
        """Run episodes on `eval_env`, on seeds that training does not use.

        Args:
            num_eval_episodes: how many; those of the constructor if left out.
            deterministic: as `predict` takes it.
            render: show them in a window. Where there is no screen, or `eval_env` renders
                rgb_array, they become a video in `video/` of the Trainer's log folder, or of the
                current one.

        Returns:
            The undiscounted return of each episode, and its length in steps.

        Raises:
            UserError: without `eval_env`, or if it cannot be shown.
        """
        if self.eval_env is None:
            raise UserError("eval_env = None: give the model one to evaluate it")
        n_episodes = self.num_eval_episodes if num_eval_episodes is None else num_eval_episodes
        check_arguments(num_eval_episodes=n_episodes)
        self._n_evaluations += 1
        streams = Seeds(self.seed_entropy) if self._run is None else self._run.seeds
        seeds = streams.sequence("evaluation", self._n_evaluations)

        def predict(observation: Tensor) -> Any:
            return self.predict(self.for_network(observation), deterministic=deterministic)

        # First the stream: other threads wait for it, and the mode is not meant for them.
        with stopped_by_sigterm(), action_stream(seeds).active(), evaluation_mode(self):
            if not render or n_episodes == 0:
                return play_episodes(predict, self.eval_env, n_episodes, seeds)
            returns, lengths, video = watch_episodes(
                predict, self.eval_env, n_episodes, seeds, self._video_path()
            )
        if video is not None:
            shown = show(video)
            if not isinstance(shown, Path):
                from IPython.display import display  # noqa: PLC0415 - there only in a notebook

                display(shown)  # type: ignore[no-untyped-call]
        return returns, lengths

    # --------------------------------------------------------------------------- Lightning's side

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Lightning's, without environments and functions: a checkpoint holds plain values."""
        current = inspect.currentframe()
        frame = frame or (current and current.f_back)
        # They are not there yet if a subclass calls this before super().__init__().
        functions = [name for name in SCHEDULED if callable(getattr(self, name, None))]
        mine = [ignore] if isinstance(ignore, str) else list(ignore or ())
        super().save_hyperparameters(
            *args,
            ignore=[*_NOT_SAVED, *functions, *mine],
            frame=frame,
            logger=logger,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which functions are missing in the hyper-parameters, and the spaces."""
        functions = [name for name in SCHEDULED if callable(getattr(self, name))]
        checkpoint[_CHECKPOINT_KEY] = {"functions": functions, **both_as_data(self)}
        for name in functions:
            checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {}).pop(name, None)
        numbers_of_python(checkpoint)  # others do not load with weights_only=True

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See which functions have to be given again, and that the spaces are those of before."""
        noted = checkpoint.get(_CHECKPOINT_KEY, {})
        if (trained_on := both_from_data(noted)) is not None:
            check_same_spaces("env", self, trained_on)
        functions = noted.get("functions", [])
        self.functions_not_saved = [n for n in functions if not callable(getattr(self, n))]

    def train_dataloader(self) -> Iterable[Batch]:
        """The rollouts of one epoch, in minibatches. Resets the environments."""
        self._run = Run(self)
        return self._run.loader()

    def on_train_epoch_end(self) -> None:
        """Log what the rollouts and the minibatches were like, evaluate, log that too."""
        if self._run is None:
            return
        facts, several = self._run.epoch_facts(), self._run.processes.size > 1
        for name, value in facts.items():
            self.log(name, value, prog_bar=name == "approx_kl", sync_dist=several)
        if self.num_eval_episodes:
            evaluation = self._evaluate_together(self._run.processes)
            self.log_dict(evaluation, prog_bar=True, sync_dist=several)
            facts |= evaluation
        if self.verbose:
            told = ", ".join(f"{name} {value:.4g}" for name, value in facts.items())
            self.print(f"epoch {self.current_epoch}: {told}")

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Lightning's, weighted by this process's share of the transitions of the minibatch."""
        weight = 1.0 if self._run is None else self._run.weight
        super().backward(loss if weight == 1.0 else loss * weight, *args, **kwargs)

    # ----------------------------------------------------------------------------------- within

    def for_network(self, observation: Tensor) -> Tensor:
        """Observations where the weights are, floats in their precision."""
        dtype = cast("torch.dtype", self.dtype) if observation.dtype == torch.float32 else None
        return observation.to(self.device, dtype)

    def resets_its_own_noise(self) -> bool:
        """Whether a subclass has a `reset_noise` of its own."""
        return type(self).reset_noise is not PPO.reset_noise

    def _check_spaces(self) -> None:
        if self.use_sde and not isinstance(self.action_space, Box):
            raise UserError(
                "use_sde = True: gSDE is for Box action spaces; this one is "
                f"{one_line(self.action_space)}"
            )
        if self.eval_env is None:
            return
        for name in ("observation_space", "action_space"):
            mine, other = getattr(self, name), getattr(self.eval_env, name)
            if mine != other:
                raise UserError(
                    f"eval_env: its {name} is {one_line(other)}, that of env {one_line(mine)}"
                )

    def _evaluate_together(self, processes: Processes) -> dict[str, float]:
        """The evaluation, its episodes shared out among the processes."""
        whole, rest = divmod(self.num_eval_episodes, processes.size)
        n_episodes = whole + (processes.rank < rest)
        returns, lengths = self.evaluate(n_episodes) if n_episodes else ([], [])
        sums = [sum(returns), float(np.square(returns).sum()), float(sum(lengths))]
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        own = torch.tensor(sums, dtype=exact, device=self.device)
        mean, square, length = (processes.total(own) / self.num_eval_episodes).tolist()
        return {
            "eval_return": mean,
            "eval_return_std": max(0.0, square - mean**2) ** 0.5,
            "eval_length": length,
        }

    def _video_path(self) -> Path:
        log_dir = None if self._trainer is None else self._trainer.log_dir
        process = f"-process-{self.global_rank}" if self.global_rank else ""
        return Path(log_dir or ".") / "video" / f"evaluation-{self._n_evaluations}{process}.mp4"
