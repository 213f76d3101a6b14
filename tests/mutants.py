"""Puts small silent bugs into a module, one at a time: do the nearest tests notice each of them?

    python tests/mutants.py [module ...] [--fresh] [--list] [--listed]

A module is named as in `ppo_bbrl`: `update`, `agents.base`. `agents` and `envs` stand for those of
their modules that have nearest tests in the table below.

The bugs (mutants) are found in the source as it is: comparisons, arithmetic, constants, dropped
statements, swapped arguments, limits of slices, and so on, and the list in `mutants.toml`. One that
no test notices needs a test, or a reason in `mutants.toml` why it changes nothing. What was noticed
once, or has a reason, is not run again until `--fresh`.

Nothing is written into the tree. Each mutant has a process of its own, forked after torch has been
imported, in which the module is compiled from the changed source. There the tests run that reach
the changed lines, the quickest first, until one fails.
"""

import argparse
import ast
import gc
import importlib.abc
import importlib.util
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ppo_bbrl"
RESULTS = ROOT / "outputs" / "mutants"
LISTED = Path(__file__).with_suffix(".toml")
WANTED = 0.95
LONGEST = 90.0  # seconds of tests for one mutant

# Verdicts on a mutant. Any other is the name of the test that fails with it.
UNNOTICED, UNREACHED, EXPLAINED = "unnoticed", "unreached", "explained"
ALIVE = (UNNOTICED, UNREACHED, EXPLAINED)
NO_END = "(it dies, or does not end)"
NO_TESTS = "(no tests)"

PRELOADED = (
    "pytest", "torch", "numpy", "gymnasium.envs.classic_control", "bbrl.agents.gymnasium",
    "bbrl_utils.algorithms", "omegaconf", "tensorboard", "hypothesis", "jaxtyping", "tqdm",
    "torch._dynamo", "pandas", "matplotlib.pyplot", "IPython.display",
)  # fmt: skip

# The tests nearest to each module. Recorded numbers are not among them: they notice everything,
# and say nothing about it.
_AGENTS = ("agents", "devices", "fits", "distributions", "rollout", "precision")
NEAREST = {
    "advantages": ("advantages", "rollout"),
    "losses": ("losses", "update"),
    "coefficients": ("coefficients", "update"),
    "rewards": ("normalisation",),
    "runs.failing": ("run_faults", "update"),
    "update": (
        "update", "engines", "flat", "replaced", "config_changes", "ppo", "compiled",
        "shared_trunk", "show",
    ),
    "minibatches": ("rollout", "losses", "memory", "ppo", "show"),
    "rollout": ("rollout", "devices", "ppo", "episodic", "shared_trunk", "show"),
    "ppo": ("ppo", "update", "replaced", "config_changes"),
    "distributions": ("distributions", "devices", "agents"),
    "episodic": ("episodic", "ppo", "evaluation", "config_changes"),
    "evaluation": ("evaluation", "ppo", "show"),
    "schedules": ("schedules",),
    "seeding": ("seeding", "evaluation"),
    "agents.base": _AGENTS,
    "agents.policies": _AGENTS,
    "agents.critics": _AGENTS,
    "agents.acting": _AGENTS,
    "agents.build": ("ppo", "compute"),
    "agents.encoders": ("networks", "agents"),
    "agents.learners": ("replaced", "optimizers", "shared_trunk"),
    "agents.learning": ("replaced", "ppo", "shared_trunk"),
    "agents.networks": ("networks", "agents"),
    "agents.numpy_actor": ("agents", "precision"),
    "agents.shared": ("shared_trunk",),
    "config.changes": ("config_changes",),
    "config.optimizers": ("optimizers", "replaced"),
    "envs.agent": ("envs", "env_arguments", "env_faults", "rollout", "episodic"),
    "envs.twins": ("twins",),
    "envs.vector": ("twins", "envs", "env_faults"),
    "fast.compiled": ("engines", "compiled", "replaced", "config_changes"),
    "fast.compiled_step": ("engines", "compiled", "replaced"),
    "fast.engines": ("engines", "compiled", "replaced"),
    "fast.flat": ("engines", "flat", "replaced", "compiled"),
    "runs.recording": ("recording", "episodic"),
    "workspace.storage": ("workspace",),
    "workspace.table": ("workspace", "show"),
}  # fmt: skip
# Rooms that may be named as a whole: what `agents.py` and `envs.py` once were.
ROOMS = {
    room: tuple(module for module in NEAREST if module.startswith(f"{room}."))
    for room in ("agents", "envs")
}
USUAL = ("advantages", "losses", "update", "rollout", "agents", "envs", "fast.flat", "ppo")


@dataclass(frozen=True)
class Mutant:
    """A module with a bug."""

    module: str
    old: str  # the lines that it changes, each space collapsed
    new: str
    lines: tuple[int, ...]
    source: bytes

    @property
    def key(self) -> str:
        return f"{self.module}: {self.old} -> {self.new}"


def path_of(module: str) -> Path:
    return PACKAGE / f"{module.replace('.', '/')}.py"


def tests_of(module: str) -> list[str]:
    return [f"tests/library/test_{name}.py" for name in NEAREST[module]]


def chosen_modules(names: Iterable[str]) -> list[str]:
    """The modules of these names, each of which may be a room."""
    modules = [module for name in names for module in ROOMS.get(name, (name,))]
    unknown = [module for module in modules if module not in NEAREST]
    if unknown:
        known = ", ".join([*NEAREST, *ROOMS])
        raise SystemExit(f"no tests are known for {', '.join(unknown)}; choose from {known}")
    return list(dict.fromkeys(modules))


# ------------------------------------------------------------------------------------- operators

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
    lines = tuple(range(line, source.count(b"\n", 0, end) + 2))
    return Mutant(module, old, new, lines, changed)


# ------------------------------------------------------------------------------------- processes


class Compiled(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets a module be imported from another source."""

    def __init__(self, name: str, source: bytes, path: Path) -> None:
        self.name, self.source, self.path = name, source, path

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_source(self, name: str) -> str:  # torch.compile asks
        return self.source.decode()

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def in_a_child(work: Callable[[], Any], timeout: float) -> Any:
    """What `work` returns in a forked process; NO_END if it dies or takes too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(reader)
        folder = tempfile.mkdtemp(prefix="mutant-")
        RESULTS.mkdir(parents=True, exist_ok=True)
        output = os.open(RESULTS / "last.log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        for number in (0, 1, 2):
            os.dup2(output, number)
        try:
            os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
            os.write(writer, json.dumps(work()).encode())
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)
    os.close(writer)
    told, end = b"", time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            break
        told += part
    os.close(reader)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return json.loads(told) if told else NO_END


def run_pytest(files: list[str], plugin: object) -> int:
    import pytest

    os.chdir(ROOT)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header"]
    return int(pytest.main([*options, *files], plugins=[plugin]))


class Measures:
    """A plugin that notes how long each test takes and which lines of a module it reaches."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.tests: dict[str, tuple[float, list[int]]] = {}

    def pytest_runtest_protocol(self, item: Any) -> None:
        self.lines: set[int] = set()
        self.begin = time.monotonic()
        sys.settrace(self._call)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "teardown":
            sys.settrace(None)
            self.tests[report.nodeid] = (time.monotonic() - self.begin, sorted(self.lines))

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename == self.path else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.lines.add(frame.f_lineno)
        return self._line


class Chooses:
    """A plugin that keeps some tests, the quickest first, and notes which of them fails."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.failed: str | None = None

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.seconds),
            key=lambda item: self.seconds[item.nodeid],
        )

    def pytest_runtest_protocol(self, item: Any) -> None:
        # The processor's time, so that an endless loop ends however busy the machine is.
        signal.setitimer(signal.ITIMER_PROF, 10 + 10 * self.seconds[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid

    pytest_collectreport = pytest_runtest_logreport


def measure(module: str) -> dict[str, tuple[float, list[int]]]:
    """Of each test nearest to a module: its seconds and the lines of the module that it reaches."""
    plugin = Measures(path_of(module))
    files = tests_of(module)
    code = run_pytest(files, plugin)
    if code != 0:
        raise SystemExit(f"the tests of {module} fail as it is: {files}")
    return plugin.tests


def noticed_by(mutant: Mutant, seconds: dict[str, float]) -> str:
    """The test that fails with a mutant, out of these; or UNNOTICED."""
    name = f"ppo_bbrl.{mutant.module}"
    sys.meta_path.insert(0, Compiled(name, mutant.source, path_of(mutant.module)))
    files = sorted({test.partition("::")[0] for test in seconds})
    plugin = Chooses(seconds)
    code = run_pytest(files, plugin)
    if code == 0:
        return UNNOTICED
    if code == 5:
        return NO_TESTS
    return plugin.failed or "the import of tests/conftest.py"


def try_out(mutant: Mutant, seconds: dict[str, float]) -> str:
    """`noticed_by` in a process of its own."""
    told = in_a_child(lambda: noticed_by(mutant, seconds), 60 + 10 * sum(seconds.values()))
    if told == NO_TESTS:
        raise SystemExit("the tests have changed since they were measured: begin again")
    return str(told)


# ----------------------------------------------------------------------------------------- report


def judge(
    module: str, *, explained: Collection[str], fresh: bool, listed_only: bool
) -> dict[str, str]:
    """The verdict on each mutant of a module: what noticed it, or one of ALIVE."""
    kept = RESULTS / f"{module}.json"
    before = {} if fresh or not kept.exists() else json.loads(kept.read_text(encoding="utf-8"))
    mutants = list(mutants_of(module, listed_only=listed_only))
    known = {key: verdict for key, verdict in before.items() if verdict not in ALIVE}
    if not fresh:
        known = dict.fromkeys(explained, EXPLAINED) | known
    todo = [mutant for mutant in mutants if mutant.key not in known]
    verdicts = {mutant.key: known[mutant.key] for mutant in mutants if mutant.key in known}
    print(f"{module}: {len(mutants)} mutants, {len(todo)} to try", flush=True)
    tests = measured(module) if todo else {}
    for number, mutant in enumerate(todo, 1):
        reached = {name for name, (_, lines) in tests.items() if set(lines) & set(mutant.lines)}
        # What runs at import, and what torch compiles, is traced in no test: then all are tried.
        verdict = try_out(mutant, quickest(tests, reached or set(tests)))
        if verdict == UNNOTICED and not reached:
            verdict = UNREACHED
        verdicts[mutant.key] = verdict
        if verdict in ALIVE:
            print(f"  {number}/{len(todo)} {verdict}: {mutant.old}  ->  {mutant.new}", flush=True)
        kept.write_text(json.dumps({**before, **verdicts}, indent=1), encoding="utf-8")
    return verdicts


def measured(module: str) -> dict[str, tuple[float, list[int]]]:
    """What `measure` tells. The tests must pass without a mutant, in the order that ours have."""
    tests = in_a_child(lambda: measure(module), 3600)
    if tests == NO_END:
        raise SystemExit(f"the tests nearest to {module} do not pass as it is")
    as_it_is = Mutant(module, "", "", (), path_of(module).read_bytes())
    failed = try_out(as_it_is, quickest(tests, set(tests)))
    if failed != UNNOTICED:
        raise SystemExit(f"without a mutant of {module}, but in another order: {failed}")
    return tests


def quickest(tests: dict[str, tuple[float, list[int]]], chosen: set[str]) -> dict[str, float]:
    """The seconds of the chosen tests, without the slowest where they take too long together."""
    seconds, total = {}, 0.0
    for name in sorted(chosen, key=lambda name: tests[name][0]):
        total += tests[name][0]
        if total < LONGEST:
            seconds[name] = tests[name][0]
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"of {', '.join([*NEAREST, *ROOMS])}")
    parser.add_argument("--fresh", action="store_true", help="forget what was noticed before")
    parser.add_argument("--list", action="store_true", help="show the mutants, try none")
    parser.add_argument("--listed", action="store_true", help="only those of mutants.toml")
    options = parser.parse_args()
    modules = chosen_modules(options.modules or USUAL)
    if options.list:
        for module in modules:
            for mutant in mutants_of(module, listed_only=options.listed):
                print(f"{module}:{mutant.lines[0]}: {mutant.old}  ->  {mutant.new}")
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each process would import them
    sys.path.insert(0, str(ROOT / "src"))  # of this tree, whatever is installed
    for name in PRELOADED:
        importlib.import_module(name)  # once for all children
    gc.freeze()  # they need not look through all that for garbage
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(RESULTS / "pycache")
    reasons = {
        f"{one['module']}: {one['old']} -> {one['new']}": one["reason"]
        for one in tomllib.loads(LISTED.read_text(encoding="utf-8")).get("equivalent", [])
    }
    failed, lines = False, []
    for module in modules:
        verdicts = judge(module, explained=reasons, fresh=options.fresh, listed_only=options.listed)
        alive = {key: verdict for key, verdict in verdicts.items() if verdict in ALIVE}
        unexplained = [key for key in alive if key not in reasons]
        counted = len(verdicts) - (len(alive) - len(unexplained))
        share = 1 - len(unexplained) / counted if counted else 1.0
        lines.append(
            f"{module:18} {len(verdicts):4} mutants, {len(verdicts) - len(alive):4} noticed, "
            f"{len(alive) - len(unexplained):3} explained, {len(unexplained):3} not: {share:.1%}"
        )
        failed |= share < WANTED
    print("\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
