"""The formulas of notebooks and pages: whole, and of what MathJax knows.

MathJax shows a formula that it cannot read in red, or as it was typed. It runs in a browser
(`make test-browser` looks there); this finds the usual slips without one.
"""

import re

import pytest
from course import PAGES, SOURCES, texts, without_code

FILES = [*SOURCES, *PAGES]

_MACROS = r"""
alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi pi
rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega
ell infty partial nabla emptyset forall exists neg in notin ni subset subseteq cup cap setminus
le leq ge geq ll gg ne neq approx sim simeq equiv propto pm mp times div cdot circ ast star oplus
otimes odot land lor to gets mapsto rightarrow leftarrow Rightarrow Leftarrow leftrightarrow
Leftrightarrow longrightarrow implies iff mid parallel perp bot top dots ldots cdots vdots ddots
colon sum prod int bigcup bigcap min max arg sup inf lim log ln exp sin cos tan tanh det dim Pr
frac dfrac tfrac sqrt binom hat bar tilde vec dot ddot check widehat widetilde overline underline
overbrace underbrace overset underset stackrel boldsymbol mathbb mathbf mathcal mathit mathrm
mathsf mathtt mathfrak text textbf textit textrm textsf texttt operatorname big Big bigg Bigg
bigl bigr Bigl Bigr biggl biggr Biggl Biggr left right middle begin end quad qquad hspace phantom
vphantom hphantom displaystyle textstyle limits nolimits langle rangle lfloor rfloor lceil rceil
lvert rvert lVert rVert vert Vert backslash tag notag color prime dagger boxed substack mathop not
hline | { } , : ; ! \ & $ % # _
"""
#: Macros of MathJax 3, of TeX and of AMS, as far as the course may need them.
MACROS = frozenset(_MACROS.split())
_ENVIRONMENTS = """
align align* aligned array bmatrix cases equation equation* gather gathered matrix pmatrix split
"""
ENVIRONMENTS = frozenset(_ENVIRONMENTS.split())
_DELIMITERS = r"""
( ) [ ] / | . < > \{ \} \| \langle \rangle \lfloor \rfloor \lceil \rceil \lvert \rvert \lVert \rVert
\vert \Vert \backslash
"""
#: What may follow \left and \right.
DELIMITERS = frozenset(_DELIMITERS.split())
TAKES_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt)?|operatorname|mathrm|tag|color|hspace)\*?\{[^{}]*\}"
)
TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|[{}^_]|\s+|.", re.DOTALL)


def formulas(text):
    """The formulas of a piece of Markdown, as (kind, TeX); raises ValueError for a stray $."""
    text = without_code(text).replace(r"\$", "")
    pieces = text.split("$$")
    if len(pieces) % 2 == 0:
        raise ValueError("$$ without its partner")
    for number, piece in enumerate(pieces):
        if number % 2:
            yield "display", piece
            continue
        for paragraph in re.split(r"\n\s*\n|^\s*[-*|] ", piece, flags=re.MULTILINE):
            parts = paragraph.split("$")
            if len(parts) % 2 == 0:
                raise ValueError(f"$ without its partner: {' '.join(paragraph.split())}")
            for tex in parts[1::2]:
                yield "inline", tex
        # Outside of $, MathJax sees a formula in an environment alone.
        outside = re.sub(r"\$.*?\$", "", piece, flags=re.DOTALL)
        without = re.sub(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", "", outside, flags=re.DOTALL)
        stray = re.search(r"\\(?:[A-Za-z]{2,}|[(\[])", without)
        if stray:
            raise ValueError(f"TeX outside of a formula: {stray[0]}")
        yield from (
            ("display", found[0])
            for found in re.finditer(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", outside, re.DOTALL)
        )


def complaints(tex):
    """What MathJax would not read, or not as it is meant."""
    if not tex.strip():
        yield "an empty formula"
    if re.search(r"\n\s*\n", tex):
        yield "an empty line ends a formula"
    if "$" in tex:
        yield "a $ in a formula"
    yield from unknown(tex)
    bare = TAKES_TEXT.sub("x", tex)
    yield from unbalanced(bare)
    yield from doubled_scripts(bare)


def unknown(tex):
    for name in re.findall(r"\\([A-Za-z]+|.)", tex, re.DOTALL):
        if name not in MACROS and not name.isspace():
            yield f"\\{name} is none of the macros in test_formulas.py"
    for name in re.findall(r"\\(?:begin|end)\s*\{([^}]*)\}", tex):
        if name not in ENVIRONMENTS:
            yield f"the environment {name} is unknown"
    letters = TAKES_TEXT.sub("", re.sub(r"\\(?!text|operatorname|mathrm)[A-Za-z]+", " ", tex))
    words = re.search(r"(?<![\\A-Za-z])(clip|min|max|log|exp|mean|argmax)(?![A-Za-z])", letters)
    if words:
        yield f"'{words[1]}' without \\ or \\operatorname is set as a product of letters"


def unbalanced(tex):
    """Braces, \\left and \\right, \\begin and \\end: nested as they were opened."""
    opened = []
    closes = {"}": "{", r"\right": r"\left"}
    position = 0
    pattern = re.compile(
        r"\\(?:begin|end)\s*\{[^}]*\}|\\(?:left|right|middle)(?![A-Za-z])\s*(?:\\[A-Za-z]+|\\.|.)?"
        r"|\\[A-Za-z]+|\\.|[{}]",
        re.DOTALL,
    )
    for match in pattern.finditer(tex, position):
        token = match[0]
        if token.startswith((r"\left", r"\right", r"\middle")) and re.match(
            r"\\(left|right|middle)(?![A-Za-z])", token
        ):
            verb = re.match(r"\\[a-z]+", token)[0]
            if token[len(verb) :].strip() not in DELIMITERS:
                yield f"{verb} without a delimiter"
            if verb == r"\left":
                opened.append(verb)
            elif verb == r"\right" and (not opened or opened.pop() != r"\left"):
                yield r"\right without its \left"
        elif token.startswith(r"\begin"):
            opened.append(token.replace("begin", "end").replace(" ", ""))
        elif token.startswith(r"\end{"):
            if not opened or opened.pop() != token:
                yield f"{token} without its \\begin"
        elif token == "{":
            opened.append(token)
        elif token == "}" and (not opened or opened.pop() != closes["}"]):
            yield "} without its {"
    if opened:
        yield f"never closed: {' '.join(opened)}"


def doubled_scripts(tex):
    """`a_b_c`: MathJax asks for braces."""
    levels = [set()]
    after = False  # the next token is a script's
    for token in TOKEN.findall(tex):
        if token.isspace():
            continue
        if token in ("^", "_"):
            if token in levels[-1]:
                yield f"two {token} at the same letter"
            levels[-1].add(token)
            after = True
        elif token == "{":
            if not after:
                levels[-1] = set()
            levels.append(set())
            after = False
        elif token == "}":
            if len(levels) > 1:
                levels.pop()
        elif after:
            after = False  # a script of one token
        else:
            levels[-1] = set()


def broken_rows(text):
    """Rows of a table in which a | of a formula would begin a new column."""
    for line in without_code(text).splitlines():
        if line.lstrip().startswith("|") and re.search(r"\$[^$|]*(?<!\\)\|[^$]*\$", line):
            cells = line.strip().strip("|").split("|")
            if any(cell.count("$") % 2 for cell in cells):
                yield line


def told_of(text):
    try:
        found = list(formulas(text))
    except ValueError as error:
        return [str(error)]
    told = [f"{complaint}: {tex.strip()}" for _, tex in found for complaint in complaints(tex)]
    return told + [f"a | in a table's formula: {line}" for line in broken_rows(text)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_mathjax_can_read_every_formula(path):
    told = [f"{text.where}: {said}" for text in texts(path) for said in told_of(text.text)]
    assert told == []


def test_the_notebooks_formulas_are_found():
    (source,) = [path for path in SOURCES if path.stem == "03_ppo_clip"]
    found = [tex for text in texts(source) for _, tex in formulas(text.text)]
    assert any(r"L^{CLIP}(\theta)" in tex for tex in found)
    assert len(found) > 20


# --------------------------------------------------------- the test above notices what it should


@pytest.mark.parametrize(
    "text",
    [
        "a $x + 1",
        "a $$x + 1$ b",
        r"$\frac{1}{2$",
        r"$a}$",
        r"$\left( x$",
        r"$\left x \right)$",
        r"$x \right)$",
        r"$\left( \frac{a \right)}{b}$",
        r"$$\begin{cases} a \\ b$$",
        r"$$\begin{cases} a \end{aligned}$$",
        r"$$\begin{algorithm} a \end{algorithm}$$",
        r"$\mathds{E}$",
        r"$\thetta$",
        r"$\clip(x)$",
        "$clip(x, 1)$",
        "$a_b_c$",
        "$x^{2}^{3}$",
        r"$\pi_\theta_t$",
        "$ $",
        r"the ratio \frac{a}{b}",
        r"the ratio \(a\)",
        "$$\na\n\nb\n$$",
        "| $\\pi(a|s)$ | x |\n|---|---|",
    ],
)
def test_a_broken_formula_is_noticed(text):
    assert told_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "`$HOME` and $x$",
        r"costs 5\$",
        r"$r_t(\theta) = \frac{\pi_\theta\left(a_t \mid s_t\right)}{\pi_{\theta_{\text{old}}}}$",
        r"$\left.\frac{a}{b}\right|_{x=0}$ and $\left\{ x \right\}$ and $x_1^2 y_1^2$",
        "$$\n\\begin{aligned}\na &= b \\\\\nc &= d\n\\end{aligned}\n$$",
        r"$\operatorname{clip}(x, 1-\epsilon, 1+\epsilon)$ and $\hat{A}_t$ and $x'_t$",
        r"$\min(a, b)$, $\arg\max_a Q$, $\text{min over max}$",
        "- first $a$\n- second $b$",
        "a $\\hat{A}_t +\nV(s_t)$ over two lines",
        "| $\\pi(a \\mid s)$ | $x$ |\n|---|---|",
    ],
)
def test_a_good_formula_is_left_alone(text):
    assert told_of(text) == []
