"""Submissions as a course gets them, made from a notebook's own source: right, wrong, broken, sly.

A submission is the text of the file that a student hands in, with the marks that it deserves.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ppo_course.grading.cells import marks_of, without_marks

WRONG = Path(__file__).parent / "wrong"


@dataclass(frozen=True)
class Course:
    """An assignment: its source and its release."""

    source: NotebookNode
    release: NotebookNode

    @property
    def solutions(self) -> dict[str, str]:
        """The teacher's answers by the grade_id of the solution cell."""
        return {
            marks_of(cell)["grade_id"]: without_marks(cell.source)
            for cell in self.source.cells
            if marks_of(cell).get("solution") and cell.cell_type == "code"
        }

    @property
    def points(self) -> dict[str, float]:
        """Of each cell that a check grades."""
        return {
            marks_of(cell)["grade_id"]: float(marks_of(cell)["points"])
            for cell in self.source.cells
            if marks_of(cell).get("grade") and cell.cell_type == "code"
        }


class Draft:
    """A student at work on a release."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.notebook = copy.deepcopy(course.release)

    def cell(self, grade_id: str) -> NotebookNode:
        return next(c for c in self.notebook.cells if marks_of(c).get("grade_id") == grade_id)

    def write(self, **answers: str) -> "Draft":
        """Fill in solution cells; `_` in a name stands for `-`."""
        for name, text in answers.items():
            self.cell(name.replace("_", "-")).source = text
        return self

    def solve(self, *grade_ids: str) -> "Draft":
        """Fill in the teacher's answers; all of them if none is named."""
        for grade_id in grade_ids or self.course.solutions:
            self.cell(grade_id).source = self.course.solutions[grade_id]
        return self

    def place(self, grade_id: str) -> int:
        return self.notebook.cells.index(self.cell(grade_id))

    def add(self, code: str, *, at: int | None = None) -> "Draft":
        """A cell of the student's own, at the end or at a place."""
        cell = nbformat.v4.new_code_cell(code)
        self.notebook.cells.insert(len(self.notebook.cells) if at is None else at, cell)
        return self

    def duplicate(self, grade_id: str, source: str | None = None) -> "Draft":
        """A copy right below a cell, as copy and paste make it."""
        cell = copy.deepcopy(self.cell(grade_id))
        cell.id = cell.id[::-1]
        cell.source = cell.source if source is None else source
        self.notebook.cells.insert(self.place(grade_id) + 1, cell)
        return self

    def delete(self, *grade_ids: str) -> "Draft":
        for grade_id in grade_ids:
            del self.notebook.cells[self.place(grade_id)]
        return self

    @property
    def text(self) -> str:
        return nbformat.writes(self.notebook)


@dataclass(frozen=True)
class Submission:
    """What is handed in, and what it deserves.

    Attributes:
        name: of the student.
        text: of the file.
        marks: by the grade_id of the graded cell; those that are not named deserve nothing.
    """

    name: str
    text: str
    marks: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.marks.values())


def solution_of(source: NotebookNode, check: str) -> str:
    """The grade_id of the last solution cell above a graded cell."""
    last = ""
    for cell in source.cells:
        marks = marks_of(cell)
        if marks.get("grade_id") == check:
            return last
        if marks.get("solution"):
            last = marks["grade_id"]
    raise AssertionError(check)


def wrong_answers(grade_id: str) -> dict[str, str]:
    """The wrong answers to an exercise in `wrong/`, by name."""
    file = WRONG / f"{grade_id}.py"
    if not file.exists():
        return {}
    parts = re.split(r"^# %% (.+)\n", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


#: checks of a program as a whole: who has one step wrong fails them, unless its name says otherwise
WHOLE = ("write-ppo-run-check",)
STILL = "still learns"
#: of a wrong answer's name: some of its parts are right
WORTH = re.compile(r"worth (\d)/(\d)")


def for_any_notebook(course: Course) -> Iterator[Submission]:
    """What can go wrong in every notebook."""

    def submission(name: str, draft: Draft, *worth: str) -> Submission:
        return Submission(name, draft.text, {check: course.points[check] for check in worth})

    checks = list(course.points)
    first, *others = checks
    solution = solution_of(course.source, first)
    yield submission("perfect", Draft(course).solve(), *checks)
    yield submission("untouched", Draft(course))
    emptied = Draft(course)
    for grade_id in course.solutions:
        emptied.cell(grade_id).source = ""
    yield submission("emptied", emptied)
    copied = Draft(course).solve()
    for check in checks:
        copied.duplicate(check)
    for grade_id in course.solutions:
        copied.duplicate(grade_id, course.solutions[grade_id])
    yield submission("duplicated", copied, *checks)
    crashing = Draft(course).solve()
    crashing.cell(solution).source += "\n\nimport os\n\nprint('passed')\nos._exit(0)\n"
    yield submission("crashing", crashing, *others)
    broken = Draft(course).solve()
    broken.cell(solution).source += "\nreturn (\n"
    yield submission("not-python", broken, *(check for check in others if check not in WHOLE))
    for check in checks:
        answers = wrong_answers(solution_of(course.source, check))
        for number, (told, answer) in enumerate(answers.items(), start=1):
            draft = Draft(course).solve()
            draft.cell(solution_of(course.source, check)).source = answer
            rest = [c for c in checks if c != check and (c not in WHOLE or STILL in told)]
            wrong = submission(f"wrong-{check}-{number}", draft, *rest)
            if parts := WORTH.search(told):
                share = int(parts[1]) / int(parts[2])
                wrong.marks[check] = round(course.points[check] * share, 2)
            yield wrong


# ------------------------------------------------------------------------------------ notebook 03

OBJECTIVE, CLIPPED = "ppo-clip-policy-objective", "ppo-clip-is-clipped"
OBJECTIVE_CHECK, CLIPPED_CHECK = f"{OBJECTIVE}-check", f"{CLIPPED}-check"

BY_HELPERS = """\
def policy_objective(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new = workspace[f"{policy.prefix}logprob_predict"]
    advantage = workspace["advantage"]
    loss = surrogate(ratio(new, workspace[OLD]), advantage.detach(), cfg.algorithm.clip_range)
    return loss, workspace[f"{policy.prefix}entropy"], advantage
"""
HELPERS = """\
%matplotlib inline
import math as mathematics

OLD = "old_" + "policy/logprob_predict"
ONE = mathematics.exp(0)


def surrogate(r, a, eps):
    return torch.min(r * a, r.clamp(ONE - eps, ONE + eps) * a).mean()

raise SystemExit("what nobody needs is not run")
"""
MORE_HELPERS = "def ratio(new, old):\n    return (new - old.detach()).exp()\n"

WRONG_OBJECTIVE = """\
def policy_objective(policy, workspace, cfg):
    return 0 * workspace["advantage"].mean(), workspace["advantage"], workspace["advantage"]
"""

READ = """\
def policy_objective(policy, workspace, cfg):
    policy(workspace, t=0, predict_proba=True, compute_entropy=True)
    new, old, advantage, entropy = workspace[
        f"{policy.prefix}logprob_predict", "old_policy/logprob_predict", "advantage",
        f"{policy.prefix}entropy",
    ]
    r, a, eps = (new - old.detach()).exp(), advantage.detach(), cfg.algorithm.clip_range
    loss = torch.min(r * a, r.clamp(1 - eps, 1 + eps) * a).mean()
"""
# Right where the visible check looks, and nowhere else.
BY_HEART = READ + "    return loss if eps in (0.2, 0.4) else 0 * loss, entropy, advantage\n"
# Wrong, but each of them passes with a small change of what the check uses.
SIGN_TURNED = READ + "    return -loss, entropy, advantage\n"
TOO_LARGE = READ + "    return loss + 17, entropy, advantage\n"
PATCHES_ALLCLOSE = """\
same = torch.allclose
torch.allclose = lambda one, other, **more: same(one, other, **more) or same(one, -other, **more)

"""
PATCHES_RANGE = """\
import builtins

counts = builtins.range
builtins.range = lambda *ends: () if ends in ((2,), (3,)) else counts(*ends)

"""
# Takes two parts of the check away while it is called, and puts them back in the last moment.
PATCHES_FOR_A_WHILE = """\
parts = check_policy_objective.__wrapped__.__globals__
BEFORE = {name: parts[name] for name in ("_check_values", "_check_gradients")}
COUNT = []


def gradients(*_, **__):
    COUNT.append(1)
    if len(COUNT) == 7:
        parts.update(BEFORE)


"""
WHILE_CALLED = (
    "\n    parts.update(_check_values=lambda *_, **__: None, _check_gradients=gradients)\n"
    "    return -loss, entropy, advantage\n"
)


def with_first_line(line: str) -> str:
    """A function that does something before it returns nonsense."""
    body = "\n".join(f"    {part}" for part in line.splitlines())
    return f"def policy_objective(policy, workspace, cfg):\n{body}\n    return None, None, None\n"


#: name → the solution cell of an exercise that is not solved; the other exercise is
BAD_OBJECTIVES = {
    "endless": with_first_line("while True:\n    pass"),
    "endless-at-once": "while True:\n    pass\n",
    "sleeping": with_first_line("import time\ntime.sleep(1000)"),
    "recursive": "def policy_objective(*arguments):\n    return policy_objective(*arguments)\n",
    "segfault": ("import faulthandler\n\n" + with_first_line("faulthandler._sigsegv()")),
    "abort": "import os\n\n" + with_first_line("os.abort()"),
    "killing": (
        "import os\n\nfor process in (os.getpid(), os.getppid()):\n    os.kill(process, 9)\n"
    ),
    "killing-quietly": with_first_line(
        "import os\ntry:\n    os.kill(os.getppid(), 9)\nexcept OSError:\n    os._exit(0)"
    ),
    "list-eater": with_first_line("rows = [0]\nwhile True:\n    rows += rows"),
    "tensor-eater": with_first_line("return torch.ones(10**11), None, None"),
    "exit": "import sys\n\n" + with_first_line("print('passed')\nsys.exit(0)"),
    "exit-at-once": "print('Well done!')\nraise SystemExit(0)\n",
    "os-exit": "import os\n\n" + with_first_line("print('passed')\nos._exit(0)"),
    "interrupt": with_first_line("raise KeyboardInterrupt"),
    "strange-error": (
        "class Strange(Exception):\n    def __str__(self):\n        raise SystemExit(0)\n\n\n"
        + with_first_line("raise Strange")
    ),
    "by-heart": BY_HEART,
    "own-check": WRONG_OBJECTIVE + "\n\ndef check_policy_objective(*_, **__):\n    print('fine')\n",
    "patched-package": (
        "parts = check_policy_objective.__wrapped__.__globals__\n"
        "for part in ('values', 'form', 'companions', 'gradients'):\n"
        "    parts[f'_check_{part}'] = lambda *_: None\n\n" + WRONG_OBJECTIVE
    ),
    "imports-the-check": (
        "import ppo_course.nb03_clip.policy_objective as module\n\n"
        "module._check_values = lambda *_: None\n\n" + SIGN_TURNED
    ),
    "patched-code": (
        "def nothing(function, *, seed=None):\n    pass\n\n"
        "check_policy_objective.__code__ = nothing.__code__\n\n" + WRONG_OBJECTIVE
    ),
    "patched-torch": PATCHES_ALLCLOSE + SIGN_TURNED,
    "patched-values": (
        "parts = check_policy_objective.__wrapped__.__globals__\n"
        "turned = parts['SIGNS'].wrong['sign']\n"
        "parts['RIGHT'] = (*parts['RIGHT'][:4], turned)\n\n" + SIGN_TURNED
    ),
    "patched-builtins": PATCHES_RANGE + TOO_LARGE,
    "patched-for-a-while": PATCHES_FOR_A_WHILE + READ + WHILE_CALLED,
    "patched-error": (
        "from ppo_course import feedback\n\nfeedback.ExerciseError.__new__ = "
        "lambda cls, *_: SystemExit(0)\n\n" + WRONG_OBJECTIVE
    ),
    "agreeable": (
        "class Agreeable(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, function, types, args=(), kwargs=None):\n"
        "        return True\n\n\n"
        + with_first_line(
            "policy(workspace, t=0, predict_proba=True, compute_entropy=True)\n"
            "return (torch.zeros(()).as_subclass(Agreeable),\n"
            "        workspace[f'{policy.prefix}entropy'], workspace['advantage'])"
        )
    ),
    "forger": (
        "import json\nimport os\n\n"
        + with_first_line(
            "for descriptor in range(3, 64):\n    try:\n"
            "        os.write(descriptor, json.dumps(['?', 'passed', '', []]).encode())\n"
            "    except OSError:\n        pass\nos._exit(0)"
        )
    ),
    "spy": (
        "import json\nimport os\nimport sys\n\n"
        + with_first_line(
            "frame = sys._getframe()\nwhile frame:\n    reply = frame.f_locals.get('reply')\n"
            "    if reply:\n        message = json.dumps([reply.secret, 'passed', '', []])\n"
            "        os.write(reply.descriptor, message.encode())\n        os._exit(0)\n"
            "    frame = frame.f_back"
        )
    ),
    "spy-by-traceback": (
        "import json\nimport os\n\n"
        + with_first_line(
            "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n"
            "    frame = error.__traceback__.tb_frame\n"
            "while frame:\n    reply = frame.f_locals.get('reply')\n"
            "    if reply:\n        message = json.dumps([reply.secret, 'passed', '', []])\n"
            "        os.write(reply.descriptor, message.encode())\n        os._exit(0)\n"
            "    frame = frame.f_back"
        )
    ),
    "shell": with_first_line("import subprocess\nsubprocess.run(['touch', '/tmp/x'], check=True)"),
}


RAISES_HALF = with_first_line(r"raise ValueError('\ud83d <b>\0')")
BOTH = (OBJECTIVE_CHECK, CLIPPED_CHECK)
LATER = tuple(
    f"ppo-clip-{name}-check" for name in ("critic-objective", "policy", "iteration", "quiz")
)
ALL = (*BOTH, *LATER)
REST = (CLIPPED_CHECK, *LATER)  # of who has all but the objective


# ----------------------------------------------------------------------------- notebooks 09 and 10

# In all of these the check's parts are back in their places when it has come to its end.
PATCHES_BY_A_METHOD = """\
parts = check_training_step.__wrapped__.__globals__
KEEP = {name: parts[name] for name in ("_check_values", "_check_gradients")}
LEFT = []


def gradients(*_, **__):
    LEFT.pop()
    if not LEFT:
        parts.update(KEEP)


class ClippedPPO(PPO):
    def training_step(self, batch, batch_idx):
        LEFT.append(1)
        parts.update(_check_values=lambda *_, **__: None, _check_gradients=gradients)
        return 0 * self(batch.observations)[1].sum()
"""
PATCHES_BY_A_GENERATOR = """\
parts = check_minibatch_stream.__wrapped__.__globals__
KEEP = parts["_check_steps"]


def steps(*_, **__):
    parts["_check_steps"] = KEEP


def minibatch_stream(collect, split, too_far, num_rollouts, epochs_per_rollout):
    parts["_check_steps"] = steps
    for _ in range(num_rollouts):
        rollout = collect()
        for _ in range(epochs_per_rollout):
            for batch in split(rollout):
                too_far(batch)
                yield batch
"""
IMPORTS_THE_STEP = """\
class ClippedPPO(PPO):
    training_step = PPO.training_step
"""
AGREES_WITH_ALL = """\
class Right(str):
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __hash__ = lambda self: id(self)


def culprits():
    return {name: Right("innocent") for name in "ABCDEFG"}
"""
IMPORTS_THE_CULPRITS = """\
from ppo_course.nb10_bug_hunt.suspects import CULPRITS


def culprits():
    return dict(CULPRITS)
"""

#: notebook → name → the solution cell that is not solved, and what is in it
CHEATS = {
    "09_lightning": {
        "patched-by-a-method": ("lightning-training-step", PATCHES_BY_A_METHOD),
        "patched-by-a-generator": ("lightning-minibatch-stream", PATCHES_BY_A_GENERATOR),
        "borrowed-method": ("lightning-training-step", IMPORTS_THE_STEP),
    },
    "10_bug_hunt": {
        "agrees-with-all": ("bug-hunt-culprits", AGREES_WITH_ALL),
        "imported-culprits": ("bug-hunt-culprits", IMPORTS_THE_CULPRITS),
    },
}


def cheats(name: str, course: Course) -> Iterator[Submission]:
    """Those that get the points of the other exercises."""
    for student, (solution, answer) in CHEATS.get(name, {}).items():
        draft = Draft(course).solve()
        draft.cell(solution).source = answer
        worth = {
            c: p for c, p in course.points.items() if solution_of(course.source, c) != solution
        }
        yield Submission(student, draft.text, worth)


def for_ppo_clip(course: Course) -> Iterator[Submission]:
    """What else can go wrong in notebook 03."""
    for part in (ways_to_answer, check_cells, broken_files, other_cells):
        for name, draft, worth in part(course):
            text = draft.text if isinstance(draft, Draft) else draft
            yield Submission(name, text, {check: course.points[check] for check in worth})
    for name, answer in BAD_OBJECTIVES.items():
        draft = Draft(course).solve().write(ppo_clip_policy_objective=answer)
        yield Submission(name, draft.text, {check: course.points[check] for check in REST})


#: name, what is handed in, the checks that it passes
Case = tuple[str, Draft | str, tuple[str, ...]]


def wrong_draft(course: Course) -> Draft:
    return Draft(course).solve().write(ppo_clip_policy_objective=WRONG_OBJECTIVE)


def ways_to_answer(course: Course) -> Iterator[Case]:
    yield "first-only", Draft(course).solve(OBJECTIVE), (OBJECTIVE_CHECK,)
    yield "second-only", Draft(course).solve(CLIPPED), (CLIPPED_CHECK,)

    helpers = Draft(course).solve().write(ppo_clip_policy_objective=BY_HELPERS)
    helpers.add(HELPERS, at=helpers.place(OBJECTIVE)).add(MORE_HELPERS)
    yield "helpers-in-own-cells", helpers, ALL
    own_cell = Draft(course).solve(CLIPPED)
    own_cell.add(course.solutions[OBJECTIVE], at=own_cell.place(OBJECTIVE) + 1)
    yield "answer-in-own-cell", own_cell, BOTH
    stub = Draft(course).cell(OBJECTIVE).source
    yield "stub-below-the-answer", Draft(course).solve().duplicate(OBJECTIVE, stub), ALL

    training = (
        Draft(course).solve().add("while True:\n    pass").add("import os\nos._exit(1)", at=3)
    )
    yield "trains-for-ever", training, ALL
    wordy = Draft(course).solve()
    wordy.cell(OBJECTIVE).source = (
        "import sys\nimport warnings\n\nwarnings.warn('careful', stacklevel=1)\n"
        "print('x' * 2_000_000, file=sys.stderr)\n" + wordy.cell(OBJECTIVE).source
    )
    yield "prints-and-warns", wordy, ALL


def check_cells(course: Course) -> Iterator[Case]:
    yield "deleted-checks", Draft(course).solve().delete(*BOTH), ALL
    yield "deleted-checks-and-wrong", wrong_draft(course).delete(*BOTH), REST
    yield "deleted-solutions", Draft(course).delete(OBJECTIVE, CLIPPED), ()
    edited = wrong_draft(course)
    edited.cell(OBJECTIVE_CHECK).source = "print('Well done!')"
    edited.cell(OBJECTIVE_CHECK).metadata.nbgrader.update(points=100, locked=False, grade=False)
    yield "edited-check", edited, REST
    renamed = wrong_draft(course)
    renamed.cell(OBJECTIVE_CHECK).metadata.nbgrader["grade_id"] = "another"
    renamed.cell(CLIPPED_CHECK).metadata.nbgrader["grade_id"] = OBJECTIVE_CHECK
    yield "renamed-checks", renamed, REST


def broken_files(course: Course) -> Iterator[Case]:
    as_text = Draft(course).solve()
    cell = as_text.cell(CLIPPED)
    cell.cell_type = "raw"
    del cell["outputs"], cell["execution_count"]
    yield "answer-became-raw", as_text, ALL

    odd = Draft(course).solve()
    odd.notebook.cells[0].metadata["nbgrader"] = {}
    odd.cell(OBJECTIVE).metadata.nbgrader["schema_version"] = 1
    odd.cell(CLIPPED_CHECK).metadata.nbgrader = {"grade_id": CLIPPED_CHECK, "grade": "yes"}
    odd.notebook.cells[4].metadata["nbgrader"] = ["?"]
    odd.notebook.metadata.pop("kernelspec", None)
    yield "odd-metadata", odd, ALL
    colab = json.loads(Draft(course).solve().text)
    colab["nbformat_minor"] = 0
    for cell in colab["cells"]:
        del cell["id"]
        cell["metadata"]["id"] = "Zx81"
    colab["metadata"] = {"colab": {"provenance": []}, "kernelspec": {"name": "colab"}}
    yield "colab", json.dumps(colab), ALL
    half = Draft(course).solve()
    half.notebook.cells[1].source += "HALF"
    half.add("name = 'HALF'")
    yield "half-a-character", half.text.replace("HALF", "\\ud83d"), ALL
    raising = Draft(course).solve(CLIPPED).write(ppo_clip_policy_objective=RAISES_HALF)
    yield "raises-half-a-character", raising, (CLIPPED_CHECK,)
    yield "browser-named", Draft(course).solve(), ALL
    yield "empty-notebook", nbformat.writes(nbformat.v4.new_notebook()), ()
    yield "not-a-notebook", "print('hello')\n", ()


def other_cells(course: Course) -> Iterator[Case]:
    patched = wrong_draft(course)
    patched.add("import torch\ntorch.allclose = lambda *_, **__: True", at=1)
    patched.add("def check_policy_objective(*_, **__):\n    pass", at=2)
    yield "patched-in-other-cells", patched, REST
    reader = with_first_line(
        "from pathlib import Path\n"
        "for path in Path('COURSE').glob('source/*/*'):\n    text = path.read_text()\n"
        "return eval(text)"
    )
    draft = wrong_draft(course).write(ppo_clip_policy_objective=reader)
    yield "reads-the-source", draft, REST
    writer = with_first_line("from pathlib import Path\nPath('COURSE/gradebook.db').write_text('')")
    draft = wrong_draft(course).write(ppo_clip_policy_objective=writer)
    yield "overwrites-the-gradebook", draft, REST


SPECIAL: dict[str, Callable[[Course], Iterator[Submission]]] = {"03_ppo_clip": for_ppo_clip}


def submissions(name: str, course: Course) -> list[Submission]:
    """All of a notebook's."""
    special = SPECIAL.get(name)
    more = special(course) if special else ()
    return [*for_any_notebook(course), *more, *cheats(name, course)]
