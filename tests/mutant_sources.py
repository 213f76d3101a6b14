"""The bugs that `mutants.py` puts into a module: found in its source as it is."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import CodeType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ppo_bbrl"
LISTED = Path(__file__).with_name("mutants.toml")


@dataclass(frozen=True)
class Mutant:
    """A module with a bug."""

    module: str
    old: str  # the lines that it changes, each space collapsed
    new: str
    lines: tuple[int, ...]
    source: bytes
    function: tuple[str, int] | None = None  # whose body has the bug: its name and first line

    @property
    def key(self) -> str:
        return f"{self.module}: {self.old} -> {self.new}"


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


COMPARED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
COMPUTED = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*",
    ast.Pow: "*", ast.BitAnd: "|", ast.BitOr: "&", ast.MatMult: "@ 2 *",
}  # fmt: skip
SWAPPED = [
    ("min", "max"), ("any", "all"), ("mean", "sum"), ("argmax", "argmin"), ("zeros", "ones"),
    ("logical_or", "logical_and"), ("terminated", "truncated"), ("policy", "critic"),
    ("policy_optimizer", "critic_optimizer"), ("actor_hidden_size", "critic_hidden_size"),
    ("new_zeros", "new_ones"), ("policy_coef", "critic_coef"), ("isfinite", "isnan"),
    ("clip_range", "clip_range_vf"), ("beta1", "beta2"), ("moment1", "moment2"),
]  # fmt: skip
OTHER_NAME = {a: b for pair in SWAPPED for a, b in (pair, pair[::-1])}
# Methods without which an expression has the same type.
DROPPED = {
    "abs", "clamp", "clamp_", "clone", "contiguous", "copy", "cumsum", "detach", "double", "exp",
    "expand_as", "flatten", "float", "log", "masked_fill", "neg_", "relu", "sqrt", "square", "to",
    "view_as", "log_softmax",
}  # fmt: skip
COMMUTATIVE = {"add", "mul", "max", "min", "maximum", "minimum", "logical_or", "isinstance"}
KEPT_DECORATORS = {"property", "cached_property", "dataclass", "contextmanager", "setter"}


class Finder(ast.NodeVisitor):
    """Finds mutants: spans of the source and what could stand there by mistake."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.found: list[tuple[int, int, str]] = []
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self._starts = starts

    def span(self, node: Any) -> tuple[int, int]:
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.source[start:end].decode()

    def put(self, node: ast.AST, text: str) -> None:
        self.found.append((*self.span(node), text))

    # What is no code that acts: types, texts, imports, what an error says.

    def visit_Import(self, node: ast.Import) -> None:
        pass

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        self.put(node, "pass")

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        pass

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for decorator in node.decorator_list:
            name = ast.unparse(decorator).split("(")[0].split(".")[-1]
            if name not in KEPT_DECORATORS:
                self.put(decorator, "(lambda function: function)")
        self.visit(node.args)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        # Not its decorators: what a frozen dataclass forbids, nobody does.
        for statement in node.body:
            self.visit(statement)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.choices(node.test, "True", "False")
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self.put(node.test, "False")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.choices(test, "True", "False")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.choices(node, f"({self.text(node.body)})", f"({self.text(node.orelse)})")
        self.generic_visit(node)

    def choices(self, node: ast.AST, *texts: str) -> None:
        for text in texts:
            self.put(node, text)

    # Statements that leave no name behind.

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        if not isinstance(node.value, ast.Yield | ast.YieldFrom):
            self.put(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(target, ast.Name) for target in node.targets):
            self.put(node, "pass")
        if not (isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"):
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.put(node, "pass")
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        pass

    def visit_Break(self, node: ast.Break) -> None:
        self.put(node, "continue")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.put(node, "break")

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            if item.optional_vars is None:
                nothing = "__import__('contextlib').nullcontext()"
                self.put(item.context_expr, nothing)
        self.generic_visit(node)

    # Expressions.

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            other = COMPARED[type(node.ops[0])]
            right = self.text(node.comparators[0])
            self.put(node, f"(({self.text(node.left)}) {other} ({right}))")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = " or " if isinstance(node.op, ast.And) else " and "
        self.put(node, "(" + other.join(f"({self.text(value)})" for value in node.values) + ")")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.put(node, f"({self.text(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = COMPUTED.get(type(node.op))
        if other and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            self.put(node, f"(({self.text(node.left)}) {other} ({self.text(node.right)}))")
        elif other and isinstance(getattr(node.left, "value", None), int | float):
            self.put(node, f"({self.text(node.left)} {other} ({self.text(node.right)}))")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.put(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self.put(node, f"({node.value} + 1)" if node.value in (0, 1) else f"({node.value} * 2)")
            if node.value == 1:
                self.put(node, "0")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in OTHER_NAME and isinstance(node.ctx, ast.Load):
            self.put(node, OTHER_NAME[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in OTHER_NAME and isinstance(node.ctx, ast.Load):
            end = self.span(node)[1]
            start = end - len(node.attr.encode())
            self.found.append((start, end, OTHER_NAME[node.attr]))
        self.generic_visit(node)

    def visit_Slice(self, node: ast.Slice) -> None:
        for name, bound in (("lower", node.lower), ("upper", node.upper)):
            if bound is not None:
                self.put(bound, "" if name == "upper" or node.upper is not None else "None")
                self.put(bound, f"({self.text(bound)}) + 1")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in DROPPED:
            self.put(node, f"({self.text(node.func.value)})")
        name = ast.unparse(node.func).rpartition(".")[2]
        fixed = name in COMMUTATIVE or any(isinstance(a, ast.Starred) for a in node.args)
        arguments = [] if fixed else node.args
        for one, other in pairwise(arguments):
            between = self.source[self.span(one)[1] : self.span(other)[0]].decode()
            text = self.text(other) + between + self.text(one)
            self.found.append((self.span(one)[0], self.span(other)[1], text))
        for keyword in node.keywords:
            if keyword.arg is not None and not isinstance(keyword.value, ast.Constant):
                self.put(keyword, "**{}")
        self.generic_visit(node)


def mutants_of(module: str, *, listed_only: bool = False) -> Iterator[Mutant]:
    """The mutants of a module: those of the operators, then those that are listed."""
    source = path_of(module).read_bytes()
    finder = Finder(source)
    if not listed_only:
        finder.visit(ast.parse(source))
    spans = finder.found
    for listed in tomllib.loads(LISTED.read_text(encoding="utf-8")).get("mutant", []):
        if listed["module"] == module:
            start = source.find(listed["old"].encode())
            if start < 0:
                print(f"no longer in {module}: {listed['old']!r}", file=sys.stderr)
            else:
                spans.append((start, start + len(listed["old"].encode()), listed["new"]))
    seen: dict[str, int] = {}
    for start, end, text in spans:
        mutant = as_mutant(module, source, start, end, text)
        if mutant is not None:
            seen[mutant.key] = times = seen.get(mutant.key, 0) + 1
            yield mutant if times == 1 else replace(mutant, new=f"{mutant.new} ({times})")


@lru_cache(2)
def dumped(source: bytes) -> str:
    return ast.dump(ast.parse(source))


def as_mutant(module: str, source: bytes, start: int, end: int, text: str) -> Mutant | None:
    """None if what comes of it is no Python, or the same."""
    changed = source[:start] + text.encode() + source[end:]
    try:
        if dumped(changed) == dumped(source):
            return None
    except SyntaxError:
        return None
    first, last = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", end)
    old = " ".join(source[first:last].decode().split())
    new = " ".join((source[first:start].decode() + text + source[end:last].decode()).split())
    line = source.count(b"\n", 0, start) + 1
    lines = {*range(line, source.count(b"\n", 0, end) + 2)}
    function = function_at(source, start, end)
    if function is None:
        lines |= users_of(source, start, end)
    return Mutant(module, old, new, tuple(sorted(lines)), changed, function)


def users_of(source: bytes, start: int, end: int) -> set[int]:
    """The lines that use what is computed here at import, and which no test runs itself.

    Of a constant, or an attribute of a class, those with its name; of what stands in the head of a
    function, the function's.
    """
    finder, tree, found = Finder(source), ast.parse(source), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min(finder.span(part)[0] for part in (node, *node.decorator_list))
            if first <= start and end <= finder.span(node.body[0])[0]:
                found |= {*range(node.body[0].lineno, (node.end_lineno or 0) + 1)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            first, last = finder.span(node)
            if first <= start and end <= last:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = {one.id for top in targets for one in ast.walk(top) if hasattr(one, "id")}
                found |= {
                    one.lineno
                    for one in ast.walk(tree)
                    if names & {getattr(one, "id", None), getattr(one, "attr", None)}
                }
    return found


@lru_cache(2)
def functions(source: bytes) -> list[tuple[int, int, tuple[str, int]]]:
    """Where the body of each function of a module begins and ends: none within another's."""
    finder, found = Finder(source), []

    def look(nodes: list[Any], name: str) -> None:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min(part.lineno for part in (node, *node.decorator_list))
                begin, end = finder.span(node.body[0])[0], finder.span(node)[1]
                found.append((begin, end, (name + node.name, first)))
            elif isinstance(node, ast.ClassDef):
                look(node.body, f"{name}{node.name}.")
            else:
                for inner in ("body", "orelse", "handlers", "finalbody"):
                    look(getattr(node, inner, []), name)

    look(ast.parse(source).body, "")
    return found


def function_at(source: bytes, start: int, end: int) -> tuple[str, int] | None:
    """The function whose body has this span; None for what runs when the module is imported."""
    for first, last, name in functions(source):
        if first <= start and end <= last:
            return name
    return None


def code_of(code: CodeType, name: tuple[str, int]) -> CodeType | None:
    """The code of a function, within that of its module."""
    if (code.co_qualname, code.co_firstlineno) == name:
        return code
    inner = (code_of(const, name) for const in code.co_consts if isinstance(const, CodeType))
    return next((found for found in inner if found is not None), None)
