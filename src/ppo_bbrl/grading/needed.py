"""Which lines of a submission an exercise needs, so that nothing else of it runs.

The solution cells of the exercise run as they are. Of the student's other cells (added ones, edited
ones, other exercises) run the statements that define a name which the solution uses, and the
statements that those need in turn. So a helper function counts wherever it is written; and nothing
trains, because no solution needs what was trained.
"""

import ast
import symtable
from collections.abc import Iterable
from dataclasses import dataclass, field

from nbformat import NotebookNode

from ppo_bbrl.grading.cells import Assignment, Code, Exercise, bound_names, marks_of, python


@dataclass
class _Statement:
    """A statement outside the solution cells: its lines, what it defines and what it uses."""

    first: int
    last: int
    binds: set[str]
    uses: set[str]


@dataclass
class _Cell:
    text: str
    statements: list[_Statement]
    taken: list[_Statement] = field(default_factory=list)


def needed_code(
    submission: NotebookNode, assignment: Assignment, exercise: Exercise
) -> tuple[Code, ...]:
    """The student's code that the check of an exercise needs, in the order of the notebook.

    Lines keep the numbers that they have in their cell. A cell that is not Python is passed over,
    unless it is a solution cell: that one is then what fails.

    Args:
        submission: the student's notebook.
        assignment: the teacher's.
        exercise: one of the assignment's.
    """
    own: dict[int, str] = {}
    others: dict[int, _Cell] = {}
    end = len(submission.cells)
    for position, cell in enumerate(submission.cells):
        marks = marks_of(cell)
        if cell.cell_type != "code" or not isinstance(cell.source, str):
            continue
        if marks.get("grade_id") in exercise.solution_ids:
            own[position] = python(cell.source)
        elif marks.get("grade_id") == exercise.grade_id:
            end = position
        elif not marks.get("grade") and cell.source.strip() not in assignment.released:
            text = python(cell.source)
            others[position] = _Cell(text, _statements(text))

    wanted = set(exercise.names)
    for text in own.values():
        for statement in _statements(text):
            wanted |= statement.uses
    before = [cell for position, cell in others.items() if position < end]
    # What is written below the check counts where there is nothing above it.
    known = {name for cell in before for statement in cell.statements for name in statement.binds}
    for text in own.values():
        known |= {name for statement in _statements(text) for name in statement.binds}
    _take(others, end, wanted, known)

    code = {position: Code("solution", text) for position, text in own.items()}
    for position, cell in others.items():
        if cell.taken:
            code[position] = Code(f"cell {position + 1}", _lines(cell.text, cell.taken))
    return tuple(code[position] for position in sorted(code))


def _take(others: dict[int, _Cell], end: int, wanted: set[str], known: set[str]) -> None:
    """Mark the statements that define a wanted name, and those that these need."""
    changed = True
    while changed:
        changed = False
        for position, cell in others.items():
            for statement in cell.statements:
                useful = statement.binds & wanted
                if position > end:
                    useful -= known
                if useful and statement not in cell.taken:
                    cell.taken.append(statement)
                    wanted |= statement.uses
                    changed = True


def _lines(text: str, statements: Iterable[_Statement]) -> str:
    """A cell with the lines of the other statements left empty."""
    kept = {line for statement in statements for line in range(statement.first, statement.last + 1)}
    lines = text.split("\n")
    return "\n".join(line if i in kept else "" for i, line in enumerate(lines, start=1))


def _statements(text: str) -> list[_Statement]:
    """The statements of a cell; none if it is not Python."""
    try:
        tree = ast.parse(text)
        return [_statement(node) for node in tree.body]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _statement(node: ast.stmt) -> _Statement:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    module = ast.Module(body=[node], type_ignores=[])
    binds = bound_names(module) | _filled(node)
    uses = _globals(symtable.symtable(ast.unparse(module), "cell", "exec"))
    return _Statement(first, node.end_lineno or node.lineno, binds, uses)


def _filled(node: ast.stmt) -> set[str]:
    """`table` in `table[3] = 5`: who needs the table needs what is in it."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AugAssign):
        targets = [node.target]
    return {
        target.value.id
        for target in targets
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name)
    }


def _globals(table: symtable.SymbolTable) -> set[str]:
    """The names that a piece of code takes from the notebook, those inside its functions too."""
    outermost = table.get_type() == "module"
    names = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (outermost or symbol.is_global())
    }
    for child in table.get_children():
        names |= _globals(child)
    return names
