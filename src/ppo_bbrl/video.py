"""Videos: frames to an MP4 that browsers play, with or without a screen."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppo_bbrl.errors import UserError

Frame = NDArray[np.uint8]

DEFAULT_FPS = 30


class NoPicturesError(UserError):
    """The environment cannot be recorded."""


@contextmanager
def video_file(path: Path, fps: float) -> Iterator[Callable[[Frame], None]]:
    """Give a function that appends one frame, `[height, width, 3]` uint8, to the video.

    Frames go to the encoder one by one, so that a long episode needs no memory. The file is there
    once the `with` block has ended without an error; its folder is made.
    """
    import imageio_ffmpeg  # noqa: PLC0415 - only who records needs it

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp.mp4")
    writer = None

    def write(frame: Frame) -> None:
        nonlocal writer
        if writer is None:
            height, width = frame.shape[:2]
            writer = imageio_ffmpeg.write_frames(
                str(unfinished),
                (width, height),
                fps=fps,
                macro_block_size=2,
                output_params=["-movflags", "+faststart"],
                ffmpeg_log_level="error",
            )
            writer.send(None)
        writer.send(np.ascontiguousarray(frame))

    try:
        yield write
        if writer is not None:
            writer.close()
            writer = None
        unfinished.replace(path)
    finally:
        if writer is not None:
            writer.close()
        unfinished.unlink(missing_ok=True)


def has_screen() -> bool:
    """Whether a window can be opened."""
    named = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & {*os.environ}
    return sys.platform != "linux" or bool(named)


@contextmanager
def no_screen() -> Iterator[None]:
    """Tell SDL, with which pygame draws, not to look for a screen."""
    if "SDL_VIDEODRIVER" in os.environ:
        yield
        return
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        del os.environ["SDL_VIDEODRIVER"]


def check_frame(frame: Any, env_name: str) -> Frame:
    """The frame, if it is one: height, width, RGB.

    Raises:
        NoPicturesError: naming the environment.
    """
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise NoPicturesError(f"{env_name} renders no pictures (render_mode rgb_array)")
    return frame
