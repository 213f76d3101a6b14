"""What notebook 11 says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

table = read_metrics(algo.base_dir)
print(json.dumps({
    "returns": table["reward/mean"].dropna().tolist(),
    **{name: table[name].dropna().tolist() for name in ("entropy", "kl", "clipped")},
    "explained": table["explained_variance"].dropna().tolist(),
    "certain": {
        str(gain): float(torch.stack(
            [(network([4, 64, 64, 2], gain)(torch.ones(4)).softmax(-1)[1] - 0.5).abs().detach()
             for _ in range(50)]
        ).max())
        for gain in (0.01, 1.0)
    },
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("11_write_ppo", tmp_path_factory.mktemp("run"), more=MORE).told()


def test_the_notebooks_own_run_solves_cartpole(results):
    assert max(results["returns"]) >= 475


def test_the_diagnostics_are_as_healthy_as_the_table_says(results):
    assert results["entropy"][0] == pytest.approx(0.69, abs=0.03)
    assert results["entropy"][-1] < results["entropy"][0]
    kl, clipped = (sorted(results[name]) for name in ("kl", "clipped"))
    assert 0.001 < kl[len(kl) // 2] < 0.03
    assert 0.02 < clipped[len(clipped) // 2] < 0.3
    assert max(results["explained"]) > 0.5


def test_the_small_gain_makes_the_first_policy_a_coin(results):
    assert results["certain"]["0.01"] < 0.02 < results["certain"]["1.0"]
