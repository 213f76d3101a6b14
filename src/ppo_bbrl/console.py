"""What a run says while it goes on, which nobody may be able to hear."""

import sys
from contextlib import suppress


def say(line: str) -> None:
    """Print a line at once. Where it cannot be printed, the run goes on without it.

    The reader of a pipe may be gone, the disk of a log full, the output closed, or of an encoding
    that lacks a sign, which a question mark replaces then.
    """
    with suppress(OSError, ValueError):  # ValueError: of a closed file
        try:
            print(line, flush=True)
        except UnicodeEncodeError:
            encoding = sys.stdout.encoding
            print(line.encode(encoding, "replace").decode(encoding), flush=True)
