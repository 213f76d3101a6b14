"""Replays: one episode of a policy, as a video or in a window."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bbrl.agents
import numpy as np
import torch

from ppo_bbrl.envs import EnvAgent
from ppo_bbrl.errors import UserError
from ppo_bbrl.notebook import in_notebook
from ppo_bbrl.seeding import action_stream
from ppo_bbrl.vector_envs import Wrapper
from ppo_bbrl.workspace import Workspace

if TYPE_CHECKING:
    from IPython.display import Video

_DEFAULT_FPS = 30


class NoPicturesError(UserError):
    """The environment cannot be recorded."""


@torch.no_grad()
def play(
    policy: bbrl.agents.Agent,
    env: EnvAgent,
    seeds: np.random.SeedSequence,
    *,
    max_steps: int,
    on_row: Any = None,
) -> float:
    """Run one episode and return its return; `on_row()` is called after each row."""
    workspace = Workspace(capacity=512)
    with action_stream(seeds).active():
        env.seed(seeds)
        env(workspace, t=0)
        for t in range(max_steps):
            if on_row is not None:
                on_row()
            policy(workspace, t=t)
            env(workspace, t=t + 1)
            if env.all_done():
                break
    if on_row is not None:
        on_row()
    last = workspace.variables["env/done"].time_size() - 1
    return float(workspace.get("env/cumulated_reward", last)[0])


def record_video(
    policy: bbrl.agents.Agent,
    env_name: str,
    path: Path,
    *,
    seeds: np.random.SeedSequence,
    env_args: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    max_steps: int = 10_000,
) -> Path:
    """Run one episode and write its frames as an MP4 that browsers play.

    Frames go to the encoder one by one, so that a long episode needs no memory. The environment
    is closed whatever happens.

    Returns:
        The path.

    Raises:
        NoPicturesError: if the environment renders none.
    """
    import imageio_ffmpeg  # noqa: PLC0415 - only who records needs it

    env = _render_env(env_name, env_args, wrappers, "rgb_array")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp.mp4")
    writer = None
    try:

        def write_frame() -> None:
            nonlocal writer
            frame = _frame(env)
            if writer is None:
                height, width = frame.shape[:2]
                writer = imageio_ffmpeg.write_frames(
                    str(unfinished),
                    (width, height),
                    fps=env.envs.metadata.get("render_fps", _DEFAULT_FPS),
                    macro_block_size=2,
                    output_params=["-movflags", "+faststart"],
                    ffmpeg_log_level="error",
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(frame))

        with _no_screen():
            play(policy, env, seeds, max_steps=max_steps, on_row=write_frame)
        if writer is not None:
            writer.close()
            writer = None
        unfinished.replace(path)
    finally:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)
        env.close()
    return path


def watch(
    policy: bbrl.agents.Agent,
    env_name: str,
    *,
    seeds: np.random.SeedSequence,
    env_args: Mapping[str, Any] | None = None,
    wrappers: Sequence[Wrapper] = (),
    max_steps: int = 10_000,
) -> float:
    """Run one episode in a window on the screen; returns its return."""
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & {
        *os.environ
    }:
        raise NoPicturesError("there is no display for a window; without --human it is a video")
    env = _render_env(env_name, env_args, wrappers, "human")
    try:
        return play(policy, env, seeds, max_steps=max_steps)
    finally:
        env.close()


def show(path: Path) -> "Video | Path":
    """The video embedded, in a notebook; elsewhere its path, after one line that names it."""
    if in_notebook():
        from IPython.display import Video  # noqa: PLC0415 - there only in a notebook

        return Video(  # type: ignore[no-untyped-call]
            str(path), embed=True, html_attributes="controls loop autoplay muted"
        )
    print(f"Video: {path}")
    return path


def _render_env(
    env_name: str, env_args: Mapping[str, Any] | None, wrappers: Sequence[Wrapper], mode: str
) -> EnvAgent:
    return EnvAgent(
        env_name,
        1,
        autoreset=False,
        env_args={**(env_args or {}), "render_mode": mode},
        wrappers=wrappers,
        vectorization="sync",
    )


@contextmanager
def _no_screen() -> Iterator[None]:
    """Tell SDL, with which pygame draws, not to look for a screen."""
    if "SDL_VIDEODRIVER" in os.environ:
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        del os.environ["SDL_VIDEODRIVER"]


def _frame(env: EnvAgent) -> np.ndarray[Any, np.dtype[np.uint8]]:
    frames = env.envs.render()
    frame = None if not frames else frames[0]
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:  # height, width, RGB
        raise NoPicturesError(f"{env.env_name} renders no pictures (render_mode rgb_array)")
    return frame
