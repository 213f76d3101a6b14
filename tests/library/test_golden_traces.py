"""Ten iterations of six small runs give the numbers they always gave.

A change of rounding, of the order of random draws, of a default: nothing else sees it, and whoever
compares with last year's run should know. Bit for bit on the machine that recorded them;
elsewhere to a tolerance, as other processors and versions of torch round differently.
"""

import math
from itertools import pairwise

import golden_runs
import pytest

# Of ten iterations under other instruction sets (AVX2, none) the largest difference was 1.1e-4.
RELATIVE, ABSOLUTE = 1e-3, 1e-4


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_the_numbers_are_those_recorded(name):
    recorded_on, recorded = golden_runs.read(name)
    rows = list(golden_runs.RUNS[name]())
    assert len(rows) == len(recorded) == golden_runs.ITERATIONS
    exactly = golden_runs.machine() == recorded_on
    for iteration, (row, expected) in enumerate(zip(rows, recorded, strict=True)):
        for column, value, wanted in zip(golden_runs.COLUMNS, row, expected, strict=True):
            close = math.isclose(value, wanted, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
            same = value == wanted if exactly else close
            assert same, f"iteration {iteration}, {column}: {value!r}, recorded {wanted!r}"


@pytest.mark.parametrize("name", golden_runs.RUNS)
def test_every_iteration_learns(name):
    """A recording in which nothing moves would guard nothing."""
    _, rows = golden_runs.read(name)
    for earlier, later in pairwise(rows):
        assert all(a != b for a, b in zip(earlier, later, strict=True))
