"""An interrupt is heard, whoever swallows it: seen with a real signal to this process."""

import signal
import threading
from contextlib import suppress

import pytest

from ppo_bbrl.interrupts import heard_interrupts

OTHERS = signal.SIG_IGN


@pytest.fixture(autouse=True)
def _pythons_own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def swallowed(error=None):
    with suppress(BaseException):
        signal.raise_signal(signal.SIGINT)
    if error is not None:
        raise error


def test_a_swallowed_interrupt_is_raised_at_the_end():
    with pytest.raises(KeyboardInterrupt), heard_interrupts():
        swallowed()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_is_raised_instead_of_the_error_that_the_swallowing_led_to():
    with pytest.raises(KeyboardInterrupt), heard_interrupts():
        swallowed(ImportError("half imported"))


def test_an_interrupt_that_nobody_swallows_comes_at_once():
    with pytest.raises(KeyboardInterrupt) as caught, heard_interrupts():
        signal.raise_signal(signal.SIGINT)
    assert caught.traceback[-1].name == "interrupt", "where it came, not at the end"


def test_without_an_interrupt_nothing_is_raised_and_errors_pass():
    with heard_interrupts():
        pass
    with pytest.raises(ValueError, match="its own"), heard_interrupts():
        raise ValueError("its own")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_somebody_else_stays():
    signal.signal(signal.SIGINT, OTHERS)
    with heard_interrupts():
        assert signal.getsignal(signal.SIGINT) is OTHERS
        signal.raise_signal(signal.SIGINT)


def test_in_another_thread_it_does_nothing():
    """Python takes signal handlers in the main thread alone."""
    errors = []

    def use():
        try:
            with heard_interrupts():
                pass
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert errors == []
