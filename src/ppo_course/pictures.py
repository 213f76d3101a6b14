"""Shows a figure of a notebook with a caption, and with a text for those who cannot see it."""

import base64
import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: JupyterLab has no alternative text for a bare PNG
FIGURE = (
    '<figure style="margin: 0"><img alt="{seen}" src="data:image/png;base64,{picture}">'
    "<figcaption><em>{caption}</em></figcaption></figure>"
)


def show(figure: "Figure", caption: str, seen: str) -> None:
    """Show a figure below a cell.

    Args:
        figure: is closed afterwards.
        caption: stands below the picture.
        seen: what there is to see, as the picture's alternative text.
    """
    import matplotlib.pyplot as plt  # noqa: PLC0415 - slow, and only for pictures
    from IPython.display import display  # noqa: PLC0415

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=figure.dpi)
    plt.close(figure)
    picture = base64.b64encode(stream.getvalue()).decode()
    page = FIGURE.format(
        picture=picture, seen=html.escape(seen), caption=html.escape(caption, quote=False)
    )
    content = {"text/html": page, "image/png": picture, "text/plain": f"{caption} {seen}"}
    options = {"raw": True, "metadata": {"image/png": {"alt": seen}}}
    display(content, **options)  # type: ignore[no-untyped-call]
