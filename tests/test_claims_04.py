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
    assert [len(found) for found in judged] == [6, 2]
    for found in judged:
        for low, high, verdict in found.values():
            if low > 0:
                assert verdict == "made a difference: better without the detail"
            elif high < 0:
                assert verdict == "made a difference: worse without the detail"
            else:
                assert verdict == "too close to tell"


def test_normalised_advantages_made_a_difference_with_fresh_seeds(text, judged):
    low, high, verdict = judged[1]["advantages as they are"]
    assert verdict == "made a difference: worse without the detail"
    (without,) = numbers(text, "fresh score of advantages as they are")
    (baseline,) = numbers(text, "fresh score of everything on")
    assert low <= without - baseline <= high


def test_with_replacement_the_loss_is_far_smaller_than_without_normalised_advantages(text):
    """What the notebook calls too close to tell must at least be closer than what it does not."""
    scores = [
        numbers(text, f"fresh score of {name}")[0]
        for name in (
            "everything on",
            "minibatches with replacement",
            "advantages as they are",
        )
    ]
    assert abs(scores[0] - scores[1]) < scores[0] - scores[2]


def test_the_loop_with_the_students_functions_learns_and_is_stopped_at_times(text):
    (best,) = numbers(text, "largest return")
    assert best >= 200  # a policy that acts at random gets about 20
    steps = numbers(text, "steps of the updates")
    assert min(steps) < 40
    assert 40 in steps


def test_the_estimate_k3_varies_less_than_k1_and_is_never_negative(text):
    k1, least_k1 = numbers(text, "deviation of $k_1$")
    k3, least_k3 = numbers(text, "deviation of $k_3$")
    assert k3 < k1 / 2
    assert least_k1 < 0 <= least_k3
