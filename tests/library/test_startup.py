"""What surrounds a command: how warnings look."""

import logging
import warnings

from gymnasium import logger

from ppo_bbrl.cli.startup import warnings_in_one_line


def test_a_warning_is_one_line_without_the_code_that_gave_it(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with warnings_in_one_line():
            for _ in range(3):
                warnings.warn("two\nlines of \x1b]0;a stranger\x07", stacklevel=1)
            logger.warn("gymnasium colours %s", "its own")
    assert capsys.readouterr().err == (
        "ppo-bbrl: warning: two lines of \\x1b]0;a stranger\\x07\n"
        "ppo-bbrl: warning: gymnasium colours its own\n"
    )


def test_what_torch_says_of_an_interrupted_compiler_is_left_out(capsys):
    """Ctrl-C while the update is compiled gave pages of its source, as if something were wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with warnings_in_one_line():
            said = "Error detected in SplitBackward0. Traceback of forward call that caused the"
            warnings.warn(f"{said} error:\n  File …", stacklevel=1)
            warnings.warn("an error of mine", stacklevel=1)
    assert capsys.readouterr().err == "ppo-bbrl: warning: an error of mine\n"


def test_what_libraries_log_looks_the_same(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's
    with warnings_in_one_line():
        logging.getLogger("a.library").warning("it is late")
    assert capsys.readouterr().err == "ppo-bbrl: warning: it is late\n"


def test_all_is_as_before_afterwards():
    before = warnings.showwarning, logging.lastResort.formatter
    with warnings_in_one_line():
        pass
    assert (warnings.showwarning, logging.lastResort.formatter) == before
