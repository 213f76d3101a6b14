"""Several processes that train together have the same weights, those of one with all the data."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from omegaconf import OmegaConf

from ppo_bbrl.distributed import DistributedPPO, Processes
from ppo_bbrl.errors import ConfigError
from ppo_bbrl.plots.run_files import read_metrics

pytestmark = pytest.mark.skipif(
    not dist.is_gloo_available(), reason="this torch has no gloo, over which processes talk"
)
PROGRAM = Path(__file__).parents[1] / "support" / "processes_testing.py"


def torchrun(*words, n=2):
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={n}", *words]
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, timeout=240
    )


def test_processes_agree_and_the_first_alone_writes_files():
    """One start for all three: it takes seconds."""
    done = torchrun(PROGRAM, "one_equals_several", "same_weights", "files")
    assert done.returncode == 0, done.stderr[-3000:]
    for said in ("equal", "same", "done"):
        assert done.stdout.count(said) == 2
    assert sorted(path.name for path in Path("outputs").iterdir()) == ["same", "tblogs", "together"]
    run = Path("outputs/together")
    assert (run / "best" / "policy.pt").is_file()
    assert read_metrics(run)["steps"].iloc[-1] > 4 * 4 * 15 * 0.8  # the steps of all


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n_envs": 3}, "n_envs = 3: must be a multiple of the number of processes, 2"),
        ({"curiosity": "rnd"}, "curiosity"),
        ({"architecture": {"memory": "lstm"}}, "architecture.memory"),
    ],
)
def test_what_several_processes_cannot_do_is_one_line(changes, named):
    with pytest.raises(ConfigError, match=named) as error:
        DistributedPPO(
            {"gym_env": {"env_name": "CartPole-v1"}, "algorithm": changes}, Processes(0, 2)
        )
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job():
    """Without waiting for what will never come."""
    start = time.monotonic()
    done = torchrun(PROGRAM, "killed")
    assert done.returncode != 0
    assert "rank" in done.stderr
    assert "Signal 9" in done.stderr
    assert time.monotonic() - start < 120  # not the two hours that an evaluation may take


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
    refused = torchrun("-m", "ppo_bbrl", "train", "tiny.yaml", "algorithm.n_envs=3")
    assert refused.returncode == 1
    assert "process 0 of 2: algorithm.n_envs = 3: must be a multiple" in refused.stderr
