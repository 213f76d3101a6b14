"""The part of a model that is independent of training: arguments, environments, checkpoints."""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any, Self, cast

import gymnasium as gym
import lightning as pl
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from torch import Tensor
from torch.distributions import Distribution

from ppo_bbrl.agents.sde import StateDependentNoise
from ppo_bbrl.distributions import mode_of
from ppo_bbrl.envs.space_data import both_as_data, both_from_data
from ppo_bbrl.envs.spaces import check_same_spaces
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.lightning.checks import SCHEDULED, check_arguments, clip_value
from ppo_bbrl.lightning.environments import (
    evaluation_environment,
    opening,
    training_environment,
)
from ppo_bbrl.runs.archives import check_checksums
from ppo_bbrl.schedules import Schedule

_NOT_SAVED = ("env", "eval_env")
_CHECKPOINT_KEY = "ppo_bbrl"
_ARGS_BEFORE_WEIGHTS_ONLY = 3  # of Lightning's load_from_checkpoint, after the path


class _CalledOnTheClass(classmethod):  # type: ignore[type-arg] # generic only in newer Pythons
    """A class method that cannot be called on an instance, since it does not load into it."""

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Any]:
        if instance is None:
            bound: Callable[..., Any] = super().__get__(instance, owner)
            return bound

        def refuse(*_: Any, **__: Any) -> Any:
            name = type(instance).__name__
            raise TypeError(
                f"load_from_checkpoint returns a new model: call {name}.load_from_checkpoint(…)"
            )

        return refuse


class Model(pl.LightningModule):
    """The base class of `PPO`: its arguments, and what a checkpoint stores of them."""

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

        #: the fraction of training that was left when the last rollout began, from 1 to 0
        self.progress_remaining = 1.0
        if seed is not None:
            torch.manual_seed(seed)
        #: the entropy that all random streams derive from
        self.seed_entropy = int(torch.randint(2**62, ())) if seed is None else int(seed)
        #: arguments that were functions when this model was saved, and so are not in the checkpoint
        self.functions_not_saved: list[str] = []
        #: the process that made the model; other processes may have copies of it
        self.made_by = os.getpid()

    def forward(self, x: Tensor) -> tuple[Distribution, Tensor]:
        """The policy's distribution and the values, `[N]`, for observations, `[N, …]`."""
        raise UserError(f"{type(self).__name__} must define forward(x) -> (distribution, value)")

    @torch.no_grad()
    def predict(self, x: Tensor, deterministic: bool = True) -> Any:
        """Actions, `[N, …]`, for observations, `[N, …]`: the most likely ones, or sampled."""
        dist, _ = self(x)
        return (mode_of(dist) if deterministic else dist.sample()).cpu().numpy()

    def reset_noise(self, n_envs: int) -> None:
        """Draw new gSDE noise for `n_envs` environments; called if `use_sde` is set."""
        for module in self.modules():
            if isinstance(module, StateDependentNoise):
                module.reset_noise(n_envs)

    # ------------------------------------------------------------------------------ checkpoints

    @_CalledOnTheClass
    def load_from_checkpoint(
        cls,  # noqa: N805 - of a class method
        checkpoint_path: Any,
        *args: Any,
        trust: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Load a model, as Lightning does, without importing modules that the file names.

        Args:
            checkpoint_path: the path of the file.
            args: Lightning's arguments.
            trust: whether the module of an environment `module:Name-v0` may be imported. Not needed
                for a module that your program has imported, or that you name here.
            kwargs: Lightning's arguments, and arguments of the model, which override the file's.

        Raises:
            UserError: if the model cannot be made without the module, or the file is damaged or
                holds more than plain data.
        """
        if isinstance(checkpoint_path, str | Path) and Path(checkpoint_path).is_file():
            try:
                check_checksums(Path(checkpoint_path))
            except UserError as error:
                raise UserError(f"{checkpoint_path}: {error}") from error
        if len(args) <= _ARGS_BEFORE_WEIGHTS_ONLY:
            kwargs.setdefault("weights_only", True)
        try:
            with opening(kwargs, trust):
                model: Self = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        except UnpicklingError as error:
            raise UserError(
                f"{checkpoint_path}: it holds more than numbers and texts, or is damaged, and "
                "loading it might run code"
            ) from error
        return model

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: Sequence[str] | str | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Save the arguments, except environments and functions: checkpoints hold plain values."""
        current = inspect.currentframe()
        frame = frame or (current and current.f_back)
        # They do not exist yet if a subclass calls this before super().__init__().
        functions = [name for name in SCHEDULED if callable(getattr(self, name, None))]
        mine = [ignore] if isinstance(ignore, str) else list(ignore or ())
        super().save_hyperparameters(
            *args,
            ignore=[*_NOT_SAVED, *functions, *mine],
            frame=frame,
            logger=logger,
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the spaces, and the names of the functions that the hyperparameters lack."""
        functions = [name for name in SCHEDULED if callable(getattr(self, name))]
        checkpoint[_CHECKPOINT_KEY] = {"functions": functions, **both_as_data(self)}
        for name in functions:
            checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {}).pop(name, None)
        numbers_of_python(checkpoint)  # NumPy's do not load with weights_only=True

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the spaces, and note which functions the user has to pass again."""
        noted = checkpoint.get(_CHECKPOINT_KEY, {})
        if (trained_on := both_from_data(noted)) is not None:
            check_same_spaces("env", self, trained_on)
        functions = noted.get("functions", [])
        self.functions_not_saved = [n for n in functions if not callable(getattr(self, n))]

    # ----------------------------------------------------------------------------------- within

    def for_network(self, observation: Tensor) -> Tensor:
        """Observations on the device of the weights; floats also get the dtype of the weights."""
        dtype = cast("torch.dtype", self.dtype) if observation.dtype == torch.float32 else None
        return observation.to(self.device, dtype)

    def resets_its_own_noise(self) -> bool:
        """Whether a subclass overrides `reset_noise`."""
        return type(self).reset_noise is not Model.reset_noise

    def _check_spaces(self) -> None:
        if self.use_sde and not isinstance(self.action_space, Box):
            raise UserError(
                "use_sde = True: gSDE needs a Box action space; this one is "
                f"{one_line(self.action_space)}"
            )
        if self.eval_env is None:
            return
        for name in ("observation_space", "action_space"):
            mine, other = getattr(self, name), getattr(self.eval_env, name)
            if mine != other:
                raise UserError(
                    f"eval_env: its {name} is {one_line(other)}, but that of env is "
                    f"{one_line(mine)}"
                )


def numbers_of_python(value: Any) -> Any:
    """Replace NumPy's numbers by Python's; dicts and lists are changed in place."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in list(items):
            value[key] = numbers_of_python(item)
    return tuple(map(numbers_of_python, value)) if type(value) is tuple else value
