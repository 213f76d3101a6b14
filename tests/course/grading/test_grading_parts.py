"""The parts of grading: which lines run, wrong answers as controls, what is noticed or refused."""

import ast
import builtins
import importlib
import json
import math
import os
import subprocess
import sys
import time
import types
from pathlib import Path
from textwrap import dedent

import nbformat
import pytest
import torch

import ppo_course
from ppo_course.grading import trial
from ppo_course.grading.cells import (
    Assignment,
    Code,
    Exercise,
    SourceError,
    cells_for,
    python,
    read_assignment,
)
from ppo_course.grading.controls import mutants
from ppo_course.grading.grader import Grader
from ppo_course.grading.limits import Limits
from ppo_course.grading.needed import needed, statements
from ppo_course.grading.tampering import snapshot
from ppo_course.grading.worker import _kept_waiting, _settle_torch

SOLUTION = "def square(x):\n    return x * x"
CHECK = "assert square(3) == 9\nassert square(0.5) == 0.25"


def code(source: str, **marks: object) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(dedent(source).strip("\n"))
    if marks:
        cell.metadata["nbgrader"] = marks
    return cell


def solution_cell(source: str = SOLUTION) -> nbformat.NotebookNode:
    return code(source, grade_id="square", solution=True, grade=False)


def check_cell(source: str = CHECK) -> nbformat.NotebookNode:
    return code(source, grade_id="square-check", solution=False, grade=True, points=2)


def notebook(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


def definitions_cell(source: str) -> nbformat.NotebookNode:
    cell = code(source)
    cell.metadata["tags"] = ["definitions"]
    return cell


IMPORTS = definitions_cell("import math")
STUB = solution_cell("def square(x):\n    assert False, 'Not implemented yet'")


def assignment(*cells: nbformat.NotebookNode) -> Assignment:
    return read_assignment(
        notebook(*(cells or (IMPORTS, solution_cell(), check_cell()))),
        notebook(IMPORTS, STUB, check_cell()),
    )


def chosen(*cells: nbformat.NotebookNode) -> str:
    """The lines of a submission that grading runs at first, besides the solution's."""
    given = assignment()
    exercise = given.exercises[0]
    found = [
        statement
        for cell in cells_for(notebook(*cells), given, exercise)
        for statement in statements(cell)
    ]
    solution = [each for each in found if each.cell.kind == "solution"]
    others = [each for each in found if each.cell.kind != "solution"]
    taken = needed(solution, others, names=exercise.names, defined=vars(builtins))
    return "\n".join(ast.unparse(statement.node) for statement in taken)


# ------------------------------------------------------------------------------- which lines run


def test_a_solution_alone_needs_nothing_else():
    assert chosen(code("x = train()"), solution_cell("print(1)\n" + SOLUTION), check_cell()) == ""


def test_a_helper_runs_with_what_it_needs_in_turn():
    lines = chosen(
        code("import cmath\nTWO = 2\nunused = train()\ntrain()"),
        code("@cached\ndef power(x):\n    local = 1\n    return x**TWO"),
        code("local = train()"),
        solution_cell("def square(x):\n    return power(x)"),
        check_cell(),
        code("def cached(function):\n    return function"),
    )
    assert "train" not in lines
    assert "cmath" not in lines
    for part in ("TWO = 2", "@cached", "def power", "def cached"):
        assert part in lines


def test_what_fills_a_table_belongs_to_it():
    lines = chosen(
        code("TABLE = {}\nTABLE[2] = 4\nOTHER[2] = 4\nfor i in range(3):\n    TABLE[i] = i * i"),
        solution_cell("def square(x):\n    return TABLE[x]"),
    )
    assert "TABLE[2] = 4" in lines
    assert "for i in range(3)" in lines
    assert "OTHER" not in lines


def test_what_is_done_to_a_module_is_not_needed():
    """It is the same for everybody, and replacing its functions ends the grading of a cell."""
    lines = chosen(
        code("import math\nmath.sqrt = abs\nmath.tau"),
        solution_cell("def square(x):\n    return math.pow(x, 2)"),
    )
    assert lines == "import math"


def test_the_notebooks_own_cells_fill_nothing():
    """They train what the student wrote, and so mention it."""
    trains = code("square(train())\nlongest = 3")
    source = notebook(IMPORTS, solution_cell(), check_cell(), trains)
    given = read_assignment(source, source)
    cells = notebook(trains, solution_cell("def square(x):\n    return longest * x"), check_cell())
    found = [s for c in cells_for(cells, given, given.exercises[0]) for s in statements(c)]
    (solution, others) = found[-1:], found[:-1]
    taken = needed(solution, others, names=["square"], defined=())
    assert [ast.unparse(statement.node) for statement in taken] == ["longest = 3"]


def test_below_the_check_counts_what_is_nowhere_above():
    lines = chosen(
        code("ONE = 1"),
        solution_cell("def square(x):\n    return ONE * TWO * x"),
        check_cell(),
        code("ONE = 3\nTWO = 2\ndef square(x):\n    return 'an experiment'"),
    )
    assert "ONE = 1" in lines
    assert "TWO = 2" in lines
    assert "ONE = 3" not in lines
    assert "experiment" not in lines


def test_untouched_cells_and_text_are_passed_over():
    text = nbformat.v4.new_markdown_cell("def square(x): return 0")
    stub = code(STUB.source)
    given = assignment()
    cells = notebook(IMPORTS, stub, text, solution_cell(), check_cell(), code("square(4)"))
    found = cells_for(cells, given, given.exercises[0])
    assert [(cell.name, cell.kind, cell.above) for cell in found] == [
        ("solution", "solution", True),
        ("6", "own", False),
    ]


def test_a_submission_of_great_length_is_cut():
    given = assignment()
    long = code("x = 1\n" * 300_000)
    cells = notebook(long, solution_cell(), check_cell())
    assert [cell.kind for cell in cells_for(cells, given, given.exercises[0])] == ["solution"]


def test_the_time_to_choose_grows_as_the_submission_does():
    """Assignments in reverse order once took time that grew with their cube."""

    def calls(n: int) -> int:
        text = "\n".join(f"a{i} = a{i + 1}" for i in range(n))
        counted = 0

        def count(*_):
            nonlocal counted
            counted += 1

        cell = code(text)
        answer = solution_cell("def square(x):\n    return a0")
        sys.setprofile(count)
        try:
            lines = chosen(cell, answer)
        finally:
            sys.setprofile(None)
        assert len(lines.splitlines()) == n
        return counted

    assert calls(400) < 3 * calls(200)


# ------------------------------------------------------------------------------------ IPython's


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = (1\n% 2)", "x = (1\n% 2)"),
        ("x = '''\n!ls\n%time\n'''", "x = '''\n!ls\n%time\n'''"),
        ("\n%%time\n\nx = 1", "\n\n\nx = 1"),
        ("# mine\n%%time\nx = 1", "\n\nx = 1"),
        ("%%bash\nrm x", "get_ipython().run_cell_magic('bash', '', 'rm x\\n')"),
        ("x = 1\n!ls", "x = 1\nget_ipython().system('ls')"),
    ],
)
def test_a_cell_in_ipythons_words_becomes_python(text, expected):
    assert python(text) == expected


def test_lines_keep_their_numbers():
    text = "%%time\n\n%matplotlib inline\nfiles = !ls\n\nmark = 1"
    assert python(text).splitlines().index("mark = 1") == 5


# ---------------------------------------------------------------------------------- the source


def test_a_check_that_checks_nothing_is_a_mistake_of_the_source():
    with pytest.raises(SourceError, match="square-check"):
        assignment(IMPORTS, solution_cell(), check_cell("assert True"))


def test_an_exercise_has_the_solutions_that_its_check_uses():
    both = assignment(
        solution_cell("def cube(x):\n    return x**3"),
        code("def square(x):\n    return x * x", grade_id="b", solution=True, grade=False),
        check_cell(),
    )
    (exercise,) = both.exercises
    assert (exercise.names, exercise.solution_ids) == (("square",), ("b",))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((definitions_cell("1 / 0"), solution_cell(), check_cell()), "definitions.*division"),
        ((IMPORTS, solution_cell("def square(x):\n    return x"), check_cell()), "its own check"),
    ],
)
def test_a_source_that_fails_is_told_when_grading_begins(cells, message):
    with pytest.raises(SourceError, match=message), Grader(assignment(*cells)):
        pass


def test_verdicts_of_a_small_assignment(tmp_path):
    """Two cells of the same submission do not see each other, nor the grader's environment."""
    second = code("def two():\n    return 2", grade_id="two", solution=True, grade=False)
    check = code("assert two() == 2", grade_id="two-check", solution=False, grade=True, points=1)
    given = assignment(IMPORTS, solution_cell(), check_cell(), second, check)
    with Grader(given, limits=Limits(seconds=5), cache=tmp_path) as grader:
        assert all(grader.controls.values())
        answers = solution_cell("import os\nos.seen = 1\n" + SOLUTION)
        other = code(
            "import os\ndef two():\n    assert not hasattr(os, 'seen')\n"
            "    return 2 if 'SECRET' not in os.environ else 3",
            grade_id="two",
            solution=True,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SECRET", "token")
            verdicts = grader.grade(notebook(answers, other))
        assert {name: verdict.outcome for name, verdict in verdicts.items()} == {
            "square-check": "passed",
            "two-check": "passed",
        }
    assert len(list(tmp_path.iterdir())) == 2  # the controls, remembered
    assert grader._worker is None


# -------------------------------------------------------------------------------- wrong answers


def test_mutants_differ_from_the_answer_and_each_other_in_one_place():
    texts = mutants("def f(a, b):\n    return min(a + 1, b) if a < b else np.mean(b)")
    assert len(texts) == len(set(texts)) > 4
    assert any("a - 1" in text for text in texts)
    assert any("a + 2" in text for text in texts)
    assert any("a >= b" in text for text in texts)
    assert any("np.sum" in text for text in texts)
    assert texts == mutants("def f(a, b):\n    return min(a + 1, b) if a < b else np.mean(b)")


# --------------------------------------------------------------------------------- what is noticed


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (builtins, "zip"),
        (math, "exp"),
        (torch, "allclose"),
        (torch.Tensor, "numel"),
        ("ppo_bbrl.advantages", "gae"),
        ("ppo_course.nb03_clip.policy_objective", "same"),
    ],
)
def test_what_is_replaced_is_noticed_and_named(target, name, monkeypatch):
    target = importlib.import_module(target) if isinstance(target, str) else target
    _, changed = snapshot()
    assert changed() is None
    with monkeypatch.context() as patch:
        patch.setattr(target, name, lambda *_: True)
        found = changed()
    assert found is not None
    assert found.endswith(f".{name} was replaced")
    assert changed() is None


def test_what_hides_a_builtin_or_an_inherited_method_is_noticed(monkeypatch):
    module = importlib.import_module("ppo_course.nb03_clip.policy_objective")
    _, changed = snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(module, "zip", lambda *_, **__: iter(()), raising=False)
        assert changed() == "ppo_course.nb03_clip.policy_objective.zip was replaced"
    feedback = importlib.import_module("ppo_course.feedback")
    with monkeypatch.context() as patch:
        patch.setattr(feedback.ExerciseError, "__new__", lambda *_: SystemExit(0))
        assert changed() == "ppo_course.feedback.ExerciseError.__new__ was replaced"


def test_other_code_of_a_function_is_noticed():
    module = importlib.import_module("ppo_course.feedback")
    before = module.same.__code__
    _, changed = snapshot()
    try:
        module.same.__code__ = (lambda *_: True).__code__
        assert changed() == "ppo_course.feedback.same was replaced"
    finally:
        module.same.__code__ = before


def test_another_closure_of_a_check_is_noticed():
    """What a check runs is held by its closure alone."""
    module = importlib.import_module("ppo_course.nb02_values.td_error")
    cells = module.check_td_error.__closure__
    (cell,) = (cell for cell in cells if callable(cell.cell_contents))
    before = cell.cell_contents
    _, changed = snapshot()
    try:
        cell.cell_contents = lambda *_, **__: None
        assert changed() == "ppo_course.nb02_values.td_error.check_td_error was replaced"
    finally:
        cell.cell_contents = before


def test_a_value_of_the_check_is_watched_too(monkeypatch):
    """The right answer is one: who replaces it makes wrong ones right."""
    module = importlib.import_module("ppo_course.nb03_clip.policy_objective")
    _, changed = snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(module, "RIGHT", module.RIGHT[::-1])
        assert changed() == "ppo_course.nb03_clip.policy_objective.RIGHT was replaced"
    table = module.RESULTS_BY_HAND = {"right": 1}
    _, changed = snapshot()
    try:
        table["right"] = 2
        assert changed() == "ppo_course.nb03_clip.policy_objective.RESULTS_BY_HAND was replaced"
    finally:
        del module.RESULTS_BY_HAND


def test_what_an_exercise_compares_with_and_by_is_watched(monkeypatch):
    """Either would make wrong answers right: another truth, or no comparison at all."""
    module = importlib.import_module("ppo_course.nb10_bug_hunt.value_error")
    _, changed = snapshot()
    with monkeypatch.context() as patch:
        patch.setattr(module.EXERCISE, "compare", lambda *_, **__: None)
        assert changed() == "ppo_course.nb10_bug_hunt.value_error.EXERCISE.compare was replaced"
    truth = module.TRUTHS["Discounting"].right
    before = truth.__code__
    try:
        truth.__code__ = (lambda _: 0.0).__code__
        assert changed() == "ppo_course.nb10_bug_hunt.value_error.<lambda> was replaced"
    finally:
        truth.__code__ = before
    assert changed() is None


def test_what_is_harmless_is_not_noticed(monkeypatch):
    _settle_torch()  # as the worker does
    _, changed = snapshot()
    monkeypatch.setattr(torch, "a_student_was_here", 1, raising=False)
    monkeypatch.setitem(sys.modules, "helpers", types.ModuleType("helpers"))
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # wraps its own step
    optimizer.step()
    torch.distributions.Normal(0.0, 1.0).log_prob(torch.zeros(()))
    assert changed() is None


# ---------------------------------------------------------------------------------- what is refused

REFUSED = {
    "a process": "import subprocess; subprocess.run(['true'])",
    "a shell": "import os; os.system('true')",
    "a fork": "import os; os.fork()",
    "a signal": "import os; os.kill(os.getppid(), 0)",
    "the network": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "writing": "open('../outside.txt', 'w')",
    "deleting": "import os; os.remove('../outside.txt')",
    "reading the course": "open('../course/notes.txt')",
    "objects": "import gc; gc.get_objects()",
    "memory": "import ctypes; ctypes.string_at(0)",
    "tracing": "import sys; sys.settrace(print)",
    "frames": "import sys; sys._getframe()",
    "frames of the caller": "import inspect; inspect.currentframe()",
    "frames of an error": "try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame",
    "the inspected stack": "import inspect; inspect.stack()",
    "the stack": "import traceback; next(traceback.walk_stack(None))",
    "frames by text that is run": "exec('import sys; sys._getframe()')",
    "frames by a module": (
        "open('own.py', 'w').write('import sys; sys._getframe()')\n"
        "import sys; sys.path.insert(0, '.')\nimport own"
    ),
    "the name of a package": "compile('1', '/usr/lib/python3/torch.py', 'exec')",
    "the name of a check": "compile('1', '<check x>', 'exec')",
    "another name": "(lambda: 0).__code__.replace(co_filename='/usr/lib/x.py')",
    "marshalled code": "import marshal; marshal.loads(marshal.dumps((lambda: 0).__code__))",
    "a compiled module": (
        "import py_compile; open('own.py', 'w').write('1')\n"
        "py_compile.compile('own.py', 'own.pyc', dfile='/usr/lib/x.py')\nopen('own.pyc', 'rb')"
    ),
}
ALLOWED = {
    "writing here": "open('mine.txt', 'w').write('x'); import os; os.remove('mine.txt')",
    "reading": "import this",
    "a named tuple": "import collections; collections.namedtuple('A', 'b')",
    "a traceback": "import traceback as t\ntry:\n    1 / 0\nexcept Exception:\n    t.print_exc()",
    "warnings": "import warnings; warnings.warn('careful')",
    "a data class": "import dataclasses\n@dataclasses.dataclass\nclass A:\n    b: int = 0",
    "a library that looks": "from helping_library import caller; caller()",  # as Lightning does
    "logging": "import logging; logging.getLogger('a').warning('b')",
    "an import of late": "import colorsys, wave",
    "code of its own": "eval(compile('1', '<mine>', 'eval'))",
}
PROGRAM = """\
import json, os, sys
from ppo_course.grading import audit
from ppo_course.grading import audit, whose

sys.path.insert(0, os.path.abspath("../library"))
for name, code in json.loads(sys.argv[1]).items():
    sys.stdout.flush()
    if os.fork():
        os.wait()
        continue
    known = whose.recogniser(scratch=os.getcwd(), known={})
    audit.install(scratch=".", hidden=["../course"], whose=known)
    try:
        exec(compile(code, "<cell solution>", "exec"), {})
    except audit.NotAllowedError:
        print("refused:", name)
    else:
        print("allowed:", name)
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What became of each of the attempts above, in a process of its own; and where."""
    folder = tmp_path_factory.mktemp("audit")
    for name in ("here", "course", "library"):
        (folder / name).mkdir()
    library = "import inspect\ndef caller():\n    return inspect.currentframe() is not None\n"
    (folder / "library" / "helping_library.py").write_text(library, encoding="utf-8")
    for file in ("outside.txt", "course/notes.txt"):
        (folder / file).write_text("notes", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps({**REFUSED, **ALLOWED})],
        cwd=folder / "here",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), folder


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_students_code_may_not_do(name, told):
    lines, folder = told
    assert f"refused: {name}" in lines
    assert (folder / "outside.txt").read_text(encoding="utf-8") == "notes"


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_students_code_may_do(name, told):
    assert f"allowed: {name}" in told[0]


def test_an_exercise_is_a_value():
    """Two readings of a source are equal, so that a batch keeps its grader."""
    assert assignment() == assignment()
    assert isinstance(assignment().exercises[0], Exercise)
    assert assignment().definitions == (Code("definitions 1", "import math"),)


def test_half_an_answer_earns_half_where_the_check_turns_gradients_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    module = types.ModuleType("cell")
    module.check_gain_and_kl = ppo_course.check_gain_and_kl
    cell = compile("check_gain_and_kl(answer)", "<check>", "exec")

    def answer(_old, new, visits, advantage):
        return (visits * (new * advantage).sum(-1)).sum(), 1.0

    share, *told = trial._judge(module, (cell,), ("answer",), [answer])
    assert float(share) == 0.5
    assert "Right already: the gain" in "".join(told)


def test_time_in_which_others_kept_it_from_running_does_not_count():
    """Protects marks on a busy machine: three processes on one core, and one that sleeps."""
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel does not count it")
    core = min(os.sched_getaffinity(0))
    busy = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    commands = [busy, busy, busy, "import time\ntime.sleep(60)"]
    started = [subprocess.Popen([sys.executable, "-S", "-c", text]) for text in commands]
    try:
        time.sleep(1.5)
        *waited, slept = (_kept_waiting(process.pid) for process in started)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert sum(waited) > 1.0
    assert slept < min(0.5, sum(waited))
    assert _kept_waiting(started[0].pid) == 0
