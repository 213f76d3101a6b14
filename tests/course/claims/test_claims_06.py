"""What notebook 06 says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

curves = {}
entropies = {}
for name, (algo, _) in runs.items():
    metrics = read_metrics(algo.base_dir)
    curves[name] = metrics["reward/mean"].dropna().tolist()
    entropies[name] = metrics["entropy_loss"].dropna().tolist()


def arrives(row, column, place):
    env.reset(seed=1)
    warehouse.kind, warehouse.parcel, warehouse.robot = 0, place, (row, column)
    obs, over, reward = warehouse._observation(), False, 0.0
    while not over:
        mask = torch.tensor(warehouse.action_mask())[None]
        given = {name: torch.as_tensor(part)[None] for name, part in obs.items()}
        action = policy.dist(given, mask).mode[0].numpy()
        obs, reward, terminated, truncated, _ = warehouse.step(action)
        over = terminated or truncated
    return reward


cells = [(r, c) for r in range(5) for c in range(5) if (r % 2, c % 2) != (1, 1)]
led = [arrives(row, column, place) for row, column in cells for place in (3, 4)]
print(json.dumps({
    "steps": masked.nb_steps,
    "curves": curves,
    "entropies": entropies,
    "scores": scores,
    "shares": [before, after, share_allowed(masked.train_policy)],
    "at random": was_allowed(random_workspace, [4, 10]).float().mean().item(),
    "possible": (moves.sum(-1) * hand.sum(-1)).float().mean().item(),
    "ratio": (new - old).exp().item(),
    "led": sum(led) / len(led),
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("06_other_spaces", tmp_path_factory.mktemp("run"), more=MORE).told()


def test_with_the_mask_all_parcels_arrive_and_without_it_none_do(results):
    assert 20_000 < results["steps"] < 25_000
    masked, unmasked = results["curves"]["with the mask"], results["curves"]["without"]
    assert max(masked) > 0.9
    assert sum(masked[-3:]) / 3 > 0.8
    assert max(unmasked) < 0.15


def test_the_difference_is_no_luck(results):
    scores = results["scores"]
    for seed in (2, 3):
        assert scores[f"with the mask, {seed}"] > 0.8
        assert scores[f"without, {seed}"] < scores[f"with the mask, {seed}"] - 0.4


def test_the_entropies_begin_where_it_is_said(results):
    masked, unmasked = results["entropies"]["with the mask"], results["entropies"]["without"]
    assert unmasked[0] == pytest.approx(3.68, abs=0.03)
    assert unmasked[-1] > 2.5
    assert masked[0] == pytest.approx(0.85, abs=0.07)
    assert masked[-1] < 0.5 * masked[0]


def test_the_mask_is_kept_to_and_most_actions_are_impossible(results):
    before, after, masked = results["shares"]
    assert masked == 1
    assert 0.04 < before < 0.11
    assert after < 0.2
    assert 0.04 < results["at random"] < 0.11
    assert 2 < results["possible"] < 3
    assert results["ratio"] == pytest.approx(0.33, abs=0.01)


def test_the_arrows_lead_to_the_parcel_and_to_the_door(results):
    assert results["led"] > 0.9
