"""The engine of the checks: keys, their words, combinations of mistakes, what every check does."""

# ruff: noqa: ARG001 - a student's function has the exercise's arguments, used or not

import tomllib
from pathlib import Path

import pytest
import torch

import ppo_course
from ppo_course.feedback import ExerciseError
from ppo_course.formulas import Part, explain
from ppo_course.hints import Hint
from ppo_course.mistakes import Exercise, read_words

COURSE = Path(ppo_course.__file__).parent
WORDS = {
    "doubled": {
        "praise": "All of it is right.",
        "tripled": ["it is {way} times as much", "the factor of {name}"],
        "shifted": ["it is shifted by 1", "V(s_{t+1})"],
        "two": ["two", "of the exercise"],
        "none": ["there is none at {place}", "{place}"],
    },
    "shared": {"two": ["two", "of the notebook"], "mine": "the notebook's"},
}
EXERCISE = Exercise("doubled", ["x", "n"], WORDS, [Hint("mine", "zero", error=ValueError)])
PARTS = (
    Part(2, {"tripled~3": 3, "tripled~4": 4}),
    Part(0, {"shifted": 1}),
    Part(1, {"two": 2}),
)


@pytest.mark.parametrize(
    "file", sorted(COURSE.glob("nb*/words.toml")), ids=lambda path: path.parent.name
)
def test_every_word_is_said_somewhere(file):
    """A key that no check names is a left-over, or misspelt on one of the two sides."""
    source = "".join(path.read_text(encoding="utf-8") for path in file.parent.glob("*.py"))
    sections = tomllib.loads(file.read_text(encoding="utf-8"))
    general = {*tomllib.loads((COURSE / "words.toml").read_text(encoding="utf-8"))["shared"]}
    every = {
        (key, isinstance(told, dict)) for each in sections.values() for key, told in each.items()
    }
    hints = {key for key, is_hint in every if is_hint}  # which the engine says
    keys = {key for key, _ in every} - hints - general - {"praise"}
    assert [key for key in keys if f'"{key}"' not in source and f'"{key}~' not in source] == []
    assert [name for name in sections if f'"{name}"' not in source and name != "shared"] == []


def test_every_hint_has_words_and_says_nothing_else():
    for file in COURSE.glob("**/words.toml"):
        for name, section in tomllib.loads(file.read_text(encoding="utf-8")).items():
            for key, hint in section.items():
                if isinstance(hint, dict):
                    assert hint.keys() <= {"error", "holds", "say"}, (name, key)
                    assert len(Exercise(name, [], read_words(file)).words(key)) == 1, (name, key)


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (KeyError("a"), "missing"),
        (IndexError("a"), "missing"),
        (TypeError("for ^"), "power"),
        (ValueError("for ^"), "anything"),
    ],
)
def test_a_hint_is_about_a_class_and_a_text(error, key):
    words = {
        "power": {
            "missing": {"error": ["KeyError", "IndexError"], "say": "a"},
            "power": {"error": "TypeError", "holds": ["for ^", "xor"], "say": "b"},
        },
        "shared": {"anything": {"say": "c"}},
    }

    def power():
        raise error

    with pytest.raises(ExerciseError) as caught:
        Exercise("power", [], words).call(power)
    assert caught.value.keys == ("raises", key)


def test_words_are_filled_in_and_the_exercises_own_come_first():
    assert EXERCISE.words("tripled~3") == ["it is 3 times as much", "the factor of doubled"]
    assert EXERCISE.words("none", place="row 3") == ["there is none at row 3", "row 3"]
    assert EXERCISE.words("shifted") == ["it is shifted by 1", "V(s_{t+1})"]
    assert EXERCISE.words("two") == ["two", "of the exercise"]
    assert EXERCISE.words("mine") == ["the notebook's"]
    assert EXERCISE.words("called-as") == ["the function is called as doubled(x, n)"]


def test_an_error_has_keys_and_tells_all_of_them():
    error = EXERCISE.error("tripled~3", "two", facts=["  seen 6"])
    assert error.keys == ("tripled~3", "two")
    assert str(error).splitlines() == [
        "doubled is not right yet. Probably 2 things are wrong:",
        "- it is 3 times as much.",
        "- two.",
        "  seen 6",
        "Where to look:",
        "- the factor of doubled.",
        "- of the exercise.",
    ]


@pytest.mark.parametrize(
    ("number", "keys"),
    [(40, ("tripled~4",)), (42, ("shifted", "two")), (62, ()), (20, ())],
)
def test_the_fewest_mistakes_are_found(number, keys):
    """None where it takes three of them: that would be chance."""
    assert explain(PARTS, lambda v: (v[0] * 10 + v[1]) * v[2] == number) == keys


def double(x, n):
    return 2 * x[:n]


def none(x, n):
    return None


def zero(x, n):
    raise ValueError("zero")


def longer(x, n):
    raise ValueError("longer")


def missing(x):
    return x


def in_place(x, n):
    return x.mul_(2)[:n]


@EXERCISE.check
def check_doubled(function, *, seed=None):
    """Check a student's `doubled`."""
    torch.rand(1 if seed is None else 2)
    x = torch.arange(3.0)
    result = EXERCISE.call(function, x, 2)
    EXERCISE.expect(result, None if isinstance(result, torch.Tensor) else "two", "a tensor")
    EXERCISE.compare(
        [x],
        [result],
        PARTS,
        formula=lambda case, values: (values[0] * case[:2] + values[1]) * values[2],
        agree=lambda _case, one, other: torch.equal(one, other),
        facts=lambda _case, expected, seen: [f"  {expected} {seen}"],
    )


@pytest.mark.parametrize(
    ("function", "keys"),
    [
        (none, ("returns-nothing",)),
        (lambda x, n: [x, n], ("two",)),
        (lambda x, n: 2 * x[:n] + 17, ("unknown",)),
        (lambda x, n: 3 * x[:n] + 1, ("tripled~3", "shifted")),
        (zero, ("raises", "mine")),
        (longer, ("raises",)),
        (missing, ("raises", "called-as")),
        (in_place, ("changes-argument",)),
    ],
)
def test_a_check_says_what_is_wrong(function, keys, capsys):
    with pytest.raises(ExerciseError) as caught:
        check_doubled(function)
    assert caught.value.keys == keys
    assert capsys.readouterr().out == ""


def test_a_check_praises_unless_it_grades_and_leaves_the_streams(capsys):
    before = torch.get_rng_state()
    check_doubled(double)
    assert capsys.readouterr().out == "Well done! All of it is right.\n"
    check_doubled(function=double, seed=1)
    assert capsys.readouterr().out == ""
    assert torch.equal(torch.get_rng_state(), before)
    assert "ExerciseError" in check_doubled.__doc__
