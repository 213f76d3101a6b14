"""Shows a figure of a notebook with a caption, and with a text for those who cannot see it."""

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show(figure: "Figure", caption: str, seen: str) -> None:
    """Show a figure below a cell.

    Args:
        figure: is closed afterwards.
        caption: stands below the picture.
        seen: what there is to see, as the picture's alternative text.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 - slow, and only for pictures
    from IPython.display import Markdown, display  # noqa: PLC0415

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=figure.dpi)
    plt.close(figure)
    picture = base64.b64encode(stream.getvalue()).decode()
    # IPython has no types for what follows.
    told: list[tuple[Any, dict[str, Any]]] = [
        (
            {"image/png": picture, "text/plain": seen},
            {"raw": True, "metadata": {"image/png": {"alt": seen}}},
        ),
        (Markdown(f"*{caption}*"), {}),  # type: ignore[no-untyped-call]
    ]
    for thing, options in told:
        display(thing, **options)  # type: ignore[no-untyped-call]
