"""What notebook 03 says about its own results, at full length."""

import math

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

def at(angle, velocity):
    return torch.tensor([[0.0, 0.0, angle, velocity]])

policy, critic = ppo_clip.best_policy, ppo_clip.critic_agent
while hasattr(policy, "wrapped"):
    policy = policy.wrapped
tables = [read_metrics(folder) for folder in runs]
print(json.dumps({
    "returns": [table["reward/mean"].dropna().tolist() for table in tables],
    "steps": [int(table["steps"].max()) for table in tables],
    "package": [
        read_metrics(run.folder)["reward/mean"].dropna().tolist() for run in report.runs.values()
    ],
    "last of the package": float(report.last.value),
    "entropy": metrics["entropy_loss"].dropna().tolist(),
    "clipped": metrics["clipped"].dropna().tolist(),
    "to the right": [policy.dist(at(*s)).probs[0, 1].item() for s in ((0.1, 1.0), (-0.1, -1.0))],
    "on the probe": on_probe.critic_agent.model(torch.ones(1)).item(),
    "value": critic.model(at(0.0, 0.0)).item(),
    "value when falling": critic.model(at(0.2, 2.0)).item(),
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("03_ppo_clip", tmp_path_factory.mktemp("run"), more=MORE).told()


def test_every_seed_reaches_the_most_that_is_possible_from_about_20(results):
    assert len(results["returns"]) == 3
    for returns in results["returns"]:
        assert returns[0] < 100
        assert max(returns) > 475
        assert sum(returns[-5:]) / 5 > 400


def test_the_package_gets_there_too_and_its_seeds_do_at_different_times(results):
    curves = results["package"]
    assert len(curves) == 6
    assert all(max(returns) > 475 for returns in curves)
    assert results["last of the package"] > 475
    first = [next(i for i, value in enumerate(returns) if value >= 475) for returns in curves]
    assert max(first) > 1.5 * min(first)


def test_the_critic_nearly_finds_the_value_of_the_probe(results):
    assert results["on the probe"] == pytest.approx(10, abs=1.2)


def test_a_run_takes_about_76_000_steps(results):
    assert all(75_000 < steps < 77_000 for steps in results["steps"])


def test_the_entropy_starts_at_that_of_a_coin_and_falls(results):
    entropy = results["entropy"]
    assert entropy[0] == pytest.approx(math.log(2), abs=0.02)
    assert sum(entropy[-100:]) / 100 < 0.6


def test_some_percent_of_the_transitions_are_clipped(results):
    share = sum(results["clipped"]) / len(results["clipped"])
    assert 0.005 < share < 0.15


def test_the_maps_show_what_the_text_says(results):
    """Pushed to the side to which the pole falls; balancing is worth nearly 50, falling less."""
    right, left = results["to the right"]
    assert right > 0.9
    assert left < 0.1
    assert results["value"] == pytest.approx(50, abs=3)
    assert results["value when falling"] < results["value"] - 3
