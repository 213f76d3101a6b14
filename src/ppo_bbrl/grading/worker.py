"""The process that grades: it runs the teacher's definitions once, and forks for each graded cell.

    python -P -m ppo_bbrl.grading.worker SCRATCH [HIDDEN]

It reads requests from its standard input and writes answers to its standard output, each a line of
JSON. A forked process has imported everything, so it costs milliseconds; and whatever a student's
code does to it ends with it.
"""

import contextlib
import importlib
import json
import os
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple, NoReturn

from ppo_bbrl.grading import answers, attempt, audit, limits
from ppo_bbrl.grading.cells import Code
from ppo_bbrl.grading.shell import NotebookShell
from ppo_bbrl.grading.tampering import Snapshot
from ppo_bbrl.grading.watching import Watch, made_by_packages

OUTPUT = "printed.txt"
PACKAGE = "ppo_bbrl.grading"


class Reply(NamedTuple):
    """How a graded cell's process answers: where to, and what proves that it is the one."""

    descriptor: int
    secret: str


class Worker:
    """What is the same for all graded cells of a notebook."""

    def __init__(self, scratch: str, hidden: str | None) -> None:
        self.scratch, self.hidden = scratch, hidden
        self.definitions: dict[str, Any] = {}
        self.shown: dict[str, tuple[str, ...]] = {}
        self.snapshot: Snapshot | None = None
        self.known: dict[int, CodeType] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a line asks for."""
        if request["ask"] == "define":
            return self.define([Code(**code) for code in request["definitions"]])
        return self.grade(
            attempt.Task.from_json(request["task"]), limits.Limits(**request["limits"])
        )

    def define(self, definitions: list[Code]) -> dict[str, Any]:
        """Run the teacher's definitions, which are trusted."""
        NotebookShell.instance()  # before the definitions, which may have magics
        self.definitions = attempt.namespace({})
        for code in definitions:
            try:
                attempt.execute(code, self.definitions, prefix="<")
            except Exception as error:  # noqa: BLE001 - the teacher's code may raise anything
                return {"error": f"{code.name}: {' '.join(attempt.lines_of(error)[-3:])}"}
        if "torch" in sys.modules:
            _settle_torch()
        self.shown = answers.shown(definitions)
        self.snapshot, self.known = Snapshot(), made_by_packages()
        return {}

    def grade(self, task: attempt.Task, limit: limits.Limits) -> dict[str, Any]:
        """Run a task in a process of its own, and say how it ended."""
        folder = tempfile.mkdtemp(dir=self.scratch)
        # Only who runs the check to its end sends it back.
        secret = secrets.token_hex(16)
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            self._child(task, limit, folder, Reply(writing, secret))
        os.close(writing)
        try:
            text = _read(reading, until=time.monotonic() + limit.wall_seconds)
        finally:
            os.close(reading)
            status = _end(process)
        printed = _printed(Path(folder, OUTPUT), limit.output)
        shutil.rmtree(folder, ignore_errors=True)
        return {**_judge(text, secret, status, limit), "output": printed}

    def _child(
        self, task: attempt.Task, limit: limits.Limits, folder: str, reply: Reply
    ) -> NoReturn:
        """Never returns. What it needs at its end it holds before the student's code runs."""
        write, leave, dumps = os.write, os._exit, json.dumps
        try:
            os.setpgid(0, 0)
            os.chdir(folder)
            # Nothing stays open that leads to the worker but the one line back.
            os.closerange(0, reply.descriptor)
            os.closerange(reply.descriptor + 1, 256)
            os.open(os.devnull, os.O_RDONLY)  # 0: the lowest that is free
            os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(1, 2)
            sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
            sys.stdout = sys.stderr = open(1, "w", encoding="utf-8")  # noqa: SIM115
            flush = sys.stdout.flush
            assert self.snapshot is not None
            limits.apply(limit)
            answers.hide(self.shown)
            _forget_grading()
            watch = Watch(self.snapshot, scratch=str(Path.cwd()), known=self.known)
            audit.refuse_threads()
            hidden = [answers.CHECKS_FOLDER, *([self.hidden] if self.hidden else [])]
            audit.install(scratch=folder, hidden=hidden)
            result = attempt.run(task, self.definitions, watch)
            with contextlib.suppress(BaseException):
                flush()
            message = dumps([reply.secret, result.outcome, result.error, result.message])
            write(reply.descriptor, message.encode())
        finally:
            leave(0)


def _settle_torch() -> None:
    """Let parts of torch be replaced now that it would replace when something is first needed."""
    importlib.import_module("torch._dynamo")
    classes = [importlib.import_module("torch.optim").Optimizer]
    for cls in classes:
        classes += cls.__subclasses__()
        object.__new__(cls)._patch_step_function()  # step is wrapped, once for each class


def _forget_grading() -> None:
    """Whoever imports these modules from now on gets others than those at work."""
    for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
        del sys.modules[name]
    package = sys.modules.get("ppo_bbrl")
    if package is not None:
        vars(package).pop("grading", None)


def _printed(path: Path, most: int) -> str:
    """The beginning of what was printed."""
    try:
        with path.open("rb") as file:
            text = file.read(most + 1)
    except OSError:
        return ""
    cut = "\n… the rest is left out\n" if len(text) > most else ""
    return text[:most].decode(errors="replace") + cut


def _read(descriptor: int, *, until: float) -> bytes | None:
    """All that comes before the other end is closed; None if that takes too long."""
    text = b""
    while (left := until - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        part = os.read(descriptor, 65536)
        if not part or len(text) > 2 * limits.MIB:
            return text
        text += part
    return None


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


def _judge(text: bytes | None, secret: str, status: int, limit: limits.Limits) -> dict[str, Any]:
    """The outcome that a message and an exit status stand for."""
    if text is None or status == -signal.SIGXCPU:
        return {
            "outcome": "timed out",
            "error": "TimeLimitExceeded",
            "message": [
                f"Your code did not come to an end in {limit.seconds:g} seconds.",
                "Where to look: a loop whose condition stays true.",
            ],
        }
    with contextlib.suppress(ValueError, TypeError):
        told, outcome, error, message = json.loads(text)
        if told == secret:
            return {"outcome": outcome, "error": error, "message": message}
    how = f"by signal {-status} ({_signal(-status)})" if status < 0 else f"with status {status}"
    return {
        "outcome": "crashed",
        "error": "ProcessEnded",
        "message": [
            f"Your code ended the process {how} before the check was through.",
            "Where to look: calls like exit(), endless recursion, too much memory.",
        ],
    }


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def main() -> None:
    """Answer line by line until the input ends."""
    scratch, *rest = sys.argv[1:]
    worker = Worker(scratch, rest[0] if rest else None)
    # Prints of the definitions must not get between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for line in sys.stdin:
            answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
