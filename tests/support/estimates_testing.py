"""What the tests of notebook 02's checks have in common."""

import contextlib
import random

import numpy as np
import pytest
import torch
from seeds import SEEDS

from ppo_course import ExerciseError
from ppo_course.formulas import combinations
from ppo_course.nb02_values.trajectories import cases


def error_of(check, function, **options):
    with pytest.raises(ExerciseError) as caught:
        check(function, **options)
    return caught.value


def tells(error, said):
    """Whether it is about this mistake alone, given by its key; or says so, given by its words.

    A key without a way ("key~way") stands for all of them.
    """
    if " " in said or not error.keys:
        return said in str(error)
    keys = tuple(key if "~" in said else key.partition("~")[0] for key in error.keys)
    return keys in {(said,), ("raises", said)}


def complaint(check, function, **options):
    return str(error_of(check, function, **options))


def check_the_check(check, exercise, right, wrong):
    """Tests of a check.

    Args:
        check: the check.
        exercise: its `Estimate`; None for a check that has none.
        right: right answers.
        wrong: wrong answers, and the keys of their mistakes or hints.
    """

    @pytest.mark.parametrize("function", right)
    def right_answers_pass(function, capsys):
        check(function)
        captured = capsys.readouterr()
        assert captured.out.startswith("Well done!")
        assert captured.out.count("\n") == 1
        assert captured.err == ""

    @pytest.mark.parametrize(("function", "said"), wrong.items(), ids=wrong.values())
    def wrong_answers_are_told_apart(function, said, capsys):
        error = error_of(check, function)
        assert tells(error, said)
        assert "Where to look: " in str(error)
        assert capsys.readouterr().out == ""

    def drawn_episodes_accept_and_refuse_the_same(capsys):
        for seed in SEEDS:
            for function in right:
                check(function, seed=seed)
            for function, said in wrong.items():
                assert tells(error_of(check, function, seed=seed), said), seed
        assert capsys.readouterr().out == ""

    def every_known_mistake_is_named():
        if exercise is None:
            return
        for seed in (None, *SEEDS[:10]):
            episodes = cases(seed)
            for keys, values in combinations(exercise.parts, 1):
                if keys:
                    results = [exercise.formula(case, values) for case in episodes]
                    with pytest.raises(ExerciseError) as caught:
                        exercise.judge(episodes, results)
                    assert caught.value.keys == keys

    @pytest.mark.parametrize("function", [right[0], next(iter(wrong))])
    def streams_stay(function):
        def drawing(*args):
            torch.rand(3)
            np.random.rand(3)  # noqa: NPY002 - the global stream
            random.random()
            return function(*args)

        def state():
            return (
                torch.get_rng_state().tolist(),
                np.random.get_state()[1].tolist(),  # noqa: NPY002
                random.getstate(),
            )

        before = state()
        for seed in (None, 3):
            with contextlib.suppress(ExerciseError):
                check(drawing, seed=seed)
            assert state() == before

    def a_table_of_the_visible_numbers_fails():
        """Hard-coded: what was right for the visible episodes, in their order."""
        table = []

        def looking(*args):
            table.append(right[0](*args))
            return table[-1]

        check(looking)
        for seed in SEEDS:
            answers = iter(table)
            complaint(check, lambda *_, answers=answers: next(answers), seed=seed)

    return (
        right_answers_pass,
        wrong_answers_are_told_apart,
        drawn_episodes_accept_and_refuse_the_same,
        every_known_mistake_is_named,
        streams_stay,
        a_table_of_the_visible_numbers_fails,
    )
