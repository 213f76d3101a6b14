"""PPO for Lightning in several processes: they step together, as one process would."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete
from lightning_models import Model, Steps, trainer

from ppo_bbrl.errors import Terminated, UserError
from ppo_bbrl.lightning import DummyVecEnv, SubprocVecEnv
from ppo_bbrl.lightning import processes as of_lightning
from ppo_bbrl.lightning.loader import Collected, RolloutLoader
from ppo_bbrl.lightning.processes import Processes
from ppo_bbrl.minibatches import Transitions


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


# --------------------------------------------------------------------------- how they end


class Noted:
    """Lightning's handler, which would wait for the other processes."""

    __module__ = "lightning.pytorch"

    def __call__(self, number, frame):
        raise AssertionError("it is not called where there are several")


def end_myself_in(context):
    with context:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(); time.sleep(60)"


@pytest.mark.parametrize("launched", [True, False])
def test_sigterm_ends_the_others_too_even_one_that_hangs(launched, monkeypatch):
    monkeypatch.setattr(of_lightning, "LAST_WORDS", 0.2)
    told, procs = [], []
    if launched:
        deaf = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE)
        assert deaf.stdout.readline()  # it no longer listens
        procs.append(deaf)
    launcher = SimpleNamespace(kill=told.append, procs=procs) if launched else None
    trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(launcher=launcher))
    noted = Noted()
    before = signal.signal(signal.SIGTERM, noted)
    try:
        with pytest.raises(Terminated) as ended:
            end_myself_in(Processes(0, 2, trainer).while_environments_work())
        assert signal.getsignal(signal.SIGTERM) is noted
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    assert told == [signal.SIGTERM] * launched
    for process in procs:
        assert process.wait(5) == -signal.SIGKILL
        process.stdout.close()


ORPHAN = """
import os, sys, time
from ppo_bbrl.envs.worker_process import killed_with_parent
if os.fork():
    time.sleep({seconds})  # until its child is inside, or outside again
    os._exit(0)
with killed_with_parent({really}):
    time.sleep({inside})
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.wide(1)
@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells a process")
@pytest.mark.parametrize(
    ("really", "inside", "lives"), [(True, 60, False), (False, 0, True), (True, 0, True)]
)
def test_a_process_is_killed_with_its_parent_while_it_says_so(really, inside, lives):
    script = ORPHAN.format(seconds=1, really=really, inside=inside)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        parent.wait()
        told = parent.stdout.readline()  # nothing if both have ended
        assert bool(told) == lives
        if lives:
            os.kill(int(told), signal.SIGKILL)


HANGING = """
import ctypes, os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from lightning_models import Model, Steps, trainer
from ppo_bbrl.lightning import SubprocVecEnv, make_vec_env

class Hangs(Steps):
    steps = 0

    def step(self, action):
        self.steps += 1
        if self.steps == 30 and os.environ.get("LOCAL_RANK", "0") == "{rank}":
            Path("hangs").touch()
            ctypes.PyDLL(None).sleep(1000)  # without a look at any signal
        return super().step(action)

if __name__ == "__main__":
    kinds = {{"vec_env_cls": SubprocVecEnv}} if {processes} else {{}}
    env = make_vec_env(Hangs, 2, **kinds)
    model = Model(env=env, eval_env=None, num_eval_episodes=0, buffer_length=20, seed=0)
    trainer(max_epochs=20, devices=2, strategy="ddp").fit(model)
"""


def marked(mark):
    """The processes that were started with this in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if mark.encode() in (folder / "environ").read_bytes() and state != "Z":
                found.append(int(folder.name))
        except OSError:
            pass
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("rank", [0, 1])
def test_no_process_is_left_of_a_training_that_hangs(rank, processes, number, tmp_path):
    """The first process gets the signal. What hangs in itself can only be killed."""
    if rank == 0 and not processes and number == signal.SIGTERM:
        number = signal.SIGKILL
    tests = str(Path(__file__).parents[1] / "support")
    script = HANGING.format(tests=tests, rank=rank, processes=processes)
    (tmp_path / "train.py").write_text(script)
    mark = f"TRAINING={tmp_path}"
    with subprocess.Popen(
        [sys.executable, "train.py"],
        cwd=tmp_path,
        env={**os.environ, "TRAINING": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as training:
        try:
            wait_for((tmp_path / "hangs").exists, 120)
            time.sleep(1)
            assert len(marked(mark)) >= 2
            training.send_signal(number)
            wait_for(lambda: not marked(mark), 60)
        finally:
            for process in marked(mark):
                os.kill(process, signal.SIGKILL)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


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
