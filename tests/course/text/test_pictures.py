"""Figures with a caption, and a text for those who cannot see them."""

import base64
import re

import matplotlib.pyplot as plt
import pytest
from course import SOURCES

from ppo_course.pictures import show


def test_a_figure_is_shown_with_its_caption_and_its_alternative_text(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda thing, **options: shown.append((thing, options))
    )
    figure, axes = plt.subplots(figsize=(1, 1))
    axes.plot([0, 1])
    show(figure, "Below.", 'A "line" that rises.')
    ((content, options),) = shown
    assert base64.b64decode(content["image/png"]).startswith(b"\x89PNG")
    assert options["metadata"]["image/png"]["alt"] == 'A "line" that rises.'
    assert 'alt="A &quot;line&quot; that rises."' in content["text/html"]
    assert "Below." in content["text/html"]
    assert content["image/png"] in content["text/html"]
    assert not plt.fignum_exists(figure.number)  # or a notebook would show it twice


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_picture_of_a_notebook_is_without_them(path):
    text = path.read_text(encoding="utf-8")
    assert "plt.show()" not in text
    # A cell would show the figure that it returns.
    assert not re.search(r"^workspace_grid\((?!.*axes=)", text, re.MULTILINE)
    assert not re.search(r"^(learning_curve|policy_map|critic_map)\(", text, re.MULTILINE)
