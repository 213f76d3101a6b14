"""A submission in a form that nbformat, nbgrader and nbconvert take, whatever is in the file."""

import copy
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import nbformat
from mistune.util import escape_url
from nbformat import NotebookNode

PICTURES = ("image/png", "image/jpeg", "image/gif")
SHOWN = (*PICTURES, "text/plain")
MOST_SHOWN = 32 * 2**20  # characters of all outputs of a notebook
MOST_ATTACHED = 8 * 2**20  # of the pictures in its text: cleaning takes a second for each 2 MiB
MOST_REFERENCES = 500
#: references to pictures in a text; names in angle brackets may have spaces
ATTACHED = re.compile(r"attachment:(?=([^>\"'\n]{1,200}))([^\s)>\"']{1,200})")
EMPTY_PICTURE = {"image/gif": "R0lGODlhAQABAAAAACH5BAEAAAAALAAAAAABAAEAAAICTAEAOw=="}


def sound(notebook: NotebookNode, source: NotebookNode) -> NotebookNode:
    """The cells of a student's notebook: their text, the pictures in it, what they showed.

    The metadata is that of the source, the teacher's.
    """
    new: Any = nbformat.v4
    kinds = {"code": new.new_code_cell, "markdown": new.new_markdown_cell}
    cells = []
    left, left_attached = MOST_SHOWN, MOST_ATTACHED
    for number, cell in enumerate(notebook.cells):
        text = cell.get("source", "")
        make = kinds.get(cell.get("cell_type"), new.new_raw_cell)
        text = writable(text) if isinstance(text, str) else ""
        made = make(text, id=f"submitted-{number}")
        if make is new.new_code_cell:
            count = cell.get("execution_count")
            made.execution_count = count if type(count) is int and count > 0 else None
            made.outputs = list(_shown(cell.get("outputs")))
            left -= len(json.dumps(made.outputs))
            if left < 0:
                made.outputs = []
        else:
            made.attachments = _attachments(cell.get("attachments"), text, left_attached)
            left_attached -= len(json.dumps(made.attachments))
        cells.append(made)
    made_new: NotebookNode = new.new_notebook(cells=cells, metadata=copy.deepcopy(source.metadata))
    return made_new


def remade(cell: NotebookNode, kind: str) -> NotebookNode:
    """The text of a cell as one of another kind: "code", "markdown" or "raw"."""
    new: Any = getattr(nbformat.v4, f"new_{kind}_cell")
    made: NotebookNode = new(cell.source, id=cell.id)
    return made


def writable(text: str) -> str:
    """A text without halves of characters, which JSON can hold and a file in UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _attachments(given: Any, text: str, most: int) -> dict[str, dict[str, str]]:
    """The pictures of a text, by all the names by which nbconvert may look for them.

    It makes no page at all where one is missing; so that one is an empty picture here, as is one
    that has more characters than there may be.
    """
    pictures: dict[str, dict[str, str]] = {}
    for name, picture in given.items() if isinstance(given, dict) else ():
        if isinstance(picture, dict):
            kept = _kept(picture, PICTURES)
            most -= sum(map(len, kept.values()))
            pictures[str(name)] = kept if kept and most > 0 else EMPTY_PICTURE
    found = dict(pictures)
    references = itertools.islice(ATTACHED.finditer(text), MOST_REFERENCES)
    for name in (*pictures, *(name for found_at in references for name in found_at.groups())):
        picture = pictures.get(name) or pictures.get(unquote(name)) or EMPTY_PICTURE
        found.setdefault(name, picture)
        found.setdefault(str(escape_url(name)), picture)
    return {writable(name): picture for name, picture in found.items()}


def _shown(outputs: Any) -> Iterator[NotebookNode]:
    """What a cell showed, as text and pictures: the rest could run in the teacher's browser."""
    new: Any = nbformat.v4.new_output
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        kind, data, text = (output.get(key) for key in ("output_type", "data", "text"))
        if kind == "stream" and isinstance(text, str):
            yield new("stream", name="stdout", text=writable(text))
        elif kind in ("display_data", "execute_result") and isinstance(data, dict):
            yield new("display_data", data=_kept(data, SHOWN))
        elif kind == "error":
            lines = output.get("traceback")
            told = (
                [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
            )
            name, value = (writable(str(output.get(key, ""))) for key in ("ename", "evalue"))
            yield new("error", ename=name, evalue=value, traceback=list(map(writable, told)))


def _kept(data: dict[str, Any], kinds: tuple[str, ...]) -> dict[str, str]:
    return {kind: writable(data[kind]) for kind in kinds if isinstance(data.get(kind), str)}
