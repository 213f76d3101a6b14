"""Errors that a user can fix: one line each, shown by the command line without a traceback."""

_MAX_LENGTH = 600  # characters: enough for the longest list of allowed values


class UserError(ValueError):
    """A request that cannot be carried out; the message says what and why, in printable form."""

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(UserError):
    """An invalid configuration; the message names the key, the value and what is allowed."""


class EnvironmentFailedError(UserError):
    """An environment raised an exception, returned an invalid value, or its process ended."""


class StateError(UserError):
    """A state that cannot be taken or loaded; the message names what, and what differs."""


class Terminated(SystemExit):
    """A signal asked this process to end (as opposed to an environment calling `sys.exit`)."""


EnvironmentFailed = EnvironmentFailedError  # its former name


def printable(text: object) -> str:
    r"""Escape the control characters of a string, so that a terminal can show it safely.

    Names and errors from elsewhere may contain characters that move the cursor or change colours
    or the writing direction. They are escaped, as in `\x1b`; line breaks and tabs stay.
    """
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in str(text)
    )


def one_line(text: object, limit: int = _MAX_LENGTH) -> str:
    """A string, or an exception's message, as one printable line of at most `limit` characters.

    A longer one loses its middle: most messages begin with what is wrong and end with what to do.
    For an exception without a message it is the name of its class.
    """
    line = printable(" ".join(str(text).split()))
    if not line and isinstance(text, BaseException):
        line = type(text).__name__
    if len(line) <= limit:
        return line
    tail = limit // 3
    return f"{line[: limit - tail - 3]} … {line[len(line) - tail :]}"


def shown(value: object) -> str:
    """A value as messages show it: its `repr`, in one line of limited length."""
    try:
        return one_line(repr(value), 200)
    except ValueError:  # an integer of thousands of digits
        return f"{type(value).__name__} of thousands of digits"
