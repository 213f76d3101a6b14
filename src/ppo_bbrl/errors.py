"""The errors that a user can mend: one line each, shown by the command line without a traceback."""


class UserError(ValueError):
    """Something that was asked for cannot be done; the message says what and why."""


class ConfigError(UserError):
    """A configuration that cannot be run; the message names the key, the value, what is allowed."""
