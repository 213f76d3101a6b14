"""`make mutants` finds the bugs that it should put in, and leaves the tree as it is."""

import tomllib

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
    monkeypatch.setattr(mutants, "PACKAGE", tmp_path)
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


def test_the_quickest_tests_run_and_none_too_long(monkeypatch):
    monkeypatch.setattr(mutants, "LONGEST", 3.0)
    tests = {"slow": (2.5, [1]), "quick": (0.5, [1]), "other": (0.1, [2]), "middle": (1.0, [1])}
    assert list(mutants.quickest(tests, {"slow", "quick", "middle"})) == ["quick", "middle"]


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


def test_a_room_stands_for_its_modules_and_a_wrong_name_is_refused():
    """A typed error would end as a run over nothing, which notices everything."""
    rooms = mutants.chosen_modules(["agents", "agents.base", "envs"])
    assert rooms == [*mutants.ROOMS["agents"], *mutants.ROOMS["envs"]]
    assert set(mutants.chosen_modules(mutants.USUAL)) <= set(mutants.NEAREST)
    with pytest.raises(SystemExit, match="engine"):
        mutants.chosen_modules(["update", "engine"])
