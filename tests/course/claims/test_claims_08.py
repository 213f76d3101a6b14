"""What notebook 08 says about its own results, at full length."""

import statistics

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

from ppo_bbrl.plots.states import CARTPOLE

# Rows follow the angular velocity, columns the angle.
plane = CARTPOLE.plane("angle", "angular velocity", {}, 41)
with torch.no_grad():
    dist, values = model.eval().dist_and_value(plane)

print(json.dumps({
    "untrained": [value_norms[0].item(), value_norms[-1].item(), left[0].item(), left[-1].item()],
    "history": history,
    "curves": {
        way: [
            read_metrics(trained[way, seed].base_dir)["reward/mean"].dropna().tolist()
            for seed in (1, 2, 3)
        ]
        for way in WAYS
    },
    "policy": dist.probs[..., 1].tolist(),
    "values": values.tolist(),
    "one model": load_ppo2().__class__.__name__,
    "best": max(shared, key=lambda algo: algo.best_reward).best_reward,
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("08_shared_trunk_ppo2", tmp_path_factory.mktemp("run"), more=MORE).told()


def mean(numbers):
    numbers = list(numbers)
    return sum(numbers) / len(numbers)


def test_the_model_is_that_of_the_hub(results):
    assert results["one model"] == "PPO2"


def test_a_large_coefficient_leaves_little_of_the_policys_gradient(results):
    small, large, left_small, left_large = results["untrained"]
    assert large == pytest.approx(10_000 * small, rel=1e-3)
    assert left_large < 0.02 * left_small


def test_the_critics_gradient_is_longer_by_a_factor_of_ten(results):
    history = results["history"]
    factors = [v / p for v, p in zip(history["value"], history["policy"], strict=True)]
    assert mean(factor > 1 for factor in factors) > 0.95
    assert statistics.median(factors) > 10
    assert mean(value > 0.5 for value in history["value"]) > 0.95


def test_the_model_learns_by_the_functions_of_the_exercises(results):
    ends = results["history"]["ends"]
    assert mean(ends[-6:]) < 0.4 * mean(ends[:6])


def test_the_cosine_goes_up_and_down_around_0(results):
    cosines = results["history"]["cosine"]
    assert min(cosines) < 0 < max(cosines)
    assert abs(mean(cosines)) < 0.3


def test_the_policy_is_a_step_where_the_value_is_a_ridge(results):
    policy, values = results["policy"], results["values"]
    across, along = [row[20] for row in policy], policy[20]
    assert across[0] < 0.05
    assert across[-1] > 0.95
    assert abs(along[-1] - along[0]) < 0.6  # the line is nearly level
    decided = [abs(p - 0.5) for row in policy for p in row]
    flat = [value for row in values for value in row]
    assert statistics.correlation(decided, flat) < -0.6
    for column in (0, 20, 40):
        ridge = [row[column] for row in values]
        assert max(ridge) > ridge[0] + 1
        assert max(ridge) > ridge[-1] + 1
    assert max(flat) < 40


def test_a_hundred_times_the_coefficient_learns_later(results):
    """The first quarter of the evaluations, over the three seeds."""
    early = {
        way: mean(mean(curve[: len(curve) // 4]) for curve in curves)
        for way, curves in results["curves"].items()
    }
    assert early["shared, critic × 100"] < early["shared"]


def test_separate_networks_do_better_than_a_shared_trunk(results):
    whole = {way: mean(map(mean, curves)) for way, curves in results["curves"].items()}
    assert whole["separate"] > whole["shared"] > whole["shared, critic × 100"]


def test_the_video_shows_a_policy_that_has_learned(results):
    assert results["best"] > 300
