"""Schedules: factors over the remaining progress."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo_bbrl.schedules import SCHEDULES, constant, cosine, linear


def test_values_by_hand():
    """Remaining progress falls from 1 to 0; a schedule read the wrong way round would rise."""
    assert [constant(p) for p in (1.0, 0.5, 0.0)] == [1.0, 1.0, 1.0]
    assert [linear(p) for p in (1.0, 0.25, 0.0)] == [1.0, 0.25, 0.0]
    assert [cosine(p) for p in (1.0, 0.5, 0.0)] == pytest.approx([1.0, 0.5, 0.0])
    assert cosine(0.25) == pytest.approx(0.5 * (1 - math.sqrt(0.5)))


@pytest.mark.parametrize("name", SCHEDULES)
@given(st.floats(0, 1), st.floats(0, 1))
def test_schedules_start_at_one_and_never_rise(name, a, b):
    """A factor above 1 or below 0 would turn a learning rate into something else."""
    schedule = SCHEDULES[name]
    assert schedule(1.0) == 1.0
    assert 0.0 <= schedule(a) <= 1.0
    assert schedule(min(a, b)) <= schedule(max(a, b))


def test_the_names_of_the_configuration():
    """`learning_rate_schedule: linear` keeps its meaning."""
    assert dict(SCHEDULES) == {"constant": constant, "linear": linear, "cosine": cosine}
