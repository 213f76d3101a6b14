"""What notebook 04 says about its own results, at full length."""

import re

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

# More numbers than the cells show.
MORE = """
for name, result in fresh_scores.items():
    print("fresh score of", name, "=", interquartile_mean(result))
print("steps of the updates =", *metrics["optimiser_steps"].dropna().tolist())
print("largest return =", metrics["reward/mean"].max())
print("changes of the values =", *metrics["value_change"].dropna().tolist())
print("misses =", share_missed(6, 1 - 0.05 / 6), share_missed(20, 0.95))
for name, rows in curves.items():
    print("end of", name, "=", np.nanmean(rows[:, -5:]))
means = {name: np.nan_to_num(rows).mean(0) for name, rows in curves.items()}
below = (means["advantages as they are"] < means[BASELINE]).mean()
print("share of the run below the baseline =", below)
print("fresh seeds =", *fresh_seeds)
print("seen before =", *seeds, *report.runs)
print("ends of the same configuration =", *ends)
print("first scores =", *scores[BASELINE].tolist())
print("first scores of advantages as they are =", *scores["advantages as they are"].tolist())
for name, estimate in estimates.items():
    print("deviation of", name, "=", float(estimate.std()), "least", float(estimate.min()))
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """What the solution prints, run as a reader runs it, and a little more."""
    return full_length("04_ppo_details", tmp_path_factory.mktemp("run"), more=MORE).text()


def numbers(text, line):
    found = re.search(rf"^{re.escape(line)} = (.*)$", text, re.MULTILINE)
    assert found, f"no line {line!r}"
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-\d+)?", found[1])]


def verdicts(text):
    """The lines of a verdict: name → (low, high, verdict)."""
    lines = re.findall(r"^(.+?) +\[ *(-?[\d.]+), +(-?[\d.]+)\]  (.+)$", text, re.MULTILINE)
    return {name: (float(low), float(high), verdict) for name, low, high, verdict in lines}


@pytest.fixture(scope="module")
def judged(text):
    """The verdicts of the first experiment, and of the one with fresh seeds."""
    first, fresh = text.split("With fresh seeds:\n")
    return verdicts(first), verdicts(fresh)


def test_each_verdict_says_what_its_interval_says(judged):
    assert [len(found) for found in judged] == [6, 1]
    for found in judged:
        for low, high, verdict in found.values():
            if low > 0:
                assert verdict == "made a difference: better without the detail"
            elif high < 0:
                assert verdict == "made a difference: worse without the detail"
            else:
                assert verdict == "too close to tell"


def test_without_value_clipping_training_ends_far_higher_with_fresh_seeds(text, judged):
    low, high, verdict = judged[1]["no value clipping"]
    assert verdict == "made a difference: better without the detail"
    (without,) = numbers(text, "fresh score of no value clipping")
    (baseline,) = numbers(text, "fresh score of everything on")
    assert low <= without - baseline <= high
    assert without > 1.5 * baseline


def test_six_seeds_find_nothing(judged):
    """On another processor, where every run is another one, this fails with about 30 %.

    So many of the experiments with six of seeds 100 to 169 had at least one verdict.
    """
    for name, (*_, verdict) in judged[0].items():
        assert verdict == "too close to tell", name


def test_the_scores_with_advantages_as_they_are_lie_far_apart(text):
    without = numbers(text, "first scores of advantages as they are")
    with_all = numbers(text, "first scores")
    assert max(without) - min(without) > 1.5 * (max(with_all) - min(with_all))


def test_the_loop_with_the_students_functions_learns_and_is_stopped_at_times(text):
    (best,) = numbers(text, "largest return")
    assert best >= 200  # a policy that acts at random gets about 20
    steps = numbers(text, "steps of the updates")
    assert min(steps) < 40
    assert 40 in steps


def test_the_values_move_by_several_times_the_clip_range(text):
    """It would be far less if the clipped error held them: question 2 is about the error alone."""
    changes = numbers(text, "changes of the values")
    assert 0.7 < sum(changes) / len(changes) < 1.3


def test_two_curves_end_highest_and_one_is_mostly_below_the_baseline(text):
    """The notebook says so of the machine where it was written; another one may differ."""
    ends = dict(re.findall(r"^end of (.+) = ([\d.]+)$", text, re.MULTILINE))
    assert len(ends) == 7
    assert set(sorted(ends, key=lambda name: float(ends[name]))[-2:]) == {
        "no value clipping",
        "no stopping",
    }
    assert min(float(ends[name]) for name in ("no value clipping", "no stopping")) > (
        float(ends["everything on"]) + 50
    )
    (share,) = numbers(text, "share of the run below the baseline")
    assert share > 0.6


def test_six_seeds_of_the_same_configuration_end_far_apart(text):
    ends = numbers(text, "ends of the same configuration")
    assert len(ends) == 6
    assert max(ends) > 1.5 * min(ends)


def test_the_fresh_seeds_are_twenty_and_none_was_seen(text):
    fresh, seen = numbers(text, "fresh seeds"), numbers(text, "seen before")
    assert len(fresh) == len(set(fresh)) == 20
    assert not set(fresh) & {*seen, *range(100, 170)}  # these have suggested the question


def test_intervals_of_six_seeds_miss_more_often_than_they_promise_and_those_of_twenty_hardly(text):
    six, twenty = numbers(text, "misses")
    assert six > 2 * 0.05 / 6
    assert 0.10 < 6 * six < 0.14
    assert 0.04 < twenty < 0.07


def test_the_estimate_k3_varies_less_than_k1_and_is_never_negative(text):
    k1, least_k1 = numbers(text, "deviation of $k_1$")
    k3, least_k3 = numbers(text, "deviation of $k_3$")
    assert k3 < k1 / 2
    assert least_k1 < 0 <= least_k3
