"""What the tests of notebook 07's checks have in common."""

import pytest

from ppo_course import ExerciseError
from ppo_course.formulas import combinations


def every_mistake_is_named(check, parts, formula, cases, *, alike=()):
    """A function with one known mistake is told by the mistake's own key.

    Args:
        check: the check.
        parts: those of the formula.
        formula: of a case and a value of each part.
        cases: the check's, by a seed.
        alike: keys that may be told as others.
    """
    for seed in (None, *range(5)):
        for keys, values in combinations(parts, 1):
            if not keys:
                continue  # right, but without the gradient that a check may want
            answers = iter([formula(case, values) for case in cases(seed)])

            def answering(*_args, answers=answers):
                return next(answers)

            with pytest.raises(ExerciseError) as caught:
                check(answering, seed=seed)
            assert caught.value.keys == keys or set(keys) <= set(alike), (seed, caught.value.keys)
