"""The check of `culprits`: it says how many are right, and gives one hint."""

import itertools
import re

import pytest
from bug_hunt_testing import SOURCE, notebooks_own
from details_testing import assert_passes_with_one_line, complaint, stub

from ppo_course import check_culprits
from ppo_course.nb10_bug_hunt.culprits import EXERCISE
from ppo_course.nb10_bug_hunt.suspects import CHARGES, CULPRITS


def answer(**other):
    return lambda: {**CULPRITS, **other}


def swapped(one, other):
    return answer(**{one: CULPRITS[other], other: CULPRITS[one]})


def by_items():
    return dict(zip("GFEDCBA", [CULPRITS[name] for name in "GFEDCBA"], strict=True))


def step_by_step():
    result = {}
    for name in CULPRITS:
        result[name] = "".join(CULPRITS[name])
    return result


@pytest.mark.parametrize("function", [answer(), by_items, step_by_step])
def test_a_right_answer_passes_with_one_line(function, capsys):
    assert_passes_with_one_line(check_culprits, function, capsys)
    check_culprits(function, seed=1)
    assert capsys.readouterr().out == ""


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(check_culprits, notebooks_own("culprits"), capsys)


@pytest.mark.parametrize("one", CULPRITS)
@pytest.mark.parametrize("other", CULPRITS)
def test_a_wrong_answer_is_counted_and_nothing_is_given_away(one, other):
    """Protects: the message says nothing about the others, and the truth about nobody."""
    if one == other:
        return
    message = complaint(check_culprits, swapped(one, other))
    assert "5 of 7 are right" in message
    hinted = set(re.findall(r"\b[A-G]\b", message))
    assert len(hinted) == 1
    (name,) = hinted
    assert name in {one, other}
    assert not any(charge in message for charge in CHARGES if charge != answered(one, other, name))


def answered(one, other, name):
    return swapped(one, other)()[name]


def test_a_hint_follows_from_what_was_said_and_not_from_the_truth(monkeypatch):
    """Protects: the words about the innocent are those about anybody else."""
    said = dict(CULPRITS)
    hints = {name: set() for name in said}
    for one, other in itertools.combinations(said, 2):
        truth = said | {one: said[other], other: said[one]}
        monkeypatch.setattr("ppo_course.nb10_bug_hunt.culprits.CULPRITS", truth)
        message = complaint(check_culprits, lambda: said)
        (name,) = set(re.findall(r"\b[A-G]\b", message))
        hints[name].add(message)
    assert all(len(messages) <= 1 for messages in hints.values())
    assert sum(len(messages) for messages in hints.values()) >= 5


@pytest.mark.parametrize("charge", CHARGES)
def test_a_hint_is_a_sentence(charge):
    hint = EXERCISE.words(charge, suspect="D")[0] + "."
    assert "D" in hint
    assert hint[0].isupper()
    assert hint.endswith(".")
    assert "?" not in hint


class Agreeable(str):
    """Is equal to whatever it is compared with."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


def test_all_wrong():
    names = list(CULPRITS)
    turned = dict(zip(names, [CULPRITS[n] for n in (*names[1:], names[0])], strict=True))
    assert "0 of 7 are right" in complaint(check_culprits, lambda: turned)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: None, "it returns nothing"),
        (lambda: list(CULPRITS.values()), "it does not return a dict"),
        (answer(H="innocent"), "there is no suspect 'H'"),
        (lambda: {"A": "innocent"}, "nothing is said about B, C, D, E, F, G"),
        (answer(B="wrong acton"), "perhaps 'wrong action' is meant"),
        (answer(B="the butler"), "there is no charge 'the butler'"),
        (answer(B=None), "the charges are those above"),  # they are printed before this line
        (answer(B=["innocent"]), "a text, not a list"),
        (answer(B=("innocent",)), "a text, not a tuple"),
        (answer(B=Agreeable("wrong action")), "a class of its own"),
        (answer(B="innocent"), "'innocent' is said of B and D"),
        (lambda who: CULPRITS[who], "is called as culprits(), without arguments"),
        (lambda: {"A": innocent}, "are texts, in quotes"),  # noqa: F821 - as students write
        (stub, "is not written yet"),
    ],
)
def test_an_answer_that_is_none(function, said):
    message = complaint(check_culprits, function)
    assert said in message
    assert "of 7" not in message
    complaint(check_culprits, function, seed=1)


def test_every_charge_is_somebodys():
    assert set(CHARGES) == set(CULPRITS.values())
    assert len(CHARGES) == len(CULPRITS)


def test_the_notebook_does_not_say_it_before_it_is_asked():
    """Protects: no cell before the verdict says who has done what."""
    text = SOURCE.read_text(encoding="utf-8")
    before = text[: text.index("bug-hunt-culprits")]
    for name, charge in CULPRITS.items():
        near = rf"\b{name}\b[^|\n]{{0,30}}{re.escape(charge)}"
        assert not re.search(near, before)
