"""Console output that never stops a run, even if nothing can be printed."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from typing import Any, TextIO, cast

from ppo_bbrl.errors import printable


def say(text: str, *, error: bool = False) -> None:
    """Print and flush. If printing fails, the run continues without it.

    The reader of a pipe may be gone, the disk full or the output closed. Characters that the
    output's encoding lacks become question marks; control characters are escaped.

    Args:
        text: one or more lines.
        error: print to standard error instead of standard output.
    """
    stream: TextIO | None = sys.stderr if error else sys.stdout
    if stream is None:  # a program without a console
        return
    # ValueError: the file is closed.
    with suppress(OSError, ValueError), _between_bars(stream):
        try:
            print(printable(text), file=stream, flush=True)
        except UnicodeEncodeError:
            encoded = printable(text).encode(stream.encoding, "replace")
            print(encoded.decode(stream.encoding), file=stream, flush=True)


def as_return(value: float) -> str:
    """A return as text: one decimal, three where it is small, as those between 0 and 1 are."""
    return f"{value:.3f}" if 0 < abs(value) < 1 else f"{value:.1f}"


def _between_bars(stream: TextIO) -> AbstractContextManager[None]:
    """Hide the progress bar, if there is one, while something is printed."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        return nullcontext()
    bars: AbstractContextManager[None] = tqdm.tqdm.external_write_mode(file=stream)
    return bars


@contextmanager
def lasting_output() -> Iterator[Callable[[], str]]:
    """Inside the `with` block, printing never raises an error: what cannot be printed is dropped.

    This includes what libraries and environments print.

    Yields:
        A function that tells why standard output has lost something, in one line; empty: it has
        lost nothing, or nobody reads it any more (as after `| head -1`).
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file opened would get its number, and the output
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    lasting = [_Lasting(stream) for stream in before]
    sys.stdout, sys.stderr = (cast("TextIO", stream) for stream in lasting)
    try:
        yield lasting[0].loss
    finally:
        sys.stdout, sys.stderr = before
        for stream in lasting:
            stream.settle()


class Printed(io.TextIOBase):
    """Counts the lines that are written to it, and drops them."""

    lines = 0

    def write(self, text: str) -> int:
        """Count."""
        self.lines += text.count("\n")
        return len(text)

    def writable(self) -> bool:
        """It is."""
        return True


@contextmanager
def printed() -> Iterator[Printed]:
    """Inside the `with` block, what Python code prints is counted instead."""
    counted = Printed()
    with redirect_stdout(counted), redirect_stderr(counted):
        yield counted


class _Lasting:
    """A text stream that drops what it cannot write."""

    def __init__(self, stream: TextIO | None) -> None:
        if stream is None:  # a program without a console
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end
        self._stream = stream
        if isinstance(self._stream, io.TextIOWrapper):
            self._stream.reconfigure(errors="replace")
        self._lost = ""

    def write(self, text: str) -> int:
        with self._dropped():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropped():
            self._stream.flush()

    def loss(self) -> str:
        """Why something was dropped that would have been read."""
        self.flush()
        return self._lost

    @contextmanager
    def _dropped(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: it is closed
            number = getattr(error, "errno", None)
            if number not in (None, errno.EPIPE):
                self._lost = os.strerror(number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def settle(self) -> None:
        """Drop what is left in the stream's buffer, since Python would fail on it at exit."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):  # no file behind it
                number = self._stream.fileno()
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, number)
                os.close(nowhere)
