"""What `make docs` adds to the pages of this folder: one text serves a code host and the site.

- README, CHANGELOG and CONTRIBUTING, which lie at the top of the repository, become pages.
- The student's version of each notebook becomes a page of the course.
- A source file that a page links to becomes a page, highlighted; a folder becomes a list.
- Links are rewritten accordingly. A link to what is not there ends a strict build.
- Formulas become MathML, so that no script is loaded for them.
"""

import html
import json
import posixpath
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
NOTEBOOKS = "notebooks/student"

CODE = re.compile(r"(^ *```.*?^ *```[^\n]*$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "sh", ".cff": "yaml"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside this folder, and the source files that any page links to."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
    texts = {f"docs/{name}": text for name, text in texts.items()}
    texts |= {name: (ROOT / name).read_text(encoding="utf-8") for name in TOP}
    for path in sorted((ROOT / NOTEBOOKS).glob("*.ipynb")):
        texts[f"{NOTEBOOKS}/{path.name}"] = notebook_text(path)
    for origin, text in texts.items():
        if not origin.startswith("docs/"):
            files.append(File.generated(config, place_of(origin), content=text))
        for address in addresses(text):
            linked = target_of(origin, address)
            if linked is None or linked in texts or linked.startswith("docs/"):
                continue
            page = place_of(linked)
            if (ROOT / linked).exists() and files.get_file_from_path(page) is None:
                files.append(File.generated(config, page, content=source_text(linked)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Let links lead to the pages of the site."""
    origin = origin_of(page.file.src_uri)
    return outside_code(
        markdown,
        lambda text: LINK.sub(
            lambda m: m[1] + rewritten(origin, m[2], page.file.src_uri) + m[3], text
        ),
    )


def on_page_content(content: str, **_: object) -> str:
    """Turn formulas into MathML."""

    def as_mathml(found: re.Match[str]) -> str:
        display = "inline" if found[1] == "span" else "block"
        return str(convert(html.unescape(found[2]), display=display))

    return FORMULA.sub(as_mathml, content)


def notebook_text(path: Path) -> str:
    """The cells of a notebook as Markdown; it has no outputs."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            parts.append(f"```python\n{source}\n```")
        else:
            # Markdown inside of what can be opened is read as such only where the tag says so.
            parts.append(source.replace("<details>", '<details markdown="1">'))
    return "\n\n".join(parts) + "\n"


def source_text(path: str) -> str:
    """A page that shows a source file, or what is in a folder."""
    if (ROOT / path).is_dir():
        names = sorted(each.name for each in (ROOT / path).iterdir())
        return f"# {path}\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    text = (ROOT / path).read_text(encoding="utf-8").rstrip("\n")
    language = LANGUAGES.get(Path(path).suffix, "text")
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 3)
    return f"---\nsearch: {{exclude: true}}\n---\n# {path}\n\n{fence}{language}\n{text}\n{fence}\n"


def place_of(origin: str) -> str:
    """The page of the site that a file of the repository is on."""
    if origin in TOP:
        return TOP[origin]
    if origin.startswith("docs/"):
        return origin.removeprefix("docs/")
    if origin.startswith(f"{NOTEBOOKS}/"):
        return f"course/{Path(origin).stem}.md"
    return f"source/{origin}.md"


@cache
def origin_of(page: str) -> str:
    """The file of the repository that a page of the site comes from."""
    for origin, place in TOP.items():
        if place == page:
            return origin
    if page.startswith("course/"):
        return f"{NOTEBOOKS}/{Path(page).stem}.ipynb"
    if page.startswith("source/"):
        return page.removeprefix("source/").removesuffix(".md")
    return f"docs/{page}"


def addresses(text: str) -> list[str]:
    """The links of a page, outside of code."""
    found: list[str] = []

    def note(part: str) -> str:
        found.extend(match[2] for match in LINK.finditer(part))
        return part

    outside_code(text, note)
    return found


def target_of(origin: str, address: str) -> str | None:
    """The file of the repository that a link leads to; None if it leads elsewhere."""
    file = unquote(address.partition("#")[0])
    if not file or re.match(r"[a-z]+:", address):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), file))


def rewritten(origin: str, address: str, page: str) -> str:
    """The address in the site."""
    if re.match(r"[a-z]+:", address):
        return address
    _, hash_, anchor = address.partition("#")
    if origin.endswith(".ipynb"):  # Jupyter's anchors keep capitals
        anchor = re.sub(r"[^\w\- ]", "", unquote(anchor).lower())
    target = target_of(origin, address)
    if target is None:
        return f"#{anchor}"
    return posixpath.relpath(place_of(target), posixpath.dirname(page) or ".") + hash_ + anchor


def outside_code(text: str, change: object) -> str:
    """A text with everything changed that is not in a fenced block."""
    assert callable(change)
    parts = CODE.split(text)
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))
