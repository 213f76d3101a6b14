"""Files of tensors, numbers and texts, as torch writes them, with a seal; reading runs no code."""

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ppo_bbrl.errors import one_line
from ppo_bbrl.runs.extent import check_file, check_records, check_stored, check_values
from ppo_bbrl.system.files import write_file
from ppo_bbrl.system.seals import FORMAT, DamagedError, check_format, check_zip, seal_zip


def write_archive(path: Path, content: dict[str, Any], *, root: Path | None = None) -> None:
    """Write a sealed file atomically, with the number of its format.

    Raises:
        OSError: if it cannot be written.
    """
    file = io.BytesIO()  # not the file itself: on a full disk torch's writer raises no OSError
    torch.save(content | {"format": FORMAT}, file)
    write_file(path, seal_zip(file.getvalue()), root=root)


def read_archive(path: Path) -> dict[str, Any]:
    """Read what `write_archive` wrote, or `torch.save` in version 0.1.

    Raises:
        DamagedError: if it has changed since it was written, holds more than tensors, numbers and
            texts, or would take much more memory than its size.
        NewerFormatError: if a newer version has written it.
        Exception: for what is no such file; torch has many.
    """
    check_file(path)
    content = path.read_bytes()
    sealed = check_zip(content)
    check_records(content)
    if not sealed:  # of version 0.1: the zip's own checksums, of which torch reads none
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if (name := archive.testzip()) is not None:
                raise DamagedError(f"the checksum of {name} does not fit")
    # From the memory: what is read is what has been checked.
    try:
        read = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # a paragraph of torch's
        raise DamagedError("it holds more than tensors, numbers and texts") from error
    if not isinstance(read, dict):
        raise TypeError(f"{type(read)} instead of a dict")
    check_values(read, len(content))
    check_format(read.setdefault("format", 1))
    return read


def check_checksums(path: Path) -> None:
    """See that a zip file, as torch writes it, fits its own checksums, of which torch reads none.

    What is no zip file is left to its reader.

    Raises:
        DamagedError: if it does not, or would take much more memory than its size.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    try:
        with zipfile.ZipFile(path) as archive:
            check_stored(archive, path.stat().st_size)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise DamagedError(f"it is damaged: {one_line(error)}") from error
    if damaged is not None:
        raise DamagedError(f"it is damaged: the checksum of {damaged} does not fit")
