"""A full disk: training goes on, what was saved stays whole, and one line says what is missing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "full_disk.py"


def came_of(*cases):
    """What came of each case, in a process that may mount small disks."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "true"], check=False).returncode
    ):
        pytest.skip("mount namespaces are not allowed here")
    ran = subprocess.run(
        ["unshare", "-rm", sys.executable, SCRIPT, *cases],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def check(case, came):
    kind, _, number = case.partition(":")
    assert not set(came["empty"]) - {"lock"}, came
    assert not [name for name in came["files"] if ".tmp" in name]
    if kind == "after":
        assert came["through"], "training went on with the same numbers"
        assert came["checkpoint"] == int(number) == came["from"], "the last one before"
        assert came["resumed"], "and so did the run that goes on from it"
        assert came["rows"] > 1
        return
    assert came["status"] == 0
    assert "last policy" in came["out"]
    assert len(came["err"]) == len(set(came["err"])), came["err"]
    assert all(line.startswith("ppo-bbrl: warning: ") for line in came["err"])
    assert len([line for line in came["err"] if "no checkpoint" in line]) <= 1, "told once"
    if kind == "log":
        assert [line for line in came["err"] if "no metrics in" in line]
        assert came["policies"].keys() == {"best", "last"}
        assert came["checkpoint"] == 6
    else:
        assert came["err"], "something is missing, and that is told"


def test_a_full_disk_ends_nothing():
    cases = ("small:300", "after:3")
    came = came_of(*cases)
    for case in cases:
        check(case, came[case])


@pytest.mark.slow
def test_disks_of_every_size():
    """Whatever is written first when there is no more room: configuration, rows, weights, video."""
    cases = [
        "log",
        *(f"small:{size}" for size in (4, 8, 16, 32, 48, 64, 128, 256, 512)),
        "after:1",
        "after:5",
    ]
    came = came_of(*cases)
    for case in cases:
        check(case, came[case])
