"""The boundary around a student's code: the operating system's, since Python's hooks are none.

Of bubblewrap, Landlock and seccomp, whatever this machine has is used, and less than one of the
first two together with the third is not enough. They do this:

- `bubblewrap` starts the worker in a world of its own: no network, no processes but its own, all of
  which end with it, and of the files a read-only view of what Python needs.
- `landlock` lets the process for one graded cell reach the same files and no others, and write
  nowhere but in a scratch folder.
- `seccomp` takes away from that process all that starts programs, processes or threads, sends
  signals, opens sockets, or changes limits, owners and modes.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ppo_bbrl.errors import UserError
from ppo_course.grading import landlock, seccomp

WANTED = ("auto", "bubblewrap", "landlock", "none")
SCRATCH_BYTES = 128 * 2**20  # twice what a graded cell may write, which is named when it is more
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class BoundaryError(UserError):
    """There is nothing to keep a student's code from the machine; the message says what lacks."""


@dataclass(frozen=True)
class Boundary:
    """What is in force."""

    bubblewrap: str  # where the program is; empty without it
    landlock: bool  # whether the kernel's is used
    seccomp: bool  # likewise
    lacking: str = ""  # what is not there, and why

    def __str__(self) -> str:
        """One line for the teacher."""
        if not self.seccomp:
            return "none: submissions run with all of your rights (c.GradeApart.boundary = 'none')"
        names = ["bubblewrap"] * bool(self.bubblewrap) + ["Landlock"] * self.landlock
        lacking = f" (not {self.lacking})" if self.lacking else ""
        return f"{', '.join(names)} and seccomp{lacking}"


def find(wanted: str = "auto") -> Boundary:
    """The best boundary that this machine has.

    Args:
        wanted: one of `WANTED`. "bubblewrap" and "landlock" insist on that one; "none" is for who
            has a boundary around all of grading, such as a container that is thrown away.

    Raises:
        BoundaryError: if there is none, or not the one that is wanted.
    """
    if wanted not in WANTED:
        raise BoundaryError(f"c.GradeApart.boundary: {wanted!r} is none of {', '.join(WANTED)}")
    if wanted == "none":
        return Boundary("", landlock=False, seccomp=False)
    if not sys.platform.startswith("linux"):
        raise BoundaryError(
            "submissions can be graded on Linux alone: elsewhere nothing keeps their code from "
            "your files; grade in a container or in a virtual machine"
        )
    program, no_program = _bubblewrap() if wanted != "landlock" else ("", "")
    no_landlock = "" if landlock.version() else "Landlock: this kernel has none"
    no_seccomp = f"seccomp: {reason}" if (reason := seccomp.missing()) else ""
    lacking = "; ".join(filter(None, (no_program, no_landlock, no_seccomp)))
    enough = {"bubblewrap": bool(program), "landlock": not no_landlock}.get(
        wanted, bool(program) or not no_landlock
    )
    if no_seccomp or not enough:
        raise BoundaryError(
            "nothing was graded, since a submission's code would reach your files and the network. "
            f"What lacks: {lacking}. docs/teaching.md says what to do"
        )
    return Boundary(program, landlock=not no_landlock, seccomp=True, lacking=lacking)


def command(
    boundary: Boundary,
    program: Sequence[str],
    *,
    read: Iterable[str],
    replaced: Iterable[tuple[str, str]] = (),
    write: Sequence[str] = (),
) -> list[str]:
    """The words of a command that runs a program within bubblewrap, or just the program.

    Args:
        boundary: what is in force.
        program: its words.
        read: files and folders that it sees; those that do not exist are left out.
        replaced: a folder, and another that it sees in its place.
        write: empty folders in memory, limited in size; the program begins in the first.
    """
    if not boundary.bubblewrap:
        return list(program)
    words = [boundary.bubblewrap, "--unshare-all", "--die-with-parent", "--new-session"]
    # The kernel's settings are root's files there, and a teacher may be root.
    words += ["--cap-drop", "ALL", "--proc", "/proc", "--remount-ro", "/proc"]
    for device in DEVICES:
        words += ["--dev-bind-try", device, device]
    for path in read:
        words += ["--ro-bind-try", path, path]
    for path, other in replaced:
        words += ["--ro-bind", other, path]
    asked = subprocess.run(
        [boundary.bubblewrap, "--help"], capture_output=True, text=True, check=False
    )
    size = ["--size", str(SCRATCH_BYTES)] if "--size" in asked.stdout else []
    for path in write:
        words += [*size, "--tmpfs", path]
    words += ["--remount-ro", "/"]
    if write:
        words += ["--chdir", write[0]]
    return [*words, "--", *program]


def _bubblewrap() -> tuple[str, str]:
    """Where bubblewrap is; or else what is wrong with it."""
    program = shutil.which("bwrap")
    if program is None:
        return "", "bubblewrap: it is not installed"
    # A machine may have it and not let it work: user namespaces that are switched off, a container.
    with tempfile.TemporaryDirectory() as scratch:  # in /tmp, say, where Python may be as well
        tried = command(
            Boundary(program, landlock=False, seccomp=False),
            [sys.executable, "-I", "-S", "-c", ""],
            read=["/"],
            write=[scratch],
        )
        try:
            done = subprocess.run(tried, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return "", f"bubblewrap: {error}"
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ends with status {done.returncode}"]
        return "", f"bubblewrap: {said[-1].removeprefix('bwrap: ')}"
    return program, ""
