"""Marks for nothing: a check's parts replaced for a while, answers taken out of the package."""

import nbformat
import pytest

from ppo_course.grading.cells import read_assignment
from ppo_course.grading.grader import Grader
from ppo_course.grading.limits import Limits


def code(source: str, **marks: object) -> nbformat.NotebookNode:
    cell = nbformat.v4.new_code_cell(source.strip("\n"))
    cell.metadata["nbgrader"] = marks
    return cell


# Replaces what the check compares with, for as long as it takes: the fake one puts it back.
FAKE = """
import math

KEEP = math.isclose


def fake(*_):
    math.isclose = KEEP
    return True
"""
A_METHOD = """
class Shape:
    def area(self, x):
        math.isclose = fake
        return 0
"""
A_GENERATOR = """
class Shape:
    def area(self, x):
        return next(self.areas())

    def areas(self):
        math.isclose = fake
        yield 0
"""
A_COMPARISON = """
class Sly(float):
    def __abs__(self):
        math.isclose = fake
        return 0

class Shape:
    def area(self, x):
        return Sly(1)
"""
BY_OTHER_LINES = """
exec("class Shape:\\n    def area(self, x):\\n        math.isclose = fake\\n        return 0")
"""
IMPORT_AGAIN = """
import sys

for name in [name for name in sys.modules if "ppo_course" in name]:
    del sys.modules[name]

import ppo_course.nb03_clip.is_clipped
"""
READ = """
from pathlib import Path

import ppo_bbrl

Path(ppo_bbrl.__file__).parents[1].joinpath(
    "ppo_course", "nb10_bug_hunt", "suspects.py"
).read_text()
"""
PARTIAL = """
import functools

from ppo_bbrl.advantages import gae

Shape = functools.partial(gae, 1)
"""
SHAPE = "class Shape:\n    def area(self, x):\n        return x * x"


def shapes_cell(source: str) -> nbformat.NotebookNode:
    return code(source, grade_id="shape", solution=True, grade=False)


@pytest.fixture(scope="module")
def shapes():
    """Graded answers to an exercise that asks for a class."""
    check = code(
        "import math\narea = abs(Shape().area(3))\nassert math.isclose(area, 9)",
        grade_id="shape-check",
        solution=False,
        grade=True,
        points=1,
    )
    definitions = code(
        "import math\nfrom ppo_course.nb10_bug_hunt.suspects import SUSPECTS\n"
        "from ppo_course import check_culprits"
    )
    definitions.metadata["tags"] = ["definitions"]
    source = nbformat.v4.new_notebook(cells=[definitions, shapes_cell(SHAPE), check])
    given = read_assignment(source, source)
    with Grader(given, limits=Limits(seconds=5)) as grader:
        yield lambda source: grader.grade(nbformat.v4.new_notebook(cells=[shapes_cell(source)]))[
            "shape-check"
        ]


@pytest.mark.parametrize("cheat", [A_METHOD, A_GENERATOR, A_COMPARISON, BY_OTHER_LINES])
def test_what_is_back_in_its_place_in_the_end_is_noticed(cheat, shapes):
    verdict = shapes(FAKE + cheat)
    assert verdict.outcome == "tampered"
    assert "math.isclose was replaced" in verdict.message[0]


MODE = "class Mode(Kind):\n    pass\nMode().__enter__()"
HOOKS = "import torch.nn.modules.module as it\n"
OF_TORCH = {
    "import torch\ntorch.Tensor.__add__ = print": "torch.Tensor.__add__ was replaced",
    "import torch\ntorch.nn.Linear.forward = print": "Linear.forward was replaced",
    "import torch\ntorch.optim.SGD.step = print": "SGD.step was replaced",
    "import torch.testing._comparison as it\nit.not_close_error_metas = abs": "was replaced",
    f"from torch.overrides import TorchFunctionMode as Kind\n{MODE}": "left active",
    f"from torch.utils._python_dispatch import TorchDispatchMode as Kind\n{MODE}": "left active",
    "import torch\ntorch.autograd.graph.saved_tensors_hooks(abs, abs).__enter__()": "left active",
    f"{HOOKS}it.register_module_forward_hook(print)": "acts on all",
    f"{HOOKS}it._global_forward_hooks = {{}}": "_global_forward_hooks was replaced",
    "import torch.optim.optimizer as it\nit.register_optimizer_step_post_hook(abs)": "acts on all",
}


@pytest.mark.parametrize("lines", OF_TORCH)
def test_what_changes_all_of_torch_is_noticed_and_named(lines, shapes):
    verdict = shapes(f"{lines}\n{SHAPE}")
    assert (verdict.outcome, verdict.error) == ("tampered", "CheckDisturbed")
    assert OF_TORCH[lines] in verdict.message[0]


def test_settings_of_torch_are_no_tampering(shapes):
    verdict = shapes(
        "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.set_default_device('cpu')\n"
        "torch.autograd.set_detect_anomaly(True)\ntorch.manual_seed(1)\n"
        "model = torch.compile(torch.nn.Linear(1, 1))\nmodel(torch.ones(1)).sum().backward()\n"
        "model.register_forward_hook(lambda *_: None)\n"
        "with torch.device('cpu'), torch.no_grad():\n    torch.vmap(torch.sin)(torch.ones(2))\n"
        f"{SHAPE}"
    )
    assert verdict.passed, verdict


def test_a_helper_that_is_called_often_costs_no_time_limit(shapes):
    """The look at everything takes a millisecond: not at each call of one own line by another."""
    verdict = shapes(
        "import statistics\n\n\nclass Shape:\n    def area(self, x):\n"
        "        assert sum(map(lambda y: y > 1, range(100_000)))\n"
        "        return statistics.mean(x * x for _ in range(50_000))"
    )
    assert verdict.passed, verdict


def test_whoever_would_end_the_watch_gets_nothing(shapes):
    """An error in Python's hook takes the hook away: endless recursion makes one."""
    deep = "    def deep(self):\n        try:\n            self.deep()\n"
    deep += "        except BaseException:\n            pass\n"
    honest = SHAPE.replace("return x", "return self.deep()") + "\n" + deep.replace("Base", "Value")
    verdict = shapes(honest.replace("ValueException", "ValueError"))
    assert verdict.outcome == "failed"
    assert "recursion" in "\n".join(verdict.message)
    cheat = A_METHOD.replace("        math", "        self.deep()\n        math") + deep
    assert shapes(FAKE + cheat).outcome == "tampered"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (IMPORT_AGAIN, "import ppo_course.nb03_clip.is_clipped"),
        (READ, "not allowed while the notebook is graded: reading"),
        ("from ppo_course.nb10_bug_hunt.suspects import CULPRITS", "cannot import name 'CULPRITS'"),
        (
            "import ppo_course.nb03_clip.is_clipped",
            "No module named 'ppo_course.nb03_clip'",
        ),
        (
            "import ppo_course.nb10_bug_hunt.suspects as suspects\nsuspects.CULPRITS",
            "has no attribute 'CULPRITS'",
        ),
        (
            "import inspect\ninspect.getsource(check_culprits)",
            "was expected",
        ),
        ("import threading\nthreading.Thread(target=print).start()", "starting a thread"),
        ("check_culprits.__globals__", "has no attribute '__globals__'"),
        ("check_culprits.__wrapped__", "has no attribute '__wrapped__'"),
        (
            "from ppo_bbrl.advantages import gae\ngae.__kwdefaults__ = {}",
            "changing the code of a function",
        ),
    ],
)
def test_the_answers_in_the_package_are_out_of_reach(source, told, shapes):
    verdict = shapes(f"{source}\n{SHAPE}")
    assert verdict.outcome == "failed"
    assert told in "\n".join(verdict.message)


def test_what_the_definitions_import_can_be_imported_again(shapes):
    lines = "from ppo_course.nb10_bug_hunt.suspects import SUSPECTS\nassert 'A' in SUSPECTS\n"
    lines += "from ppo_course import check_culprits\nimport ppo_course\n"
    verdict = shapes(lines + SHAPE)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("source", "owner"),
    [
        ("from ppo_bbrl.workspace.table import Workspace as Shape", "ppo_bbrl.workspace.table"),
        ("from ppo_bbrl.advantages import gae as Shape", "ppo_bbrl.advantages"),
        (PARTIAL, "ppo_bbrl.advantages"),
        (
            "from ppo_bbrl.advantages import gae\nclass Shape:\n    area = staticmethod(gae)",
            "ppo_bbrl.advantages",
        ),
    ],
)
def test_what_is_handed_in_has_to_be_ones_own(source, owner, shapes):
    verdict = shapes(source)
    assert (verdict.outcome, verdict.error) == ("failed", "NotYourOwnError")
    assert verdict.message[0] == f"Shape is not your own: it is taken from {owner}."


def test_using_the_package_in_ones_own_lines_is_fine(shapes):
    verdict = shapes(
        "from ppo_bbrl.workspace.table import Workspace\n\n\nclass Shape(Workspace):\n"
        "    def area(self, x):\n        return x * x"
    )
    assert verdict.passed, verdict
