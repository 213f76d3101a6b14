"""The check of `difference_interval`: right answers pass, each mistake gets its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

import numpy as np
import pytest
from details_testing import (
    assert_passes_with_one_line,
    assert_told_apart,
    complaint,
    notebooks_own,
    stub,
)
from seeds import EVERY, SEEDS

from ppo_course import ExerciseError, check_difference_interval

N = 1000


def ends(differences, level):
    tail = 50 * (1 - level)
    return np.percentile(differences, [tail, 100 - tail])


def by_choice(first, second, statistic, level, rng, n_resamples=N):
    differences = [
        statistic(rng.choice(first, len(first))) - statistic(rng.choice(second, len(second)))
        for _ in range(n_resamples)
    ]
    low, high = ends(differences, level)
    return low, high


def by_indices(first, second, statistic, level, rng, n_resamples=N):
    differences = np.empty(n_resamples)
    for i in range(n_resamples):
        one = first[rng.integers(len(first), size=len(first))]
        other = second[rng.integers(len(second), size=len(second))]
        differences[i] = statistic(one) - statistic(other)
    tail = (1 - level) / 2
    return float(np.quantile(differences, tail)), float(np.quantile(differences, 1 - tail))


def by_rows(first, second, statistic, level, rng, n_resamples=N):
    ones = rng.choice(first, (n_resamples, len(first)))
    others = rng.choice(second, (n_resamples, len(second)))
    differences = sorted(
        statistic(one) - statistic(other) for one, other in zip(ones, others, strict=True)
    )
    cut = round(n_resamples * (1 - level) / 2)
    return [differences[cut], differences[-1 - cut]]


RIGHT_ANSWERS = {"choice": by_choice, "indices": by_indices, "rows": by_rows}


@pytest.mark.parametrize("name", RIGHT_ANSWERS)
def test_a_right_answer_passes_with_one_line(name, capsys):
    assert_passes_with_one_line(check_difference_interval, RIGHT_ANSWERS[name], capsys)


@pytest.mark.wide(3)
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_a_right_answer_passes_with_every_seed(seed, capsys):
    check_difference_interval(by_choice, seed=seed)
    assert capsys.readouterr().out == ""


def test_the_notebooks_own_solution_passes(capsys):
    assert_passes_with_one_line(
        check_difference_interval, notebooks_own("difference_interval"), capsys
    )


def looping(one_round, percentiles=ends):
    """A wrong function: what it keeps of a round, and how it ends."""

    def function(first, second, statistic, level, rng, n_resamples=N):
        kept = [one_round(first, second, statistic, rng) for _ in range(n_resamples)]
        low, high = percentiles(kept, level)
        return low, high

    return function


def a_round(first, second, statistic, rng):
    return statistic(rng.choice(first, len(first))) - statistic(rng.choice(second, len(second)))


def pooled(first, second, statistic, rng):
    pool = np.concatenate((first, second))
    return statistic(rng.choice(pool, len(first))) - statistic(rng.choice(pool, len(second)))


def together(first, second, statistic, rng):
    index = rng.integers(min(len(first), len(second)), size=len(first))
    return statistic(first[index]) - statistic(second[index])


def same_indices(first, second, statistic, rng):
    index = rng.integers(len(first), size=len(first))
    return statistic(first[index]) - statistic(second[index])


def shuffled_in_place(first, second, statistic, level, rng, n_resamples=N):
    rng.shuffle(first)
    return by_choice(first, second, statistic, level, rng, n_resamples)


def at_once(first, second, statistic, level, rng, n_resamples=N):
    return statistic(rng.choice(first, (n_resamples, len(first)))), 0


def global_stream(first, second, statistic, level, rng, n_resamples=N):
    return by_choice(first, second, statistic, level, np.random.default_rng(), n_resamples)


def seeded(first, second, statistic, level, rng, n_resamples=N):
    return by_choice(first, second, statistic, level, np.random.default_rng(0), n_resamples)


def of_sizes(size):
    """A wrong function: both resamples have size(len(first), len(second)) scores."""

    def one_round(first, second, statistic, rng):
        sizes = size(len(first), len(second))
        return statistic(rng.choice(first, sizes[0])) - statistic(rng.choice(second, sizes[1]))

    return looping(one_round)


def of_two_intervals(*, widest):
    def function(first, second, statistic, level, rng, n_resamples=N):
        low, high = (
            ends([statistic(rng.choice(scores, len(scores))) for _ in range(n_resamples)], level)
            for scores in (first, second)
        )
        return np.subtract(low, high[::-1] if widest else high)

    return function


def return_inside(first, second, statistic, level, rng, n_resamples=N):
    differences = []
    for _ in range(n_resamples):
        differences.append(a_round(first, second, statistic, rng))
        low, high = ends(differences, level)
        return low, high
    return None


def append_outside(first, second, statistic, level, rng, n_resamples=N):
    differences = []
    for _ in range(n_resamples):
        one = rng.choice(first, len(first))
        other = rng.choice(second, len(second))
    differences.append(statistic(one) - statistic(other))
    return ends(differences, level)


def list_inside(first, second, statistic, level, rng, n_resamples=N):
    for _ in range(n_resamples):
        differences = []
        differences.append(a_round(first, second, statistic, rng))
    return ends(differences, level)


def all_differences(first, second, statistic, level, rng, n_resamples=N):
    return [a_round(first, second, statistic, rng) for _ in range(n_resamples)]


def interquartile(scores):
    quarter = len(scores) // 4
    return np.sort(scores)[quarter : len(scores) - quarter].mean()


def basic(first, second, statistic, level, rng, n_resamples=N):
    low, high = by_choice(first, second, statistic, level, rng, n_resamples)
    middle = statistic(first) - statistic(second)
    return 2 * middle - high, 2 * middle - low


WRONG_ANSWERS = {
    "sign": (looping(lambda f, s, t, r: -a_round(f, s, t, r)), "sign"),
    "tail": (
        looping(a_round, lambda d, level: np.percentile(d, [100 * (1 - level), 100 * level])),
        "too-narrow",
    ),
    "level": (
        looping(a_round, lambda d, level: np.percentile(d, [2.5, 97.5])),
        "always-95",
    ),
    "mean": (
        looping(lambda f, s, t, r: a_round(f, s, np.mean, r)),
        "always-mean",
    ),
    "interquartile mean": (
        looping(lambda f, s, t, r: a_round(f, s, interquartile, r)),
        "always-iqm",
    ),
    "another statistic": (
        looping(lambda f, s, t, r: a_round(f, s, np.max, r)),
        "statistic-not-called",
    ),
    "size of the first": (of_sizes(lambda f, s: (f, f)), "sizes-of-first"),
    "size of the second": (of_sizes(lambda f, s: (s, s)), "sizes-of-second"),
    "smaller size": (
        of_sizes(lambda f, s: (min(f, s),) * 2),
        "sizes-of-second",
    ),
    "sizes exchanged": (of_sizes(lambda f, s: (s, f)), "sizes-exchanged"),
    "both of second": (
        looping(lambda f, s, t, r: a_round(s, s, t, r)),
        "both-from-second~own-size",
    ),
    "both of second, two sizes": (
        looping(lambda f, s, t, r: t(r.choice(s, len(f))) - t(r.choice(s, len(s)))),
        "both-from-second~two-sizes",
    ),
    "both of first": (
        looping(lambda f, s, t, r: a_round(f, f, t, r)),
        "both-from-first~own-size",
    ),
    "both of first, two sizes": (
        looping(lambda f, s, t, r: t(r.choice(f, len(f))) - t(r.choice(f, len(s)))),
        "both-from-first~two-sizes",
    ),
    "no signs": (
        looping(lambda f, s, t, r: abs(a_round(f, s, t, r))),
        "absolute",
    ),
    "half a tail": (
        looping(a_round, lambda d, level: np.percentile(d, [50 * (1 - level), 100 * level])),
        "too-much-above",
    ),
    "return inside": (return_inside, "single-resample"),
    "append outside": (append_outside, "single-resample"),
    "list inside": (list_inside, "one-kept"),
    "all differences": (all_differences, "all-differences"),
    "all differences, array": (
        lambda *a: np.array(all_differences(*a)),
        "all-differences",
    ),
    "end-by-end": (of_two_intervals(widest=False), "end-by-end"),
    "widest": (of_two_intervals(widest=True), "worst-and-best"),
    "basic": (basic, "basic"),
    "one tail": (
        looping(a_round, lambda d, level: np.percentile(d, [0, 100 * level])),
        "all-above",
    ),
    "always 1000": (
        lambda f, s, t, level, rng, n: by_choice(f, s, t, level, rng, 1000),
        "n-resamples",
    ),
    "half of them": (
        lambda f, s, t, level, rng, n: by_choice(f, s, t, level, rng, n // 2),
        "n-resamples",
    ),
    "always 50": (
        lambda f, s, t, level, rng, n: by_choice(f, s, t, level, rng, 50),
        "n-resamples",
    ),
    "no n_resamples": (
        lambda f, s, t, level, rng: (0, 1),
        "called-as",
    ),
    "first only": (
        looping(lambda f, s, t, r: t(r.choice(f, len(f))) - t(s)),
        "first-alone",
    ),
    "second only": (
        looping(lambda f, s, t, r: t(f) - t(r.choice(s, len(s)))),
        "second-alone",
    ),
    "pooled": (looping(pooled), "pooled"),
    "of-the-first": (looping(lambda f, s, t, r: t(r.choice(f, len(f)))), "of-the-first"),
    "single-scores": (
        looping(lambda f, s, t, r: r.choice(f) - r.choice(s)),
        "single-scores",
    ),
    "too large": (
        looping(lambda f, s, t, r: t(r.choice(f, N)) - t(r.choice(s, N))),
        "larger-resamples",
    ),
    "together": (looping(together), "same-indices"),
    "same-indices": (looping(same_indices), "out-of-bounds"),
    "no replacement": (
        looping(lambda f, s, t, r: t(r.permutation(f)) - t(r.permutation(s))),
        "no-replacement",
    ),
    "quantile": (
        looping(a_round, lambda d, level: np.percentile(d, [(1 - level) / 2, (1 + level) / 2])),
        "by-quantile",
    ),
    "ends exchanged": (
        looping(a_round, lambda d, level: ends(d, level)[::-1]),
        "exchanged",
    ),
    "range": (
        looping(a_round, lambda d, level: (min(d), max(d))),
        "least-to-largest",
    ),
    "unknown": (
        looping(lambda f, s, t, r: a_round(f, s, t, r) + 60),
        "unknown",
    ),
    "no size": (
        looping(lambda f, s, t, r: t(r.choice(f)) - t(r.choice(s))),
        "single-score",
    ),
    "at once": (at_once, "one-at-a-time"),
    "percentiles": (
        looping(a_round, lambda d, level: np.percentile(d, [-1, 101])),
        "percentiles",
    ),
    "own generator": (global_stream, "own-randomness"),
    "seeded": (seeded, "generator-ignored"),
    "changes": (shuffled_in_place, "changes-argument"),
    "nan": (lambda *a: (np.nan, np.nan), "no-numbers"),
    "one number": (lambda *a: 3.0, "not-two"),
    "nothing": (lambda *a: None, "returns-nothing"),
    "signature": (lambda f, s: None, "called-as"),
    "stub": (stub, "not-written"),
}


@pytest.mark.wide(9)
@pytest.mark.parametrize("name", list(WRONG_ANSWERS)[:: 1 if EVERY else 2])
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    assert_told_apart(check_difference_interval, WRONG_ANSWERS, name)


@pytest.mark.wide(5)
@pytest.mark.parametrize("name", list(WRONG_ANSWERS)[:: 1 if EVERY else 4])
def test_with_a_seed_wrong_answers_fail(name):
    with pytest.raises(ExerciseError):
        check_difference_interval(WRONG_ANSWERS[name][0], seed=1)


def test_a_return_inside_the_loop_is_told_as_such():
    """And not as drawing without replacement: the statistic was called twice."""
    message = complaint(check_difference_interval, return_inside)
    assert "The statistic is called 2 times" in message
    assert "replacement" not in message


def test_all_differences_are_not_listed():
    assert len(complaint(check_difference_interval, all_differences)) < 400


def test_numbers_learned_by_heart_fail_with_a_seed():
    """A function that knows the visible cases and nothing else."""
    from ppo_course.nb04_details.difference_interval_mistakes import cases

    known = {tuple(case.first) for case in cases(None)}

    def by_heart(first, second, statistic, level, rng, n_resamples=N):
        if tuple(first) in known:
            return by_choice(first, second, statistic, level, rng, n_resamples)
        return 0.0, 1.0

    check_difference_interval(by_heart)
    complaint(check_difference_interval, by_heart, seed=1)


def test_the_global_random_streams_stay_as_they_were():
    def drawing(*args):
        np.random.rand()  # noqa: NPY002 - the global stream
        return by_choice(*args)

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    check_difference_interval(drawing)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
