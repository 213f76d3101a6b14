"""Plays whole episodes of a model on the evaluation environment, with or without showing them."""

import warnings
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.agents.base import Agent
from ppo_bbrl.envs.guard import OnFailure
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import DEFAULT_TIME_LIMIT
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.evaluation import play
from ppo_bbrl.lightning.environments import Env, GivenEnvs
from ppo_bbrl.runs.video import frames_per_second, has_screen, no_screen, render_frame, video_file

Predict = Callable[[Tensor], Any]  # observations [1, …] to actions [1, …]


class _Predicting(Agent):
    """An agent that acts by a model's `predict`."""

    def __init__(self, predict: Predict) -> None:
        super().__init__()
        self.predict = predict

    def forward(self, t: int, **kwargs: Any) -> None:
        """Write the actions of row t."""
        del kwargs
        action = self.predict(self.get(("env/env_obs", t)))
        is_tensor = isinstance(action, Tensor)
        self.set(("action", t), action.cpu() if is_tensor else torch.from_numpy(np.array(action)))


def play_episodes(
    predict: Predict,
    env: Env,
    n_episodes: int,
    seeds: np.random.SeedSequence,
    *,
    step_timeout: float | None = None,
    show: Callable[[], Any] = lambda: None,
) -> tuple[list[float], list[int]]:
    """Play episodes, each with its own seed; return their returns and lengths.

    Uses no random stream but its own, and stores no steps. An episode is cut off after 10,000
    steps, with a warning.

    Args:
        predict: the function that chooses the actions.
        env: one environment.
        n_episodes: the number of episodes.
        seeds: the seeds for the environment and for a stochastic `predict`.
        step_timeout: seconds that a reset or a step may take in the main thread; None: no limit.
        show: called after each reset and each step.

    Raises:
        EnvironmentFailedError: if the environment fails, or takes too long.
        EvaluationError: if an observation, an action or a reward is not a number.
    """
    # With a clock of ours, threads in which nothing can be interrupted are no error.
    envs = SyncEnvs([lambda: env], on_failure=OnFailure(step_timeout), clock=[0.0])
    envs.closed = True  # `env` belongs to the caller, who closes it
    policy = _Predicting(predict)
    played = []
    for episode, seed in enumerate(seeds.spawn(n_episodes)):
        eval_env = GivenEnvs(f"eval_env, episode {episode}", envs, autoreset=False)
        played.append(play(policy, eval_env, seed, max_steps=DEFAULT_TIME_LIMIT, on_row=show))
    if unfinished := sum(report.unfinished for report in played):
        warnings.warn(
            f"evaluation: {unfinished} of {n_episodes} episodes were still running after "
            f"{DEFAULT_TIME_LIMIT} steps and were cut off",
            stacklevel=3,
        )
    return [float(one.returns) for one in played], [int(one.lengths) for one in played]


def watch_episodes(
    predict: Predict,
    env: Env,
    n_episodes: int,
    seeds: np.random.SeedSequence,
    path: Path,
    *,
    step_timeout: float | None = None,
) -> tuple[list[float], list[int], Path | None]:
    """Play episodes and show them in a window, or record a video to `path` if there is no screen.

    Returns:
        The returns, the lengths, and the path of the video, if there is one.

    Raises:
        UserError: if the environment cannot be shown.
    """
    limited = partial(play_episodes, predict, step_timeout=step_timeout)
    mode = env.render_mode or ("human" if has_screen() else "rgb_array")
    with ExitStack() as opened:
        if env.render_mode is None:
            env = opened.enter_context(closing(_made_visible(env, mode)))
        if mode == "human":
            return *limited(env, n_episodes, seeds, show=env.render), None
        opened.enter_context(no_screen())
        name = env.spec.id if env.spec else str(env)
        write = opened.enter_context(video_file(path, frames_per_second(env.metadata, name)))
        played = limited(env, n_episodes, seeds, show=lambda: write(render_frame(env, name)))
    return *played, path


def _made_visible(env: Env, mode: str) -> Env:
    """Make an environment like this one that renders, as `gym.make` has fixed this one's mode."""
    if env.spec is None:
        raise UserError(
            f"eval_env = {env!r} does not render, and we cannot make another one like it, because "
            "it was not made by gym.make: make it with render_mode='rgb_array'"
        )
    try:
        return gym.make(env.spec, render_mode=mode)
    except Exception as error:
        reason = one_line(error)
        raise UserError(f"eval_env = {env.spec.id} cannot be shown: {reason}") from error
