"""What a run says while it goes on, which nobody may be able to hear."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TextIO, cast

from ppo_bbrl.errors import printable


def say(text: str, *, error: bool = False) -> None:
    """Print lines at once. Where they cannot be printed, the run goes on without them.

    The reader of a pipe may be gone, the disk of a log full, the output closed, or of an encoding
    that lacks a sign, which a question mark replaces then. What would steer a terminal is escaped.

    Args:
        text: one line or several.
        error: print to standard error instead of standard output.
    """
    stream: TextIO | None = sys.stderr if error else sys.stdout
    if stream is None:  # a program without a console
        return
    # ValueError: of a closed file.
    with suppress(OSError, ValueError), _between_bars(stream):
        try:
            print(printable(text), file=stream, flush=True)
        except UnicodeEncodeError:
            encoded = printable(text).encode(stream.encoding, "replace")
            print(encoded.decode(stream.encoding), file=stream, flush=True)


def _between_bars(stream: TextIO) -> AbstractContextManager[None]:
    """Take a progress bar away while something is printed, where one is shown."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        return nullcontext()
    bars: AbstractContextManager[None] = tqdm.tqdm.external_write_mode(file=stream)
    return bars


@contextmanager
def lasting_output() -> Iterator[None]:
    """Let nothing that is printed inside the `with` block, by whomever, raise an error.

    That holds for libraries and environments too. What cannot be printed is dropped.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would become what others print to
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    lasting = [_Lasting(stream) for stream in before]
    sys.stdout, sys.stderr = (cast("TextIO", stream) for stream in lasting)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in lasting:
            stream.settle()


class _Lasting:
    """A text stream that drops what it cannot write."""

    def __init__(self, stream: TextIO | None) -> None:
        # None: a program without a console
        self._stream = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: PTH123, SIM115
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def settle(self) -> None:
        """What is left in the stream's buffer is dropped, or else Python fails on it at its end."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # no file behind it
                number = self._stream.fileno()
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
