"""PPO for Lightning in several processes: they step together, as one process would."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ppo_bbrl.lightning.batches import minibatches
from ppo_bbrl.lightning.collection import Batch, Transitions


def rollout(n, n_rows):
    rows = torch.arange(float(n))
    batch = Batch(rows[:, None], rows, rows, rows, rows, rows)
    return Transitions(batch, batch.select(torch.tensor([0])), [], n_rows)


@pytest.mark.parametrize(("mine", "other"), [(10, 7), (3, 12), (1, 12), (12, 12)])
def test_processes_make_the_same_number_of_minibatches(mine, other):
    """Whatever autoreset steps each of them has: else they would wait for each other for ever."""
    given = []
    for rank, n in enumerate((mine, other)):
        generator = torch.Generator().manual_seed(rank)
        given.append(list(minibatches(rollout(n, 12), 3, generator, [mine, other])))
    assert len(given[0]) == len(given[1]) == 4
    for rank, n in enumerate((mine, other)):
        seen = [batch.returns[: batch.counts[rank]] for batch in given[rank]]
        assert sorted(torch.cat(seen).tolist()) == list(range(n))
    assert [batch.counts for batch in given[0]] == [batch.counts for batch in given[1]]
    assert all(len(batch.returns) >= 1 for batches in given for batch in batches)


def test_more_minibatches_than_transitions_leave_out_the_empty_ones():
    batches = list(minibatches(rollout(2, 12), 1, torch.Generator(), [2]))
    assert [len(batch.returns) for batch in batches] == [1, 1]
    assert all(batch.counts == () for batch in batches)


SCRIPT = """
import copy, sys
sys.path.insert(0, {tests!r})
import torch
import torch.distributed as dist
from lightning_models import Model, Steps, trainer
from ppo_bbrl.lightning import Batch, make_vec_env

torch.set_num_threads(1)

class Checked(Model):
    '''After each backward pass: what one process makes of all minibatches together.'''

    steps = 0
    worst = 0.0
    uneven = 0

    def training_step(self, batch, batch_idx):
        self.batch = batch
        return super().training_step(batch, batch_idx)

    def on_after_backward(self):
        rank, counts = self.global_rank, self.batch.counts
        everyone = [None] * len(counts)
        mine = [tensor[: counts[rank]] for tensor in self.batch[:6]]
        dist.all_gather_object(everyone, mine)
        assert [len(each[0]) for each in everyone] == list(counts)
        self.uneven += len(set(counts)) > 1
        joined = Batch(*(torch.cat(parts) for parts in zip(*everyone)))
        alone = Model(env=Steps(), eval_env=None, entropy_coef=0.01, clip_range_vf=0.5)
        alone.load_state_dict(self.state_dict())
        loss = alone.training_step(joined, 0)
        loss.backward()
        for mine, theirs in zip(self.parameters(), alone.parameters()):
            self.worst = max(self.worst, float((mine.grad - theirs.grad).abs().max()))

    def optimizer_step(self, *args, **kwargs):
        super().optimizer_step(*args, **kwargs)
        self.steps += 1
        weights = torch.cat([p.detach().flatten() for p in self.parameters()])
        everyone = [torch.empty_like(weights) for _ in range(2)]
        dist.all_gather(everyone, weights)
        assert torch.equal(*everyone)

model = Checked(
    env=make_vec_env(Steps, 3), eval_env=Steps(), lr=0.02, buffer_length=20, batch_size=8,
    num_rollouts=2, epochs_per_rollout=3, num_eval_episodes=3, entropy_coef=0.01,
    clip_range_vf=0.5, seed=0, target_kl={target_kl},
)
run = trainer(max_epochs=2, devices=2, strategy="ddp")
run.fit(model)
facts = {{name: float(value) for name, value in run.callback_metrics.items()}}
everyone = [None, None]
dist.all_gather_object(everyone, (model.steps, facts, model.batch.observations.tolist()))
assert everyone[0][:2] == everyone[1][:2], everyone
assert everyone[0][2] != everyone[1][2]  # environments and seeds of their own
assert model.uneven > 0
assert model.worst <= 1e-6, model.worst
if model.global_rank == 0:
    print("steps", model.steps, "stopped", facts["stopped_early"], "worst", model.worst)
dist.barrier()
"""


@pytest.mark.slow
@pytest.mark.parametrize("target_kl", [None, 0.005])
def test_two_processes_are_one_with_the_minibatches_joined(target_kl):
    tests = str(Path(__file__).parent)
    Path("train.py").write_text(SCRIPT.format(tests=tests, target_kl=target_kl))
    result = subprocess.run(
        [sys.executable, "train.py"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    (told,) = [line for line in result.stdout.splitlines() if line.startswith("steps")]
    steps, stopped = int(told.split()[1]), float(told.split()[3])
    if target_kl is None:
        assert steps == 2 * 2 * 3 * 8
        assert stopped == 0
    else:
        assert 4 < steps < 2 * 2 * 3 * 8
        assert stopped > 0
