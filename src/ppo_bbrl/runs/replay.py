"""Replays: one episode of a policy, as a video or in a window."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bbrl.agents
import numpy as np

from ppo_bbrl.config.wrappers import Wrapper
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.envs.guard import OnFailure
from ppo_bbrl.envs.masks import AUTO
from ppo_bbrl.envs.spaces import HasSpaces, check_same_spaces
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.evaluation import play, play_episodes, with_enough_rows
from ppo_bbrl.runs.notebook import in_notebook
from ppo_bbrl.runs.video import (
    NoPicturesError,
    check_video_name,
    frames_per_second,
    has_screen,
    no_screen,
    render_frame,
    video_file,
)
from ppo_bbrl.system.console import say
from ppo_bbrl.workspace.table import Workspace

if TYPE_CHECKING:
    from IPython.display import Video


def record_video(
    policy: bbrl.agents.Agent,
    env_name: str,
    path: Path,
    *,
    seeds: np.random.SeedSequence,
    env_args: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_mask: str = AUTO,
    trained_on: HasSpaces | None = None,
    max_steps: int = 10_000,
    step_timeout: float | None = None,
    root: Path | None = None,
) -> Path:
    """Run one episode and write its frames as an MP4 that browsers play.

    Frames go to the encoder one by one, so that long episodes do not need more memory. The
    environment is always closed. It is refused if its spaces differ from those of `trained_on`. If
    `root`, a folder above the file, is given, symbolic links below it are not followed. Each
    step may take `step_timeout` seconds.

    Returns:
        The path.

    Raises:
        NoPicturesError: if the environment renders no images.
        UserError: if the name of the file does not end in .mp4.
        OSError: if the file cannot be written.
    """
    check_video_name(path)
    env = _render_env(
        env_name,
        env_args,
        wrappers,
        "rgb_array",
        OnFailure(step_timeout),
        action_mask=action_mask,
        trained_on=trained_on,
    )
    try:
        drawn: Any = env.envs.unwrapped
        (one,) = drawn.envs
        fps = frames_per_second(one.metadata, env_name)

        def record(workspace: Workspace) -> None:
            with no_screen(), video_file(path, fps, root=root) as write_frame:
                play_episodes(
                    policy,
                    env,
                    seeds,
                    workspace,
                    max_steps=max_steps,
                    on_row=lambda: write_frame(render_frame(one, env_name)),
                )

        with_enough_rows(record)
        if not env.all_done():
            say(f"The video ends after {max_steps:,} steps; the episode was still running.")
    finally:
        env.close()
    return path


def watch(
    policy: bbrl.agents.Agent,
    env_name: str,
    *,
    seeds: np.random.SeedSequence,
    env_args: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    action_mask: str = AUTO,
    trained_on: HasSpaces | None = None,
    max_steps: int = 10_000,
    step_timeout: float | None = None,
) -> float:
    """Show one episode in a window; returns its return."""
    if not has_screen():
        raise NoPicturesError(
            "there is no display for a window; record a video instead (leave out --human)"
        )
    env = _render_env(
        env_name,
        env_args,
        wrappers,
        "human",
        OnFailure(step_timeout),
        action_mask=action_mask,
        trained_on=trained_on,
    )
    try:
        report = play(policy, env, seeds, max_steps=max_steps)
        if report.unfinished:
            say(f"This is the end after {max_steps:,} steps; the episode was still running.")
        return float(report.returns[0])
    finally:
        env.close()


def show(path: Path) -> "Video | Path":
    """In a notebook, the embedded video with a caption; elsewhere print its path and return it."""
    if in_notebook():
        from IPython.display import Video  # noqa: PLC0415 - there only in a notebook

        class Captioned(Video):
            """A notebook that is not trusted shows a black box: the caption says what to do."""

            def _repr_html_(self) -> str:
                caption = (
                    f"An episode of the policy, also in <code>{escape(str(path))}</code>. Nothing "
                    "to see? This notebook is not trusted yet: <i>File, Trust Notebook</i>."
                )
                video = super()._repr_html_()  # type: ignore[no-untyped-call]
                return f"<figure>{video}<figcaption>{caption}</figcaption></figure>"

        attributes = 'controls loop autoplay muted aria-label="An episode of the policy"'
        return Captioned(  # type: ignore[no-untyped-call]
            str(path), embed=True, html_attributes=attributes
        )
    say(f"Video: {path}")
    return path


def _render_env(
    env_name: str,
    env_args: Mapping[str, Any] | None,
    wrappers: Sequence[Wrapper],
    mode: str,
    on_failure: OnFailure,
    *,
    action_mask: str,
    trained_on: HasSpaces | None,
) -> EnvAgent:
    try:
        env = EnvAgent(
            env_name,
            1,
            autoreset=False,
            env_args={**(env_args or {}), "render_mode": mode},
            wrappers=wrappers,
            vectorization="sync",
            action_mask=action_mask,
            on_failure=on_failure,
        )
    except ConfigError as error:
        refused = ("unexpected keyword argument 'render_mode'", "takes no arguments")
        if any(words in str(error.__cause__) for words in refused):
            reason = f"{env_name} renders no images: it does not accept render_mode"
            raise NoPicturesError(reason) from error
        raise
    if trained_on is not None:
        try:
            check_same_spaces(env_name, env, trained_on)
        except Exception:
            env.close()
            raise
    return env
