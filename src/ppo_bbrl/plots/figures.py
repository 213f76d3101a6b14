"""What all pictures share: their colours, their words, and how a figure becomes a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppo_bbrl.errors import UserError
from ppo_bbrl.system.files import written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FORMATS = ("png", "svg", "pdf")


def picture_format(path: Path) -> str:
    """The format that the name of a picture promises.

    Raises:
        UserError: if it promises none that we can write.
    """
    ending = path.suffix[1:].lower()
    if ending not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise UserError(f"{path}: the name of a picture must end in one of {allowed}")
    return ending


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure in the format of the path's name, whole or not at all.

    Raises:
        UserError: for a name that ends in no known format.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    chosen = picture_format(path)
    with written_aside(path) as unfinished:
        figure.savefig(unfinished, format=chosen)


def show_literally(figure: Figure) -> None:
    """Shows all words as they are: dollar signs and backslashes in names are no formulas."""
    from matplotlib.text import Text  # noqa: PLC0415 - with it the start takes twice as long

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_usetex(False)
