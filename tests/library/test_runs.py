"""The folder of a run: named by the configuration, shared with nobody."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from probe_envs import config

from ppo_bbrl.episodic import EpisodicAlgo
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.runs.folder import claim_folder, open_folder, outputs_dir


@pytest.fixture(autouse=True)
def no_testing_mode(monkeypatch):
    monkeypatch.delenv("TESTING_MODE", raising=False)


def test_where_things_lie():
    """The layout that the README promises."""
    folder = claim_folder("CartPole-v1/run_1")
    root = Path("outputs").absolute()
    assert folder.path == root / "CartPole-v1/run_1"
    assert folder.path.is_dir()
    assert folder.tensorboard == root / "tblogs/CartPole-v1/run_1"
    assert folder.config == folder.path / "config.yaml"
    assert folder.metrics == folder.path / "metrics.csv"
    assert folder.best == folder.path / "best"
    assert folder.last == folder.path / "last"
    assert folder.video == folder.path / "video"
    assert folder.curve == folder.path / "curve.png"
    assert list(folder.path.iterdir()) == []


def test_two_runs_of_the_same_second_get_two_folders():
    """Upstream writes both into one."""
    folders = [claim_folder("run_20250101-000000") for _ in range(3)]
    assert [folder.path.name for folder in folders] == [
        "run_20250101-000000",
        "run_20250101-000000_2",
        "run_20250101-000000_3",
    ]
    assert len({folder.tensorboard for folder in folders}) == 3


def test_a_folder_is_claimed_once_among_threads():
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_folder("run").path, range(40)))
    assert len(set(folders)) == 40


def test_a_folder_is_claimed_once_among_processes():
    """The file system decides, in one stroke: there is no look before the leap."""
    script = (
        "from ppo_bbrl.runs.folder import claim_folder\n"
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
    assert claim_folder("run").path == Path("outputs-testing/run").absolute()
    assert not Path("outputs").exists()


def test_open_folder_finds_a_run():
    made = claim_folder("task/run")
    made.config.write_text("algorithm: {seed: 1}\n")
    opened = open_folder("outputs/task/run")
    assert opened.path.absolute() == made.path
    assert opened.config.absolute() == made.config


def test_open_folder_refuses_what_is_no_run():
    """One line that says which folder, and what is wrong with it."""
    Path("empty").mkdir()
    Path("file").write_text("")
    Path("seeds/seed_3").mkdir(parents=True)
    Path("seeds/seed_3/config.yaml").write_text("")
    for path, reason in [
        ("nowhere", "does not exist"),
        ("empty", "has no config.yaml"),
        ("file", "is a file"),
        ("seeds", "has the runs of several seeds, such as seeds/seed_3"),
    ]:
        with pytest.raises(ValueError, match=f"^{path}: not the folder of a run: it {reason}"):
            open_folder(path)


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("base_dir", "folder"),
    [
        ("run_lr0.001", "run_lr0.001"),
        ("run.v2/lr=1e-3, γ=0.9", "run.v2/lr=1e-3, γ=0.9"),
        ("task/run/", "task/run"),
        ("./task//run/.", "task/run"),
        ("task/run.", "task/run"),
        (" task / run ", "task/run"),
        (".hidden", ".hidden"),
        ("my:Env-v0/run", "my:Env-v0/run"),
        ("last", "last"),
        ("x" * 200, "x" * 200),
    ],
)
def test_odd_names_are_names(base_dir, folder):
    """And a second run of that name lies beside the first, not in it."""
    first, second = claim_folder(base_dir), claim_folder(base_dir)
    assert first.path == Path("outputs", folder).absolute()
    assert second.path == Path("outputs", f"{folder}_2").absolute()


@pytest.mark.parametrize(
    "base_dir",
    ["/run", "../run", "task/../../run", "task/..", "~/run", "..\\run", " ../run", "/", "//run"],
)
def test_a_name_cannot_lead_out_of_outputs(base_dir):
    with pytest.raises(ConfigError, match=r"^base_dir = .*below outputs/"):
        claim_folder(base_dir)
    assert not list(Path().iterdir())


@pytest.mark.parametrize("base_dir", [".", "./", " ", "...", "task/ /run"])
def test_a_name_names_something(base_dir):
    with pytest.raises(ConfigError, match=r"^base_dir = .*name of a folder"):
        claim_folder(base_dir)


@pytest.mark.parametrize("base_dir", ["tblogs", "tblogs/run", "TBLogs/run", "run/best", "a/last/b"])
def test_a_run_does_not_lie_in_what_others_write(base_dir):
    """TensorBoard's folder, and the policies and videos of another run."""
    with pytest.raises(ConfigError, match=r"^base_dir = .*tblogs, best, last, video"):
        claim_folder(base_dir)


@pytest.mark.parametrize(
    "base_dir",
    ["a\0b", "a\x1b[31m", "a\nb", "a\ud800", "x" * 5000, "x" * 201, "λ" * 101, "a/" * 600],
)
def test_a_name_that_no_disk_or_terminal_takes_is_one_short_line(base_dir):
    with pytest.raises(ConfigError, match=r"^base_dir = ") as caught:
        claim_folder(base_dir)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_folder_that_cannot_be_made_is_one_line():
    """A file stands in its way."""
    Path("outputs").mkdir()
    Path("outputs/task").write_text("")
    with pytest.raises(UserError, match=r"outputs/task/run: cannot create the folder"):
        claim_folder("task/run")


# ------------------------------------------------------------------------------------- events


def test_runs_with_one_folder_for_events_have_a_folder_each():
    """Else TensorBoard shows their curves as one zigzag."""
    folders = [claim_folder(name, events=Path("tb")) for name in ("a", "b", "a")]
    assert [folder.tensorboard for folder in folders] == [
        Path("tb", name).absolute() for name in ("a", "b", "a_2")
    ]
    assert {folder.events for folder in folders} == {Path("tb").absolute()}


def test_runs_elsewhere_may_share_the_folder_for_events():
    """Several programs, each with outputs of its own and the same `log_dir`, at the same time."""
    with ThreadPoolExecutor(8) as pool:
        claims = pool.map(lambda i: claim_folder("run", Path(f"out{i}"), Path("tb")), range(20))
        assert len({folder.tensorboard for folder in claims}) == 20


def test_a_folder_for_events_that_cannot_be_made_stops_nobody():
    """The logger warns; the run's folder is what counts."""
    Path("tb").write_text("")
    assert claim_folder("run", events=Path("tb")).path.is_dir()


@pytest.mark.parametrize("log_dir", ["/dev/full", "/dev/full/tb", "/proc/tb", "file/tb", "gone/tb"])
def test_a_folder_for_events_that_cannot_be_is_refused_before_the_run(log_dir):
    """Else the run is over, and its events were nowhere written."""
    Path("file").write_text("")
    Path("gone").symlink_to("nowhere")
    before = sorted(Path().iterdir())
    cfg = config("Logged") | {"logger": {"log_dir": log_dir}}
    with pytest.raises(ConfigError, match=rf"^logger\.log_dir = .*{log_dir}") as caught:
        EpisodicAlgo(cfg)
    assert "\n" not in str(caught.value)
    assert sorted(Path().iterdir()) == before


def test_a_folder_for_events_that_can_be_is_not_made_before_the_run():
    EpisodicAlgo(config("Logged") | {"logger": {"log_dir": "a/b"}}).close()
    assert not Path("a").exists()


def test_links_in_the_place_of_a_new_folder_are_taken_names(tmp_path):
    Path("outputs/tblogs").mkdir(parents=True)
    Path("outputs/run").symlink_to(tmp_path / "nowhere")
    Path("outputs/tblogs/run_2").symlink_to(tmp_path / "nowhere")
    assert claim_folder("run").name == "run_3"
    assert not Path("nowhere").exists()


def test_the_paths_of_a_run_stay_where_they_are(tmp_path):
    folder = claim_folder("run")
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    assert folder.path == tmp_path / "outputs/run"
    assert folder.tensorboard == tmp_path / "outputs/tblogs/run"
