"""Right solutions with one slip each: another operator, row, order or name, a line left out."""

import ast
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.GtE, ast.Gt, ast.LtE),
    ast.LtE: (ast.Gt, ast.GtE, ast.Lt),
    ast.Gt: (ast.LtE, ast.Lt, ast.GtE),
    ast.GtE: (ast.Lt, ast.LtE, ast.Gt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
#: names, attributes and the last parts of texts that are taken for one another
CONFUSED = (
    "min max", "mean sum", "argmax argmin", "any all", "zeros ones", "zeros_like ones_like",
    "terminated truncated", "terminated done", "truncated done", "reward value",
    "value next_value", "policy critic", "policy_coef critic_coef", "policy_coef entropy_coef",
    "clip_range clip_range_vf", "value_coef entropy_coef", "ent_coef vf_coef", "first second",
    "low high", "old_policy train_policy", "old_critic_agent critic_agent", "std var", "exp log",
    "policy_optimizer critic_optimizer", "advantages returns", "discount_factor gae_lambda",
)  # fmt: skip
OTHERS: dict[str, list[str]] = {}
for _pair in CONFUSED:
    for _one, _other in (_pair.split(), _pair.split()[::-1]):
        OTHERS.setdefault(_one, []).append(_other)
#: methods without which an expression has the same type
_METHODS = (
    "abs clamp clone contiguous cumsum detach double exp flatten float item log long log_softmax "
    "masked_fill mean neg relu reshape sqrt square squeeze sum tolist unsqueeze"
)
DROPPED = frozenset(_METHODS.split())
LONGEST = 48  # characters of what is shown


class Slip(NamedTuple):
    """A solution with a slip, and how it differs, in words."""

    tree: ast.Module
    how: str


def slips(solution: str) -> Iterator[Slip]:
    """Every way to make one slip in a solution, each once; none where one might never end."""
    tree = ast.parse(solution)
    if any(isinstance(node, ast.While) for node in ast.walk(tree)):
        return
    seen = {ast.dump(tree)}
    for index, node in enumerate(_nodes(tree)):
        for other, how in _others(node):
            copied = copy.deepcopy(tree)
            place = list(_nodes(copied))[index]
            parents = {child: each for each in ast.walk(copied) for child in _children(each)}
            other = copy.deepcopy(other)  # noqa: PLW2901
            _replace(parents[place], place, other)
            dumped = ast.dump(copied)
            if dumped not in seen:
                seen.add(dumped)
                ast.fix_missing_locations(copied)
                told = how or f"with `{_fragment(other, parents[place], parents)}`"
                yield Slip(copied, told)


def _nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """What may be changed: not the names of functions and their arguments, nor docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt | ast.Slice) and not isinstance(
            node, ast.FunctionDef | ast.ClassDef | ast.Module
        ):
            yield node


def _children(node: ast.AST) -> Iterator[ast.AST]:
    yield from ast.iter_child_nodes(node)


def _replace(parent: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for name, field in ast.iter_fields(parent):
        if field is old:
            setattr(parent, name, new)
        elif isinstance(field, list):
            field[:] = [new if each is old else each for each in field]


def _fragment(node: ast.AST, parent: ast.AST | None, parents: dict[ast.AST, ast.AST]) -> str:
    """What is changed with a little around it: not a whole line of the solution."""
    text = ast.unparse(node)
    while isinstance(parent, ast.expr | ast.keyword):
        wider = ast.unparse(parent)
        if len(wider) > LONGEST or isinstance(parents.get(parent), ast.Expr):
            break
        text, parent = wider, parents.get(parent)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _others(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """What might stand there by mistake; and how to say so, if not by what stands there then."""
    for kind, slips_of in KINDS.items():
        if isinstance(node, kind):
            yield from slips_of(node)


def _expressions(node: ast.expr) -> Iterator[tuple[ast.AST, str]]:
    """Other operators, operands and names."""
    if isinstance(node, ast.BinOp):
        for kind in OPERATORS.get(type(node.op), ()):
            yield ast.BinOp(node.left, kind(), node.right), ""
        yield node.left, f"without `{_short(node.right)}`"
        yield node.right, f"without `{_short(node.left)}`"
    elif isinstance(node, ast.BoolOp):
        opposite = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(opposite, node.values), ""
        yield from ((value, "") for value in node.values)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for relation in COMPARISONS[type(node.ops[0])]:
            yield ast.Compare(node.left, [relation()], node.comparators), ""
    elif isinstance(node, ast.UnaryOp):
        yield node.operand, ""
    elif isinstance(node, ast.IfExp):
        yield node.body, f"with `{_short(node.body)}` in every case"
        yield node.orelse, f"with `{_short(node.orelse)}` in every case"
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from ((ast.Name(other, ast.Load()), "") for other in OTHERS.get(node.id, ()))
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        for other in OTHERS.get(node.attr, ()):
            yield ast.Attribute(node.value, other, ast.Load()), ""


def _without(node: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    """Statements that might be forgotten, and conditions that always or never hold."""
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield):
        yield ast.Pass(), f"without the line that calls `{_called(node.value)}`"
    elif isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name):
        yield ast.Pass(), f"without the line that sets `{_short(node.targets[0])}`"
    elif isinstance(node, ast.AugAssign):
        yield ast.Pass(), f"without the line that changes `{_short(node.target)}`"
        plain = ast.Assign([node.target], node.value)
        yield plain, f"that sets `{_short(node.target)}` instead of adding to it"
    elif isinstance(node, ast.If):
        for always in (True, False):
            told = "in every case" if always else "never"
            how = f"that goes into `if {_short(node.test)}` {told}"
            yield ast.If(ast.Constant(always), node.body, node.orelse), how
    elif isinstance(node, ast.With):
        yield ast.If(ast.Constant(True), node.body, []), f"without `{_short(node.items[0])}`"


def _called(node: ast.AST) -> str:
    return _short(node.func) if isinstance(node, ast.Call) else _short(node)


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _constants(node: ast.Constant) -> Iterator[tuple[ast.AST, str]]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value), ""
    elif isinstance(value, int | float):
        for other in dict.fromkeys((value + 1, value - 1, 2 * value, 0, 1)):
            if other != value:
                yield ast.Constant(other), ""
    elif isinstance(value, str):
        head, slash, tail = value.rpartition("/")
        for word in OTHERS.get(tail, ()):
            yield ast.Constant(f"{head}{slash}{word}"), ""


def _slices(node: ast.Slice) -> Iterator[tuple[ast.AST, str]]:
    one = ast.Constant(1)
    if node.lower is not None:
        yield ast.Slice(None, node.upper, node.step), ""
        yield ast.Slice(ast.BinOp(node.lower, ast.Add(), one), node.upper, node.step), ""
    if node.upper is not None:
        yield ast.Slice(node.lower, None, node.step), ""
        yield ast.Slice(node.lower, ast.BinOp(node.upper, ast.Add(), one), node.step), ""
        yield ast.Slice(node.lower, one, node.step), ""
    if node.lower is not None and node.upper is None:
        yield ast.Slice(None, ast.UnaryOp(ast.USub(), one), node.step), ""
    if node.upper is not None and node.lower is None:
        yield ast.Slice(one, None, node.step), ""


def _calls(node: ast.Call) -> Iterator[tuple[ast.AST, str]]:
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr in DROPPED:
        yield function.value, f"without `.{function.attr}()`"
    if isinstance(function, ast.Attribute) and function.attr in DROPPED and len(node.args) == 1:
        yield node.args[0], f"without `{_short(function)}`"
    if _called(node) in ("reversed", "abs", "list", "float") and len(node.args) == 1:
        yield node.args[0], f"without `{_called(node)}`"
    for k in range(len(node.args) - 1):
        swapped = [*node.args[:k], node.args[k + 1], node.args[k], *node.args[k + 2 :]]
        yield ast.Call(function, swapped, node.keywords), ""
    for keyword in node.keywords:
        rest = [each for each in node.keywords if each is not keyword]
        yield ast.Call(function, node.args, rest), f"without `{_short(keyword)}`"


KINDS: dict[type[ast.AST], Callable[[Any], Iterator[tuple[ast.AST, str]]]] = {
    ast.stmt: _without,
    ast.Constant: _constants,
    ast.Slice: _slices,
    ast.Call: _calls,
    ast.expr: _expressions,
}
