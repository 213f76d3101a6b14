"""The temporary folders of gradings: those of killed ones go, all others stay."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from ppo_course.grading.folders import LOCK, Folder, remove_abandoned


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def killed_grading():
    """Its folder, with a copy of the checks in it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        folder = Folder()
        (folder.path / "checks").mkdir()
        (folder.path / "checks" / "answers.py").touch()
        os.write(theirs, bytes(folder.path))
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(theirs)
    os.waitpid(child, 0)
    with os.fdopen(ours, "rb") as pipe:
        return Path(os.fsdecode(pipe.read()))


def test_the_next_grading_removes_what_a_killed_one_left(temporary):
    left = killed_grading()
    assert (left / "checks").is_dir()
    mine = Folder()
    assert not left.exists()
    other = Folder()
    assert mine.path.is_dir()
    for each in (mine, other):
        each.remove()
        each.remove()
    assert list(temporary.iterdir()) == []


def test_folders_of_others_stay(temporary):
    """Those of something else with such a name, and what a link leads to."""
    named = temporary / "grading-of-mine"
    named.mkdir()
    (named / "marks.csv").touch()
    victim = temporary / "victim"
    victim.mkdir()
    (victim / LOCK).touch()
    (temporary / "grading-link").symlink_to(victim)
    linked = temporary / "grading-linked"
    linked.mkdir()
    (linked / LOCK).symlink_to(victim / LOCK)
    fifo = temporary / "grading-fifo"
    fifo.mkdir()
    os.mkfifo(fifo / LOCK)
    remove_abandoned()
    assert (named / "marks.csv").exists()
    assert (victim / LOCK).exists()
    assert linked.is_dir()
    assert fifo.is_dir()
