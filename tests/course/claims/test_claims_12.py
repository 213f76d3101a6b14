"""What notebook 12 says about its own results, at full length."""

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow

MORE = """
import json

k1, k3 = (estimate[~done_moved][order].unfold(0, 100, 100).mean(-1) for estimate in estimates)
print(json.dumps({
    "loss": losses[-300:].mean().item(),
    "best": best.item(),
    "reference": [mean, share_of_sentences(prompts, written_by_reference)],
    "k1": [k1.mean().item(), k1.std().item()],
    "k3": [k3.mean().item(), k3.std().item(), k3.min().item()],
    "exact": exact.item(),
    "histories": {name: history.tolist() for name, history in histories.items()},
    "grpo": by_groups.tolist(),
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results."""
    return full_length("12_language_model", tmp_path_factory.mktemp("run"), more=MORE).told()


def last(history, place):
    """The mean of the last ten iterations."""
    return sum(row[place] for row in history[-10:]) / 10


E, KL, SENTENCES = range(3)


def test_the_reference_knows_the_language(results):
    assert results["loss"] == pytest.approx(results["best"], abs=0.06)
    letters, sentences = results["reference"]
    assert letters == pytest.approx(4.4, abs=0.4)
    assert sentences > 0.85


def test_k3_varies_less_than_k1_and_both_are_right(results):
    for name in ("k1", "k3"):
        assert results[name][0] == pytest.approx(results["exact"], rel=0.25)
    assert results["k3"][1] < 0.7 * results["k1"][1]
    assert results["k3"][2] >= 0


def test_with_the_penalty_the_letters_double_and_the_language_stays(results):
    history = results["histories"]["β = 0.5"]
    assert last(history, E) > 1.7 * results["reference"][0]
    assert last(history, SENTENCES) > 0.8
    assert last(history, KL) < 6


def test_without_it_the_reward_is_hacked(results):
    free, cheap = results["histories"]["β = 0"], results["histories"]["β = 0.2"]
    assert last(free, E) > 35
    assert last(free, SENTENCES) == 0
    lost = [next(i for i, row in enumerate(h) if row[SENTENCES] < 0.2) for h in (free, cheap)]
    assert 5 < lost[0] < lost[1]  # it takes a while
    assert last(cheap, E) > 12
    assert last(cheap, SENTENCES) < 0.3


def test_grpo_learns_too_and_stays_closer(results):
    assert last(results["grpo"], E) > 1.25 * results["reference"][0]
    assert last(results["grpo"], E) < last(results["histories"]["β = 0.5"], E)
    assert last(results["grpo"], SENTENCES) > 0.7
    assert last(results["grpo"], KL) < last(results["histories"]["β = 0.5"], KL)
