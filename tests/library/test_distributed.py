"""Several processes that train together have the same weights, those of one with all the data."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import processes_testing
import pytest
import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from ppo_bbrl import PPOClip, run
from ppo_bbrl.config.loading import load_config, save_config
from ppo_bbrl.distributed import DistributedPPO, DistributedUpdate, Processes
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.plots.run_files import read_metrics
from ppo_bbrl.update import Objective, Update

pytestmark = pytest.mark.skipif(
    not dist.is_gloo_available(), reason="this torch has no gloo, over which processes talk"
)
PROGRAM = Path(__file__).parents[1] / "support" / "processes_testing.py"


def torchrun(*words, n=2):
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={n}", *words]
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=900
    )


# An environment that fails in the process number 1 alone.
FAILS = """
import os

import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv


class Fails(CartPoleEnv):
    n = 0

    def step(self, action):
        self.n += 1
        if self.n > 40 and os.environ["RANK"] == "1":
            raise RuntimeError("of rank 1")
        return super().step(action)


gym.register("Fails-v0", Fails)
"""


def test_processes_agree_and_the_first_alone_writes_files():
    """One start for all three: it takes seconds."""
    parts = {
        "one_equals_several": "equal",
        "whole_iterations_are_those_of_one": "as one",
        "same_weights": "same",
        "checkpoints": "goes on",
        "files": "done",
    }
    done = torchrun(PROGRAM, *parts)
    assert done.returncode == 0, done.stderr[-3000:]
    for said in parts.values():
        assert done.stdout.count(f": {said}") == 2
    made = {path.name for path in Path("outputs").iterdir()}
    assert made == {"same", "same_2", "short", "tblogs", "together", "whole"}
    run = Path("outputs/together")
    assert (run / "best" / "policy.pt").is_file()
    assert read_metrics(run)["steps"].iloc[-1] > 4 * 4 * 15 * 0.8  # the steps of all
    pd.testing.assert_frame_equal(*map(learned, ("outputs/whole", "outputs/short")))
    goes_on_with_one()


def learned(run):
    """The metrics of a run, without how fast it was."""
    return read_metrics(Path(run)).drop(columns="steps_per_second")


def goes_on_with_one():
    """What two processes saved, one goes on with; it is not the same continuation, and says so."""
    expected = read_metrics(Path("outputs/short"))["steps"].iloc[-1]
    with pytest.warns(UserWarning, match="the run had 2 processes, and now has 1: episodes"):
        algo = PPOClip.resume("outputs/short", ["algorithm.max_epochs=6"])
    assert (algo.next_iteration, algo.nb_steps) == (4, expected)
    assert algo._reward_scale.moments.count > 100
    run(algo)
    algo.close()
    assert read_metrics(Path("outputs/short"))["steps"].iloc[-1] > expected


class Alone(Processes):
    """A process that nobody else is with."""

    def total(self, values):
        return values.clone()


@pytest.mark.parametrize("normalize", [False, True])
def test_a_minibatch_without_a_transition_anywhere_is_left_out(normalize):
    """Of agents with memory, it is an environment, maybe one that has only been reset."""
    keys = processes_testing.MEMORY | {"batch_size": 16, "normalize_advantage": normalize}
    found = []
    for shared in (False, True):
        algo = PPOClip(processes_testing.with_keys(**keys))
        rollout = algo.record(next(algo.iter_partial_episodes(17)))
        rollout.mask[:, 1] = False
        if shared:
            algo._settings = replace(algo._settings, normalize_advantage=False)
            engine = DistributedUpdate(Alone(0, 1), Update(), normalize_advantage=normalize)
        else:
            engine = Update()
        report = engine(
            rollout,
            Objective(algo._learners(), algo._settings, algo.losses),
            coefficients=processes_testing.coefficients(),
            generator=torch.Generator().manual_seed(0),
        )
        assert report.n_minibatches == 2 * 3
        metrics = {name: value.float() for name, value in report.metrics.items()}
        found.append({**algo.train_policy.state_dict(), **metrics})
        algo.close()
    assert found[0].keys() == found[1].keys()
    assert processes_testing.close_to(*found)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n_envs": 3}, "n_envs = 3: must be a multiple of the number of processes, 2"),
    ],
)
def test_what_several_processes_cannot_do_is_one_line(changes, named):
    with pytest.raises(ConfigError, match=named) as error:
        DistributedPPO(
            {"gym_env": {"env_name": "CartPole-v1"}, "algorithm": changes}, Processes(0, 2)
        )
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 2])
def test_a_run_goes_on_with_another_number_of_processes(before):
    """Weights, optimisers, statistics and counters are those that were saved, everywhere."""
    cfg = {
        **processes_testing.with_keys(**{**processes_testing.STATISTICS, "max_epochs": 4}),
        "base_dir": "before",
    }
    cfg["algorithm"]["n_envs"] = 6
    if before == 1:
        algo = PPOClip(cfg)
        run(algo)
        algo.close()
    else:
        save_config(load_config(cfg), Path("before.yaml"))
        assert torchrun("-m", "ppo_bbrl", "train", "before.yaml").returncode == 0
    done = torchrun(PROGRAM, "goes_on_alone", n=3)
    assert done.returncode == 0, done.stderr[-3000:]
    said = {line.partition(": ")[2] for line in done.stdout.splitlines() if ": from 4" in line}
    assert len(said) == 1
    assert f"the run had {before} process" in done.stderr
    state = torch.load("outputs/before/last/policy.pt", weights_only=True)
    assert state  # the run ended as usual


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job():
    """Without waiting two hours for what will never come; torchrun says which one it was."""
    done = torchrun(PROGRAM, "killed")
    assert done.returncode != 0
    assert re.search(r"rank +: 1", done.stderr)
    assert "Signal 9" in done.stderr


@pytest.mark.slow
def test_a_restart_goes_on_from_the_last_checkpoint():
    done = torchrun("--max-restarts=1", PROGRAM, "restarted")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("attempt 1 began after 4, ended after 8") == 2
    assert "attempt 0 began" not in done.stdout
    assert sorted(path.name for path in Path("outputs").iterdir()) == ["restarted", "tblogs"]
    steps = read_metrics(Path("outputs/restarted"))["steps"]
    assert len(steps) > 1
    assert steps.is_monotonic_increasing
    assert steps.is_unique


@pytest.mark.slow
def test_on_the_command_line_only_one_process_speaks():
    Path("tiny.yaml").write_text(
        "gym_env: {env_name: CartPole-v1}\n"
        "algorithm: {n_envs: 4, n_steps: 16, max_epochs: 3, eval_interval: 20, nb_evals: 2}\n"
        "base_dir: both\n"
    )
    done = torchrun("-m", "ppo_bbrl", "train", "tiny.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\nTensorBoard") == 1
    assert OmegaConf.load("outputs/both/config.yaml").algorithm.n_envs == 4
    more = torchrun("-m", "ppo_bbrl", "train", "--resume", "outputs/both", "algorithm.max_epochs=5")
    assert more.returncode == 0, more.stderr[-3000:]
    assert "Going on after 3 of 5 rollouts" in more.stdout
    refused = torchrun("-m", "ppo_bbrl", "train", "tiny.yaml", "algorithm.n_envs=3")
    assert refused.returncode == 1
    assert "process 0 of 2: algorithm.n_envs = 3: must be a multiple" in refused.stderr


@pytest.mark.slow
def test_one_process_whose_environment_fails_is_named_with_the_reason():
    Path("fails.py").write_text(FAILS)
    Path("fails.yaml").write_text(
        "gym_env: {env_name: 'fails:Fails-v0'}\n"
        "algorithm: {n_envs: 2, n_steps: 16, max_epochs: 1000}\n"
    )
    done = torchrun("-m", "ppo_bbrl", "train", "fails.yaml")
    assert done.returncode == 1
    assert re.search(r"process 1 of 2: .*Fails-v0.* failed in step 4.*of rank 1", done.stderr)
    of_torchrun = done.stderr.partition("Root Cause")[2]
    assert re.search(r"rank +: 1", of_torchrun)
    assert "RuntimeError: of rank 1" in of_torchrun


@pytest.mark.slow
def test_other_configurations_than_the_first_process_has_are_refused():
    Path("own.py").write_text(
        "import os\n"
        "from ppo_bbrl.distributed import DistributedPPO, Processes\n"
        "gae = 0.9 if os.environ['RANK'] == '0' else 0.8\n"
        "task = {'env_name': 'CartPole-v1'}\n"
        "DistributedPPO({'gym_env': task, 'algorithm': {'gae': gae}}, Processes.join())\n"
    )
    done = torchrun("own.py")
    assert done.returncode == 1
    assert "algorithm.gae = 0.8: the first process has 0.9" in done.stderr
