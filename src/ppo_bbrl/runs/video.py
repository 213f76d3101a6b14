"""Videos: writes frames to an MP4 that browsers play, with or without a screen."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ppo_bbrl.envs.faults import mujoco_remedy, reason
from ppo_bbrl.errors import UserError, one_line
from ppo_bbrl.system.files import written_aside

Frame = NDArray[np.uint8]

DEFAULT_FPS = 30.0
_MIN_FPS, _MAX_FPS = 0.1, 1000.0
_MIN_SIDE = 2  # pixels: the encoder has one colour per 2 × 2 pixels


class NoPicturesError(UserError):
    """The environment cannot be recorded."""


@contextmanager
def video_file(
    path: Path, fps: float, *, root: Path | None = None
) -> Iterator[Callable[[Frame], None]]:
    """Yield a function that appends one frame, `[height, width, 3]` uint8, to the video.

    Frames go to the encoder one by one, so that long episodes do not need more memory. The
    complete file appears when the `with` block ends without an error; its folder is created.

    Args:
        path: the MP4 file.
        fps: frames per second.
        root: no folder between it and the file may be a symbolic link.

    Raises:
        NoPicturesError: if the size of a frame differs from the first one.
        OSError: if the file cannot be written; it names `path`.
    """
    import imageio_ffmpeg  # noqa: PLC0415 - only needed for recording

    check_video_name(path)
    with written_aside(path, root=root) as unfinished:
        writer, n_frames, size = None, 0, (0, 0)

        def write(frame: Frame) -> None:
            nonlocal writer, n_frames, size
            height, width = frame.shape[:2]
            if writer is None:
                size = (height, width)
                writer = imageio_ffmpeg.write_frames(
                    str(unfinished),
                    (width + width % 2, height + height % 2),
                    fps=fps,
                    macro_block_size=2,
                    output_params=["-movflags", "+faststart"],
                    ffmpeg_log_level="quiet",  # its output is checked below
                )
                writer.send(None)
            if (height, width) != size:
                raise NoPicturesError(
                    f"frame {n_frames} is {width} × {height} pixels, but the first one was "
                    f"{size[1]} × {size[0]}: all frames must have the same size"
                )
            try:
                writer.send(np.ascontiguousarray(_of_even_size(frame)))
            except OSError as error:
                raise OSError(f"{path}: the video could not be written") from error
            n_frames += 1

        try:
            yield write
        finally:
            if writer is not None:
                writer.close()
        # The encoder does not report a full disk.
        with suppress(Exception):
            if imageio_ffmpeg.count_frames_and_secs(str(unfinished))[0] == n_frames:
                return
        raise OSError(f"{path}: the video could not be written: is the disk full?")


def _of_even_size(frame: Frame) -> Frame:
    """The frame, with its last row or column repeated if their number is odd."""
    odd_rows, odd_columns = (length % 2 for length in frame.shape[:2])
    if not odd_rows and not odd_columns:
        return frame
    return np.pad(frame, ((0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")


def check_video_name(path: Path) -> None:
    """Check that a file name ends in .mp4.

    Raises:
        UserError: if it does not.
    """
    if path.suffix.lower() != ".mp4":
        raise UserError(f"{path}: videos are MP4 files; choose a name that ends in .mp4")


def has_screen() -> bool:
    """Whether a window can be opened."""
    named = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"} & {*os.environ}
    return sys.platform != "linux" or bool(named)


@contextmanager
def no_screen() -> Iterator[None]:
    """Render without a screen: SDL (used by pygame), and MuJoCo if there is no screen.

    Environment variables that the user has set are kept.
    """
    wanted = {"SDL_VIDEODRIVER": "dummy"}
    if not has_screen():
        wanted["MUJOCO_GL"] = "egl"  # by default it tries to open a window
    mine = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(mine)
    try:
        yield
    finally:
        for name in mine:
            os.environ.pop(name, None)


def frames_per_second(metadata: Mapping[str, Any] | None, env_name: str) -> float:
    """Frames per second of an environment's rendering: its `render_fps`; default: 30.

    Raises:
        NoPicturesError: if that is not a number from 0.1 to 1000.
    """
    named = (metadata or {}).get("render_fps")
    if named is None:
        return DEFAULT_FPS
    with suppress(TypeError, ValueError, OverflowError):
        fps = math.nan if isinstance(named, str | bytes | bool) else float(named)
        if _MIN_FPS <= fps <= _MAX_FPS:
            return fps
    raise NoPicturesError(
        f"{env_name} has metadata['render_fps'] = {one_line(repr(named))}: must be a number "
        f"from {_MIN_FPS} to {_MAX_FPS:.0f}"
    )


def render_frame(env: gym.Env[Any, Any], env_name: str) -> Frame:
    """The current image of an environment, `[height, width, 3]` uint8.

    Raises:
        NoPicturesError: if rendering fails or returns something else; the message says why.
    """
    try:
        drawn = env.render()
    except (Exception, SystemExit) as error:
        why = reason(error) if isinstance(error, SystemExit) else one_line(error, 200)
        raise NoPicturesError(
            f"{env_name} cannot be rendered: {why}{mujoco_remedy(error)}"
        ) from error
    return as_frame(drawn, env_name)


def as_frame(drawn: Any, env_name: str) -> Frame:
    """Convert an image to `[height, width, 3]` uint8.

    Accepts only what is unambiguous: RGB or RGBA (ignoring transparency), as integers from 0 to
    255.

    Raises:
        NoPicturesError: naming the environment and what it rendered.
    """
    if drawn is None:
        raise NoPicturesError(f"{env_name} renders no images (render_mode rgb_array)")
    if not isinstance(drawn, np.ndarray):
        raise _no_picture(env_name, f"a {type(drawn).__name__}")
    what = f"an array of shape {list(drawn.shape)} and dtype {drawn.dtype}"
    if (
        drawn.ndim != 3
        or drawn.shape[2] not in (3, 4)
        or min(drawn.shape[:2]) < _MIN_SIDE
        or drawn.dtype.kind not in "iuf"
    ):
        raise _no_picture(env_name, what)
    if drawn.dtype.kind == "f":  # from 0 to 1, or to 255? A dark image does not show it
        raise _no_picture(
            env_name, what, ": use .astype(numpy.uint8), and first × 255 if yours end at 1"
        )
    if drawn.dtype != np.uint8:
        if drawn.min() < 0 or drawn.max() > 255:
            raise _no_picture(env_name, f"{what}, from {drawn.min()} to {drawn.max()}")
        drawn = drawn.astype(np.uint8)
    rgb: Frame = drawn[..., :3]
    return rgb


def _no_picture(env_name: str, what: str, remedy: str = "") -> NoPicturesError:
    return NoPicturesError(
        f"{env_name} renders {what}; a frame must be [height, width, 3], integers from 0 to 255"
        + remedy
    )
