"""Files are whole or absent, and never written through a stranger's links."""

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from ppo_bbrl.errors import UserError
from ppo_bbrl.system.files import LinkError, make_folder, open_to_append, write_file, written_aside


def names(folder="."):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_file_is_written_with_its_folders():
    write_file(Path("a/b/c.txt"), "λ\n")
    write_file(Path("a/b/d"), b"\x00\r\n")
    assert Path("a/b/c.txt").read_bytes() == "λ\n".encode()
    assert Path("a/b/d").read_bytes() == b"\x00\r\n"
    assert names("a/b") == ["c.txt", "d"]


def test_others_may_read_it_as_they_may_read_any_file():
    """A file of the module `tempfile` would be closed to the colleague who looks at the run."""
    Path("usual").touch()
    write_file(Path("ours"), "")
    assert stat.S_IMODE(Path("ours").stat().st_mode) == stat.S_IMODE(Path("usual").stat().st_mode)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit, SystemExit])
def test_whatever_interrupts_the_writing_leaves_the_old_file_and_nothing_else(error):
    write_file(Path("file.mp4"), "old")

    def interrupted():
        with written_aside(Path("file.mp4")) as unfinished:
            assert unfinished.suffix == ".mp4"  # from which encoders take the format
            unfinished.write_text("half")
            assert Path("file.mp4").read_text() == "old"
            raise error

    with pytest.raises(error):
        interrupted()
    assert names() == ["file.mp4"]
    assert Path("file.mp4").read_text() == "old"


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_an_error_names_the_file_that_was_wanted(monkeypatch, step):
    """Not the unfinished one beside it, of which nobody has heard."""
    write_file(Path("run/policy.pt"), "old")

    def full(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, step, full)
    with pytest.raises(OSError, match=r"No space left on device: 'run/policy.pt'"):
        write_file(Path("run/policy.pt"), "new")
    assert names("run") == ["policy.pt"]
    assert Path("run/policy.pt").read_text() == "old"


def test_it_is_on_the_disk_before_it_takes_the_place(monkeypatch):
    """Else a loss of power leaves an empty file where there was a good one."""
    done = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("sync"), sync(fd)))
    monkeypatch.setattr(Path, "replace", lambda *p: (done.append("replace"), replace(*p)))
    write_file(Path("file"), "new")
    assert done == ["sync", "replace", "sync"]  # the file, then its name in the folder


def test_a_full_disk_keeps_the_old_file(tiny_disk):
    path = tiny_disk / "file"
    write_file(path, "old")
    with pytest.raises(OSError, match="file'") as caught:
        write_file(path, bytes(100_000))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert names(tiny_disk) == ["file"]
    write_file(path, bytes(20_000))  # what failed holds no room


# ------------------------------------------------------------------------------------- links


@pytest.fixture
def victim():
    """What lies outside of the run's folder and must stay as it is."""
    Path("outside").mkdir()
    Path("outside/file").write_text("mine")
    Path("run").mkdir()
    yield Path("outside/file")
    assert Path("outside/file").read_text() == "mine"
    assert names("outside") == ["file"]


def test_a_link_in_the_place_of_the_file_is_replaced(victim):
    Path("run/file").symlink_to(victim.absolute())
    write_file(Path("run/file"), "ours", root=Path("run"))
    assert not Path("run/file").is_symlink()
    assert Path("run/file").read_text() == "ours"


@pytest.mark.usefixtures("victim")
@pytest.mark.parametrize("where", ["best", "a/best", "a"])
@pytest.mark.parametrize("target", ["outside", "nowhere"])
def test_a_link_in_the_place_of_a_folder_is_refused(where, target):
    link = Path("run") / where
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(Path(target).absolute())
    path = Path("run/a/best/file") if where.startswith("a") else Path("run/best/file")
    for write in (
        lambda: write_file(path, "ours", root=Path("run")),
        lambda: open_to_append(path, root=Path("run")),
        lambda: make_folder(path.parent, root=Path("run")),
    ):
        with pytest.raises(LinkError, match=f"^{link} is a symbolic link"):
            write()
    assert not Path("nowhere").exists()


@pytest.mark.usefixtures("victim")
def test_a_link_is_an_error_of_the_user_and_of_the_system():
    """One line for who asked; and what goes on without a file goes on without this one."""
    assert issubclass(LinkError, UserError)
    assert issubclass(LinkError, OSError)


def test_links_above_the_root_are_the_users_own(victim):
    """`outputs` may lie on another disk."""
    Path("outputs").symlink_to(Path("run").absolute())
    write_file(Path("outputs/one/file"), "ours", root=Path("outputs/one"))
    write_file(Path("outputs/two"), "ours")
    assert Path("run/one/file").read_text() == Path("run/two").read_text() == "ours"
    assert victim.exists()


def test_lines_are_not_appended_through_a_link(victim):
    Path("run/metrics.csv").symlink_to(victim.absolute())
    with pytest.raises(LinkError, match=r"metrics\.csv is a symbolic link"):
        open_to_append(Path("run/metrics.csv"), root=Path("run"))


def test_appended_lines_reach_the_file_at_once():
    write_file(Path("run/metrics.csv"), "a\n")
    file = open_to_append(Path("run/metrics.csv"))
    file.write("b\n")
    assert Path("run/metrics.csv").read_text() == "a\nb\n"
    file.close()
