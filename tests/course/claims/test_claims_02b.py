"""What notebook 02b says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

print(json.dumps({
    "spread": spread,
    "importance": [mean_of_estimates.tolist(), exact.tolist(), deviation.tolist(), size.tolist()],
    "curves": {name: curve.tolist() for name, curve in curves.items()},
    "shifts": shifts.tolist(),
    "near_share": share[:3].sum().item(),
    "best": [chances[true_gain.argmax()].item(), true_gain.max().item()],
    "ends": [promise[-1].item(), true_gain[-1].item()],
    "paths": {str(limit): [ice(p)[0].item() for p in path] for limit, path in paths.items()},
    "optimum": max(ice(p.item())[0].item() for p in chances),
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("02b_policy_gradient", tmp_path_factory.mktemp("run"), more=MORE).told()


def test_a_baseline_takes_most_of_the_noise_away_and_the_mean_is_nearly_the_best(results):
    none, mean, best = results["spread"].values()
    assert 6 < none / mean < 13
    assert mean == pytest.approx(best, rel=0.1)


def test_importance_weights_are_right_on_average_and_cost_samples(results):
    mean, exact, deviation, size = results["importance"]
    assert mean == pytest.approx(exact, abs=0.4)
    assert deviation[-1] > 3 * deviation[0]
    assert size[0] == pytest.approx(100)
    assert 12 < size[-1] < 30


def test_the_minimum_is_below_the_others_and_keeps_its_slope_to_the_left(results):
    plain, clipped, minimum, truth = results["curves"].values()
    for one, other, low in zip(plain, clipped, minimum, strict=True):
        assert low <= min(one, other) + 1e-5
    assert clipped[0] > minimum[0] + 0.2
    assert minimum[0] == pytest.approx(plain[0], abs=0.35)
    assert plain[-1] > minimum[-1] + 0.5
    assert plain == pytest.approx(truth, abs=0.25)


def test_the_promise_is_a_tangent_that_leads_onto_thin_ice(results):
    assert results["near_share"] > 0.98
    where, gain = results["best"]
    assert where == pytest.approx(0.34, abs=0.03)
    assert gain == pytest.approx(1.7, abs=0.1)
    promise, truth = results["ends"]
    assert promise > 13
    assert truth < -13


def test_small_regions_climb_and_large_ones_jump(results):
    small, middle, large = (results["paths"][key] for key in ("0.01", "0.1", "10.0"))
    assert small[-1] > 0.95 * results["optimum"]
    assert min(small) == small[0]
    assert min(large[1:]) < -10
    assert min(middle) < max(middle)
