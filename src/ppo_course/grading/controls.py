"""Wrong solutions, made from the right one, that a check must find wrong.

They are run after the student's: if they pass, something was done to the check. Each has one small
change: an operator turned round, a constant that is another, two functions confused.
"""

import ast
import copy
import random
from collections.abc import Iterator

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.Pow: ast.Mult,
}
OPPOSITE = ((ast.Lt, ast.GtE), (ast.LtE, ast.Gt), (ast.Eq, ast.NotEq))
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    one: other for pair in OPPOSITE for one, other in (pair, pair[::-1])
}
CONFUSED = "min max", "minimum maximum", "mean sum", "logical_and logical_or"
FUNCTIONS = {"exp": "neg", "log": "neg", "argmax": "argmin"} | {
    one: other for pair in map(str.split, CONFUSED) for one, other in (pair, pair[::-1])
}


def mutants(solution: str, *, seed: int = 0) -> list[str]:
    """Every way to change one thing in a solution, in an order that the seed shuffles."""
    tree = ast.parse(solution)
    changed = []
    for index, node in enumerate(ast.walk(tree)):
        for other in _others(node):
            copied = copy.deepcopy(tree)
            # Walking is the same every time.
            place = list(ast.walk(copied))[index]
            place.__dict__.update(other.__dict__)
            text = ast.unparse(copied)
            if text not in changed:
                changed.append(text)
    random.Random(seed).shuffle(changed)
    return changed


def _others(node: ast.AST) -> Iterator[ast.AST]:
    """The node, changed; none if nothing of it can be."""
    other = copy.copy(node)
    if isinstance(other, ast.BinOp) and type(other.op) in OPERATORS:
        other.op = OPERATORS[type(other.op)]()
    elif isinstance(other, ast.Compare) and type(other.ops[0]) in COMPARISONS:
        other.ops = [COMPARISONS[type(other.ops[0])](), *other.ops[1:]]
    elif isinstance(other, ast.Attribute) and other.attr in FUNCTIONS:
        other.attr = FUNCTIONS[other.attr]
    elif isinstance(other, ast.Constant) and type(other.value) in (int, float):
        other.value = other.value + 1  # type: ignore[operator]
    elif isinstance(other, ast.Constant) and isinstance(other.value, bool):
        other.value = not other.value
    elif isinstance(other, ast.Return) and other.value is not None:
        other.value = ast.UnaryOp(ast.USub(), other.value)
    else:
        return
    yield other
