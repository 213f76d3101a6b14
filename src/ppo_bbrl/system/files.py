"""Files that are whole or absent, however their writing ends.

What is written goes into a new file beside its place. It takes the place in one stroke once all
of it is on the disk: a reader sees the old file or the new one, and so does who looks after a
crash. What cannot be written is an `OSError` that names the file, and the old file stays.

A folder may come from a stranger, with symbolic links in it that point at files of ours. A link
in the place of the file is replaced, never followed. A link in the place of a folder is refused
where `root` says which folder must not be left.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ppo_bbrl.errors import UserError

_NO_LINKS: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


class LinkError(UserError, OSError):
    """A symbolic link stands where nothing may be written through one."""


@contextmanager
def written_aside(path: Path, *, root: Path | None = None) -> Iterator[Path]:
    """Give an empty file beside `path`; it becomes `path` if the block ends without an error.

    Otherwise it is removed. The folders are made. Its name is new, and ends as `path` does.

    Args:
        path: of the file to be.
        root: a folder above it: no folder between the two may be a symbolic link.

    Raises:
        LinkError: if one is.
        OSError: if the file cannot be made, for want of room or permission; it names `path`.
    """
    make_folder(path.parent, root=root)
    unfinished = path.with_name(f".{secrets.token_hex(8)}.tmp{path.suffix}")
    with _naming(path):
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS, 0o666))
    try:
        yield unfinished
        with _naming(path):
            _reach_the_disk(unfinished)
            unfinished.replace(path)
        if os.name == "posix":  # only there can a folder be opened
            with suppress(OSError):  # some network disks cannot; the file is there all the same
                _reach_the_disk(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes, *, root: Path | None = None) -> None:
    """Write a whole file, text as UTF-8, with the line ends that it has.

    Raises:
        LinkError, OSError: as `written_aside` does.
    """
    encoded = content.encode() if isinstance(content, str) else content
    with written_aside(path, root=root) as unfinished, _naming(path):
        unfinished.write_bytes(encoded)


def open_to_append(path: Path, *, root: Path | None = None) -> IO[str]:
    """Open a text file (UTF-8) to which lines are added, each of which reaches the file at once.

    Raises:
        LinkError: if the file, or a folder between `root` and it, is a symbolic link.
        OSError: if it cannot be opened.
    """
    make_folder(path.parent, root=root)
    refuse_link(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINKS
    descriptor = os.open(path, flags, 0o666)
    return open(descriptor, "a", buffering=1, encoding="utf-8", newline="")  # noqa: PTH123


def make_folder(folder: Path, *, root: Path | None = None) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        LinkError: if one between `root` and it, or itself, is a symbolic link.
        OSError: if it cannot be made.
    """
    if root is not None:
        below = folder.relative_to(root)
        for part in (*reversed(below.parents), below):
            if part != Path():
                refuse_link(root / part)
    folder.mkdir(parents=True, exist_ok=True)


def refuse_link(path: Path) -> None:
    """Raise `LinkError` if a file or folder is a symbolic link."""
    if path.is_symlink():
        raise LinkError(f"{path} is a symbolic link: nothing is written through one")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Around work on the unfinished file: errors name the file that was wanted."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _reach_the_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
