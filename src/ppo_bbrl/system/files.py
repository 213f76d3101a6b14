"""Atomic writes: a file is complete or absent, however writing it ends.

Content is written to a new file in the same folder, which replaces the old one atomically once it
is on the disk. Readers see the old file or the new one, even after a crash. If writing fails, an
`OSError` names the file and the old file stays.

A folder may come from someone else and contain symbolic links to files of ours. A link in place of
the file is replaced, never followed. A link in place of a folder below `root` is refused.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ppo_bbrl.errors import UserError

_NO_LINKS: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


class LinkError(UserError, OSError):
    """A symbolic link is in a place where links must not be followed for writing."""


@contextmanager
def written_aside(path: Path, *, root: Path | None = None) -> Iterator[Path]:
    """Yield an empty file next to `path` that becomes `path` if the block ends without an error.

    Otherwise the file is deleted. Its name is new and has the suffix of `path`. Missing folders are
    created.

    Args:
        path: the final path.
        root: a folder above it: no folder between the two may be a symbolic link.

    Raises:
        LinkError: if one is.
        OSError: if the file cannot be written (disk full, no permission); it names `path`.
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
        if os.name == "posix":  # elsewhere folders cannot be opened
            with suppress(OSError):  # some network disks cannot sync; the file exists nevertheless
                _reach_the_disk(path.parent)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes, *, root: Path | None = None) -> None:
    """Write a whole file; text is written as UTF-8, with its line endings unchanged.

    Raises:
        LinkError, OSError: as `written_aside` does.
    """
    encoded = content.encode() if isinstance(content, str) else content
    with written_aside(path, root=root) as unfinished, _naming(path):
        unfinished.write_bytes(encoded)


def open_to_append(path: Path, *, root: Path | None = None) -> IO[str]:
    """Open a text file (UTF-8) for appending; each line is flushed to the file.

    Raises:
        LinkError: if the file, or a folder between `root` and it, is a symbolic link.
        OSError: if it cannot be opened.
    """
    make_folder(path.parent, root=root)
    refuse_link(path)
    if path.exists() and not path.is_file():  # a pipe would wait for who reads it
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINKS
    descriptor = os.open(path, flags, 0o666)
    return open(descriptor, "a", buffering=1, encoding="utf-8", newline="")  # noqa: PTH123


def make_folder(folder: Path, *, root: Path | None = None) -> None:
    """Create a folder and its missing parents.

    Raises:
        LinkError: if it, or a folder between `root` and it, is a symbolic link.
        OSError: if it cannot be created.
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
        raise LinkError(f"{path} is a symbolic link: links are not followed when writing")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make errors about the unfinished file name the final path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _reach_the_disk(path: Path) -> None:
    """Wait until a file, or the entries of a folder, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
