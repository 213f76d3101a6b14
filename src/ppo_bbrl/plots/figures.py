"""What all figures share: colours, text, and how to save them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppo_bbrl.errors import UserError
from ppo_bbrl.system.files import written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FORMATS = ("png", "svg", "pdf")


def picture_format(path: Path) -> str:
    """The format of a figure, by the name of its file.

    Raises:
        UserError: for any other format.
    """
    ending = path.suffix[1:].lower()
    if ending not in FORMATS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise UserError(f"{path}: the name of a figure must end in one of {allowed}")
    return ending


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure in the format that the path ends in, completely or not at all.

    Raises:
        UserError: for a path that does not end in a known format.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    chosen = picture_format(path)
    with written_aside(path) as unfinished:
        figure.savefig(unfinished, format=chosen)


def show_literally(figure: Figure) -> None:
    """Show all text literally: dollar signs and backslashes in names are not formulas."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_usetex(False)
