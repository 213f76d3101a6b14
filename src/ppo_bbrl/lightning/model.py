"""A model before it learns: its arguments, its environments, its checkpoints."""

import inspect
import os
from collections.abc import Callable, Sequence
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
from ppo_bbrl.schedules import Schedule

_NOT_SAVED = ("env", "eval_env")
_CHECKPOINT_KEY = "ppo_bbrl"


class _CalledOnTheClass(classmethod):  # type: ignore[type-arg] # generic in newer Pythons alone
    """A class method that says so where it is called on an instance, which it would not load."""

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Any]:
        if instance is None:
            bound: Callable[..., Any] = super().__get__(instance, owner)
            return bound

        def refuse(*_: Any, **__: Any) -> Any:
            name = type(instance).__name__
            raise TypeError(f"a new model is what you get: {name}.load_from_checkpoint(…)")

        return refuse


class Model(pl.LightningModule):
    """What `PPO` is made with, and what a checkpoint keeps of it."""

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

    # ------------------------------------------------------------------------------ checkpoints

    @_CalledOnTheClass
    def load_from_checkpoint(
        cls,  # noqa: N805 - of a class method
        checkpoint_path: Any,
        *args: Any,
        trust: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Lightning's. A module that the file names as `module:Name-v0` is not imported.

        Args:
            checkpoint_path: of the file.
            args: Lightning's.
            trust: whether it may be. It need not be asked for a module that your program has
                imported, or that you name here.
            kwargs: Lightning's, and those of the model, which win over those of the file.

        Raises:
            UserError: if the model cannot be made without the module.
        """
        with opening(kwargs, trust):
            model: Self = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        return model

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

    # ----------------------------------------------------------------------------------- within

    def for_network(self, observation: Tensor) -> Tensor:
        """Observations where the weights are, floats in their precision."""
        dtype = cast("torch.dtype", self.dtype) if observation.dtype == torch.float32 else None
        return observation.to(self.device, dtype)

    def resets_its_own_noise(self) -> bool:
        """Whether a subclass has a `reset_noise` of its own."""
        return type(self).reset_noise is not Model.reset_noise

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


def numbers_of_python(value: Any) -> Any:
    """The same with Python's numbers in place of NumPy's; dicts and lists are changed in place."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in list(items):
            value[key] = numbers_of_python(item)
    return tuple(map(numbers_of_python, value)) if type(value) is tuple else value
