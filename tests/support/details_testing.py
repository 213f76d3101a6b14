"""What the tests of notebook 04's checks have in common."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from estimates_testing import complaint, error_of, tells  # noqa: F401 - for who imports them here
from seeds import SEEDS

from ppo_course import ExerciseError

SOURCE = Path(__file__).parents[2] / "notebooks" / "source" / "04_ppo_details.py"


def stub(*args):  # noqa: ARG001
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def solution(source, name):
    """That of a notebook, by the name of its function."""
    text = source.read_text(encoding="utf-8")
    match = re.search(rf"^def {name}\(.*?### END SOLUTION", text, re.DOTALL | re.MULTILINE)
    assert match, f"{source.name} has no solution of {name}"
    namespace = {"np": np, "torch": torch}
    exec(match[0], namespace)
    return namespace[name]


def notebooks_own(name):
    """The solution of notebook 04."""
    return solution(SOURCE, name)


def keys_of(check, function, seed=None):
    """The mistakes that the check finds in a wrong function."""
    return error_of(check, function, seed=seed).keys


def assert_passes_with_one_line(check, function, capsys):
    check(function)
    captured = capsys.readouterr()
    assert captured.out.startswith("Well done!")
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def assert_told_apart(check, wrong_answers, name):
    """The error is about its own mistake alone, given by its key; or says so, given by words."""
    function, said = wrong_answers[name]
    error = error_of(check, function)
    assert tells(error, said)
    if error.keys[:1] not in {("not-written",), ("raises",)}:
        assert "Where to look: " in str(error)


def assert_seeds_grade(check, right, wrong_answers, capsys):
    """With every seed the right answer passes without a word, and every wrong one fails."""
    for seed in SEEDS:
        check(right, seed=seed)
        assert capsys.readouterr().out == ""
        for function, _ in wrong_answers.values():
            with pytest.raises(ExerciseError):
                check(function, seed=seed)


def assert_streams_stay(check, right):
    def drawing(*args):
        torch.rand(3)
        random.random()
        np.random.rand()  # noqa: NPY002 - the global stream
        return right(*args)

    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    check(drawing)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002
