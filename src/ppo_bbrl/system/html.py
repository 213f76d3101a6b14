"""Small HTML tables for notebooks, for the `_repr_html_` of the package's objects."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_CELL = "padding:1px 8px;text-align:left;overflow-wrap:anywhere"


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """An HTML table. Cells are escaped, except for `Markup`."""
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_text(cell)}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    return f"{_title(caption)}<table><thead><tr>{head}</tr></thead>{body}</table>"


class Markup(str):
    """HTML made in this package, which needs no escaping."""

    __slots__ = ()


def grid(cells: Sequence[Sequence[tuple[str, str]]], caption: str) -> Markup:
    """A grid of T rows (time goes down) and B columns.

    Args:
        cells: for each row and column, the text and the background (a CSS colour).
        caption: text above the grid.
    """
    rows = "".join(
        f'<tr><th style="{_CELL}">t = {t}</th>'
        + "".join(
            f'<td style="{_CELL};background:{colour};color:#222">{escape(text)}</td>'
            for text, colour in row
        )
        + "</tr>"
        for t, row in enumerate(cells)
    )
    return Markup(f"{_title(caption)}<table>{rows}</table>")


def number(value: Any) -> str:
    """A number to four significant digits."""
    return f"{float(value):.4g}"


def _title(caption: str) -> str:
    return f"<div><b>{escape(caption)}</b></div>" if caption else ""


def _text(cell: object) -> str:
    return cell if isinstance(cell, Markup) else escape(str(cell))
