"""The folder of a run: named by the configuration, shared with nobody."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppo_bbrl.runs import claim_folder, open_folder, outputs_dir


@pytest.fixture(autouse=True)
def no_testing_mode(monkeypatch):
    monkeypatch.delenv("TESTING_MODE", raising=False)


def test_where_things_lie():
    """The layout that the README promises."""
    folder = claim_folder("CartPole-v1/run_1")
    root = Path("outputs")
    assert folder.path == root / "CartPole-v1/run_1"
    assert folder.path.is_dir()
    assert folder.tensorboard == root / "tblogs/CartPole-v1/run_1"
    assert folder.config == folder.path / "config.yaml"
    assert folder.metrics == folder.path / "metrics.csv"
    assert folder.best == folder.path / "best"
    assert folder.video == folder.path / "video"
    assert folder.curve == folder.path / "curve.png"
    assert list(folder.path.iterdir()) == []


def test_B13_two_runs_of_the_same_second_get_two_folders():
    """Upstream writes both into one."""
    folders = [claim_folder("run_20250101-000000") for _ in range(3)]
    assert [folder.path.name for folder in folders] == [
        "run_20250101-000000",
        "run_20250101-000000_2",
        "run_20250101-000000_3",
    ]
    assert len({folder.tensorboard for folder in folders}) == 3


def test_B13_a_folder_is_claimed_once_among_threads():
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_folder("run").path, range(40)))
    assert len(set(folders)) == 40


def test_B13_a_folder_is_claimed_once_among_processes():
    """The file system decides, in one stroke: there is no look before the leap."""
    script = (
        "from ppo_bbrl.runs import claim_folder\n"
        "for _ in range(20): print(claim_folder('task/run').path)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    claimed = [line for process in processes for line in process.communicate()[0].splitlines()]
    assert all(process.returncode == 0 for process in processes)
    assert len(claimed) == 60
    assert len(set(claimed)) == 60


def test_testing_mode_has_its_own_root(monkeypatch):
    """As in BBRL, whose notebooks set it."""
    assert outputs_dir() == Path("outputs")
    monkeypatch.setenv("TESTING_MODE", "ON")
    assert outputs_dir() == Path("outputs-testing")
    assert claim_folder("run").path == Path("outputs-testing/run")
    assert not Path("outputs").exists()


def test_open_folder_finds_a_run():
    made = claim_folder("task/run")
    made.config.write_text("algorithm: {seed: 1}\n")
    opened = open_folder("outputs/task/run")
    assert opened.path == made.path
    assert opened.config == made.config


def test_open_folder_refuses_what_is_no_run():
    """One line that says which folder, and what is wrong with it."""
    Path("empty").mkdir()
    Path("file").write_text("")
    for path, reason in [
        ("nowhere", "does not exist"),
        ("empty", "has no config.yaml"),
        ("file", "is a file"),
    ]:
        with pytest.raises(ValueError, match=f"^{path}: not the folder of a run: it {reason}"):
            open_folder(path)
