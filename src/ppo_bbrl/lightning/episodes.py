"""Whole episodes of a model on the evaluation environment, seen or unseen."""

import warnings
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ppo_bbrl.envs.spaces import action_converter, as_observation
from ppo_bbrl.envs.sync import SyncEnvs
from ppo_bbrl.envs.vector import DEFAULT_TIME_LIMIT
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.evaluation import EvaluationError, is_no_nan
from ppo_bbrl.lightning.environments import Env
from ppo_bbrl.runs.video import frames_per_second, has_screen, no_screen, render_frame, video_file
from ppo_bbrl.seeding import action_stream, env_seeds
from ppo_bbrl.workspace.storage import Array

Predict = Callable[[Tensor], Any]  # observations [1, …] to actions [1, …]


@torch.no_grad()
def play_episodes(
    predict: Predict,
    env: Env,
    n_episodes: int,
    seeds: np.random.SeedSequence,
    *,
    show: Callable[[], Any] = lambda: None,
) -> tuple[list[float], list[int]]:
    """Returns and lengths of episodes, each on a seed of its own.

    Touches no random stream but its own, and keeps no step. An episode is ended after 10,000
    steps, with a warning.

    Args:
        predict: chooses the actions.
        env: one environment.
        n_episodes: how many.
        seeds: of the environment and of a stochastic `predict`.
        show: called after each reset and each step.

    Raises:
        EvaluationError: if an observation, an action or a reward is not a number.
    """
    returns: list[float] = []
    lengths: list[int] = []
    unfinished = 0

    def check(name: str, value: Array, step: int, is_number: Callable[[Array], Array]) -> None:
        # It would go unseen: the argmax of NaN is 0.
        if value.dtype.kind == "f" and not is_number(value).all():
            broken = float(value[~is_number(value)][0])
            raise EvaluationError(
                f"evaluation: in step {step} of episode {len(returns)} the {name} is {broken}; "
                "observations, actions and rewards must be numbers"
            )

    to_env = action_converter(env.action_space, 1)
    envs = SyncEnvs([lambda: env])
    envs.closed = True  # `env` is not ours to close
    with action_stream(seeds).active():
        for seed in env_seeds(seeds, n_episodes):
            observed, _ = envs.reset(seed=[seed])
            show()
            total, length, ended = 0.0, 0, False
            while not ended and length < DEFAULT_TIME_LIMIT:
                check("observation", np.asarray(observed), length, is_no_nan)
                observation = as_observation(env.observation_space, observed)
                action = predict(observation)
                action = action.cpu().numpy() if isinstance(action, Tensor) else np.asarray(action)
                check("action", action, length, np.isfinite)
                observed, reward, terminated, truncated, _ = envs.step(to_env(action))
                check("reward", np.asarray(reward), length + 1, np.isfinite)
                show()
                total, length = total + float(reward[0]), length + 1
                ended = bool(terminated[0] or truncated[0])
            unfinished += not ended
            returns.append(total)
            lengths.append(length)
    if unfinished:
        warnings.warn(
            f"evaluation: {unfinished} of {n_episodes} episodes were still running after "
            f"{DEFAULT_TIME_LIMIT} steps and were ended",
            stacklevel=3,
        )
    return returns, lengths


def watch_episodes(
    predict: Predict, env: Env, n_episodes: int, seeds: np.random.SeedSequence, path: Path
) -> tuple[list[float], list[int], Path | None]:
    """The same in a window; where there is no screen, as a video in `path`.

    Returns:
        Returns, lengths, and the path of the video if there is one.

    Raises:
        UserError: if the environment cannot be shown.
    """
    mode = env.render_mode or ("human" if has_screen() else "rgb_array")
    with ExitStack() as opened:
        if env.render_mode is None:
            env = opened.enter_context(closing(_made_visible(env, mode)))
        if mode == "human":
            return *play_episodes(predict, env, n_episodes, seeds, show=env.render), None
        opened.enter_context(no_screen())
        name = env.spec.id if env.spec else str(env)
        write = opened.enter_context(video_file(path, frames_per_second(env.metadata, name)))
        played = play_episodes(
            predict, env, n_episodes, seeds, show=lambda: write(render_frame(env, name))
        )
    return *played, path


def _made_visible(env: Env, mode: str) -> Env:
    """An environment like this one that renders: `gym.make` fixed this one's mode."""
    if env.spec is None:
        raise UserError(
            f"eval_env = {env!r} shows nothing and was not made by gym.make, so that no other can "
            "be made like it: make it with render_mode='rgb_array'"
        )
    try:
        return gym.make(env.spec, render_mode=mode)
    except Exception as error:
        reason = one_line(error)
        raise UserError(f"eval_env = {env.spec.id} cannot be shown: {reason}") from error
