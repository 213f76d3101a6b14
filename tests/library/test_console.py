"""What a run says must not end it when nobody can hear."""

import io
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_bbrl.runs.metrics import Logger
from ppo_bbrl.runs.progress import Progress
from ppo_bbrl.system.console import as_return, lasting_output, say

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


class Closed(io.StringIO):
    """What was closed while a run goes on; a terminal, once."""

    def isatty(self):
        return True

    def write(self, *_):
        raise ValueError("I/O operation on closed file.")

    flush = fileno = write


def test_an_output_that_was_closed(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Closed())
    everything()


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
    script = "from ppo_bbrl.system.console import say\nfor _ in range(5000): say('a line')"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", f"{script}\nimport os; os._exit(7)"], check=False, stdout=full
        )
    assert done.returncode == 7


def test_what_steers_a_terminal_is_escaped(capsys):
    say("\x1b]0;owned\x07 and \u202e")
    assert capsys.readouterr().out == "\\x1b]0;owned\\x07 and \\u202e\n"


def test_in_a_command_nobodys_printing_raises(monkeypatch):
    """An environment that prints in its `step` would fail otherwise."""
    gone = Gone()
    monkeypatch.setattr(sys, "stdout", gone)
    with lasting_output():
        print("from a library", flush=True)
        sys.stdout.flush()
    assert sys.stdout is gone


def test_in_a_command_other_signs_are_replaced(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    with lasting_output():
        print("λ ± 3")
    assert raw.getvalue() == "? ± 3\n".encode("latin-1")


def shell(redirection):
    """The exit status and outputs of a program whose output the shell redirects."""
    program = (
        "import os, sys\n"
        "from ppo_bbrl.system.console import lasting_output, say\n"
        "with lasting_output():\n"
        "    for _ in range(5000): say('a line'); print('another'); say('an error', error=True)\n"
        "    open('file', 'w').write(str(sys.stdout.isatty()))\n"
    )
    Path("program.py").write_text(program)
    command = f"exec {shlex.quote(sys.executable)} program.py {redirection}"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; ({command})"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize(
    "redirection",
    ["| head -1", "2>&1 | true", ">&-", "2>&-", ">&- 2>&- <&-"]
    + [pytest.param(to, marks=needs_full) for to in (">/dev/full", ">/dev/full 2>&1")],
)
def test_a_program_ends_well_whatever_becomes_of_its_output(redirection):
    """Neither an error at its end, nor output of others in a file that it opens."""
    status, _, err = shell(redirection)
    assert status == 0
    assert set(err.splitlines()) <= {"an error"}
    assert Path("file").read_text() == "False"


@pytest.mark.parametrize(
    ("value", "text"),
    [(500.0, "500.0"), (-171.64, "-171.6"), (0.0, "0.0"), (0.9624, "0.962"), (-0.08, "-0.080")],
)
def test_small_returns_keep_their_digits(value, text):
    """Where an episode pays less than 1, one decimal would hide all that is learned."""
    assert as_return(value) == text
