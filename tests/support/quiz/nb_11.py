"""The answers to the quiz of notebook 11, computed."""

from quiz import nearest, the_one


def question_1():
    n = 64 * 16 - 40
    return the_one(a=n == 1040, b=n == 1024, c=n == 1000, d=n == 984)


def question_2():
    """Epochs that each begin at the ratio 1, and move it to the edge of the range."""
    ratio = 1.0
    for _ in range(6):
        ratio *= 1.2
    first_step_of_an_epoch = 1.0
    return the_one(
        a=ratio <= 1.2,
        b=2.8 < ratio < 3.2,
        c=first_step_of_an_epoch * 1.2 == 1.0,
    )


def question_3():
    gamma = 0.9
    formulas = {
        "a": 8 * gamma,
        "b": (1 - gamma**8) / (1 - gamma),
        "c": gamma / (1 - gamma),
    }
    return nearest(5.7, **formulas)
