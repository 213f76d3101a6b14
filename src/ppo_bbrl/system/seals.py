"""Seals: the checksum of a file, inside the file. What has changed since it was written is refused.

Torch reads a zip file without comparing its checksums: of 300 files with one changed byte it
loaded 253 with other weights. A seal is a SHA-256 of everything else in the file. In a zip file it
is the comment, which torch and other readers skip; in a YAML file the first line, a comment too.

Files of version 0.1 have no seal (format 1).
"""

import re
from hashlib import sha256

from ppo_bbrl.errors import UserError, shown

FORMAT = 2  # of a run's files; 1: those of version 0.1

_MARK = b"ppo-bbrl sha256 "
_COMMENT = len(_MARK) + 64
_END = b"PK\x05\x06"  # of a zip file; 16 bytes and the length of the comment follow
_FIRST = "# ppo-bbrl"
_FIRST_LINE = re.compile(rf"{_FIRST} format (\d{{1,9}}) sha256 ([0-9a-f]{{64}})\n")


class DamagedError(UserError):
    """A file is not as it was written."""


class NewerFormatError(UserError):
    """A newer version wrote a file."""


def check_format(number: object) -> None:
    """Refuse the format of a newer version.

    Raises:
        NewerFormatError: naming it.
    """
    if not isinstance(number, int) or not 1 <= number <= FORMAT:
        raise NewerFormatError(
            f"it has format {shown(number)}, and this version reads 1 to {FORMAT}: a newer "
            "ppo-bbrl has written it"
        )


def seal_zip(archive: bytes) -> bytes:
    """A zip file without a comment, with a seal."""
    if not _is_unsealed(archive):
        raise ValueError("it is no zip file without a comment")
    body = archive[:-2] + _COMMENT.to_bytes(2, "little")
    return body + _MARK + sha256(body).hexdigest().encode()


def check_zip(content: bytes) -> bool:
    """See that a zip file is as it was written.

    Returns:
        Whether it has a seal; False: it may be one of version 0.1.

    Raises:
        DamagedError: if it is neither.
    """
    body, comment = content[:-_COMMENT], content[-_COMMENT:]
    if body[-22:-18] == _END and comment == _MARK + sha256(body).hexdigest().encode():
        return True
    if not _is_unsealed(content):
        raise DamagedError("it has changed since it was written, or is no file of ppo-bbrl")
    return False


def seal_text(text: str) -> str:
    """A YAML file with a seal."""
    return f"{_FIRST} format {FORMAT} sha256 {sha256(text.encode()).hexdigest()}\n{text}"


def check_text(text: str) -> None:
    """See that a YAML file is as it was written, if it has a seal.

    Raises:
        DamagedError: if not.
        NewerFormatError: if a newer version has written it.
    """
    if not text.startswith(_FIRST):
        if text and _FIRST.startswith(text):
            raise DamagedError("it is cut off")
        return
    first = _FIRST_LINE.match(text)
    if first:
        check_format(int(first[1]))
    if not first or sha256(text[first.end() :].encode()).hexdigest() != first[2]:
        raise DamagedError(
            "it has changed since it was written (if that was on purpose, delete its first line)"
        )


def _is_unsealed(archive: bytes) -> bool:
    return archive[-22:-18] == _END and archive[-2:] == b"\0\0"
