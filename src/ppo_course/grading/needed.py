"""Which statements of a submission an exercise needs by name; `notebook` runs them.

The solution cells run whole. Of the student's other cells, and of those that were left as they were
handed out, run the statements that define a name which the solution uses, what else the student
does with such a name (fills a table, sets an attribute), and what these need in turn. So a helper
counts wherever it is written, and nothing trains.

Names do not tell everything: there are `exec`, functions that fill a table, `Out[3]`. So where a
check fails, it is tried once more after everything that the student wrote.

The time for it grows as the submission does, and is the graded cell's own.
"""

import ast
import contextlib
import re
import symtable
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from ppo_course.grading.cells import Cell, python
from ppo_course.grading.whose import STUDENT

#: stand for the names that a star import defines, and the files that a cell magic writes
STAR, FILES = "*", "%%writefile"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
IMPORTS = ast.Import | ast.ImportFrom


@dataclass(eq=False)
class Statement:
    """A statement of a submission."""

    cell: Cell  # where it stands
    node: ast.stmt  # itself
    last: bool  # whether it is the cell's last one
    binds: set[str] = field(default_factory=set)  # the names that it defines, and the two below
    # the names that it takes from the notebook, inside of functions too
    uses: set[str] = field(default_factory=set)
    touches: set[str] = field(default_factory=set)  # those of them that it takes as soon as it runs


def filename(cell: Cell) -> str:
    """What a cell is called in tracebacks."""
    return f"{STUDENT}{cell.name}>"


def statements(cell: Cell) -> list[Statement]:
    """The statements of a cell.

    Raises:
        SyntaxError: if it is not Python, nor IPython's.
        Exception: for other reasons of Python's parser, such as too many brackets.
    """
    nodes = ast.parse(python(cell.text), filename(cell)).body
    return [_statement(cell, node, last=node is nodes[-1]) for node in nodes]


def needed(
    solution: Sequence[Statement],
    others: Sequence[Statement],
    *,
    names: Iterable[str],
    defined: Container[str],
) -> list[Statement]:
    """The statements of other cells that a solution needs by name, in their order.

    Args:
        solution: the statements of the exercise's solution cells.
        others: those of the other cells, in the order of the notebook.
        names: what the check asks for.
        defined: the names that there are without any of them.
    """
    binding: dict[str, list[Statement]] = defaultdict(list)
    touching: dict[str, list[Statement]] = defaultdict(list)
    for statement in others:
        for name in statement.binds:
            binding[name].append(statement)
        # What was handed out fills nothing of the student's.
        for name in statement.touches if statement.cell.kind == "own" else ():
            touching[name].append(statement)
    # What is written below the check counts where there is nothing above it.
    known = {name for each in others if each.cell.above for name in each.binds}
    known |= {name for each in solution for name in each.binds}
    # A module is not filled by its user.
    own = {
        name
        for each in (*others, *solution)
        if each.cell.kind != "handed out" and not isinstance(each.node, IMPORTS)
        for name in each.binds
    }

    taken: set[Statement] = set()
    seen: set[str] = set()
    wanted = [FILES, *names, *(name for each in solution for name in each.uses)]
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in known and name not in binding and name not in defined:
            wanted.append(STAR)
        for statement in (*binding[name], *(touching[name] if name in own else ())):
            if statement not in taken and (statement.cell.above or name not in known):
                taken.add(statement)
                wanted += statement.uses
    return [statement for statement in others if statement in taken]


def _statement(cell: Cell, node: ast.stmt, *, last: bool) -> Statement:
    statement = Statement(cell, node, last)
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        text = ast.unparse(node)
        statement.binds, statement.uses = _names(symtable.symtable(text, "cell", "exec"))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            statement.binds.add(STAR)
        if re.match(r"get_ipython\(\)\.run_cell_magic\('(write)?file'", text):
            statement.binds.add(FILES)
        statement.touches = statement.uses & _at_once(node)
    return statement


def _names(module: symtable.SymbolTable) -> tuple[set[str], set[str]]:
    """The names that some lines define in the notebook, and those that they take from there."""
    binds: set[str] = set()
    uses: set[str] = set()
    tables = [module]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is not module and not symbol.is_global():
                continue
            if symbol.is_assigned() or symbol.is_imported():
                binds.add(symbol.get_name())
                # A function that sets a global name does it when it is called.
                uses.update(module.get_identifiers() if table is not module else ())
            if symbol.is_referenced():
                uses.add(symbol.get_name())
    return binds, uses


def _at_once(node: ast.AST) -> set[str]:
    """The names in a statement, but for those inside of functions."""
    names = set()
    parts = [node]
    while parts:
        part = parts.pop()
        if isinstance(part, ast.Name):
            names.add(part.id)
        if isinstance(part, FUNCTIONS):
            parts += [part.args, *getattr(part, "decorator_list", ())]
        else:
            parts += ast.iter_child_nodes(part)
    return names
