"""The command line: what a user types, and what comes back."""

import subprocess
import sys
from pathlib import Path

import pytest

from ppo_bbrl.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
SHORT = [
    "algorithm.max_epochs=3",
    "algorithm.eval_interval=300",
    "algorithm.nb_evals=2",
    "algorithm.opt_epochs=2",
    "base_dir=run",
]


def call(monkeypatch, capsys, *words):
    """Run `ppo-bbrl WORDS`; returns exit status, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["ppo-bbrl", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        status = end.code or 0
    else:
        status = 0
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture
def trained(monkeypatch, capsys):
    """A short run in ./outputs/run, and what training told."""
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 0
    return Path("outputs/run"), out


def test_train_leaves_everything_it_names(trained):
    run, told = trained
    for name in ("config.yaml", "metrics.csv", "curve.png", "video/best.mp4", "best/policy.pt"):
        assert (run / name).is_file(), name
    for word in ("steps", "steps/s", "last policy", "best policy", "over 20 episodes", "--logdir"):
        assert word in told
    for name in ("curve.png", "video/best.mp4", "best"):
        assert str(run / name) in told
    assert list(Path("outputs/tblogs/run").iterdir())


def test_train_prints_plain_lines_when_piped(trained):
    _, told = trained
    assert "\r" not in told
    assert "100 %" in told


def test_eval_replay_and_plot_of_a_run(trained, monkeypatch, capsys):
    run, _ = trained
    status, out, _ = call(monkeypatch, capsys, "eval", run, "--episodes", 3)
    assert status == 0
    assert "over 3 episodes" in out
    again = call(monkeypatch, capsys, "eval", run, "--episodes", 3)
    assert again[1] == out, "the same seed evaluates the same episodes"
    status, out, _ = call(monkeypatch, capsys, "replay", run)
    assert status == 0
    assert (run / "video" / "replay.mp4").stat().st_size > 1000
    status, out, _ = call(monkeypatch, capsys, "plot", run, "--out", "picture.png")
    assert status == 0
    assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["eval", "replay", "plot"])
@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_that_is_no_run_is_one_line(command, folder, monkeypatch, capsys):
    status, _, err = call(monkeypatch, capsys, command, folder)
    assert status == 1
    assert err.count("\n") == 1
    assert "not the folder of a run" in err


def test_a_run_without_a_saved_policy_says_how_to_get_one(monkeypatch, capsys):
    words = ["train", CONFIGS / "cartpole.yaml", *SHORT, "save_best=false"]
    assert call(monkeypatch, capsys, *words)[0] == 0
    status, _, err = call(monkeypatch, capsys, "eval", "outputs/run")
    assert status == 1
    assert "save_best" in err


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("algorithm.clip_rnge=0.1", "did you mean algorithm.clip_range"),
        ("algorithm.clip_range=-1", "must be a number > 0"),
        ("gym_env.env_name=Nowhere-v1", "Nowhere"),
        ("nonsense", "key=value"),
    ],
)
def test_bad_input_to_train_is_one_line_and_no_file(override, told, monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", override)
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert told in err
    assert not list(Path().iterdir())


def test_a_missing_file_is_one_line(monkeypatch, capsys):
    status, _, err = call(monkeypatch, capsys, "train", "nowhere.yaml")
    assert status == 1
    assert "no such configuration file" in err


def test_every_key_is_listed(monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "train", "--keys")
    assert status == 0
    for key in ("algorithm.clip_range = 0.2", "gym_env.env_name", "optimizer"):
        assert key in out


def test_help_loads_nothing_heavy():
    """Start-up counts: `--help` answers without torch."""
    code = (
        "import sys; sys.argv = ['ppo-bbrl', '--help']\n"
        "from ppo_bbrl.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'gymnasium', 'bbrl', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("train", "eval", "replay", "plot"):
        assert command in done.stdout
