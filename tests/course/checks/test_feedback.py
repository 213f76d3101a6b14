"""What every check does with what a student's function returns, whatever the exercise."""

from collections import Counter, OrderedDict, defaultdict, namedtuple
from fractions import Fraction
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from ppo_course.feedback import ExerciseError, call, describe

Pair = namedtuple("Pair", "one other")


class Text(str):
    """Is equal to whatever it is compared with."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class Thing:
    """As `Text`, without being a text."""

    def __eq__(self, other):
        return True

    __hash__ = None


class Unequal:
    def __ne__(self, other):
        return False


class Row(Pair):
    """A named tuple that says one thing to whoever compares, and another to whoever asks."""

    __slots__ = ()

    @property
    def one(self):
        return 1


class Long(NamedTuple):
    item: int

    def __len__(self):
        return 7


class Rows(list):
    pass


class Table(dict):
    def get(self, key, default=None):
        return key


class Whole(int):
    pass


class Octets(bytes):
    pass


class Chosen(set):
    def __contains__(self, item):
        return True


class Array(np.ndarray):
    pass


class Sly(torch.Tensor):
    pass


def returned(thing):
    """What a check gets of a function that returns this."""
    return call(lambda: thing, hint=lambda _: "")


@pytest.mark.parametrize(
    "thing",
    [
        Text("innocent"),
        Thing(),
        Unequal(),
        Row(1, 2),
        Long(1),
        Rows([1]),
        Table(a=1),
        Whole(3),
        Octets(b"a"),
        Chosen(),
        np.zeros(2).view(Array),
        torch.zeros(2).as_subclass(Sly),
        {"A": Text("innocent")},
        {Text("A"): "innocent"},
        [(1.0, [Whole(3)])],
        Pair(1, Thing()),
        {1, Text("A")},
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_could_agree_with_everything_is_refused(thing):
    with pytest.raises(ExerciseError, match="a class of its own"):
        returned(thing)


@pytest.mark.parametrize(
    "thing",
    [
        None,
        "innocent",
        np.float32(1),
        np.bool_(True),
        np.str_("innocent"),
        Fraction(1, 2),
        torch.eye(2).max(0),
        torch.linalg.qr(torch.eye(2)),
        torch.zeros(2).shape,
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Linear(1, 1),
        torch.distributions.Categorical(torch.ones(2)),
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1),
        Pair(1, [2.0]),
        OrderedDict(a=1),
        defaultdict(list, a=[1]),
        Counter("abc"),
        {1, 2},
        range(3),
        SimpleNamespace(a=1),
        iter([1]),
        len,
        1e400,
        2**1000,
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_what_an_honest_answer_may_be_passes_through(thing):
    assert returned(thing) is thing


@pytest.mark.parametrize(
    "number",
    [10**400, -(10**400), Fraction(10**400), 10**5000],
    ids=["large", "small", "fraction", "too long to print"],
)
def test_a_number_that_no_float_can_hold_is_told(number):
    """Comparing it with a right answer would be an OverflowError of the check's own."""
    with pytest.raises(ExerciseError, match="more than 300 digits"):
        returned([number])


def test_what_contains_itself_ends():
    endless = []
    endless.append(endless)
    assert returned(endless) is endless


def test_of_many_values_only_the_first_are_told():
    """A list of 2000 numbers, returned in place of two, would fill pages."""
    assert describe([1.0, None]) == "2 values: a float, None"
    assert describe((1,) * 6) == "6 values: a int, a int, a int, a int, a int, a int"
    assert describe([1.0] * 2000) == "2000 values: " + "a float, " * 6 + "…"
