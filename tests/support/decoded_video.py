"""Reading videos back, for tests."""

import re
import subprocess

import imageio_ffmpeg
import numpy as np


def decode(path):
    """Every frame, `[T, height, width, 3]`, and what ffmpeg says of the file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo"]
    done = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    facts = done.stderr.decode()
    width, height = map(int, re.search(r"Video:.* (\d+)x(\d+)", facts).groups())
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3), facts


def speed(facts):
    """Frames per second."""
    return float(re.search(r"([\d.]+) fps", facts).group(1))
