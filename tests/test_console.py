"""What a run says must not end it when nobody can hear."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_bbrl.console import say
from ppo_bbrl.metrics import Logger
from ppo_bbrl.progress import Progress

needs_full = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="needs /dev/full, which is always full"
)


class Gone(io.StringIO):
    """The output of a command whose reader has left."""

    def write(self, _):
        raise BrokenPipeError

    def flush(self):
        raise BrokenPipeError


def everything():
    """All that the package says in a run."""
    say("a line")
    progress = Progress(3)
    progress.show(1, {"reward": "1"})
    with Logger(None, None, verbose=True) as logger:
        logger.add_log("critic_loss", 1.0, 1)
    assert list(progress.rollouts()) == [0, 1, 2]


def test_a_line_is_said(capsys):
    say("steps 3: λ")
    assert capsys.readouterr().out == "steps 3: λ\n"


def test_a_reader_who_has_left(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Gone())
    everything()


def test_a_terminal_that_is_gone(monkeypatch):
    """The progress bar writes to the terminal itself."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Gone())
        monkeypatch.setattr(getattr(sys, name), "isatty", lambda: True)
    everything()


def test_an_output_that_was_closed(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    say("a line")


def test_no_output_at_all(monkeypatch):
    """As in programs of Windows that have a window of their own."""
    monkeypatch.setattr(sys, "stdout", None)
    say("a line")


def test_an_output_that_lacks_a_sign(monkeypatch):
    """A line with a question mark says more than none."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    say("return ± 3")
    assert raw.getvalue() == b"return ? 3\n"


@needs_full
def test_a_full_disk():
    script = "from ppo_bbrl.console import say\nfor _ in range(5000): say('a line')"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", f"{script}\nimport os; os._exit(7)"], check=False, stdout=full
        )
    assert done.returncode == 7
