"""The process that grades: it runs the teacher's definitions once, and forks for each graded cell.

    python -P -m ppo_course.grading.worker

It reads requests from its standard input and writes answers to its standard output, each a line of
JSON. A forked process has imported everything, so it costs milliseconds; and whatever a student's
code does to it ends with it.
"""

import contextlib
import ctypes
import importlib
import json
import os
import secrets
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ppo_course.grading import answers, attempt, inside, landlock, seccomp, trial
from ppo_course.grading.cells import Code
from ppo_course.grading.limits import MIB, Limits
from ppo_course.grading.private import private
from ppo_course.grading.shell import NotebookShell
from ppo_course.grading.tampering import snapshot
from ppo_course.grading.whose import made_by_packages

NOT_DUMPABLE = (4, 0)  # prctl: no other process may look into this one, or those it forks
SECRET = 16  # bytes
LOOK_EVERY = 0.1  # seconds
TIMED_OUT = "timed out", "TimeLimitExceeded"
OUTCOMES = ("passed", "partly", "failed", "tampered")


#: gets the descriptors `channel` and `printed` by name; what it returns does the work
Begin = Callable[..., Callable[[], NoReturn]]


class Worker:
    """What is the same for all graded cells of a notebook."""

    def __init__(self) -> None:
        self.world = inside.World("", None, None, None, ())
        self.notebook: inside.Notebook | None = None
        self.to_clean: list[str] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a line asks for."""
        ask: dict[str, Callable[..., dict[str, Any]]]
        ask = {"begin": self.begin, "define": self.define, "grade": self.grade}
        return ask[request.pop("ask")](**request)

    def begin(
        self, *, scratch: str, home: str, read: list[str], hidden: list[str], use: dict[str, bool]
    ) -> dict[str, Any]:
        """Prepare the boundary, and prove that it holds.

        Only `scratch` can be written to, and `home`, where packages keep their settings, without
        Landlock; `read` can be read, less what is `hidden`; `use` names Landlock and seccomp.
        """
        ctypes.CDLL(None).prctl(*NOT_DUMPABLE, 0, 0, 0)
        try:
            ruleset = (
                landlock.ruleset(read=map(Path, read), write=[Path(scratch), Path(os.devnull)])
                if use["landlock"]
                else None
            )
            deciding = seccomp.program() if use["seccomp"] else None
            working = seccomp.program(below=inside.VERDICT) if use["seccomp"] else None
        except OSError as error:
            return {"error": str(error)}
        self.world = inside.World(scratch, ruleset, deciding, working, tuple(hidden))
        # Landlock lets nobody write in the other one.
        self.to_clean = [scratch] if use["landlock"] else [scratch, home]
        if not use["seccomp"]:
            return {}
        told = self._fork(self._prove, Limits(seconds=5))
        return {} if told["outcome"] == "passed" else {"error": " ".join(told["message"])}

    def define(self, definitions: list[dict[str, str]]) -> dict[str, Any]:
        """Run the teacher's definitions, which are trusted."""
        codes = [Code(**code) for code in definitions]
        NotebookShell.instance()  # before the definitions, which may have magics
        module = sys.modules["__main__"] = trial.module_of({})
        for code in codes:
            try:
                exec(attempt.compiled(code, prefix="<"), vars(module))
            except Exception as error:  # noqa: BLE001 - the teacher's code may raise anything
                return {"error": f"{code.name}: {' '.join(attempt.lines_of(error)[-3:])}"}
        if "torch" in sys.modules:
            _settle_torch()
        if "ppo_course.likeness" in sys.modules:
            importlib.import_module("ppo_course.likeness").solutions()  # out of reach later
        self.notebook = inside.Notebook(
            vars(module), answers.shown(codes), private(snapshot)(), made_by_packages()
        )
        return {}

    def grade(self, task: dict[str, Any], limits: dict[str, Any]) -> dict[str, Any]:
        """Run a task in a process of its own, and say how it ended."""
        assert self.notebook is not None
        limit, what = Limits(**limits), attempt.Task.from_json(task)
        begin = partial(inside.grade, self.world, self.notebook, what, limit)
        return self._fork(begin, limit)

    def _fork(self, begin: Begin, limit: Limits) -> dict[str, Any]:
        ours, theirs = socket.socketpair()
        printed = os.memfd_create("printed")
        try:
            process = os.fork()
            if process == 0:
                _become(begin, theirs.fileno(), printed, vars(self).clear)
            theirs.close()
            secret = secrets.token_hex(SECRET)
            with contextlib.suppress(OSError):
                ours.sendall(secret.encode())
            text, stopped = _read(ours, process, limit, self.world.scratch)
            status = _end(process)
            start = os.pread(printed, limit.output + 1, 0)
        finally:
            ours.close()
            theirs.close()
            os.close(printed)
        clean = not [folder for folder in self.to_clean if not _clean(folder)]
        told = stopped or _judge(text, secret, status, limit)
        cut = "\n… the rest is left out\n" if len(start) > limit.output else ""
        output = start[: limit.output].decode(errors="replace") + cut
        return {**told, "output": output, "clean": clean}

    def _prove(self, channel: int, printed: int) -> Callable[[], NoReturn]:
        def judge(run: Any) -> list[str]:
            _, raised = run(inside.prove)
            if raised:
                return ["failed", "OSError", f"it lets through: {raised[0]}"]
            return ["passed", ""]

        return inside.enter(self.world, Limits(seconds=5), judge, channel=channel, printed=printed)


def _become(begin: Begin, channel: int, printed: int, forget: Callable[[], None]) -> NoReturn:
    """In the forked process: do the work and end. No frame below the work leads anywhere."""
    leave = os._exit
    try:
        work = begin(channel=channel, printed=printed)
        forget()
        del begin, forget
        work()
    finally:
        leave(1)


def _settle_torch() -> None:
    """Let torch do now what it would do at the first need.

    Later, no part of it may be replaced, and no thread can begin.
    """
    importlib.import_module("torch._dynamo")
    with importlib.import_module("torch.profiler").profile():
        pass
    classes = [importlib.import_module("torch.optim").Optimizer]
    for cls in classes:
        classes += cls.__subclasses__()
        object.__new__(cls)._patch_step_function()  # step is wrapped, once for each class


def _read(
    channel: socket.socket, process: int, limit: Limits, scratch: str
) -> tuple[bytes, dict[str, Any] | None]:
    """All that comes before the other end is closed; and what ended it first, if anything did."""
    text = b""
    begin = busy = time.monotonic()
    used = 0.0
    clock = (~process << 3) | 2  # the kernel's name for the time that this process has used
    while True:
        if select.select([channel], [], [], LOOK_EVERY)[0]:
            with contextlib.suppress(ConnectionError):
                part = channel.recv(65536)
                if part and len(text) < 2 * MIB:
                    text += part
                    continue
            return text, None
        now = time.monotonic()
        with contextlib.suppress(OSError):
            if (using := time.clock_gettime(clock)) > used + 0.05:
                used, busy = using, now
        if now - busy > limit.idle:
            return text, _outcome(
                *TIMED_OUT,
                f"Your code waited for more than {limit.idle:g} seconds.",
                "Where to look: sleep(), input, a server, a file that never comes.",
            )
        if now - begin > min(limit.wall_seconds + _kept_waiting(process), limit.longest):
            return text, _too_long(limit)
        if _too_much(scratch, limit):
            return text, _outcome(
                "crashed",
                "DiskLimitExceeded",
                f"Your code wrote more than {limit.disk} MiB, or {limit.files} files.",
                "Where to look: a loop that saves again and again.",
            )


def _kept_waiting(process: int) -> float:
    """For how many seconds a process could have run, but others did; 0 where nobody counts it.

    Who sleeps is not kept waiting, so that this gives no time away.
    """
    try:
        _, waited, _ = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 0.0
    return int(waited) / 1e9


def _too_much(scratch: str, limit: Limits) -> bool:
    """Whether there is more in a folder than may be, or something that cannot be looked into."""
    size = number = 0
    folders = [scratch]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    number += 1
                    size += entry.stat(follow_symlinks=False).st_size
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    if number > limit.files or size > limit.disk * MIB:
                        return True
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


def _end(process: int) -> int:
    """End a process and those it started, however it is doing; its exit status."""
    # It has had its say, or its time is up.
    for _ in range(50):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
    if not ended:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def _clean(folder: str) -> bool:
    """Empty a folder; whether that worked."""
    try:
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108
        return not os.listdir(folder)  # noqa: PTH208
    except (OSError, RecursionError):
        return False


def _judge(text: bytes, secret: str, status: int, limit: Limits) -> dict[str, Any]:
    """The outcome that a message and an exit status stand for."""
    if status == -signal.SIGXCPU:
        return _too_long(limit)
    told, *words = text.decode(errors="replace").split(inside.SEPARATOR)
    if secrets.compare_digest(told.encode(), secret.encode()) and words[0] in OUTCOMES:
        if words[0] == "partly":
            return {**_outcome(words[0], *words[2:]), "share": float(words[1])}
        return _outcome(*words)
    how = f"with status {status}"
    if status < 0:
        known = [number.name for number in signal.Signals if number == -status]
        how = f"by signal {-status} ({''.join(known) or 'unknown'})"
    return _outcome(
        "crashed",
        "ProcessEnded",
        f"Your code ended the process {how} before the check was through.",
        "Where to look: calls like exit(), endless recursion, too much memory.",
    )


def _too_long(limit: Limits) -> dict[str, Any]:
    return _outcome(
        *TIMED_OUT,
        f"Your code did not come to an end in {limit.seconds:g} seconds.",
        "Where to look: a loop whose condition stays true.",
    )


def _outcome(outcome: str, error: str, *message: str) -> dict[str, Any]:
    return {"outcome": outcome, "error": error, "message": list(message), "share": 0.0}


def main() -> None:
    """Answer line by line until the input ends."""
    worker = Worker()
    # Prints of the definitions must not get between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as lines:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for line in sys.stdin:
            lines.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            lines.flush()


if __name__ == "__main__":
    main()
