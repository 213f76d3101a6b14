"""Videos show what the environment drew, at its speed, or one line says why there is none."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from decoded_video import decode, speed

from ppo_bbrl.envs.faults import mujoco_remedy
from ppo_bbrl.errors import Terminated, UserError
from ppo_bbrl.runs.video import (
    NoPicturesError,
    as_frame,
    frames_per_second,
    no_screen,
    render_frame,
    video_file,
)


def red(height=32, width=48, dtype=np.uint8):
    frame = np.zeros((height, width, 3), dtype)
    frame[..., 0] = 255
    return frame


def write(path, *frames, fps=10.0, root=None):
    with video_file(Path(path), fps, root=root) as append:
        for frame in frames:
            append(as_frame(frame, "Painted-v0"))


@pytest.mark.parametrize(
    "frame",
    [
        red(),
        np.dstack((red(), np.full((32, 48), 77, np.uint8))),  # with transparency
        red(dtype=np.int64),
        red(dtype=np.uint16),
        np.asfortranarray(red()),
        np.flipud(red())[:, ::-1],  # a view that is not contiguous
    ],
)
def test_what_can_be_meant_in_one_way_is_shown(frame):
    """Bytes of another layout, taken for RGB, would be a garbled or black video in silence."""
    write("video.mp4", frame, frame)
    frames, _ = decode("video.mp4")
    assert frames.shape == (2, 32, 48, 3)
    assert frames[..., 0].mean() > 230
    assert frames[..., 1:].mean() < 25


@pytest.mark.parametrize(
    "drawn",
    [
        None,
        [red()],  # render_mode="rgb_array_list"
        "ansi",
        red().astype(np.float64),
        red().astype(np.float32) / 255,
        red()[..., 0],
        red()[..., :1],
        red()[..., :2],
        np.moveaxis(red(), -1, 0),
        red()[None],
        red().astype(bool),
        red(dtype=np.int64) * 2,
        -red(dtype=np.int64),
        red()[:1],
        red()[:0],
        np.array([[["r", "g", "b"]] * 4] * 4),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(drawn):
    with pytest.raises(NoPicturesError, match=r"^Painted-v0 ") as error:
        as_frame(drawn, "Painted-v0")
    assert "\n" not in str(error.value)


def test_frames_of_another_size_are_refused_and_leave_no_file():
    with pytest.raises(NoPicturesError, match=r"frame 1 is 24 × 16 pixels.* 48 × 32"):
        write("video.mp4", red(), red(16, 24))
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("size", [(31, 48), (32, 47), (33, 33)])
def test_odd_sizes_lose_nothing(size, capfd):
    """The encoder takes even numbers alone: a column is added, none is scaled."""
    write("video.mp4", red(*size))
    frames, _ = decode("video.mp4")
    assert frames.shape[1:3] == tuple(length + length % 2 for length in size)
    assert frames[..., 0].min() > 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        (25, 25),
        (12.5, 12.5),
        (np.int64(20), 20),
        (np.float32(20), 20),
        (np.array(20), 20),
        (Fraction(25, 2), 12.5),
        (None, 30),
    ],
)
def test_the_speed_that_is_meant(named, meant):
    assert frames_per_second({"render_fps": named}, "Grey-v0") == meant
    write("video.mp4", red(), red(), fps=frames_per_second({"render_fps": named}, "Grey-v0"))
    assert speed(decode("video.mp4")[1]) == pytest.approx(meant, abs=0.01)


@pytest.mark.parametrize("metadata", [{}, None, {"render_modes": []}])
def test_without_a_speed_it_is_30(metadata):
    assert frames_per_second(metadata, "Grey-v0") == 30


@pytest.mark.parametrize(
    "named", [0, -5, 1e-9, np.nan, np.inf, "fast", "30", True, [30, 60], 10**400, 5000, 1j, b"30"]
)
def test_no_speed_is_refused_by_its_key(named):
    with pytest.raises(NoPicturesError, match=r"Grey-v0 .*render_fps"):
        frames_per_second({"render_fps": named}, "Grey-v0")


@pytest.mark.parametrize("name", ["video.gif", "video", "video.mp4.avi", "mp4", "video.webm"])
def test_a_name_that_promises_another_format(name):
    with pytest.raises(UserError, match=r"ends in \.mp4"):
        write(name, red())
    assert list(Path().iterdir()) == []


def test_what_the_encoder_cannot_write_leaves_the_old_file(monkeypatch, tmp_path):
    """ffmpeg's own messages reach nobody: its exit says nothing of a full disk."""
    write("video.mp4", red())
    before = Path("video.mp4").read_bytes()
    encoder = tmp_path / "encoder"
    encoder.write_text("#!/bin/sh\ncat > /dev/null\nexit 1\n")
    encoder.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg._io.get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(OSError, match=r"video\.mp4"):
        write("video.mp4", *[red()] * 50)
    assert Path("video.mp4").read_bytes() == before
    assert sorted(path.name for path in Path().iterdir()) == ["encoder", "video.mp4"]


def test_no_link_leads_out_of_a_run(tmp_path):
    """A stranger's run may have one in the place of the video, or of its folder."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    run = tmp_path / "run"
    (run / "video").mkdir(parents=True)
    (run / "video" / "replay.mp4").symlink_to(victim / "file")
    write(run / "video" / "replay.mp4", red(), root=run)
    assert (victim / "file").read_text() == "mine"
    (run / "linked").symlink_to(victim)
    with pytest.raises(UserError, match="symbolic link"):
        write(run / "linked" / "replay.mp4", red(), root=run)
    assert [path.name for path in victim.iterdir()] == ["file"]


class Broken(gym.Env):
    def render(self):
        raise RuntimeError("no\ndisplay")


def test_what_cannot_be_drawn_says_why_in_one_line():
    with pytest.raises(NoPicturesError, match="Broken-v0 cannot be rendered: no display") as error:
        render_frame(Broken(), "Broken-v0")
    assert "MUJOCO" not in str(error.value)


class Leaving(gym.Env):
    def render(self):
        raise SystemExit(3)


def test_a_window_that_is_closed_ends_no_program():
    with pytest.raises(NoPicturesError, match=r"cannot be rendered: it called sys\.exit\(3\)"):
        render_frame(Leaving(), "Leaving-v0")
    with pytest.raises(Terminated):
        render_frame(type("Stopped", (gym.Env,), {"render": stopped})(), "Stopped-v0")


def stopped(env):
    """A signal comes while it draws."""
    del env
    raise Terminated(143)


def test_mujoco_is_told_what_to_draw_with():
    """It loads that when it is imported, so that even making an environment can fail for it."""
    code = compile("raise RuntimeError('no context')", "rendering", "exec")
    for module in ("mujoco.egl", "gymnasium.envs.mujoco.mujoco_rendering"):
        with pytest.raises(RuntimeError) as error:
            exec(code, {"__name__": module})
        assert "MUJOCO_GL=egl" in mujoco_remedy(error.value)


@pytest.mark.parametrize("name", ["SDL_VIDEODRIVER", "MUJOCO_GL"])
def test_what_the_user_chose_to_draw_with_stays(name, monkeypatch):
    for other in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "MUJOCO_GL"):
        monkeypatch.delenv(other, raising=False)
    with no_screen():
        assert (os.environ["SDL_VIDEODRIVER"], os.environ["MUJOCO_GL"]) == ("dummy", "egl")
    assert name not in os.environ
    monkeypatch.setenv(name, "mine")
    with no_screen():
        assert os.environ[name] == "mine"
    assert os.environ[name] == "mine"


def test_mujoco_without_a_screen():
    """In a process of its own, as what it draws with is chosen once."""
    pytest.importorskip("mujoco")
    script = (
        "import numpy as np, torch\n"
        "from pathlib import Path\n"
        "from ppo_bbrl import Agent\n"
        "from ppo_bbrl.errors import UserError\n"
        "from ppo_bbrl.runs.replay import record_video\n"
        "class Still(Agent):\n"
        "    def forward(self, t, **_):\n"
        "        self.set(('action', t), torch.zeros(1, 6))\n"
        "try:\n"
        "    record_video(Still(), 'HalfCheetah-v5', Path('video.mp4'),\n"
        "                 seeds=np.random.SeedSequence(1), max_steps=5)\n"
        "except UserError as error:\n"
        "    print('refused', error)\n"
    )
    screen = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "MUJOCO_GL")
    environment = {name: value for name, value in os.environ.items() if name not in screen}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    if "refused" in done.stdout:
        assert "MUJOCO_GL" in done.stdout
        pytest.skip("no libEGL here: " + done.stdout)
    frames, _ = decode("video.mp4")
    assert len(frames) == 6
    assert frames.std() > 10, "a black picture"
