"""What notebook 02 says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

late = {
    name: (history - true_value)[:, N_PIECES // 2 :, 1:].mean(1)
    for name, history in histories.items()
}
without_trace = {}
LAMBDA = 0
for name in ("trace not cut", "next value of the reset"):
    off = learned(functions[name]) - learned(critic_targets)
    without_trace[name] = off.abs().max().item()
print(json.dumps({
    "rmse": {name: e.square().mean().sqrt().item() for name, e in late.items()},
    "by_cell": {name: e.mean(0).tolist() for name, e in late.items()},
    "bias": torch.stack(bias).tolist(),
    "deviation": torch.stack(deviation).tolist(),
    "best": float(lambdas[torch.stack(total).argmin()]),
    "off": (values.mean(0) - true_value[1:]).tolist(),
    "truncated": float(truncated.sum() / walks["env/done"].sum()),
    "difference": difference.abs().max().item(),
    "at_lambda_0": without_trace,
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("02_value_and_gae", tmp_path_factory.mktemp("run"), more=MORE).told()


MISTAKES = (
    "truncated = terminated",
    "trace not cut",
    "next value of the reset",
    "reset as a transition",
)


def test_the_right_targets_are_right_and_every_mistake_leaves_its_error(results):
    rmse = results["rmse"]
    assert rmse["yours"] < 0.35
    assert all(rmse[name] > 2 * rmse["yours"] for name in MISTAKES)
    assert all(rmse[name] > 0.7 for name in MISTAKES)


def test_truncated_as_terminated_is_the_worst_and_the_reset_the_mildest(results):
    rmse = results["rmse"]
    ranked = sorted(MISTAKES, key=rmse.get)
    assert ranked[0] == "reset as a transition"
    assert ranked[-1] == "truncated = terminated"
    assert rmse["truncated = terminated"] > 5


def test_the_error_grows_with_the_distance_from_the_hole(results):
    for name in MISTAKES:
        error = results["by_cell"][name]
        assert error == sorted(error, reverse=True), name
        assert error[-1] < -1, name


def test_the_leak_and_the_value_of_the_reset_look_alike_but_are_not_the_same(results):
    leak, reset = (results["by_cell"][name] for name in MISTAKES[1:3])
    assert max(abs(a - b) for a, b in zip(leak, reset, strict=True)) < 0.5
    assert results["at_lambda_0"]["trace not cut"] == 0
    assert results["at_lambda_0"]["next value of the reset"] > 1


def test_bias_falls_and_deviation_grows_with_lambda(results):
    bias, deviation = results["bias"], results["deviation"]
    assert bias == sorted(bias, reverse=True)
    assert deviation == sorted(deviation)
    assert bias[0] > deviation[0]
    assert bias[-1] < 0.1 * deviation[-1]
    assert 0.6 <= results["best"] <= 0.9


def test_the_found_targets_are_far_off_and_most_far_from_the_hole(results):
    assert min(results["off"]) == results["off"][-1] < -8


def test_many_episodes_are_truncated(results):
    assert 0.3 < results["truncated"] < 0.5


def test_the_lambda_return_is_the_advantage_plus_the_value(results):
    assert results["difference"] < 1e-4
