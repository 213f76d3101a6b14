"""What of the machine's files the grading process sees: Python, its packages, their libraries."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

SYSTEM = (
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/share/fonts",
    "/usr/share/zoneinfo",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/gnu/store",
    "/nix/store",
    "/sys/devices/system/cpu",
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


def to_python(environment: Mapping[str, str], *, private: Iterable[Path]) -> list[str]:
    """The files and folders that a Python with this environment needs.

    Args:
        environment: its environment variables.
        private: folders that are not to be seen; whatever contains one of them is left out.
    """
    asked = subprocess.run(
        [sys.executable, "-P", "-c", ASKED],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [*SYSTEM, *_programs(), *json.loads(asked.stdout)]
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
