"""The links of notebooks and pages: well formed, to known hosts, to files that exist.

Without a network: that a page exists was seen by whoever added it. Here its host is one that was
looked at, and what can be known of an address is checked.
"""

import functools
import re
from itertools import combinations, pairwise
from urllib.parse import unquote, urlsplit

import pytest
import torch
from course import NOTEBOOKS, PAGES, SOURCES, Text, texts, without_code
from markdown_it import MarkdownIt

#: Hosts whose pages last: a new one is added here after a look at it.
HOSTS = {
    "arxiv.org",
    "docs.python.org",
    "docs.pytorch.org",
    "en.wikipedia.org",
    "github.com",
    "optuna.org",
    "gymnasium.farama.org",
    "iclr-blog-track.github.io",
    "jupytext.readthedocs.io",
    "keepachangelog.com",
    "lightning.ai",
    "matplotlib.org",
    "nbgrader.readthedocs.io",
    "numpy.org",
    "omegaconf.readthedocs.io",
    "openreview.net",
    "pytorch.org",
    "semver.org",
    "spinningup.openai.com",
    "stable-baselines3.readthedocs.io",
    "www.tensorflow.org",
    "www.youtube.com",
}
#: Pages without https.
HTTP = {
    "http://joschu.net/blog/kl-approx.html",
    "http://pages.isir.upmc.fr/~sigaud/teach/ps/10_ppo.pdf",
}
#: Addresses that differ in a letter or two, and are both meant.
TWINS: set[frozenset[str]] = set()

FILES = [*SOURCES, *PAGES]
PARSER = MarkdownIt("commonmark").enable("table")


def tokens(text):
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


def without_formulas(text):
    return re.sub(r"\$\$.*?\$\$|\$[^$\n]*(?:\n[^$\n]+)*\$", "", text, flags=re.DOTALL)


def links(text):
    """What Markdown takes for a link or an image, and the addresses in HTML."""
    text = without_formulas(text)
    for token in tokens(text):
        address = token.attrs.get("href") or token.attrs.get("src")
        if address is not None:
            yield str(address)
        if token.type in ("html_block", "html_inline"):
            yield from re.findall(r"""(?:href|src)\s*=\s*["']([^"']*)""", token.content)


def malformed(text):
    """What was meant as a link and is none, or one without words or address."""
    text = without_formulas(text)
    inside = 0  # of a link
    for token in tokens(text):
        inside += {"link_open": 1, "link_close": -1}.get(token.type, 0)
        outside = token.type == "text" and not inside
        if outside and re.search(r"\]\s?\(|https?:|www\.", token.content):
            yield f"not a link: {token.content}"
        if token.type == "inline":
            children = token.children or []
            for opened, following in pairwise(children):
                if opened.type == "link_open" and following.type == "link_close":
                    yield f"a link without words: {opened.attrs['href']}"
                if opened.type == "link_open" and not str(opened.attrs["href"]).strip():
                    yield f"a link without address: {following.content}"


def wrong_address(address):
    """What can be said against an address without asking for it; empty if nothing."""
    if address in HTTP:
        return ""
    parts = urlsplit(address)
    if parts.scheme != "https":
        return "https, please"
    if parts.hostname not in HOSTS or parts.port is not None:
        return "not a host of the reviewed list in test_links.py"
    if re.search(r"[\s…<>{}]|//|\.$|,$", address.partition("://")[2]):
        return "odd characters"
    if parts.hostname == "arxiv.org" and not re.fullmatch(
        r"/(abs|pdf)/\d{2}(0[1-9]|1[0-2])\.\d{4,5}(v\d+)?(\.pdf)?", parts.path
    ):
        return "no number of a paper"
    page = re.fullmatch(r"/docs/stable/generated/(torch(?:\.\w+)+)\.html", parts.path)
    if parts.hostname == "pytorch.org" and page and not is_of_torch(page[1]):
        return f"there is no {page[1]}"
    if parts.hostname == "www.youtube.com" and not re.fullmatch(r"v=[\w-]{11}", parts.query):
        return "no video's number"
    return ""


def is_of_torch(name):
    try:
        functools.reduce(getattr, name.split(".")[1:], torch)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links_are_well_formed(path):
    told = [f"{text.where}: {wrong}" for text in texts(path) for wrong in malformed(text.text)]
    assert told == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_links_into_the_web_go_where_someone_has_looked(path):
    told = [
        f"{text.where}: {address}: {wrong}"
        for text in texts(path)
        for address in links(text.text)
        if ":" in address and (wrong := wrong_address(address))
    ]
    assert told == []


def slugs(path, style):
    """The anchors of a file's headings, as GitHub or Jupyter makes them, and those set by hand."""
    for text in texts(path):
        yield from re.findall(r'<a id="([^"]+)"></a>', text.text)
        for heading in re.findall(r"^#+ +(.+?) *$", without_code(text.text), re.MULTILINE):
            plain = re.sub(r"[`*]", "", heading)
            if style == "jupyter":
                yield plain.replace(" ", "-")
            else:
                yield re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def missing(path, address):
    """Whether a relative link leads nowhere, from where its file is read."""
    file, _, anchor = address.partition("#")
    if path.suffix != ".py":
        target = (path.parent / unquote(file)).resolve() if file else path
        if not target.exists():
            return True
        return bool(anchor) and (target.suffix != ".md" or anchor not in slugs(target, "github"))
    if not file:
        return unquote(anchor) not in slugs(path, "jupyter")
    # A notebook is read in both folders, and by a student who has nothing but the notebooks.
    return not all((NOTEBOOKS / version / file).is_file() for version in ("student", "solution"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_relative_links_lead_to_what_exists(path):
    told = [
        f"{text.where}: {address}"
        for text in texts(path)
        for address in links(text.text)
        if ":" not in address and missing(path, address)
    ]
    assert told == []


def distance(one, other):
    """How many letters to change, add or leave out."""
    row = [*range(len(other) + 1)]
    for i, x in enumerate(one, start=1):
        row, above = [i], row
        for j, y in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def page(address):
    """What an address shows, however it is written."""
    parts = urlsplit(address.casefold())
    path = re.sub(r"(/index\.html|/|\.pdf)$", "", parts.path)
    return (parts.hostname or "").removeprefix("www."), path, parts.query, parts.fragment


def too_similar(addresses):
    """Pairs of addresses of which one is probably a typing error of the other."""
    for one, other in combinations(sorted(set(addresses)), 2):
        if page(one) == page(other) or (
            abs(len(one) - len(other)) <= 2
            and "/generated/torch." not in one  # torch.min and torch.max; torch knows its names
            and frozenset((one, other)) not in TWINS
            and distance(one, other) <= 2
        ):
            yield one, other


def test_no_address_is_a_typing_error_of_another():
    addresses = {
        address
        for path in FILES
        for text in texts(path)
        for address in links(text.text)
        if address.startswith("http")
    }
    assert addresses
    assert list(too_similar(addresses)) == []


def test_every_host_of_the_list_is_written_right():
    assert [(a, b) for a, b in combinations(sorted(HOSTS), 2) if distance(a, b) <= 1] == []


# --------------------------------------------------------- the tests above notice what they should


@pytest.mark.parametrize(
    "text",
    [
        "see https://arxiv.org/abs/1707.06347 there",
        "a [paper] (https://arxiv.org/abs/1707.06347)",
        "a [paper](https://arxiv.org/abs/1707 06347)",
        "a [paper](https://arxiv.org/abs/1707.06347",
        "a [](https://arxiv.org/abs/1707.06347)",
        "a [paper]()",
    ],
)
def test_a_malformed_link_is_noticed(text):
    assert list(malformed(text))


@pytest.mark.parametrize(
    "text",
    [
        r"$\left[a\right](b)$ and $f[x](y)$",
        "`git+https://…` and\n\n```\n[a] (https://x)\n```\n",
        "<https://arxiv.org/abs/1707.06347>",
        "[words\nin lines](docs/metrics.md)",
    ],
)
def test_what_is_no_link_or_a_good_one_is_left_alone(text):
    assert list(malformed(text)) == []


@pytest.mark.parametrize(
    "address",
    [
        "http://arxiv.org/abs/1707.06347",
        "https://arxive.org/abs/1707.06347",
        "https://arxiv.org/abs/1713.06347",
        "https://arxiv.org/abs/170706347",
        "https://pytorch.org/docs/stable/generated/torch.clmap.html",
        "https://www.youtube.com/watch?v=uRNL93jV2H",
        "ftp://arxiv.org/abs/1707.06347",
        "https://arxiv.org:8080/abs/1707.06347",
        "https://semver.org/…",
    ],
)
def test_a_wrong_address_is_noticed(address):
    assert wrong_address(address)


def test_addresses_of_all_kinds_are_found():
    text = (
        "[a](https://a.org) <https://b.org> ![c](c.png) [d]\n\n[d]: https://d.org\n\n"
        '<img src="e.png">\n\n| x |\n|---|\n| [f](f.md) |\n'
    )
    assert list(links(text)) == [
        "https://a.org",
        "https://b.org",
        "c.png",
        "https://d.org",
        "e.png",
        "f.md",
    ]


def test_twins_are_noticed():
    base = "https://spinningup.openai.com/en/latest/algorithms/ppo.html"
    for other in (base.replace("latest", "lastest"), base + "/", base.replace("en/", "")):
        found = list(too_similar([base, other]))
        assert bool(found) == (other != base.replace("en/", ""))


def test_a_relative_link_that_leads_nowhere_is_noticed():
    assert missing(NOTEBOOKS.parent / "README.md", "docs/nothing.md")
    assert missing(NOTEBOOKS.parent / "README.md", "docs/metrics.md#no-such-heading")
    assert not missing(NOTEBOOKS.parent / "README.md", "docs/metrics.md")
    assert missing(SOURCES[0], "99_nothing.ipynb")


def test_code_is_taken_out():
    text = Text("here", "a `$x` b\n\n```python\n$ y\n```\n\nc ``d ` e`` f")
    assert without_code(text.text).split() == ["a", "b", "c", "f"]
