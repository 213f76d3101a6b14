"""nbgrader's commands, each in a process that is forked where nbgrader is already imported.

Importing it takes seconds, and a test of grading runs many commands.
"""

import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path

_PRELOADED = ["nbgrader.apps", "nbgrader.apps.nbgraderapp", "nbgrader.converters"]


def run_nbgrader(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command in a folder; its exit status and what it printed."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with tempfile.TemporaryDirectory() as aside:
        output = Path(aside) / "output"
        process = context.Process(
            target=_run, args=(list(arguments), str(folder), dict(environment), str(output))
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, output.read_text(encoding="utf-8", errors="replace")


def _run(arguments: list[str], folder: str, environment: dict[str, str], output: str) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(file, number)
    sys.argv = ["nbgrader", *arguments]
    sys.path.insert(0, folder)  # as `python -m` does
    runpy.run_module("nbgrader", run_name="__main__")
