"""Paths as the console shows them."""

from contextlib import suppress
from pathlib import Path


def near(path: Path) -> str:
    """The path relative to the current folder, if it is inside it."""
    with suppress(OSError, ValueError):  # the current folder may be gone, or a different one
        return str(path.relative_to(Path.cwd()))
    return str(path)
