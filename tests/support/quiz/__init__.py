"""The answers to the quiz questions, computed: `nb_NN.question_K()` for notebook NN."""

import math


def the_one(**options):
    """The letter of the single option that holds.

    `the_one(a=x < 1, b=x > 1)`: every option is computed, so that two right ones are noticed.
    """
    right = [letter for letter, holds in options.items() if holds]
    assert len(right) == 1, f"not exactly one option is right: {right or 'none'}"
    return right[0]


def nearest(value, **options):
    """The letter of the number that `value` agrees with, to 2 %."""
    return the_one(
        **{
            letter: math.isclose(value, number, rel_tol=0.02, abs_tol=1e-9)
            for letter, number in options.items()
        }
    )
