"""The process that grades, from outside: begun within its boundary, asked, ended.

What runs in it is `worker.py`.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_course.grading.answers import CHECKS_FOLDER
from ppo_course.grading.boundary import Boundary, BoundaryError, command
from ppo_course.grading.folders import Folder

WORKER = ("-m", "ppo_course.grading.worker")
IMPORTING = 300.0  # seconds for the teacher's definitions

#: What the worker gets of the environment. No tokens of a hub, nothing that changes Python.
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV", "CONDA_PREFIX")
# One thread each: a fork takes no others along. TESTING_MODE makes whatever trains short. Functions
# are not compiled: that starts a compiler, and takes longer than a check.
SET = {
    "MPLBACKEND": "Agg",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "SDL_VIDEODRIVER": "dummy",
    "TESTING_MODE": "on",
    "TORCH_COMPILE_DISABLE": "1",
    "TORCHDYNAMO_DISABLE": "1",  # its name until torch 2.5
    # No thread can begin while a student's code runs: nothing may need one.
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_THREAD_LIMIT": "1",
}


#: what else a Python reads
SYSTEM = (
    "/lib /lib32 /lib64 /usr/lib /usr/lib32 /usr/lib64 /usr/local/lib /usr/local/lib64 "
    "/usr/share/fonts /usr/share/zoneinfo /etc/fonts /etc/ld.so.cache /etc/localtime /gnu/store "
    "/nix/store /sys/devices/system/cpu"
)
#: what a Python says of itself: where it looks for modules, and where editable packages lie
ASKED = """\
import json, sys
found = [path for path in sys.path if path]
for finder in sys.meta_path:
    module = sys.modules.get(getattr(finder, "__module__", ""))
    found += getattr(module, "MAPPING", {}).values()
print(json.dumps([str(path) for path in found]))
"""


class WorkerEndedError(Exception):
    """The worker does not answer any more."""


class WorkerProcess:
    """A worker in a folder of its own, which is there until `end`.

    Args:
        boundary: what keeps a student's code from this machine.
        hidden: folders of which a student's code may see nothing, besides the home.
        readable: files and folders that it may read, besides Python's own.

    Raises:
        BoundaryError: if the boundary does not hold.
    """

    def __init__(
        self, boundary: Boundary, *, hidden: Sequence[Path], readable: Sequence[Path]
    ) -> None:
        self._boundary = boundary
        self._own = Folder()
        self._folder = self._own.path
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._begin(hidden, readable)
        except BaseException:
            self.end()
            raise

    def ask(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """Send a line and wait for one; raises WorkerEndedError if none comes in time."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise WorkerEndedError from error
        # A line of a pipe that has nothing else in it.
        waited = select.select([process.stdout], [], [], seconds)[0]
        line = process.stdout.readline() if waited else b""
        if not line.endswith(b"\n"):
            raise WorkerEndedError
        answer: dict[str, Any] = json.loads(line)
        return answer

    def hide_checks(self) -> None:
        """Take away its copy of the checks: from now on there are none to be read."""
        shutil.rmtree(self._folder / "checks", ignore_errors=True)

    def end(self) -> None:
        """Kill it, and remove its folder."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    if stream is not None:
                        stream.close()
            process.wait()
        self._own.remove()

    def _begin(self, hidden: Sequence[Path], readable: Sequence[Path]) -> None:
        """Start the process within its boundary, and have it prove that."""
        folder = self._folder
        home, scratch, checks = (folder / name for name in ("home", "scratch", "checks"))
        home.mkdir()
        scratch.mkdir()
        environment = {name: os.environ[name] for name in KEPT if name in os.environ} | SET
        environment |= {"HOME": str(home), "MPLCONFIGDIR": str(home), "TMPDIR": str(scratch)}
        private = [Path.home(), *hidden]
        read = [*to_python(environment, private=private), *map(str, readable)]
        if self._boundary.bubblewrap:
            shutil.copytree(CHECKS_FOLDER, checks)
        words = command(
            self._boundary,
            [sys.executable, "-P", *WORKER],
            read=read,
            replaced=[(CHECKS_FOLDER, str(checks))],
            write=[str(scratch), str(home)],
        )
        with (folder / "errors.txt").open("wb") as errors:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=scratch,
                env=environment,
                start_new_session=True,  # Ctrl-C is the teacher's
            )
        world = {
            "scratch": str(scratch),
            "home": str(home),
            "read": [str(path) for path in without([*read, str(home)], Path(CHECKS_FOLDER))],
            "hidden": [str(path) for path in hidden],
            "use": {"landlock": self._boundary.landlock, "seccomp": self._boundary.seccomp},
        }
        try:
            answer = self.ask({"ask": "begin", **world}, seconds=IMPORTING)
        except WorkerEndedError as error:
            said = Path(errors.name).read_text(encoding="utf-8", errors="replace").strip()
            why = said.splitlines()[-1] if said else "the process that grades does not begin"
            raise BoundaryError(f"nothing was graded, {self._boundary} fail: {why}") from error
        if answer.get("error"):
            raise BoundaryError(f"nothing was graded, {self._boundary}: {answer['error']}")


def to_python(environment: Mapping[str, str], *, private: Iterable[Path]) -> list[str]:
    """The files and folders that a Python with these environment variables needs.

    Whatever contains a private folder is left out.
    """
    asked = subprocess.run(
        [sys.executable, "-P", "-c", ASKED],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [*SYSTEM.split(), *_programs(), *json.loads(asked.stdout)]
    paths += [path for name in ("stdlib", "platstdlib") if (path := sysconfig.get_path(name))]
    paths.append(sysconfig.get_config_var("LIBDIR") or "")
    paths += environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    hidden = [path.resolve() for path in private]
    return sorted(
        path
        for path in {os.path.normpath(path) for path in paths if Path(path).is_absolute()}
        if not any(hide.is_relative_to(Path(path).resolve()) for hide in hidden)
    )


def without(paths: Iterable[str], hidden: Path) -> Iterator[Path]:
    """The same files and folders, less what is in a folder."""
    for path in map(Path, paths):
        if not hidden.resolve().is_relative_to(path.resolve()):
            yield path
        elif path.resolve() != hidden.resolve():
            yield from without((str(child) for child in path.iterdir()), hidden)


def _programs() -> Iterator[str]:
    """Python itself, with the links that lead to it and what says where its packages are."""
    program = Path(sys.executable)
    yield str(Path(sys.prefix, "pyvenv.cfg"))
    while True:
        yield str(program)
        if not program.is_symlink():
            break
        program = Path(os.path.normpath(program.parent / program.readlink()))
    yield str(program.resolve())
