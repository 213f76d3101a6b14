"""Runs tests with a bug in a module: each bug in a process of its own, forked ready to run.

Nothing is written into the tree. The process that forks has imported the tests. Where the bug is in
the body of a function, the function gets the changed code there; what has run already when the
tests are imported gets a process that imports all of it anew, from the changed source.
"""

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
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

from mutant_sources import PACKAGE, ROOT, Mutant, code_of, path_of

RESULTS = ROOT / "outputs" / "mutants"
VARIED = 20  # tests of functions that are compiled and so on, where no other reaches a bug
LONGEST = 15.0  # seconds of tests for one mutant; a third where none is known to reach it
AT_LEAST = 2  # tests, however long they take
TOO_LONG = 5.0  # seconds of a test, of which others will have noticed most

# Verdicts on a mutant. Any other is the name of the test that fails with it.
UNNOTICED, UNREACHED, EXPLAINED = "unnoticed", "unreached", "explained"
ALIVE = (UNNOTICED, UNREACHED, EXPLAINED)
NO_END = "(it dies, or does not end)"
ANEW = "(to be imported anew)"

Lines = dict[str, list[int]]  # by the name of the module
Measured = dict[str, tuple[float, Lines]]  # by test: its seconds, and the lines that it reaches


class Compiled(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets a module be imported from another source."""

    def __init__(self, mutant: Mutant) -> None:
        self.name, self.source = f"ppo_bbrl.{mutant.module}", mutant.source
        self.path = path_of(mutant.module)

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


def in_a_child(work: Callable[[Callable[[Any], None]], None], log: str) -> Iterator[Any]:
    """What `work` tells from a forked process, as it comes. The process ends with the iterator.

    `send(seconds)` into the iterator changes how long the next word may take; after that, or when
    the process dies, the iterator ends.
    """
    reader, writer = os.pipe()
    folder = tempfile.mkdtemp(prefix="mutant-")
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.close(reader)
            RESULTS.mkdir(parents=True, exist_ok=True)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            output = os.open(RESULTS / log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1), os.dup2(output, 2)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
            work(lambda word: _write(writer, json.dumps(word).encode() + b"\n"))
        except BaseException:  # noqa: BLE001 - it must not go on as the parent
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    seconds, rest = 3600.0, b""
    try:
        while select.select([reader], [], [], seconds)[0] and (part := os.read(reader, 1 << 16)):
            *words, rest = (rest + part).split(b"\n")
            for word in words:
                seconds = (yield json.loads(word)) or seconds
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        shutil.rmtree(folder, ignore_errors=True)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def run_pytest(files: Sequence[str], plugin: object) -> int:
    import pytest

    os.chdir(ROOT)
    options = ["-q", "-s", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    options += ["-m", "not slow and not browser"]  # all cases of tests that are wide
    return int(pytest.main([*options, *files], plugins=[plugin, AnyExample()]))


class AnyExample:
    """A plugin for hypothesis: a bug shows in whatever example, not only in the smallest one."""

    def pytest_configure(self) -> None:
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", settings.get_profile("repeatable"), phases=phases)
        settings.load_profile("mutants")


# --------------------------------------------------------------------------------------- measure


class TooLong(BaseException):
    """Raised in a test that takes too long for trying mutants with it."""


def _too_long(*_: object) -> None:
    signal.setitimer(signal.ITIMER_PROF, 1)  # again, where something catches it
    raise TooLong


def is_varied(item: Any) -> bool:
    """Whether a test is of a function that is compiled, vectorised and so on.

    A bug in a function shows in the function as it is, in a sixteenth of the time.
    """
    return "every_variant" in item.fixturenames and "[eager" not in item.name  # of `variants.py`


class Measures:
    """A plugin that tells how long each test takes and which lines of the package it reaches.

    A test that takes too long is left, and not told.
    """

    def __init__(self, tell: Callable[[Any], None]) -> None:
        import coverage

        self.tell = tell
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=[f"{PACKAGE}/*"], messages=False
        )
        self.coverage.set_option("run:disable_warnings", ["no-data-collected"])
        self.seconds: dict[str, float] = {}
        self.failed = False
        self.coverage.start()

    def pytest_runtest_protocol(self, item: Any) -> None:
        self.begin, self.outcome = _seconds(), "passed"
        self.coverage.switch_context(item.nodeid)
        signal.signal(signal.SIGPROF, _too_long)
        signal.setitimer(signal.ITIMER_PROF, TOO_LONG)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if not is_varied(item)]

    def pytest_exception_interact(self, call: Any) -> None:
        if not isinstance(call.excinfo.value, TooLong):
            self.failed = True

    def pytest_runtest_logreport(self, report: Any) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0 if report.when == "teardown" else TOO_LONG)
        if report.outcome != "passed":
            self.outcome = report.outcome
        if report.when == "teardown":
            self.coverage.switch_context("")
            if self.outcome == "passed":
                computed, waited = (
                    now - then for now, then in zip(_seconds(), self.begin, strict=True)
                )
                self.seconds[report.nodeid] = max(computed, waited / 4)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        for test, seconds in self.seconds.items():
            data.set_query_context(test)
            lines = {
                _module(file): sorted(data.lines(file) or ()) for file in data.measured_files()
            }
            self.tell([test, seconds, {module: found for module, found in lines.items() if found}])
        self.tell(self.failed)


def _seconds() -> tuple[float, float]:
    """Of all processors for this process and its children; and by the clock."""
    times = os.times()
    return sum(times[:4]), times.elapsed


def _module(file: str) -> str:
    return Path(file).relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")


def measure(file: str) -> Measured:
    """Of each test of a file: its seconds, and the lines of the package that it reaches.

    Those of the processors, so that they say the same on a busy machine; what a test waits for
    counts a quarter.
    """
    told = in_a_child(lambda tell: tell(run_pytest([file], Measures(tell))), "measure.log")
    *tests, failed, code = told
    if failed or code not in (0, 1):
        raise SystemExit(f"{file} fails as it is: {RESULTS / 'measure.log'}")
    return {name: (seconds, lines) for name, seconds, lines in tests}


# ----------------------------------------------------------------------------------------- tries


def in_order(tests: Measured, chosen: set[str], kills: Counter[str], longest: float) -> list[str]:
    """The chosen tests, the quickest first and those that find much; not those that take long.

    If none is chosen: of all tests those of a third of the time.
    """
    if not chosen:
        chosen, longest = set(tests), longest / 3

    def cost(name: str) -> float:
        return (tests[name][0] + 0.01) / (1 + kills[name])

    kept, total = [], 0.0
    for name in sorted(chosen, key=cost):
        if total + tests[name][0] <= longest or len(kept) < AT_LEAST:
            kept.append(name)
            total += tests[name][0]
    return kept


class Tries:
    """A plugin that runs no test itself: it forks a process for each mutant."""

    def __init__(
        self,
        tests: Measured,
        mutants: Sequence[Mutant],
        longest: float,
        tell: Callable[[Any], None],
    ) -> None:
        self.tests, self.mutants, self.longest, self.tell = tests, mutants, longest, tell
        self.kills: Counter[str] = Counter()
        self.path = str(path_of(mutants[0].module))
        self.ran: set[tuple[str, int]] = set()
        sys.settrace(self.note)  # until all is imported

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code.co_filename == self.path:
            self.ran.add((code.co_qualname, code.co_firstlineno))

    def pytest_runtestloop(self, session: Any) -> bool:
        sys.settrace(None)
        self.items = {item.nodeid: item for item in session.items}
        varied = [name for name, item in self.items.items() if is_varied(item)]
        self.varied = varied[:: len(varied) // VARIED + 1]
        self.live: dict[tuple[str, int], list[FunctionType]] = {}
        self.original: CodeType = compile(Path(self.path).read_bytes(), self.path, "exec")
        for found in gc.get_objects():
            if isinstance(found, FunctionType) and found.__code__.co_filename == self.path:
                code = found.__code__
                self.live.setdefault((code.co_qualname, code.co_firstlineno), []).append(found)
        gc.collect()
        gc.freeze()  # the children need not look through all that
        for mutant in self.mutants:
            changes = self.changes(mutant)
            verdict = ANEW if changes is None else self.judge(session, mutant, changes)
            self.tell(verdict)
        return True

    def changes(self, mutant: Mutant) -> list[tuple[FunctionType, CodeType]] | None:
        """The functions to change; None where the module has to be imported anew."""
        if not mutant.new or f"ppo_bbrl.{mutant.module}" not in sys.modules:
            return []  # there is none; or it will be imported, from the changed source
        if mutant.function is None or mutant.function in self.ran:
            return None  # what came of it may be kept
        old = code_of(self.original, mutant.function)
        new = code_of(compile(mutant.source, self.path, "exec"), mutant.function)
        functions = self.live.get(mutant.function, [])
        if old is None or new is None or not functions or old.co_freevars != new.co_freevars:
            return None
        return [(function, new) for function in functions]

    def judge(
        self, session: Any, mutant: Mutant, changes: list[tuple[FunctionType, CodeType]]
    ) -> str:
        chosen = reaching(self.tests, mutant)
        names = in_order(self.tests, chosen, self.kills, self.longest)
        if not chosen:
            names += self.varied

        def work(tell: Callable[[Any], None]) -> None:
            sys.meta_path.insert(0, Compiled(mutant))
            for function, code in changes:
                function.__code__ = code
            run_items(session, [self.items[name] for name in names], self.tests, tell)

        verdict = verdict_of(in_a_child(work, "last.log"))
        self.kills[verdict] += 1
        return UNREACHED if verdict == UNNOTICED and not chosen else verdict


def reaching(tests: Measured, mutant: Mutant) -> set[str]:
    """The tests that reach a line that a mutant changes.

    What runs at import, and what torch compiles, is traced in no test.
    """
    lines = set(mutant.lines)
    return {
        name for name, (_, reached) in tests.items() if lines & set(reached.get(mutant.module, ()))
    }


class Failures:
    """A plugin that notes a failure."""

    failed: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed = report.nodeid


def run_items(
    session: Any, items: Sequence[Any], tests: Measured, tell: Callable[[Any], None]
) -> None:
    """Run tests until one fails: tell what each may take before it, and at the end which failed."""
    failures = Failures()
    session.config.pluginmanager.register(failures)
    for item, following in zip(items, [*items[1:], None], strict=True):
        seconds = tests[item.nodeid][0] if item.nodeid in tests else 10.0
        tell(60 + 60 * seconds)  # by the clock
        # The processor's time, so that an endless loop ends however busy the machine is.
        signal.setitimer(signal.ITIMER_PROF, 5 + 5 * seconds)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failures.failed:
            break
    tell(failures.failed or UNNOTICED)


def verdict_of(told: Any) -> str:
    """What `run_items` tells at the end; NO_END if it does not come to it."""
    seconds: float | None = None
    with suppress(StopIteration):
        while not isinstance(word := told.send(seconds), str):
            seconds = word
        told.close()
        return word
    return NO_END


class Chooses:
    """A plugin that runs some tests, in this order."""

    def __init__(self, names: Sequence[str], tests: Measured, tell: Callable[[Any], None]) -> None:
        self.names, self.tests, self.tell = names, tests, tell

    def pytest_runtestloop(self, session: Any) -> bool:
        found = {item.nodeid: item for item in session.items}
        items = [found[name] for name in self.names if name in found]
        run_items(session, items, self.tests, self.tell)
        return True

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.tell(f"the import of {report.nodeid}")


def try_anew(mutant: Mutant, tests: Measured, longest: float) -> str:
    """The test that fails with a mutant, where the module is imported with the bug in it."""
    names = in_order(tests, reaching(tests, mutant), Counter(), longest)
    files = sorted({name.partition("::")[0] for name in names})

    def work(tell: Callable[[Any], None]) -> None:
        sys.meta_path.insert(0, Compiled(mutant))
        tell(300)
        run_pytest(files, Chooses(names, tests, tell))
        tell("the import of the tests")

    return verdict_of(in_a_child(work, "last.log"))


def verdicts(
    mutants: Sequence[Mutant], tests: Measured, longest: float = LONGEST
) -> Iterator[tuple[Mutant, str]]:
    """The mutants of one module with what noticed each, as it comes."""
    module = mutants[0].module
    as_it_is = Mutant(module, "", "", (), path_of(module).read_bytes())
    files = sorted({name.partition("::")[0] for name in tests})
    tried = [as_it_is, *mutants]
    told = in_a_child(
        lambda tell: tell(run_pytest(files, Tries(tests, tried, longest, tell))), "tries.log"
    )
    anew = [as_it_is]
    for mutant in tried:
        verdict = next(told, None)
        if not isinstance(verdict, str):
            raise SystemExit(f"the tests cannot be imported: {RESULTS / 'tries.log'}")
        if verdict == ANEW:
            anew.append(mutant)
        elif mutant is not as_it_is:
            yield mutant, verdict
        elif verdict not in ALIVE:
            raise SystemExit(f"without a bug in {module}, but in another order, fails {verdict}")
    told.close()
    for mutant in anew if len(anew) > 1 else ():
        verdict = try_anew(mutant, tests, longest)
        if mutant is not as_it_is:
            yield mutant, verdict
        elif verdict not in ALIVE:
            raise SystemExit(f"with {module} imported anew fails {verdict}")
