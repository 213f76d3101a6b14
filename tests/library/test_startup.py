"""What surrounds a command: how warnings look."""

import logging
import signal
import time
import warnings
import weakref

import pytest
from gymnasium import logger

from ppo_bbrl.cli.startup import interrupts_that_last, warnings_in_one_line
from ppo_bbrl.errors import Terminated
from ppo_bbrl.system.signals import exit_on_signals


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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Terminated(128 + signal.SIGTERM)])
def test_an_interrupt_in_a_callback_is_not_forgotten(error, capsys):
    """Ctrl-C was lost, with a traceback, where it came in one of the compiler's callbacks."""

    class Thing:
        pass

    def interrupt(_):
        raise error

    def lose():
        thing = Thing()
        reference = weakref.ref(thing, interrupt)
        del thing
        assert reference() is None
        time.sleep(10)

    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        with pytest.raises(type(error)), interrupts_that_last(), exit_on_signals():
            lose()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err == ""
