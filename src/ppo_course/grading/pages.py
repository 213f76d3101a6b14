"""The pages that a teacher and students open, without anything of a student's that could run there.

Markdown may have HTML in it, and what a Markdown cell says stands on the feedback page and in the
formgrader, whose page can do all that the teacher can. So it is cleaned when it becomes HTML.
"""

import functools
import html
import re
import time
from typing import Any

import bleach
import jinja2
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

# nbconvert loads MathJax from there, and MathJax its fonts.
MATHJAX = "https://cdnjs.cloudflare.com/ajax/libs/mathjax/"
#: what a browser may do with the page, should anything get through: nothing but formulas
POLICY = (
    f"default-src 'none'; script-src {MATHJAX} 'unsafe-eval'; style-src 'unsafe-inline' {MATHJAX}; "
    f"font-src {MATHJAX}; img-src data:; base-uri 'none'; form-action 'none'"
)
TAGS = (
    "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em figcaption "
    "figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp small span strong sub "
    "summary sup table tbody td tfoot th thead tr u ul var"
)
ATTRIBUTES = "align alt class colspan height open rowspan start title valign width"
HEADING = re.compile("h[1-6]")
LINK = re.compile(r"(https?://|mailto:|#)", re.IGNORECASE)
PICTURE = re.compile(r"data:image/(png|jpeg|gif);base64,", re.IGNORECASE)
#: what a picture consists of, which costs little however long it is
DATA = re.compile(r"(?<=;base64,)[A-Za-z0-9+/=]+")
MOST_TEXT = 20_000  # characters of a Markdown cell that become HTML: some take quadratic time
MOST_SECONDS = 20.0  # for all of a page
SPENT = "seconds_for_markdown"


@jinja2.pass_context
def markdown2html(context: Any, source: str) -> str:
    """nbconvert's filter of this name, for `c.HTMLExporter.filters`; what it gives is clean.

    A text that is very long, or comes when the page has taken its time, is shown as it is written.
    """
    resources = context.get("resources")
    page = resources if isinstance(resources, dict) else {}
    if len(DATA.sub("", source)) > MOST_TEXT or page.get(SPENT, 0.0) > MOST_SECONDS:
        return f"<pre>{html.escape(source)}</pre>"
    begin = time.monotonic()
    made = clean(_exporter().markdown2html(context, source))
    page[SPENT] = page.get(SPENT, 0.0) + time.monotonic() - begin
    return made


def clean(text: str) -> str:
    """HTML without scripts, forms, styles, and links to anything but the web and this page.

    Tags that are not allowed become text.
    """
    cleaned: str = bleach.clean(
        text, tags=TAGS.split(), attributes=_allowed, protocols={"http", "https", "mailto", "data"}
    )
    return cleaned


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "href":
        return tag == "a" and LINK.match(value) is not None
    if name == "src":
        return tag == "img" and PICTURE.match(value) is not None
    if name == "id":  # the page's own parts have some too
        return HEADING.fullmatch(tag) is not None
    return name in ATTRIBUTES.split()


@functools.cache
def _exporter() -> Any:
    return HTMLExporter()  # type: ignore[no-untyped-call]


class FeedbackExporter(HTMLExporter):
    """A feedback page that tells the browser to run nothing, for `c.GenerateFeedback`."""

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> Any:
        """nbconvert's interface."""
        page, resources = super().from_notebook_node(nb, resources, **kw)
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'
        return page.replace("<head>", f"<head>\n{policy}", 1), resources
