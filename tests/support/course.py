"""The course's texts, as the tests of quizzes, links and formulas read them."""

import re
from pathlib import Path
from typing import NamedTuple

import jupytext

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SOURCES = sorted((NOTEBOOKS / "source").glob("*.py"))
#: the map of the course, which has no exercises
MAP = "00_start_here"
WITH_EXERCISES = [path for path in SOURCES if path.stem != MAP]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Text(NamedTuple):
    """A piece of Markdown, and what a message calls it."""

    where: str
    text: str


def markdown_cells(source):
    """The Markdown cells of a notebook's source, each a `Text`."""
    notebook = jupytext.read(source, fmt="py:percent")
    return [
        Text(f"{source.name}, cell {number}", cell.source)
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "markdown"
    ]


def texts(path):
    """The Markdown of a file: a notebook's cells, or the whole page."""
    if path.suffix == ".py":
        return markdown_cells(path)
    return [Text(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))]


def without_code(text):
    """Markdown with its code taken out: fenced blocks, and what stands in backticks."""
    text = re.sub(r"^ *(```+|~~~+).*?^ *\1 *$", "", text + "\n", flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text)
