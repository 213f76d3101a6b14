"""In another process: saved policies act the same, runs are the same, nothing is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fresh_process import ALL, FEW, save_kinds, train_tasks

SUPPORT = Path(__file__).parents[1] / "support"

pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")


def elsewhere(*tasks):
    """What a process with another hash seed finds."""
    Path("elsewhere").mkdir()
    ran = subprocess.run(
        [sys.executable, SUPPORT / "fresh_process.py", Path.cwd(), *tasks],
        cwd="elsewhere",
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def saved(kinds, n):
    """What policies of these kinds do, after saving them."""
    done = save_kinds(Path.cwd(), kinds, n)
    Path("names").write_text(json.dumps([*done]))
    assert len(set(done.values())) > len(done) // 2, "they do not all do the same"
    return done


def check_nothing_is_left(came):
    for what, (before, after) in came.items():
        assert after["memory"] - before["memory"] <= 5, (what, before, after)
        for name in ("files", "children", "threads"):
            assert after[name] == before[name], (what, before, after)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells memory on Linux alone")
def test_policies_runs_and_leaks():
    """Short versions of the tests below, in one process."""
    kept = saved(FEW, 100)
    here = train_tasks([1], beside=False)
    came = elsewhere("load:100", "train:1", "leaks:20:2")
    assert came["load"] == kept
    assert came["train"] == here
    check_nothing_is_left(came["leaks"])


@pytest.mark.slow
def test_every_kind_of_policy_acts_the_same_on_10000_observations():
    kept = saved(ALL, 10_000)
    assert elsewhere("load:10000")["load"] == kept


@pytest.mark.slow
def test_five_seeds_in_two_processes():
    """Each kind of task; the other process has another order, and a thread that draws numbers."""
    assert elsewhere("train:5")["train"] == train_tasks(range(1, 6), beside=False)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="tells memory on Linux alone")
def test_a_thousand_iterations_and_a_hundred_runs_leave_nothing_behind():
    came = elsewhere("leaks:1000:100")["leaks"]
    print(came)
    check_nothing_is_left(came)
