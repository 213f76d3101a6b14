"""`make mutants` finds the bugs that it should put in, and leaves the tree as it is."""

import tomllib
from collections import Counter
from typing import Any

import mutant_runs
import mutant_sources
import mutants
import pytest

SOURCE = '''
"""A module."""

from torch import no_grad

LIMIT = 2.0


@no_grad()
def clip(x: int, low=1, *, high: float | None = None) -> int:
    """A docstring: a - b < 3."""
    if x < low and high is not None:
        raise ValueError(f"{x} < {low - 1}")
    for row in (x[1:low] for x in rows if x):
        row.copy().fill(x + low)
        break
    return min(x, LIMIT) if not high else -x
'''


def lines(tmp_path, monkeypatch, source=SOURCE):
    monkeypatch.setattr(mutant_sources, "PACKAGE", tmp_path)
    (tmp_path / "example.py").write_text(source, encoding="utf-8")
    found = list(mutants.mutants_of("example"))
    assert (tmp_path / "example.py").read_text(encoding="utf-8") == source
    return {(mutant.old, mutant.new) for mutant in found}, found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 2.0", "LIMIT = (2.0 * 2)"),
        ("@no_grad()", "@(lambda function: function)"),
        (
            "def clip(x: int, low=1, *, high: float | None = None) -> int:",
            "def clip(x: int, low=0, *, high: float | None = None) -> int:",
        ),
        ("if x < low and high is not None:", "if True:"),
        ("if x < low and high is not None:", "if ((x) <= (low)) and high is not None:"),
        ("if x < low and high is not None:", "if ((x < low) or (high is not None)):"),
        ('raise ValueError(f"{x} < {low - 1}")', "pass"),
        (
            "for row in (x[1:low] for x in rows if x):",
            "for row in (x[1:(low) + 1] for x in rows if x):",
        ),
        ("for row in (x[1:low] for x in rows if x):", "for row in (x[1:] for x in rows if x):"),
        (
            "for row in (x[1:low] for x in rows if x):",
            "for row in (x[1:low] for x in rows if True):",
        ),
        ("row.copy().fill(x + low)", "(row).fill(x + low)"),
        ("row.copy().fill(x + low)", "row.copy().fill(((x) - (low)))"),
        ("row.copy().fill(x + low)", "pass"),
        ("break", "continue"),
        ("return min(x, LIMIT) if not high else -x", "return max(x, LIMIT) if not high else -x"),
        ("return min(x, LIMIT) if not high else -x", "return (-x)"),
        ("return min(x, LIMIT) if not high else -x", "return min(x, LIMIT) if (high) else -x"),
        ("return min(x, LIMIT) if not high else -x", "return min(x, LIMIT) if not high else (x)"),
    ],
)
def test_the_mutants_of_a_module(old, new, tmp_path, monkeypatch):
    found, _ = lines(tmp_path, monkeypatch)
    assert (old, new) in found


def test_what_says_something_is_left_alone(tmp_path, monkeypatch):
    """Docstrings, types and texts of errors are no code that could be wrong in silence."""
    found, all_of_them = lines(tmp_path, monkeypatch)
    assert not [old for old, _ in found if "docstring" in old or "import" in old]
    assert not [new for _, new in found if "low - 2" in new or "{low + 1}" in new]
    sources = [mutant.source for mutant in all_of_them]
    assert len(set(sources)) == len(sources)
    assert len({mutant.key for mutant in all_of_them}) == len(all_of_them)


def test_the_quickest_tests_run_and_none_too_long():
    """A bug is noticed in seconds, or not for hours: some thousand are tried."""
    seconds = {"slow": 2.5, "quick": 0.5, "other": 0.1, "middle": 1.0, "slowest": 9.0}
    tests = {name: (time, {}) for name, time in seconds.items()}

    def order(*chosen, **kills):
        return mutant_runs.in_order(tests, set(chosen), Counter(kills), longest=3.0)

    assert order("slow", "quick", "middle") == ["quick", "middle"]
    # What has found bugs before comes first; and some test is run, however long it takes.
    assert order("slow", "quick", "middle", middle=3) == ["middle", "quick"]
    assert order("slowest") == ["slowest"]
    assert order() == ["other", "quick"]


def test_equal_lines_have_keys_of_their_own(tmp_path, monkeypatch):
    _, found = lines(tmp_path, monkeypatch, "a = 3\nb = a\na = 3\n")
    assert [mutant.new for mutant in found] == ["a = (3 * 2)", "a = (3 * 2) (2)"]


def test_every_listed_mutant_has_its_place_and_every_reason_a_sentence():
    """One whose line has been written anew would be tried no longer: adapt its `old`."""
    listed = tomllib.loads(mutants.LISTED.read_text(encoding="utf-8"))
    for one in (*listed["mutant"], *listed["equivalent"]):
        assert one["module"] in mutants.NEAREST
        assert one["old"] != one["new"]
        source = mutants.path_of(one["module"]).read_text(encoding="utf-8")
        if "reason" in one:
            assert " ".join(one["old"].split()) in " ".join(source.split()), one
        else:
            assert source.count(one["old"]) == 1, one
    assert all(len(one["reason"].split()) > 3 for one in listed["equivalent"])
    for module in mutants.NEAREST:
        assert mutants.path_of(module).exists()
        for name in mutants.tests_of(module):
            assert (mutants.ROOT / name).exists()


def test_a_function_is_changed_where_it_is(tmp_path, monkeypatch):
    """To import all anew would take seconds for each mutant; but not what has run by then."""
    source = """
class Counter:
    limit = 2

    def less(self, x, low=2):
        return x - 3

    @property
    def turned(self):
        def inner(x):
            return -x

        return inner
"""
    _, found = lines(tmp_path, monkeypatch, source)
    by_new = {mutant.new: mutant for mutant in found}
    names: dict[str, object] = {}
    exec(compile(source, "example.py", "exec"), names)
    counter: Any = names["Counter"]
    for new, function in (
        ("return ((x) + (3))", counter.less),
        ("return (x)", counter.turned.fget),
    ):
        mutant = by_new[new]
        place = (function.__qualname__, function.__code__.co_firstlineno)
        assert mutant.function == place
        code = mutant_sources.code_of(compile(mutant.source, "example.py", "exec"), place)
        assert code is not None
        function.__code__ = code
    assert counter().less(5) == 8
    assert counter().turned(5) == 5
    assert by_new["limit = (2 * 2)"].function is None
    assert by_new["def less(self, x, low=(2 * 2)):"].function is None


def test_what_runs_at_import_is_tried_by_those_who_use_it(tmp_path, monkeypatch):
    """A constant is on no line that a test reaches: it is noticed where it is read."""
    source = """
LIMIT, other = 2.0, 3

class Counter:
    low: int = 7

    def less(self, x, by=5):
        return x - by

    def more(self):
        return self.low + LIMIT
"""
    _, found = lines(tmp_path, monkeypatch, source)
    where = {mutant.new: set(mutant.lines) for mutant in found}
    assert where["LIMIT, other = (2.0 * 2), 3"] == {2, 11}
    assert where["low: int = (7 * 2)"] == {5, 11}
    assert where["def less(self, x, by=(5 * 2)):"] == {7, 8}
    assert where["return ((x) + (by))"] == {8}


def test_a_room_stands_for_its_modules_and_a_wrong_name_is_refused():
    """A typed error would end as a run over nothing, which notices everything."""
    rooms = mutants.chosen_modules(["agents", "agents.base", "envs"])
    assert rooms == [*mutants.ROOMS["agents"], *mutants.ROOMS["envs"]]
    for room, modules in mutants.ROOMS.items():
        found = {path.stem for path in (mutant_sources.PACKAGE / room).glob("[a-z]*.py")}
        assert {f"{room}.{name}" for name in found} == set(modules)
    assert set(mutants.chosen_modules(mutants.USUAL)) <= set(mutants.NEAREST)
    with pytest.raises(SystemExit, match="engine"):
        mutants.chosen_modules(["update", "engine"])
