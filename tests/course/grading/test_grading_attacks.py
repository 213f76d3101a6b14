"""Hostile submissions: none gets marks, reaches anything, stays, or costs the next student a mark.

Each attack is tried behind each boundary that this machine has: bubblewrap with Landlock, and
Landlock alone. Both of them with seccomp.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from attacks import FORGING, NETWORK, PROCESSES, PROGRAMS, READING, SLOW, USING_UP, WRITING

from ppo_course.grading.answers import CHECKS_FOLDER
from ppo_course.grading.boundary import Boundary, BoundaryError, find
from ppo_course.grading.cells import read_assignment
from ppo_course.grading.grader import Grader
from ppo_course.grading.limits import Limits

ROOT = Path(__file__).parents[3]
SECRET = "another student's answer"
SLEEP = f"sleep 1{os.getpid()}.5"  # as no other process is called
SECONDS = 8
RIGHT = """
def is_clipped(ratio, advantage, clip_range):
    good = (advantage > 0) & (ratio > 1 + clip_range)
    return good | ((advantage < 0) & (ratio < 1 - clip_range))
"""
WRONG = "\n\n\ndef is_clipped(ratio, advantage, clip_range):\n    return ratio > 0\n"
CHECK = "check_is_clipped(is_clipped)\ncheck_is_clipped(is_clipped, seed=1)"


def cell(source: str, *tags: str, **marks: object) -> nbformat.NotebookNode:
    made = nbformat.v4.new_code_cell(source)
    made.metadata.update(tags=list(tags), nbgrader=marks)
    return made


def notebook(solution: str) -> nbformat.NotebookNode:
    definitions = "import torch\nfrom ppo_course import check_is_clipped"
    return nbformat.v4.new_notebook(
        cells=[
            cell(definitions, "definitions"),
            cell(solution, grade_id="clipped", solution=True, grade=False),
            cell(CHECK, grade_id="clipped-check", solution=False, grade=True, points=1),
        ]
    )


class World:
    """A course, a home, an exchange and somebody who listens; and a grader that hides them."""

    def __init__(self, folder: Path, wanted: str) -> None:
        self.folder = folder
        self.course, self.home = folder / "course", folder / "home"
        self.bob = self.course / "submitted" / "bob" / "03" / "03.ipynb"
        for path in (
            self.bob,
            self.course / "nbgrader_config.py",
            self.course / "source" / "03" / "03.ipynb",
            folder / "exchange" / "inbound.txt",
            self.home / "key.txt",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(SECRET, encoding="utf-8")
        self.listeners = [
            socket.create_server(("127.0.0.1", 0)),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        ]
        self.port = self.listeners[0].getsockname()[1]
        self.listeners[1].bind(("127.0.0.1", self.port))
        self.listeners[2].bind(str(folder / "stream"))
        self.listeners[2].listen()
        self.listeners[3].bind(str(folder / "datagram"))
        for listener in self.listeners:
            listener.setblocking(False)
        source = notebook(RIGHT)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOME", str(self.home))
            patch.setenv("TOKEN", SECRET)
            self.grader = Grader(
                read_assignment(source, source),
                limits=Limits(seconds=SECONDS, memory=1024, idle=3),
                boundary=find(wanted),
                hidden=[self.course],
            )
            self.grader.open()
        self.before = self.state()
        self.attacks: list[str] = []  # since an honest student had the mark

    def grade_the_next_student(self) -> None:
        honest = self.grade("", RIGHT)
        assert honest.passed, (honest, *self.attacks)
        self.attacks.clear()

    def state(self) -> dict[str, tuple[object, ...]]:
        """What there is, with its contents, mode, owner and time."""
        found = {}
        for path in [*self.folder.rglob("*"), Path(CHECKS_FOLDER, "__init__.py")]:
            about = path.lstat()
            text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            digest = hashlib.sha256(text).hexdigest()
            found[str(path)] = (digest, about.st_mode, about.st_uid, about.st_mtime, about.st_nlink)
        return found

    def grade(self, solution: str, answer: str = WRONG):
        for name, text in {
            "BOB": self.bob,
            "CONFIG": self.course / "nbgrader_config.py",
            "OUTSIDE": self.folder,
            "EXCHANGE": self.folder / "exchange",
            "HOME_FILE": self.home / "key.txt",
            "CHECKS": CHECKS_FOLDER,
            "CLONE": ROOT,
            "PORT": self.port,
            "SOCKET": self.folder / "stream" if "SOCK_DGRAM" not in solution else "datagram",
            "SLEEP": SLEEP,
        }.items():
            solution = solution.replace(name, str(text))
        return self.grader.grade(notebook(solution + answer))["clipped-check"]

    def heard(self) -> bool:
        """Whether anything came to a listener."""
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()
                return True
        return False

    def close(self) -> None:
        self.grader.close()
        for listener in self.listeners:
            listener.close()


def alive() -> list[int]:
    """Processes that an attack started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if words == SLEEP:
                found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def world(request, tmp_path_factory):
    try:
        find(request.param)
    except BoundaryError as error:
        pytest.skip(f"this machine lacks it: {error}")
    made = World(tmp_path_factory.mktemp(request.param), request.param)
    yield made
    made.grade_the_next_student()
    made.close()
    left = alive()
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert not left


def attack(world, solution, answer=WRONG, next_after=4):
    """Hand it in; then nothing may have happened, and the next student gets the mark.

    That one comes after this many attacks: half the time of these tests was theirs.
    """
    verdict = world.grade(solution, answer)
    told = "\n".join((verdict.error, *verdict.message, verdict.output))
    assert not verdict.passed, told
    assert SECRET not in told
    assert "GRANTED" not in told
    assert world.state() == world.before
    assert not world.heard()
    assert not alive()
    world.attacks.append(told)
    if len(world.attacks) >= next_after:
        world.grade_the_next_student()
    return verdict


def test_what_the_attacks_read_is_there():
    """An attack on a file that has moved fails by itself, and shows nothing."""
    for place, folder in (("CHECKS", Path(CHECKS_FOLDER)), ("CLONE", ROOT)):
        named = re.findall(rf"{place}/([\w./]+)", "".join(READING.values()))
        assert named
        assert all((folder / path).is_file() for path in named)


@pytest.mark.wide(19)
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_program_process_or_thread_is_started(world, name):
    verdict = attack(world, PROGRAMS[name])
    assert "LOADED" not in verdict.output


#: what is asked of the kernel itself, past all hooks of Python
CALLS = (
    "io_uring_setup memfd_create execve execveat clone clone3 fork vfork unshare setns setsid "
    "ptrace process_vm_readv process_vm_writev pidfd_open pidfd_getfd pidfd_send_signal kill tkill "
    "tgkill rt_sigqueueinfo userfaultfd shmget shmat semget msgget mq_open inotify_init1 "
    "fanotify_init openat2 name_to_handle_at open_by_handle_at keyctl add_key bpf perf_event_open "
    "socket connect bind sendmsg sendmmsg mount chroot pivot_root setrlimit setpriority "
    "sched_setaffinity chmod fchmodat chown link linkat symlinkat mknodat utimensat setxattr "
    "truncate copy_file_range splice vmsplice tee landlock_create_ruleset seccomp"
)


def test_the_kernel_refuses_what_the_hooks_would_not_see():
    """The filter names what is allowed: no new call of a kernel is, whatever it is."""
    done = subprocess.run(
        [sys.executable, "-c", ASKING, *CALLS.split()], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["granted:"]


ASKING = """
import ctypes, errno, sys
from ppo_course.grading import seccomp
library = seccomp._library()
numbers = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in sys.argv[1:]}
call = ctypes.CDLL(None, use_errno=True).syscall
seccomp.restrict(seccomp.program())
print("granted:")
for name, number in {**numbers, "a-call-of-the-future": 999}.items():
    if number >= 0 and not (call(number, *[0] * 6) == -1 and ctypes.get_errno() == errno.ENOSYS):
        print(name)
"""


@pytest.mark.wide(13)
@pytest.mark.parametrize("name", PROCESSES)
def test_other_processes_are_out_of_reach(world, name):
    verdict = attack(world, PROCESSES[name])
    assert "RAISED" not in verdict.output


@pytest.mark.wide(20)
@pytest.mark.parametrize("name", READING)
def test_what_is_not_the_students_cannot_be_read(world, name):
    verdict = attack(world, READING[name])
    for part in ("'bob'", "root:", "CULPRITS", "Hostile solution", "BEGIN SOLUTION"):
        assert part not in verdict.output


@pytest.mark.wide(28)
@pytest.mark.parametrize("name", WRITING)
def test_what_is_not_the_students_cannot_be_changed(world, name):
    attack(world, WRITING[name])


@pytest.mark.wide(11)
@pytest.mark.parametrize("name", NETWORK)
def test_nothing_reaches_the_network(world, name):
    attack(world, NETWORK[name])


@pytest.mark.wide(63)
@pytest.mark.parametrize("name", FORGING)
def test_nothing_but_an_answer_gets_the_mark(world, name):
    attack(world, FORGING[name], "")


@pytest.mark.wide(15)
@pytest.mark.parametrize("name", USING_UP)
def test_nobody_uses_up_what_others_need(world, name):
    solution, error = USING_UP[name]
    verdict = attack(world, solution + "\n", next_after=1)
    assert error in (verdict.error, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_nobody_goes_on_for_ever(world, name):
    solution, error = SLOW[name]
    verdict = attack(world, solution, next_after=1)
    assert error in (verdict.error, "")


def test_there_are_as_many_attacks_as_were_seen():
    tables = (PROGRAMS, PROCESSES, READING, WRITING, NETWORK, FORGING, USING_UP, SLOW)
    assert sum(map(len, tables)) >= 56


def test_an_honest_solution_may_do_all_this(world):
    """What the boundary must not forbid: files of its own, modules, asyncio, timers, plots."""
    lines = """
import asyncio, importlib, json, os, pathlib, shutil, sys, tempfile, time
import matplotlib.pyplot as plt
import numpy as np

with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, "a.json").write_text(json.dumps([1]))
    shutil.copyfile(pathlib.Path(folder, "a.json"), "b.json")
    os.rename("b.json", "c.json")
    assert os.listdir(".").count("c.json") == 1
plt.plot([1, 2])
plt.savefig("plot.png")
torch.save(torch.nn.Linear(1, 1).state_dict(), "weights.pt")
torch.load("weights.pt")
np.save("a.npy", np.ones(3))
np.load("a.npy", mmap_mode="r")
pathlib.Path("helping.py").write_text("def clip(): pass")
sys.path.insert(0, "")
importlib.import_module("helping")
asyncio.run(asyncio.sleep(0.01))
time.sleep(0.5)
torch.set_num_threads(4)
(torch.ones(500, 500, requires_grad=True) @ torch.ones(500, 500)).sum().backward()
"""
    verdict = world.grade(lines, RIGHT)
    assert verdict.passed, verdict


def test_nothing_is_left_for_the_next_student(world):
    assert world.grade("open('left', 'w').write('x')\n", RIGHT).passed
    lines = "import os\nassert os.listdir('.') == [], os.listdir('.')\n"
    assert world.grade(lines, RIGHT).passed


# ------------------------------------------------------------------------------- failing closed


def without(monkeypatch, tmp_path, *, bubblewrap=False, landlock=False, seccomp=False):
    """Hide a part of what the machine has."""
    if bubblewrap:
        monkeypatch.setenv("PATH", str(tmp_path))
    if landlock:
        monkeypatch.setattr("ppo_course.grading.landlock.version", lambda: 0)
    if seccomp:
        monkeypatch.setattr("ppo_course.grading.seccomp.missing", lambda: "libseccomp is missing")


@pytest.mark.parametrize(
    "hidden",
    [
        {"bubblewrap": True, "landlock": True},
        {"seccomp": True},
        {"bubblewrap": True, "landlock": True, "seccomp": True},
    ],
)
def test_without_a_boundary_nothing_is_graded(hidden, monkeypatch, tmp_path):
    without(monkeypatch, tmp_path, **hidden)
    source = notebook(RIGHT)
    with pytest.raises(BoundaryError, match="nothing was graded"):
        Grader(read_assignment(source, source)).open()


def test_a_bubblewrap_that_does_not_work_here_is_not_used(monkeypatch, tmp_path):
    """As where user namespaces are switched off."""
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BoundaryError, match="setting up uid map: Permission denied"):
        find("bubblewrap")


def test_a_boundary_that_does_not_hold_is_noticed(monkeypatch):
    """The worker tries it before anything else runs."""
    if shutil.which("bwrap") is None:
        pytest.skip("needs bubblewrap")
    boundary = find("auto")
    monkeypatch.setattr("ppo_course.grading.process.WORKER", ["-c", LEAKY])
    source = notebook(RIGHT)
    with pytest.raises(BoundaryError, match="lets through: a process"):
        Grader(read_assignment(source, source), boundary=boundary).open()


# A worker whose filter lets everything through.
LEAKY = """
from ppo_course.grading import seccomp, worker
seccomp.restrict = lambda program: None
worker.main()
"""


def test_bubblewrap_without_landlock_holds_too(monkeypatch):
    """Where the kernel has no Landlock; with Python's hooks off, which are no boundary."""
    try:
        program = find("bubblewrap").bubblewrap
    except BoundaryError as error:
        pytest.skip(f"this machine lacks it: {error}")
    monkeypatch.setattr("ppo_course.grading.process.WORKER", ["-c", WITHOUT_HOOKS])
    source = nbformat.v4.new_notebook(
        cells=[
            cell("answer = 1", grade_id="answer", solution=True, grade=False),
            cell("assert answer == 1", grade_id="check", solution=False, grade=True, points=1),
        ]
    )
    attempts = """
import os, pathlib
home = pathlib.Path.home()
answer = len(list(home.glob("**/left*")))
for path in ("/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj", "/usr/lib/left"):
    try:
        open(path, "r+").write("0")
    except OSError:
        answer += 1
(home / "left").write_text("for the next student")
"""
    boundary = Boundary(program, landlock=False, seccomp=True)
    with Grader(read_assignment(source, source), boundary=boundary) as grader:
        for _ in range(2):
            source.cells[0].source = f"{attempts}\nanswer -= 2"
            assert grader.grade(source)["check"].passed
        source.cells[0].source = (
            "import pathlib\nanswer = 1\nfor n in range(30):\n"
            "    (pathlib.Path.home() / str(n)).write_bytes(bytes(2**23))"
        )
        assert "No space left" in " ".join(grader.grade(source)["check"].message)
        source.cells[0].source = "answer = 1"
        assert grader.grade(source)["check"].passed


WITHOUT_HOOKS = """
from ppo_course.grading import audit, worker
audit.install = lambda **_: None
worker.main()
"""


def test_who_has_a_boundary_of_their_own_says_so():
    assert "none" in str(find("none"))
    with pytest.raises(BoundaryError, match="'nothing' is none of auto"):
        find("nothing")
