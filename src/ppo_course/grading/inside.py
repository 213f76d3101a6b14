"""What the process for one graded cell does before the student's code runs, and after.

Whatever is needed at the end is at hand before: names that the student's code can replace are not
looked up any more.
"""

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any, NoReturn

from ppo_course.grading import answers, audit, landlock, limits, seccomp, trial
from ppo_course.grading.attempt import Task
from ppo_course.grading.stage import Run, decide_apart
from ppo_course.grading.tampering import Look, refuse_operators
from ppo_course.grading.watching import watch
from ppo_course.grading.whose import recogniser

#: where the verdict goes: above all descriptors that the process can open
VERDICT = 64
PACKAGE = "ppo_course.grading"
NO_CAPABILITIES = (0x20080522, 0)  # the version of the kernel's interface, this process
SEPARATOR = "\0"


@dataclass(frozen=True)
class World:
    """What is the same for all graded cells."""

    scratch: str  # the folder in which files may be written
    ruleset: int | None  # Landlock's; None without it
    deciding: bytes | None  # seccomp's filter for the thread that decides; None without
    working: bytes | None  # the one for the student's code
    hidden: tuple[str, ...]  # folders that Python's hooks refuse to read


@dataclass(frozen=True)
class Notebook:
    """The teacher's definitions, and how everything was after them."""

    definitions: dict[str, Any]
    shown: dict[str, tuple[str, ...]]
    looks: tuple[Look, Look]
    known: dict[int, CodeType]


def grade(
    world: World,
    notebook: Notebook,
    task: Task,
    limit: limits.Limits,
    *,
    channel: int,
    printed: int,
) -> Callable[[], NoReturn]:
    """Make this process one that grades; what is returned does the work and ends it.

    A secret comes on the descriptor `channel`, and the verdict goes there; what is printed goes to
    the other one.
    """
    answers.hide(notebook.shown)
    # Whoever imports these modules from now on gets others than those at work.
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
    if "ppo_course" in sys.modules:
        vars(sys.modules["ppo_course"]).pop("grading", None)
    whose = recogniser(scratch=os.path.realpath(world.scratch), known=notebook.known)
    look, seen = watch(*notebook.looks, of_student=whose[0])
    judge = trial.prepare(
        task, notebook.definitions, answers.veiled(notebook.definitions), look=look, seen=seen
    )
    work = enter(world, limit, judge, channel=channel, printed=printed)
    sys.setprofile(look)
    vars(sys)["getprofile"] = lambda: None  # what leads to the watch is taken away
    audit.refuse_threads()
    refuse_operators(audit.NotAllowedError)
    audit.install(scratch=world.scratch, hidden=[answers.CHECKS_FOLDER, *world.hidden], whose=whose)
    return work


def enter(
    world: World,
    limit: limits.Limits,
    judge: Callable[[Run], Sequence[str]],
    *,
    channel: int,
    printed: int,
) -> Callable[[], NoReturn]:
    """Put this process under its limits and behind the boundary, both for good.

    The arguments are those of `grade`; `judge` gets what runs a piece of work in the main thread,
    and what it returns is sent.

    Raises:
        OSError: if the kernel refuses a part of it.
    """
    os.setpgid(0, 0)
    os.chdir(world.scratch)
    _close_all_but(channel, printed, world.ruleset)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the teacher's
    limits.apply(limit, descriptors=VERDICT)
    # Where the teacher is root, this process has no more rights than others.
    libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(*NO_CAPABILITIES)
    if libc.capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")
    if world.ruleset is not None:
        landlock.restrict(VERDICT + 1)
        os.close(VERDICT + 1)
    work = decide_apart(_decider(judge, sys.stdout.flush), partial(_restrict, world.deciding))
    limits.no_more_processes()
    _restrict(world.working)
    return work


def prove() -> None:
    """Try, in such a process, what must not work.

    Raises:
        OSError: if something does; its text says what.
    """
    attempts: dict[str, Callable[[], object]] = {
        "a process": lambda: os.fork() or os._exit(0),
        "the network": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "a signal": lambda: os.kill(os.getpid(), 0),
        "a handler of signals": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
        "the limits of others": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
        "a verdict": lambda: os.write(VERDICT, b""),
        "a new file": lambda: os.open("../proof", os.O_CREAT | os.O_WRONLY),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        raise OSError(name)


def _decider(judge: Callable[[Run], Sequence[str]], flush: Callable[[], None]) -> Any:
    """What the deciding thread does: judge, send, end."""
    read, write, leave, stop_collecting = os.read, os.write, os._exit, gc.disable

    def decide(run: Run) -> NoReturn:
        try:
            secret = read(VERDICT, 64).decode()

            def run_alone(piece: Callable[[], Any]) -> Any:
                outcome = run(piece)
                stop_collecting()  # finalizers of the student's are not for this thread
                return outcome

            words = judge(run_alone)
            run(flush)
            message = SEPARATOR.join((secret, *(word.replace(SEPARATOR, " ") for word in words)))
            text = message.encode("utf-8", "replace")
            while text:
                text = text[write(VERDICT, text) :]
            leave(0)
        finally:
            leave(1)

    return decide


def _restrict(program: bytes | None) -> None:
    if program is not None:
        seccomp.restrict(program)


def _close_all_but(channel: int, printed: int, ruleset: int | None) -> None:
    """Nothing stays open that leads to the worker but the channel."""
    # Out of the way first: one of them may be where another one goes.
    high = [os.dup2(each, VERDICT + 10 + i) for i, each in enumerate((channel, printed))]
    if ruleset is not None:
        os.dup2(os.dup2(ruleset, VERDICT + 12), VERDICT + 1)
    os.dup2(high[0], VERDICT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(high[1], 1)
    os.dup2(high[1], 2)
    os.closerange(3, VERDICT)
    os.closerange(VERDICT + (1 if ruleset is None else 2), 1 << 20)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stderr = open(1, "w", encoding="utf-8")  # noqa: SIM115
