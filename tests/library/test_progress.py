"""The line that a run shows: whole on any terminal, and with what matters most."""

import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from ppo_bbrl.runs.progress import Progress, duration, fitting_line

LONG = {
    "steps": "12,345,678",
    "steps/s": "123,456",
    "reward": "-12345.6",
    "best": "-12300.1",
    "kl": "0.0123",
    "elapsed": "99 min",
    "left": "98 min",
}


def written(facts, width):
    bar, before, after = fitting_line(45, 100, facts, width)
    return before + (f"|{'#' * bar}| " if bar else "  ") + after


@pytest.mark.parametrize("width", [50, 60, 79, 80, 100, 120, 200])
def test_a_line_fits_and_keeps_what_matters(width):
    """At 80 columns, KL and the time left were cut off."""
    line = written(LONG, width)
    assert len(line) <= width
    for kept in (" 45 %", "reward -12345.6", "kl 0.0123", "98 min left"):
        assert kept in line


def test_the_narrowest_line_says_how_far_the_policy_moves_and_how_long_it_takes():
    assert written(LONG, 30) == " 45 %  kl 0.0123  98 min left"


def test_a_wide_line_has_everything():
    line = written(LONG, 200)
    assert all(told in line for told in LONG.values())
    assert "99 min, 98 min left" in line
    assert "reward -12345.6 (best -12300.1)" in line
    assert "#" in line


def test_wider_lines_have_more():
    lengths = [len(written(LONG, width)) for width in range(40, 200)]
    assert lengths == sorted(lengths)


def test_times():
    told = {0.2: "0 s", 99: "99 s", 100: "2 min", 5400: "90 min", 6000: "1.7 h", 90_000: "25.0 h"}
    assert {seconds: duration(seconds) for seconds in told} == told


def on_a_terminal(code, columns):
    """What a program writes to a terminal of so many columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux ends the reading so
        while part := os.read(ours, 4096):
            shown += part
    os.close(ours)
    return shown.decode()


needs_terminal = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
FACTS = {name: told for name, told in LONG.items() if name not in ("elapsed", "left")}
SHOW = f"""
from ppo_bbrl.runs.progress import Progress
progress = Progress(100)
progress.show(45, {FACTS})
"""


@needs_terminal
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_on_a_terminal_nothing_is_cut(columns):
    lines = re.split(r"[\r\n]+", on_a_terminal(SHOW, columns))
    (line,) = {line.strip() for line in lines if "kl" in line}
    assert re.search(r"kl 0\.0123 .*\d+ s left$", line)
    assert len(line) < columns


@needs_terminal
def test_what_is_said_meanwhile_has_a_line_of_its_own():
    """A warning stood behind the bar, in the same line."""
    told = on_a_terminal(f"{SHOW}\nfrom ppo_bbrl.system.console import say; say('a warning')", 80)
    before, _, after = told.partition("a warning")
    assert before.endswith("\r")
    assert after.startswith("\r\n")
    assert "kl" in after, "the bar comes again"


def test_without_a_console_there_is_a_display(monkeypatch):
    """As in programs of Windows that have a window of their own."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    Progress(3).show(1, {"reward": "1"})
