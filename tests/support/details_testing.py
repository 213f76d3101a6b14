"""What the tests of notebook 04's checks have in common."""

import contextlib
import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ppo_course import ExerciseError

SOURCE = Path(__file__).parents[2] / "notebooks" / "source" / "04_ppo_details.py"
SEEDS = range(30)


def stub(*args):  # noqa: ARG001
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def notebooks_own(name):
    """The solution of the notebook, by the name of its function."""
    text = SOURCE.read_text(encoding="utf-8")
    match = re.search(rf"^def {name}\(.*?### END SOLUTION", text, re.DOTALL | re.MULTILINE)
    assert match, f"{SOURCE.name} has no solution of {name}"
    namespace = {"np": np, "torch": torch}
    exec(match[0], namespace)
    return namespace[name]


def complaint(check, function, seed=None):
    """What the check says about a wrong function."""
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(ExerciseError) as caught:
        check(function, seed=seed)
    return str(caught.value)


def assert_passes_with_one_line(check, function, capsys):
    check(function)
    captured = capsys.readouterr()
    assert captured.out.startswith("Well done!")
    assert captured.out.count("\n") == 1
    assert captured.err == ""


def assert_told_apart(check, wrong_answers, name):
    """The message has its own words, and those of no other wrong answer in its first line."""
    function, said = wrong_answers[name]
    message = complaint(check, function)
    assert said in message
    first = message.splitlines()[0]
    others = {other for _, other in wrong_answers.values()} - {said}
    assert [other for other in others if other in first] == []
    if said != "is not written yet" and " raises " not in first:
        assert "Where to look: " in message


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
