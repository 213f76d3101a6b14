"""What students hand in, brought to where nbgrader looks for it: before `nbgrader autograde`.

nbgrader grades `submitted/<student>/<assignment>/<assignment>.ipynb`, in UTF-8, and passes over
everything else. Folders come out of archives one level deeper, browsers save a second download
under another name, and editors of Windows write other encodings. Nothing is deleted here: what
makes room is set aside under a name that no other file has.
"""

import contextlib
import functools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ppo_bbrl.system.files import written_aside

#: what a browser or an editor makes of the ending
ENDING = re.compile(r"\.ipynb(\.json|\.txt)?$", re.IGNORECASE)
COPY = re.compile(r"\((\d+)\)")
LARGEST = 100 * 2**20  # bytes of a notebook that is looked into
MOST_FILES, MOST_BYTES = 64, 4 * 2**20  # of those that lie beside a notebook
SET_ASIDE = ".set-aside"
#: why a file with the right name is not graded, by what `_answers` says
WHY_NOT = ("is as it was handed out", "has no answers")


@functools.cache  # nbgrader reads its configuration several times
def before_autograde(course: Path, *command: str) -> None:
    """Tidy what was handed in to a course, and tell the teacher of it, if a command would grade it.

    The command is given by its words, such as `nbgrader autograde 03_ppo_clip`.
    """
    if "autograde" in command:
        words = [word.partition("=")[2] or word for word in command]
        named = [word for word in words if (course / "source" / word).is_dir()]
        for line in tidy(course, named):
            # Names of files are the students' own; in a terminal they could do more than be read.
            text = "".join(sign if sign.isprintable() else "?" for sign in line)
            print(f"[submitted] {text}", file=sys.stderr)


def tidy(course: Path, assignments: Iterable[str] = ()) -> list[str]:
    """Bring the submissions to where nbgrader looks for them.

    Args:
        course: the folder of the course, with `source`, `release` and `submitted`.
        assignments: whose; all if none is named.

    Returns:
        A line for each student whose file is another than expected, or cannot be read.
    """
    names = set(assignments)
    told: list[str] = []
    for source in sorted((course / "source").glob("*/*.ipynb")):
        name = source.parent.name
        if source.stem != name or (names and name not in names):
            continue
        released = _notebook(course / "release" / name / source.name) or {}
        for folder in sorted((course / "submitted").glob(f"*/{name}")):
            if folder.is_dir() and not folder.is_symlink():
                line = _tidy(folder, source.name, released)
                told += [f"{folder.parent.name}: {line}"] if line else []
    return told


def _tidy(folder: Path, name: str, released: dict[str, Any]) -> str:
    """One student's folder; what to say about it."""
    expected = folder / name
    if expected.is_symlink():
        # nbgrader would follow it, to whatever file.
        _set_aside(expected)
    own = _notebook(expected)
    answers = _answers(own, released) if own is not None else 0
    found = {
        path: notebook
        for path in files_below(folder)
        if path != expected and _is_notebook(path) and (notebook := _notebook(path)) is not None
    }
    ranks = {path: _answers(notebook, released) for path, notebook in found.items()}
    most = max(ranks.values(), default=0)
    if own is not None and answers >= most:
        _to_utf8(expected)
        others = [
            path
            for path, rank in ranks.items()
            if rank == most > 0 and _texts(found[path]) != _texts(own)
        ]
        also = ", ".join(str(path.relative_to(folder)) for path in others)
        return f"graded is {name}, and not {also}" if also else ""
    if not found:
        if expected.exists():
            return f"{name} is no notebook: the mark is 0 until it is, and there is no feedback"
        # nbgrader leaves out who has no file; who has an empty one gets a row in the table.
        expected.touch()
        return f"no notebook was handed in: the mark is 0 ({name} is an empty file)"
    best = [path for path, rank in ranks.items() if rank == most]

    def newest(path: Path) -> tuple[int, float, str]:
        # The number that a browser gave to a file: the newest download has the largest.
        copies = [int(number) for number in COPY.findall(path.name)]
        return max(copies, default=0), path.stat().st_mtime, str(path)

    chosen = max(best, key=newest)
    told = f"graded is {chosen.relative_to(folder)}"
    if expected.exists():
        _set_aside(expected)
        told += f", since {name} {WHY_NOT[answers] if own else 'is no notebook'}"
    _copy_beside(chosen.parent, folder)
    shutil.copy2(chosen, expected)
    _to_utf8(expected)
    return told


def _set_aside(path: Path) -> Path:
    """Give a file a name that no other has; which one."""
    number, new = 1, path.with_name(f"{path.name}{SET_ASIDE}")
    while os.path.lexists(new):
        number += 1
        new = path.with_name(f"{path.name}{SET_ASIDE}-{number}")
    path.rename(new)
    return new


def _answers(notebook: dict[str, Any], released: dict[str, Any]) -> int:
    """Whether there are answers in a notebook: 2 if there are, 1 if anything, 0 if nothing is new.

    An exercise is answered in its own cell, or anywhere where that cell has lost its marks.
    """
    known = _texts(released)
    if not _texts(notebook) - known:
        return 0
    given, cells = (
        {name: text for text, name in _marked(it) if name} for it in (released, notebook)
    )
    answered = any(text and text not in known for text in cells.values())
    return 2 if answered or given.keys() - cells.keys() else 1


def _copy_beside(source: Path, folder: Path) -> None:
    """Copy what lies beside a notebook, such as a module that it imports, one folder up."""
    for path in files_below(source):
        place = folder / path.relative_to(source)
        if source != folder and not _is_notebook(path) and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, place)


def read_files(folders: Iterable[Path]) -> dict[str, bytes]:
    """What lies beside notebooks, by relative path; of two with the same path the last one.

    Links are not followed, and there is an end to it: `MOST_FILES`, `MOST_BYTES`.
    """
    found: dict[str, bytes] = {}
    left = MOST_BYTES
    for folder in folders:
        for path in files_below(folder):
            size = path.stat().st_size
            if not _is_notebook(path) and size <= left and len(found) < MOST_FILES:
                found[str(path.relative_to(folder))] = path.read_bytes()
                left -= size
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """The regular files below a folder, without what is set aside, and what computers add."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for name in sorted(files):
            path = Path(root, name)
            odd = name.startswith(".") or SET_ASIDE in name
            if not odd and path.is_file() and not path.is_symlink():
                yield path


def _is_notebook(path: Path) -> bool:
    return ENDING.search(path.name) is not None


def _text(path: Path) -> tuple[str, str] | None:
    """What a regular file says, and in which encoding."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
        return None
    data = path.read_bytes()
    # The first is told by the first bytes, the second is that of an old Windows.
    for encoding in (json.detect_encoding(data), "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding), encoding
    return None


def _notebook(path: Path) -> dict[str, Any] | None:
    """What a file holds if it is a notebook."""
    text = _text(path)
    try:
        notebook = json.loads(text[0]) if text else None
    except (ValueError, RecursionError):
        return None
    known = isinstance(notebook, dict) and isinstance(_cells(notebook), list)
    return notebook if known else None


def _cells(notebook: dict[str, Any]) -> Any:
    """The cells; those of a notebook of an old version are in its first sheet."""
    sheets = notebook.get("worksheets")
    if "cells" not in notebook and isinstance(sheets, list) and sheets:
        return sheets[0].get("cells") if isinstance(sheets[0], dict) else None
    return notebook.get("cells")


def _texts(notebook: dict[str, Any]) -> set[str]:
    """The texts of the cells."""
    return {text for text, _ in _marked(notebook)}


def _marked(notebook: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The text of each cell, and the name of the solution that it is marked as, if it is one."""
    for cell in _cells(notebook) or ():
        if isinstance(cell, dict):
            text = cell.get("source", cell.get("input", ""))
            joined = "".join(map(str, text)) if isinstance(text, list) else str(text)
            metadata = cell.get("metadata")
            marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
            is_solution = isinstance(marks, dict) and marks.get("solution")
            name = str(marks.get("grade_id")) if marks and is_solution else ""
            yield joined.replace("\r\n", "\n").strip(), name


def _to_utf8(path: Path) -> None:
    """Write a file anew if it is in an encoding that nbgrader does not read."""
    text = _text(path)
    if text is not None and text[1] != "utf-8":
        old = _set_aside(path)
        with written_aside(path) as new:
            new.write_bytes(text[0].encode("utf-8", "replace"))
            shutil.copystat(old, new)
