"""PPO for Lightning in several processes: they step together, as one process would."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from lightning_models import Model, Steps, trainer

from ppo_bbrl.errors import UserError
from ppo_bbrl.lightning import DummyVecEnv, SubprocVecEnv
from ppo_bbrl.lightning.loader import Collected, RolloutLoader
from ppo_bbrl.lightning.processes import Processes
from ppo_bbrl.rollout import Transitions


def minibatches(rank, counts, batch_size=3, n_rows=12):
    """Those of one process, which knows how many transitions each has."""
    rows = torch.arange(float(counts[rank]))
    valid = Transitions({"env/env_obs": rows, "action": rows}, rows, rows, rows, rows)
    one = torch.zeros(1)
    spare = Transitions({"env/env_obs": one, "action": one}, one, one, one, one)

    class Known(Processes):
        def all_counts(self, count, device):
            return counts

    loader = RolloutLoader(
        num_rollouts=1,
        epochs_per_rollout=1,
        batch_size=batch_size,
        n_rows=n_rows,
        collect=lambda _: Collected(valid, spare, []),
        processes=Known(rank, len(counts)),
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(rank),
        too_far=lambda _: False,
        on_batch=lambda _: None,
        on_end=lambda: None,
    )
    return list(loader)


@pytest.mark.parametrize(("mine", "other"), [(10, 7), (3, 12), (1, 12), (12, 12), (0, 5)])
def test_processes_make_the_same_number_of_minibatches(mine, other):
    """Whatever autoreset steps each of them has: else they would wait for each other for ever."""
    given = [minibatches(rank, [mine, other]) for rank in range(2)]
    assert len(given[0]) == len(given[1]) == 4
    for rank, n in enumerate((mine, other)):
        seen = [batch.returns[: batch.counts[rank]] for batch in given[rank]]
        assert sorted(torch.cat(seen).tolist()) == list(range(n))
    assert [batch.counts for batch in given[0]] == [batch.counts for batch in given[1]]
    assert all(len(batch.returns) >= 1 for batches in given for batch in batches)


def test_more_minibatches_than_transitions_leave_out_the_empty_ones():
    batches = minibatches(0, [2], batch_size=1)
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
    tests = str(Path(__file__).parents[1] / "support")
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


# ---------------------------------------------------------------- environments in processes


class Ends(Steps):
    """Its process ends in a step."""

    def step(self, action):
        os._exit(5)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            SubprocVecEnv,
            r"environment 0 of 2 \(Ends\): its process ended \(exit code 5\) in step 1",
        ),
        (gym.vector.AsyncVectorEnv, r"env failed in a step: the process of environment \d ended"),
    ],
)
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_process_that_ends_is_told_and_none_is_left(kind, told):
    env = kind([Ends, Ends])
    model = Model(env=env, eval_env=None, num_eval_episodes=0)
    with pytest.raises(UserError, match=told) as raised:
        trainer().fit(model)
    assert "\n" not in str(raised.value)
    assert env.closed
    assert multiprocessing.active_children() == []


def test_environments_in_processes_are_as_many_as_it_says():
    """Spaces, observations and attributes as of Gymnasium's own, wrappers on top included."""
    one = Steps()
    env = gym.wrappers.vector.RecordEpisodeStatistics(SubprocVecEnv([Steps] * 3))
    assert env.num_envs == 3
    assert env.observation_space == gym.vector.utils.batch_space(one.observation_space, 3)
    assert env.action_space == gym.vector.utils.batch_space(one.action_space, 3)
    assert env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP
    observation, _ = env.reset(seed=3)
    assert observation.shape == env.observation_space.shape
    assert len(env.step(env.action_space.sample())[1]) == 3
    assert len(env.unwrapped.get_attr("metadata")) == 3
    env.close()


def test_observations_that_are_no_array_are_for_wrappers():
    """PPO itself takes arrays; a wrapper may make one of a dictionary."""

    class InTwo(Steps):
        def __init__(self):
            super().__init__(gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,)), "b": Discrete(3)}))

        def reset(self, **kwargs):
            return {"a": np.full(2, 0.5, np.float32), "b": 2}, super().reset(**kwargs)[1]

        def step(self, action):
            return {"a": np.full(2, 0.25, np.float32), "b": 1}, 1.0, False, False, {}

    for kind in (DummyVecEnv, SubprocVecEnv):
        env = gym.wrappers.vector.FlattenObservation(kind([InTwo] * 2))
        assert env.reset(seed=1)[0].tolist() == [[0.5, 0.5, 0, 0, 1]] * 2
        assert env.step(env.action_space.sample())[0].tolist() == [[0.25, 0.25, 0, 1, 0]] * 2
        env.close()
