"""What notebook 10 says about the suspects: at full length, and over seeds that are not its own."""

import itertools

import numpy as np
import pytest
import torch
from notebook_run import full_length

from ppo_bbrl.plots import bootstrap_interval
from ppo_course.nb10_bug_hunt.suspects import CULPRITS, suspect
from ppo_course.nb10_bug_hunt.value_error import true_value

pytestmark = pytest.mark.slow

MORE = """
import json

def last(metric):
    return {name: table(its_runs, metric)[:, -5:].mean() for name, its_runs in runs.items()}

ratios = {
    name: [[ratio_error(*pair) for pair in run.first_minibatches] for run in its_runs]
    for name, its_runs in runs.items()
}
print(json.dumps({
    "return": {name: table(its_runs, "return").tolist() for name, its_runs in runs.items()},
    "entropy": last("entropy"),
    "kl": last("kl"),
    "entropies": {name: table(its_runs, "entropy").tolist() for name, its_runs in runs.items()},
    "explained": {
        name: table(its_runs, "explained_variance").tolist() for name, its_runs in runs.items()
    },
    "history": {name: [run.history for run in its_runs] for name, its_runs in runs.items()},
    "advantages": [advantage.tolist() for advantage in advantages.values()],
    "explained_variance": last("explained_variance"),
    "ratio": ratios,
    "probes": {name: dict(zip(PROBES, row)) for name, row in zip(SUSPECTS, found.tolist())},
    "healthy": healthy_returns.tolist(),
    "mended": table(mended, "return").tolist(),
    "mended_ratio": largest,
}))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The solution, run, with a last cell that tells its results by the names of the charges."""
    told = full_length("10_bug_hunt", tmp_path_factory.mktemp("run"), more=MORE).told()
    return {
        what: {CULPRITS[name]: fact for name, fact in facts.items()}
        if isinstance(facts, dict)
        else facts
        for what, facts in told.items()
    }


FIVE = (
    "leak across truncation",
    "stale observation",
    "drawn with replacement",
    "critic moves the actor",
    "innocent",
)


def test_the_curves_convict_two_and_acquit_nobody(results):
    final = {charge: np.array(curves)[:, -1] for charge, curves in results["return"].items()}
    assert final["sign of the loss"].max() < 12
    assert final["wrong action"].min() > 15
    assert final["wrong action"].max() < 35
    for charge in FIVE:
        assert final[charge].mean() > 150, charge
        assert final[charge].min() > 90, charge


def test_the_package_learns_as_the_five_do_and_its_seeds_end_apart(results):
    healthy = np.array(results["healthy"])
    assert healthy.shape == (4, 30)
    assert healthy[:, -1].mean() > 150
    assert healthy[:, -1].min() > 90
    assert np.ptp(healthy[:, -1]) > 50


def test_of_the_five_one_is_behind_and_the_others_overlap(results):
    curves = {charge: np.array(results["return"][charge]) for charge in FIVE}
    early = {charge: curve[:, 4:17].mean() for charge, curve in curves.items()}
    behind = early.pop("critic moves the actor")
    assert behind < 0.85 * min(early.values())
    for one, other in itertools.combinations(early, 2):
        (low, high), (its_low, its_high) = map(bootstrap_interval, (curves[one], curves[other]))
        assert ((low <= its_high) & (its_low <= high)).mean() > 0.8, (one, other)


def test_the_one_behind_is_slow_in_its_metrics_too(results):
    def middle(metric):
        return {charge: np.array(results[metric][charge])[:, 13:24].mean() for charge in FIVE}

    entropy, explained = middle("entropies"), middle("explained")
    assert max(entropy, key=entropy.get) == "critic moves the actor"
    assert min(explained, key=explained.get) == "critic moves the actor"


def test_two_are_the_same_to_the_last_digit_until_an_episode_is_truncated(results):
    history = results["history"]

    def same(one, other):
        """After how many updates two suspects part, for each seed."""
        pairs = zip(history[one], history[other], strict=True)
        return [
            next((i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b), len(pair[0]))
            for pair in pairs
        ]

    for one, other in itertools.combinations(history, 2):
        parted = same(one, other)
        if {one, other} != {"innocent", "leak across truncation"}:
            assert parted == [0] * len(parted), (one, other)
            continue
        # In the mean over the seeds, which is what the picture shows: up to the first of them.
        assert min(parted) >= 8
        for seed, updates in enumerate(parted):
            run = suspect("D", "CartPole-v1", seed)
            for _ in range(updates):
                assert not run.train(1).workspace.get_full("env/truncated")[1:].any()
            if updates < len(history[one][seed]):
                assert run.train(1).workspace.get_full("env/truncated")[1:].any()


def test_the_metrics_show_the_two_and_a_good_critic_of_the_worst(results):
    entropy, explained = results["entropy"], results["explained_variance"]
    assert entropy["sign of the loss"] < 0.15
    assert entropy["wrong action"] > 0.68
    assert all(0.3 < entropy[charge] < 0.68 for charge in FIVE)
    assert max(explained, key=explained.get) == "sign of the loss"
    assert explained["sign of the loss"] > 0.8
    others = [results["kl"][charge] for charge in FIVE]
    assert min(others) / 3 < results["kl"]["wrong action"] < 3 * max(others)


def test_the_ratio_convicts_one_in_every_update_but_hardly_in_the_first(results):
    for charge, errors in results["ratio"].items():
        if charge == "wrong action":
            assert np.max(errors, 0)[0] < 0.05
            assert np.max(errors, 0)[1:].min() > 0.1
        else:
            assert np.max(errors) < 1e-5, charge


def test_the_map_of_the_probes(results):
    probes = results["probes"]
    for charge, found in probes.items():
        assert abs(found["ConstantReward"]) < 0.05
        if charge not in {"stale observation", "wrong action"}:
            assert abs(found["Discounting"]) < 0.06
        if charge not in {"leak across truncation", "wrong action"}:
            assert abs(found["TruncatedOnly"]) < 0.45
        if charge not in {"sign of the loss", "wrong action"}:
            assert found["ActionDecides"] > 0.95
        if charge not in {"sign of the loss", "wrong action", "stale observation"}:
            assert found["ActionAndObservationDecide"] > 0.95
    assert probes["sign of the loss"]["ActionDecides"] == -1
    assert -0.8 < probes["wrong action"]["ActionDecides"] < 0.8
    assert probes["wrong action"]["ActionAndObservationDecide"] > 0.7
    assert -1.4 < probes["leak across truncation"]["TruncatedOnly"] < -0.7
    assert abs(probes["stale observation"]["ActionAndObservationDecide"]) < 0.5
    assert probes["stale observation"]["Discounting"] > 0.05


def test_what_a_leak_says_of_a_critic_that_is_right(results):
    right, leaking = map(np.array, results["advantages"])
    reset = 8  # after the eight steps; no transition
    assert right[reset] == pytest.approx(-1, abs=1e-5)
    assert np.abs(np.delete(right, reset, axis=0)).max() < 1e-5
    assert leaking[reset] == pytest.approx(-1, abs=1e-5)
    assert leaking[:reset, 0] == pytest.approx(-(0.855 ** np.arange(8, 0, -1)), abs=1e-4)
    assert leaking[reset + 1 :] == pytest.approx(0, abs=1e-5)


def test_the_mended_one_is_the_innocent_one(results):
    """The same program with the same seeds: not only about as good."""
    assert results["mended"] == results["return"]["innocent"]
    assert results["mended_ratio"] < 1e-5


# ------------------------------------------------------------------------------- over other seeds

SEEDS = range(20, 28)
PROBE = {"n_steps": 32, "batch_size": 256, "lr": 5e-3, "discount_factor": 0.9}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def runs_of(charge, env_name, n_updates, **settings):
    name = next(name for name, its_charge in CULPRITS.items() if its_charge == charge)
    return [suspect(name, env_name, seed, **settings).train(n_updates) for seed in SEEDS]


def returns_on(charge, probe):
    return [run.history[-1]["return"] for run in runs_of(charge, f"{probe}-v0", 20, **PROBE)]


def errors_on(charge, probe, observation):
    runs = runs_of(charge, f"{probe}-v0", 20, **PROBE)
    values = [run.critic.value(torch.tensor(observation)).item() for run in runs]
    return np.array(values) - true_value(probe, 0.9)


def test_the_turned_sign_finds_the_worst_action_with_every_seed():
    assert returns_on("sign of the loss", "ActionDecides") == [-1] * len(SEEDS)
    assert returns_on("innocent", "ActionDecides") == [1] * len(SEEDS)


def test_the_wrong_action_shows_in_the_ratio_with_every_seed():
    for run in runs_of("wrong action", "CartPole-v1", 6):
        log_prob, old_log_prob = run.first_minibatches[-1]
        assert (log_prob - old_log_prob).exp().sub(1).abs().max() > 0.05


def test_who_sees_what_was_is_a_coin_with_every_seed():
    stale = returns_on("stale observation", "ActionAndObservationDecide")
    assert max(stale) < 0.7
    assert abs(np.mean(stale)) < 0.25
    assert returns_on("stale observation", "ActionDecides") == [1] * len(SEEDS)
    assert min(returns_on("innocent", "ActionAndObservationDecide")) > 0.95


def test_the_wrong_action_passes_the_last_probe_by_the_diagonal_of_a_square():
    probe = "ActionAndObservationDecide"
    runs = runs_of("wrong action", f"{probe}-v0", 1, **PROBE)
    assert {run.n_transitions for run in runs} == {16 * 16}
    assert np.mean(returns_on("wrong action", probe)) > 0.6
    runs = runs_of("wrong action", f"{probe}-v0", 20, **(PROBE | {"n_steps": 34}))
    assert np.mean([run.history[-1]["return"] for run in runs]) < 0.45


def test_who_sees_one_row_late_gives_the_first_state_the_value_of_the_second():
    errors = errors_on("stale observation", "Discounting", [0.0])
    assert errors.mean() == pytest.approx(0.1, abs=0.04)
    assert abs(errors_on("innocent", "Discounting", [0.0]).mean()) < 0.04


def test_an_entropy_hides_what_a_ratio_shows():
    for probability, entropy in ((0.6, 0.67), (0.5, 0.69)):
        of_both = torch.tensor([probability, 1 - probability])
        assert -(of_both * of_both.log()).sum().item() == pytest.approx(entropy, abs=0.005)


def test_the_leak_costs_a_tenth_of_the_value_with_every_seed():
    leak, right = (
        errors_on(charge, "TruncatedOnly", [1.0])
        for charge in ("leak across truncation", "innocent")
    )
    assert leak.max() < -0.6
    assert -1.3 < leak.mean() < -0.8
    # A single short run may be off by some tenths: the notebook takes the mean of two.
    assert abs(np.median(right)) < 0.2
    assert abs(right.mean()) < 0.3


def test_what_the_bugs_cost_on_cartpole_with_twelve_other_seeds(monkeypatch):
    """The table of the notebook, up to what another machine's rounding may change."""
    monkeypatch.setattr(f"{__name__}.SEEDS", range(4, 16))

    def means(charge):
        runs = runs_of(charge, "CartPole-v1", 30)
        return np.array([np.mean([update["return"] for update in run.history]) for run in runs])

    innocent = means("innocent")

    def cost(charge):
        difference = means(charge) - innocent
        return difference.mean(), *bootstrap_interval(difference[:, None])[:, 0]

    assert 140 < innocent.mean() < 220
    mean, low, high = cost("drawn with replacement")
    assert low < 0 < high
    assert abs(mean) < 30
    mean, low, high = cost("leak across truncation")
    assert abs(mean) < 15
    mean, low, high = cost("stale observation")
    assert -50 < mean < 0
    mean, low, high = cost("critic moves the actor")
    assert -70 < mean < -20
    assert high < 0
