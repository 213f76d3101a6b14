"""The command line: what a user types, and what comes back."""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from command_line import call

import ppo_bbrl
from ppo_bbrl.plots import read_metrics

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT = [
    "algorithm.max_epochs=3",
    "algorithm.eval_interval=300",
    "algorithm.nb_evals=2",
    "algorithm.opt_epochs=2",
    "base_dir=run",
]


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
    returns = (run / "curve.png").read_bytes()
    for metric, name in (("episode/return", "episode-return"), ("train/approx_kl", "approx_kl")):
        status, out, _ = call(monkeypatch, capsys, "plot", run, "--metric", metric)
        assert (status, out) == (0, f"curve  {run / f'curve-{name}.png'}\n")
    assert (run / "curve.png").read_bytes() == returns


@pytest.mark.filterwarnings("default:not drawn")
def test_plot_of_a_folder_typed_twice(trained, monkeypatch, capsys):
    """The second time, the shell's * gives the first picture too."""
    run, _ = trained
    again = run.with_name("again")
    shutil.copytree(run, again)
    for _ in range(2):
        words = sorted(run.parent.glob("*"))  # tblogs, too
        status, out, err = call(monkeypatch, capsys, "plot", *words)
        assert status == 0
        assert str(run.parent / "curve.png") in out
        assert all(line.startswith("ppo-bbrl: warning: not drawn") for line in err.splitlines())
    assert (run.parent / "curve.png").is_file()
    status, out, _ = call(monkeypatch, capsys, "plot", run, again.resolve())
    assert (status, out) == (0, f"curve  {run.parent / 'curve.png'}\n")
    status, out, err = call(monkeypatch, capsys, "plot", run, again, "--out", "x.jpg")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["eval", "replay", "plot"])
@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_that_is_no_run_is_one_line(command, folder, monkeypatch, capsys):
    status, _, err = call(monkeypatch, capsys, command, folder)
    assert status == 1
    assert err.count("\n") == 1
    assert "not the folder of a run" in err


def test_a_run_without_a_saved_policy_is_one_line(trained, monkeypatch, capsys):
    run, _ = trained
    (run / "best/policy.pt").unlink()
    status, _, err = call(monkeypatch, capsys, "eval", run)
    assert status == 1
    assert err.count("\n") == 1
    assert "outputs/run/best: no saved policy here" in err


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


@pytest.mark.wide(1)
@pytest.mark.parametrize("module", ["ppo_bbrl", "ppo_bbrl.cli.commands"])
def test_python_m_is_the_same_command(module):
    """In a debugger, on a cluster, without PATH."""
    call = [sys.executable, "-m", module, "train", "nowhere.yaml"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "ppo-bbrl: nowhere.yaml: there is no such configuration file\n"


def test_an_interrupt_while_the_command_is_loaded_is_one_line():
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from ppo_bbrl.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == "ppo-bbrl: interrupted\n"


def test_the_version(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version") == (0, f"ppo-bbrl {ppo_bbrl.__version__}\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which is always full")
def test_an_answer_that_cannot_be_written_is_no_success(trained, monkeypatch, capsys):
    """`ppo-bbrl eval RUN > results.txt && …` on a full disk; a run's files are another matter."""

    def status_and_error(*words):
        with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            status, _, err = call(patch, capsys, *words)
        return status, err

    run, _ = trained
    incomplete = "what it printed is incomplete: No space left on device\n"
    for words in (("eval", run, "--episodes", "1"), ("--version",), ("train", "--keys")):
        assert status_and_error(*words) == (1, f"ppo-bbrl: {incomplete}")
    again = ("train", "--resume", run, "algorithm.max_epochs=4")
    assert status_and_error(*again) == (0, f"ppo-bbrl: warning: {incomplete}")


def test_the_shell_can_complete_commands():
    for shell in ("bash", "zsh", "fish"):
        variables = {
            "_PPO_BBRL_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": "ppo-bbrl re",
            "COMP_CWORD": "1",
            "_TYPER_COMPLETE_ARGS": "ppo-bbrl re",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        code = "import sys; sys.argv[0] = 'ppo-bbrl'; from ppo_bbrl.cli.commands import *; main()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "replay" in done.stdout, shell
        assert "train" not in done.stdout


@pytest.mark.parametrize("command", [[], ["train"], ["eval"], ["replay"], ["plot"], ["profile"]])
def test_help_shows_no_type_behind_flags(command, monkeypatch, capsys):
    """--human takes no <bool>."""
    status, out, _ = call(monkeypatch, capsys, *command, "--help")
    assert status == 0
    assert "bool" not in out.lower()


def test_the_command_alone_shows_its_help(monkeypatch, capsys):
    """In lines, as `--help` does."""
    status, out, err = call(monkeypatch, capsys)
    assert status == 2
    lines = [line.split() for line in (out + err).splitlines()]
    assert {"train", "eval", "plot"} <= {words[0] for words in lines if words}


def test_a_missing_file_is_one_line(monkeypatch, capsys):
    status, _, err = call(monkeypatch, capsys, "train", "nowhere.yaml")
    assert status == 1
    assert "nowhere.yaml: there is no such configuration file" in err


def test_every_key_is_listed(monkeypatch, capsys):
    status, out, _ = call(monkeypatch, capsys, "train", "--keys")
    assert status == 0
    for key in ("algorithm.clip_range = 0.2", "gym_env.env_name", "optimizer"):
        assert key in out


def test_help_loads_nothing_heavy():
    """Start-up counts: `--help` answers without torch."""
    code = (
        "import sys; sys.argv = ['ppo-bbrl', '--help']\n"
        "from ppo_bbrl.cli.commands import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'gymnasium', 'bbrl', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("train", "eval", "replay", "plot"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["eval"],
        ["eval", ".", "--episodes", "many"],
        ["eval", ".", "--episodes", "0"],
        ["eval", ".", "--episodes", "1000000000"],  # which no memory holds
        ["nonsense"],
        ["train", "--nonsense"],
    ],
)
def test_a_wrong_call_is_one_line(words, monkeypatch, capsys):
    status, out, err = call(monkeypatch, capsys, *words)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "--help" in err


def test_an_environment_that_fails_is_one_line(monkeypatch, capsys):
    """It names the environment and its error; the traceback is to be had."""
    Path("failing.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "class Failing(CartPoleEnv):\n"
        "    def step(self, action):\n"
        "        raise ZeroDivisionError('the pole is gone')\n"
        "gym.register('Failing-v0', Failing, max_episode_steps=9)\n"
    )
    monkeypatch.syspath_prepend(".")
    words = ["train", CONFIGS / "cartpole.yaml", *SHORT, "gym_env.env_name=failing:Failing-v0"]
    status, _, err = call(monkeypatch, capsys, *words)
    assert status == 1
    assert err.count("\n") == 1
    assert "ZeroDivisionError: the pole is gone" in err
    assert "Failing-v0" in err


def test_an_unexpected_error_is_one_line_that_tells_how_to_see_more(monkeypatch, capsys):
    def fail(*_):
        raise LookupError("lost")

    monkeypatch.setattr("ppo_bbrl.ppo.run", fail)
    words = ["train", CONFIGS / "cartpole.yaml", *SHORT]
    status, _, err = call(monkeypatch, capsys, *words)
    assert status == 1
    assert err.count("\n") == 1
    assert "LookupError: lost" in err
    monkeypatch.setenv("PPO_BBRL_TRACEBACK", "1")
    with pytest.raises(LookupError):
        call(monkeypatch, capsys, *words)


def interrupted_run(monkeypatch, capsys):
    """The status and what was printed of one that was interrupted after 600 steps."""
    from ppo_bbrl import ppo

    learn = ppo.PPOClip.update

    def interrupted(self, rollout):
        if self.nb_steps > 600:
            raise KeyboardInterrupt
        return learn(self, rollout)

    monkeypatch.setattr(ppo.PPOClip, "update", interrupted)
    words = ["train", CONFIGS / "cartpole.yaml", *SHORT, "algorithm.eval_interval=100"]
    return call(monkeypatch, capsys, *words, "save_best=false")


def test_an_interrupted_run_keeps_the_best_policy_and_the_curve(monkeypatch, capsys):
    status, out, err = interrupted_run(monkeypatch, capsys)
    assert status == 130
    assert "Interrupted after" in out
    assert "interrupted" in err
    for name in ("best", "curve.png", "metrics.csv"):
        assert Path("outputs/run", name).exists()
    assert str(Path("outputs/run/best")) in out


def test_a_curve_that_cannot_be_drawn_is_named_among_what_is_kept(monkeypatch, capsys):
    def without_fonts(_):
        raise OSError("no fonts")

    monkeypatch.setattr("ppo_bbrl.cli.summary.learning_curve", without_fonts)
    out = interrupted_run(monkeypatch, capsys)[1]
    assert "no curve: no fonts" in next(line for line in out.splitlines() if "Kept: " in line)


FRAGILE = """
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Fragile(CartPoleEnv):
    steps = 0

    def step(self, action):
        Fragile.steps += 1
        if Fragile.steps > 6000:
            raise ConnectionError("the simulator is gone")
        return super().step(action)

gym.register("Fragile-v0", Fragile, max_episode_steps=50)
"""


def test_a_run_whose_environment_fails_keeps_what_it_has_learned(monkeypatch, capsys):
    """It is named, and `eval` opens it, the best policy or the last."""
    Path("fragile.py").write_text(FRAGILE)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    words = ["train", CONFIGS / "cartpole.yaml", *SHORT, "gym_env.env_name=fragile:Fragile-v0"]
    more = ["algorithm.max_epochs=1000", "algorithm.eval_interval=1000", "save_best=false"]
    status, out, err = call(monkeypatch, capsys, *words, *more)
    assert status == 1
    assert "the simulator is gone" in err
    run = Path("outputs/run")
    for name in ("best", "last", "curve.png"):
        assert (run / name).exists()
        assert str(run / name) in out
    monkeypatch.setattr(sys.modules["fragile"].Fragile, "steps", -(10**9))
    for folder in (run, run / "last"):
        status, out, err = call(monkeypatch, capsys, "eval", folder, "--episodes", 2)
        assert status == 0, err
        assert "over 2 episodes" in out


def test_the_summary_tells_best_from_last(monkeypatch, capsys):
    from ppo_bbrl import ppo

    asked = []
    evaluate = ppo.PPOClip.evaluate_policy

    def spy(self, policy, episodes):
        asked.append(policy is self.eval_policy)
        assert policy is self.eval_policy or policy is self.best_policy
        return evaluate(self, policy, episodes)

    monkeypatch.setattr(ppo.PPOClip, "evaluate_policy", spy)
    assert call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)[0] == 0
    assert asked == sorted(asked, reverse=True), "the last policy, then the best"
    assert set(asked) == {True, False}


def test_after_the_run_each_wait_is_announced_and_bounded(monkeypatch, capsys):
    """Slow environments took minutes there, without a word."""
    monkeypatch.setattr("ppo_bbrl.cli.summary._MAX_SECONDS", -1.0)  # any environment is too slow
    monkeypatch.setattr("ppo_bbrl.cli.summary._MAX_VIDEO_STEPS", 3)
    frames = []
    monkeypatch.setattr(
        "ppo_bbrl.episodic.record_video",
        lambda *_, max_steps, **__: frames.append(max_steps) or Path("best.mp4"),
    )
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 0
    for told in ("episodes of at most 500 steps", "at most 3 steps"):
        assert out.index("100 %") < out.index(told) < out.index("TensorBoard")
    assert re.findall(r"(last|best) policy .* over 4 episodes", out) == ["last", "best"]
    assert frames == [3]


@pytest.mark.filterwarnings("ignore:.*not saved")
def test_policies_saved_before_the_disk_was_full_are_told(monkeypatch, capsys):
    """The summary said that there were none, though both lay there, whole."""

    def full(*_, **__):
        monkeypatch.setattr("ppo_bbrl.runs.recording.save_policy", fail)
        return Path("best.mp4")

    def fail(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr("ppo_bbrl.episodic.record_video", full)
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 0
    told = out.partition("policies ")[2].splitlines()[0]
    assert re.findall(r"(best|last) \(", told) == ["best", "last"]


def test_a_video_that_cannot_be_made_costs_no_result(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("no graphics library")

    monkeypatch.setattr("ppo_bbrl.episodic.record_video", fail)
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 0
    assert "none: no graphics library" in out
    assert "TensorBoard" in out


def test_training_starts_without_what_only_its_end_needs():
    """Start-up counts: what draws, reads tables or writes events comes after the first step.

    Torch's compiler, a second, and sympy come never, if nothing is compiled.
    """
    code = (
        "import sys\n"
        "from ppo_bbrl.cli.commands import main\n"
        "from ppo_bbrl.envs.agent import EnvAgent\n"
        "late = {'matplotlib', 'pandas', 'scipy', 'IPython', 'tensorboard', 'hydra', 'moviepy'}\n"
        "never = {'torch._dynamo', 'sympy'}\n"
        "real, calls = EnvAgent._step, []\n"
        "def step(*args):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 1: print('early:', *sorted((late | never) & set(sys.modules)))\n"
        "    if len(calls) == 80: print('updated:', *sorted(never & set(sys.modules)))\n"
        "    if len(calls) == 80: raise KeyboardInterrupt\n"
        "    return real(*args)\n"
        "EnvAgent._step = step\n"
        "main()"
    )
    words = ["train", str(CONFIGS / "cartpole.yaml"), "base_dir=run", "compute.compile=never"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert "early:\n" in done.stdout, done.stderr + done.stdout
    assert "updated:\n" in done.stdout, done.stderr + done.stdout


def test_starting_leaves_the_garbage_collector_as_it_was(trained):
    assert trained
    assert gc.isenabled()


@pytest.mark.slow
def test_nothing_is_frozen_when_python_ends():
    """Newer torch lists what is left at the end, pages of it, if the collector may not look."""
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print('frozen at the end:', gc.get_freeze_count()))\n"
        "from ppo_bbrl.cli.startup import quick_start\n"
        "with quick_start(): pass\n"
        "assert gc.get_freeze_count() > 1000"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "frozen at the end: 0\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stopped_run_keeps_its_files_and_its_status_names_the_signal(name, monkeypatch, capsys):
    """Ctrl-C, a cluster that ends the job, a terminal that is closed."""
    if not hasattr(signal, name):
        pytest.skip(f"there is no {name} here")
    number = getattr(signal, name)
    from ppo_bbrl import ppo

    learn = ppo.PPOClip.update

    def stopped(self, rollout):
        if self.nb_steps > 600:
            os.kill(os.getpid(), number)
        return learn(self, rollout)

    before = signal.signal(number, signal.default_int_handler)
    monkeypatch.setattr(ppo.PPOClip, "update", stopped)
    words = ["train", CONFIGS / "cartpole.yaml", *SHORT, "algorithm.eval_interval=100"]
    try:
        status, out, err = call(monkeypatch, capsys, *words)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert status == 128 + number
    assert "Interrupted after" in out
    told, last = err.splitlines()
    assert told == f"ppo-bbrl: interrupted ({name})"
    assert last == (
        "Checkpoint: outputs/run/checkpoints/iteration-000000003.pt; go on with: "
        "ppo-bbrl train --resume outputs/run"
    )
    assert last not in out  # nor twice where both are read together
    for kept in ("best/policy.pt", "curve.png", "metrics.csv"):
        assert Path("outputs/run", kept).is_file()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_nohup_is_respected(monkeypatch, capsys):
    """Who starts a run with nohup wants it to go on when the terminal is closed."""
    from ppo_bbrl import ppo

    learn = ppo.PPOClip.update

    def hang_up(self, rollout):
        os.kill(os.getpid(), signal.SIGHUP)
        return learn(self, rollout)

    monkeypatch.setattr(ppo.PPOClip, "update", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        status, *_ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert status == 0


def test_a_second_signal_does_not_disturb_the_saving(monkeypatch, capsys):
    """A system that shuts down sends several."""
    from ppo_bbrl import ppo

    save = ppo.PPOClip.save_best

    def save_among_signals(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(self)

    def evaluated(algo):
        algo.evaluate(force=True)
        monkeypatch.setattr(ppo.PPOClip, "save_best", save_among_signals)
        raise KeyboardInterrupt

    monkeypatch.setattr("ppo_bbrl.ppo.run", evaluated)
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 130
    assert str(Path("outputs/run/best")) in out
    assert Path("outputs/run/best/policy.pt").is_file()


def test_an_error_in_a_run_keeps_what_it_has(monkeypatch, capsys):
    """An environment that fails after an hour must not cost the hour."""

    def fail(algo):
        algo.evaluate(force=True)
        raise MemoryError

    monkeypatch.setattr("ppo_bbrl.ppo.run", fail)
    status, out, err = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 1
    assert str(Path("outputs/run/best")) in out
    assert Path("outputs/run/best/policy.pt").is_file()
    assert err.count("\n") == 1
    assert "MemoryError" in err


def test_an_interrupt_that_a_library_swallows_comes_again(monkeypatch, capsys):
    """Otherwise the run would go on as if nobody had pressed Ctrl-C."""

    def deaf(_):
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        signal.pause()

    monkeypatch.setattr("ppo_bbrl.ppo.run", deaf)
    before = signal.getsignal(signal.SIGINT)
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *SHORT)
    assert status == 130
    assert "Interrupted after 0 steps" in out
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_the_last_line_of_the_progress_shows_the_last_evaluation(monkeypatch, capsys):
    """It lagged by a rollout: a row is written only when the next one begins."""
    words = [*SHORT, "algorithm.max_epochs=3", "algorithm.eval_interval=1"]
    status, out, _ = call(monkeypatch, capsys, "train", CONFIGS / "cartpole.yaml", *words)
    assert status == 0
    (shown,) = re.findall(r"^100 %.*reward ([\d.]+) ", out, re.MULTILINE)
    (metrics,) = Path().glob("**/metrics.csv")
    evaluations = read_metrics(metrics.parent)["reward/mean"].dropna()
    assert len(evaluations) == 3
    assert shown == f"{evaluations.iloc[-1]:.1f}"


def test_a_run_is_resumed_by_its_folder(trained, monkeypatch, capsys):
    """With its own configuration; `key=value` changes what may change."""
    run, _ = trained
    status, out, _ = call(monkeypatch, capsys, "train", "--resume", run, "algorithm.max_epochs=5")
    assert status == 0
    assert "Going on after 3 of 5 rollouts" in out
    assert "before)" in out
    assert len(read_metrics(run)) == 5
    status, out, _ = call(monkeypatch, capsys, "train", "--resume", run)
    assert status == 0
    assert "The run is over; to train further, give a larger algorithm.max_epochs" in out


@pytest.mark.parametrize(
    ("words", "told", "status"),
    [
        (["train"], "give a configuration, or --resume RUN", 2),
        (["train", "--resume", "none", "x.yaml"], "--resume takes the run's own config", 2),
        (["train", "--resume", "none"], "none: not the folder of a run: it does not exist", 1),
    ],
)
def test_what_cannot_be_resumed(words, told, status, monkeypatch, capsys):
    got, _, err = call(monkeypatch, capsys, *words)
    assert got == status
    assert told in err
    assert err.count("\n") == 1
