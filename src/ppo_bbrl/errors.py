"""The errors that a user can mend: one line each, shown by the command line without a traceback."""

_LONGEST = 600  # characters: room for the longest list of what is allowed


class UserError(ValueError):
    """Something that was asked for cannot be done; the message says what and why, printably."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the key, the value, what is allowed."""


class EnvironmentFailed(UserError):  # noqa: N818 - what happened, not what kind of error
    """An environment raised an exception, returned what does not fit, or its process ended."""


class Terminated(SystemExit):
    """A signal asks this process to end. No environment has called `sys.exit`, wherever it is."""


def printable(text: object) -> str:
    r"""A text as a terminal can show it: names and errors of others may hold control characters.

    What would move the cursor, change colours or the direction of writing is escaped, as in
    `\x1b`; line breaks and tabs stay.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def one_line(text: object, limit: int = _LONGEST) -> str:
    """A text, or an exception's message, as one printable line of at most `limit` characters.

    What is too long loses its middle: what is wrong stands at the beginning of most messages, and
    what to do at the end. An exception without a message gives its class.
    """
    line = printable(" ".join(str(text).split()))
    if not line and isinstance(text, BaseException):
        line = type(text).__name__
    if len(line) <= limit:
        return line
    tail = limit // 3
    return f"{line[: limit - tail - 3]} … {line[len(line) - tail :]}"


def shown(value: object) -> str:
    """A value as a message shows it: what Python writes for it, in a line of bounded length."""
    try:
        return one_line(repr(value), 200)
    except ValueError:  # an integer of thousands of digits
        return f"{type(value).__name__} of thousands of digits"
