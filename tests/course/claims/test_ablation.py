"""Ablations: variants differ in what they say and in nothing else; curves are those of the runs."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppo_bbrl import ConfigError, PPOClip
from ppo_bbrl.errors import UserError
from ppo_bbrl.runs.progress import Progress
from ppo_course.ablation import (
    PPOWithReplacement,
    PPOWithTorchInitialisation,
    TransitionsWithReplacement,
    Variant,
    train_variants,
)

CONFIG = {
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {"n_envs": 4, "n_steps": 16, "max_epochs": 3, "batch_size": 32},
}


def rollout(n):
    numbers = torch.arange(n, dtype=torch.float32)
    return TransitionsWithReplacement({"action": numbers}, numbers, numbers, numbers, numbers)


@pytest.mark.parametrize(("n", "batch_size", "sizes"), [(64, 16, [16] * 4), (50, 0, [50])])
def test_minibatches_with_replacement_are_as_many_and_as_large_but_miss_transitions(
    n, batch_size, sizes
):
    """Protects the ablation of the minibatches: it must change which transitions are used alone."""
    generator = torch.Generator().manual_seed(0)
    batches = list(rollout(n).minibatches(batch_size, generator))
    assert [len(batch) for batch in batches] == sizes
    used = torch.cat([batch.log_prob for batch in batches])
    assert len(used.unique()) < n
    for batch in batches:
        assert torch.equal(batch.variables["action"], batch.advantage)


def test_a_rollout_without_transitions_has_no_minibatch():
    assert list(rollout(0).minibatches(32, torch.Generator())) == []


def test_with_replacement_is_what_the_update_sees():
    algo = PPOWithReplacement(CONFIG)
    workspace = next(algo.iter_partial_episodes(17))
    assert isinstance(algo.record(workspace), TransitionsWithReplacement)


def test_torchs_initialisation_is_neither_orthogonal_nor_zero():
    """Protects the ablation of the initialisation: it must leave out what it says."""
    orthogonal, other = PPOClip(CONFIG), PPOWithTorchInitialisation(CONFIG)
    for one, two in zip(
        orthogonal.train_policy.parameters(), other.train_policy.parameters(), strict=True
    ):
        assert one.shape == two.shape
        assert not torch.equal(one, two)
        if one.dim() == 1:  # biases
            assert not one.any()
            assert two.any()
    again = PPOWithTorchInitialisation(CONFIG)
    first = next(iter(other.critic_agent.parameters()))
    assert torch.equal(first, next(iter(again.critic_agent.parameters())))


@pytest.mark.slow
def test_curves_are_those_of_the_runs_one_row_for_each_seed(tmp_path, monkeypatch):
    """Protects the order of the seeds, whichever process is ready first; no run leaves a file."""
    monkeypatch.chdir(tmp_path)
    curves = train_variants(
        CONFIG,
        {
            "as it is": Variant(),
            "longer": Variant(("algorithm.n_steps=64",)),
            "with replacement": Variant(algorithm=PPOWithReplacement),
        },
        [5, 3],
    )
    assert list(tmp_path.iterdir()) == []
    assert list(curves) == ["as it is", "longer", "with replacement"]
    assert {rows.shape for rows in curves.values()} == {(2, 3)}
    for row, seed in enumerate((5, 3)):
        algo = PPOClip({**CONFIG, "algorithm": {**CONFIG["algorithm"], "seed": seed}})
        returns, latest = [], np.nan
        for workspace in algo.iter_partial_episodes(17):
            algo.update(algo.record(workspace))
            ended = workspace["env/done"][1:]
            if ended.any():
                latest = workspace["env/cumulated_reward"][1:][ended].mean().item()
            returns.append(latest)
        assert curves["as it is"][row] == pytest.approx(returns, nan_ok=True)
    assert not np.array_equal(curves["as it is"], curves["longer"], equal_nan=True)


def test_an_impossible_variant_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("ppo_course.ablation.ProcessPoolExecutor", None)
    with pytest.raises(ConfigError, match="clip_rnge"):
        train_variants(CONFIG, {"a": Variant(), "b": Variant(("algorithm.clip_rnge=1",))}, [1])
    with pytest.raises(UserError, match="0 variants, 1 seeds"):
        train_variants(CONFIG, {}, [1])


def test_in_this_process_the_curves_are_the_same_and_the_threads_stay():
    """Without processes nothing is started; whoever called keeps their number of threads."""
    threads = torch.get_num_threads()
    variants = {"as it is": Variant(), "with replacement": Variant(algorithm=PPOWithReplacement)}
    here = train_variants(CONFIG, variants, [5], processes=0)
    there = train_variants(CONFIG, variants, [5], processes=1)
    assert torch.get_num_threads() == threads
    for name in variants:
        np.testing.assert_array_equal(here[name], there[name])


def test_what_is_left_is_estimated_without_the_start(monkeypatch):
    """40 s to start, then one run of 42 each second: 40 s are left, not half an hour."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told = []
    progress = Progress(42)
    progress._display = SimpleNamespace(pause=0, show=lambda *said: told.append(said))
    now = 40.0
    progress.started_up(1)
    now = 41.0
    progress.show(2, {})
    assert told[0][2] == {"elapsed": "41 s", "left": "40 s"}
