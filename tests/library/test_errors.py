"""What a user reads is one printable line, whatever others put into names and messages."""

import pytest

from ppo_bbrl.errors import one_line, printable

HOSTILE = {
    "colour": "\x1b[31mred",
    "bell and backspace": "a\x07\x08",
    "C1 control": "\x9b2J",
    "right to left": "\u202egpj.exe",
    "half a surrogate": "name\udcff",
    "title": "\x1b]0;owned\x07",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_steers_a_terminal_stays(text):
    """An environment's name may be anything, and reaches the terminal by many messages."""
    for line in (printable(text), one_line(text), one_line(ValueError(text))):
        assert line.isprintable()
        line.encode("utf-8")


def test_what_people_write_stays():
    text = "γ = 0.99 ± 10⁻³ × “Übung” 走 🙂"
    assert printable(text) == one_line(text) == text
    assert printable("a\n\tb") == "a\n\tb"


def test_line_breaks_become_spaces():
    assert one_line(" a\n  b\r\nc\u2028d\x0be ") == "a b c d e"


def test_a_long_line_keeps_its_beginning_and_its_end():
    line = one_line("key = " + "9" * 10_000 + ": must be small", limit=100)
    assert len(line) == 100
    assert line.startswith("key = 999")
    assert line.endswith(": must be small")


def test_an_exception_without_words_gives_its_class():
    assert one_line(MemoryError()) == "MemoryError"
    assert one_line("") == ""
