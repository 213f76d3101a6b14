"""A notebook's own solutions, in which a test exchanges lines for a mistake."""

import re
from types import SimpleNamespace

import pytest
from course import NOTEBOOKS

import ppo_course

_CELL = re.compile(
    r'^# %% nbgrader=\{[^\n]*"solution": true[^\n]*\n(.*?)(?=^# %%)', re.DOTALL | re.MULTILINE
)


class Solutions:
    """All solutions of a notebook.

    Args:
        notebook: its name, such as 12_language_model.
        given: what they use of the cells before them, by name.
    """

    def __init__(self, notebook, **given):
        source = NOTEBOOKS / "source" / f"{notebook}.py"
        self._text = "\n".join(_CELL.findall(source.read_text(encoding="utf-8")))
        self._given = given

    def written(self, *changes):
        """As a namespace, with some lines exchanged."""
        text = self._text
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        names = dict(self._given)
        exec(compile(text, "<student>", "exec"), names)
        return SimpleNamespace(**names)


def refusal(check, *answers, **options):
    """What a check of this name refuses the answers with, which says where to look."""
    with pytest.raises(ppo_course.ExerciseError) as caught:
        getattr(ppo_course, f"check_{check}")(*answers, **options)
    assert re.search(r"^Where to look:", str(caught.value), re.MULTILINE)
    return caught.value
