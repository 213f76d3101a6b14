"""What was learned is kept, however a run ends and wherever the program stands by then."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import bbrl.agents
import pytest
import torch
from probe_envs import config
from torch import nn

from ppo_bbrl import EpisodicAlgo, PPOClip, run
from ppo_bbrl.envs.agent import EnvironmentFailedError
from ppo_bbrl.errors import UserError
from ppo_bbrl.evaluation import EvaluationError
from ppo_bbrl.plots import read_metrics
from ppo_bbrl.ppo import TrainingFailedError, restore_policy
from ppo_bbrl.runs.best_policy import load_policy

NEVER = -float("inf")


class Linear(bbrl.agents.Agent):
    """A student's policy."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(1, 2)

    def forward(self, t, **kwargs):
        self.set(("action", t), self.model(self.get(("env/env_obs", t))).argmax(-1))


def learner(**algorithm):
    return PPOClip(config("ActionAndObservationDecide", **algorithm))


def students(**algorithm):
    algo = EpisodicAlgo(config("ActionAndObservationDecide", **algorithm), autoreset=True)
    algo.train_policy = Linear()
    return algo


def weights(policy):
    return {name: tensor.clone() for name, tensor in policy.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def kept(name, folder="outputs/run"):
    return load_policy(Path(folder, name))


def failing_after(n, error):
    """A PPOClip whose n-th update fails."""

    class Failing(PPOClip):
        def update(self, rollout):
            if self.epoch == n:
                raise error
            return super().update(rollout)

    return Failing(config("ActionAndObservationDecide", max_epochs=5, eval_interval=30))


# ---------------------------------------------------------------------------- the normal end


@pytest.mark.parametrize("save_best", [True, False])
def test_the_end_of_a_run_keeps_the_last_and_the_best_policy(save_best):
    """Each with its configuration; both can be opened."""
    cfg = config("ActionAndObservationDecide", eval_interval=0)
    algo = PPOClip(cfg | {"save_best": save_best})
    run(algo)
    last = kept("last")
    assert same(last.state, weights(algo.eval_policy))
    assert (last.steps, last.reward) == (algo.nb_steps, algo.eval_rewards[-1].mean())
    best = kept("best")
    assert same(best.state, weights(algo.best_policy))
    assert best.reward == algo.best_reward
    for saved in (last, best):
        assert saved.cfg == algo.cfg
        restore_policy(saved)
    algo.close()


def test_the_last_policy_is_a_candidate_for_the_best():
    """Its evaluation stands in the row of its update, in the file when `run` is over."""
    algo = learner()  # with an eval_interval longer than the run
    run(algo)
    assert algo.best_reward == algo.eval_rewards[-1].mean()
    assert len(algo.eval_rewards) == 1
    table = read_metrics(algo.base_dir)
    assert len(table) == 3
    assert table["reward/mean"].isna().tolist() == [True, True, False]
    assert table["steps"].iloc[-1] == algo.nb_steps
    algo.close()


def test_an_evaluation_that_is_due_at_the_end_is_not_made_twice():
    algo = learner(eval_interval=0)
    run(algo)
    assert len(algo.eval_rewards) == 3
    algo.close()


def test_the_best_policy_carries_the_steps_after_which_it_was_evaluated():
    algo = learner()
    next(algo.iter_partial_episodes())
    algo.register_evaluation(torch.tensor([2.0]))
    steps = algo.nb_steps
    next(algo.iter_partial_episodes())
    algo.register_evaluation(torch.tensor([1.0]))
    algo.close()
    assert (kept("best").steps, kept("best").reward) == (steps, 2)
    assert (kept("last").steps, kept("last").reward) == (algo.nb_steps, 1)


# ------------------------------------------------------------------------------- other ends

ENDS = [
    KeyboardInterrupt,
    SystemExit,
    RuntimeError,
    MemoryError,
    EnvironmentFailedError,
    GeneratorExit,
]


@pytest.mark.wide(3)
@pytest.mark.parametrize("error", ENDS)
def test_a_run_that_fails_keeps_what_it_has_learned(error):
    algo = failing_after(3, error("gone"))
    with pytest.raises(error):
        run(algo)
    assert same(kept("last").state, weights(algo.eval_policy))
    assert same(kept("best").state, weights(algo.best_policy))
    assert kept("last").steps == algo.nb_steps
    assert read_metrics(Path("outputs/run"))["reward/mean"].notna().sum() == len(algo.eval_rewards)
    algo.close()


def test_a_run_whose_environment_fails_keeps_what_it_has_learned(monkeypatch):
    algo = learner(max_epochs=50, eval_interval=100)
    step = algo.train_env.envs.step

    def fragile(action):
        if algo.nb_steps > 300:
            raise ConnectionError("the simulator is gone")
        return step(action)

    monkeypatch.setattr(algo.train_env.envs, "step", fragile)
    with pytest.raises(EnvironmentFailedError):
        run(algo)
    assert same(kept("last").state, weights(algo.eval_policy))
    assert same(kept("best").state, weights(algo.best_policy))
    algo.close()


def test_a_run_whose_process_dies_keeps_what_it_has_learned():
    cfg = config("Chance", max_epochs=50, eval_interval=30)
    cfg["gym_env"]["vectorization"] = "async"

    class Killing(PPOClip):
        def update(self, rollout):
            if self.epoch == 2:
                self.train_env.envs.processes[0].kill()
            return super().update(rollout)

    algo = Killing(cfg)
    with pytest.raises(EnvironmentFailedError):
        run(algo)
    assert same(kept("last").state, weights(algo.eval_policy))
    assert same(kept("best").state, weights(algo.best_policy))
    algo.close()


@pytest.mark.wide(5)
@pytest.mark.parametrize("end", [None, *ENDS])
@pytest.mark.parametrize("make", [learner, students])
def test_a_loop_of_ones_own_keeps_what_it_has_learned(make, end):
    """It is left by `break` or by any error, in its body."""
    algo = make(max_epochs=5)

    def loop():
        for _ in algo.iter_partial_episodes():
            algo.evaluate(force=algo.epoch == 1)
            with torch.no_grad():
                next(algo.train_policy.parameters()).add_(1)
            if algo.epoch == 3:
                if end is None:
                    break
                raise end("gone")

    if end is None:
        loop()
    else:
        with pytest.raises(end):
            loop()
    assert same(kept("last").state, weights(algo.eval_policy or algo.train_policy))
    assert kept("last").reward == NEVER, "it was evaluated three rollouts ago"
    assert kept("last").steps == algo.nb_steps
    assert same(kept("best").state, weights(algo.best_policy))
    algo.close()


def test_whole_episodes_are_kept_likewise():
    algo = EpisodicAlgo(config("ActionAndObservationDecide"))
    algo.train_policy = Linear()
    for _ in algo.iter_episodes():
        algo.evaluate(force=True)
        break
    assert same(kept("last").state, weights(algo.train_policy))
    algo.close()


def test_before_the_first_evaluation_the_last_policy_is_the_best():
    """Its reward says that nobody knows how good it is."""
    algo = failing_after(2, KeyboardInterrupt())
    algo.cfg.algorithm.eval_interval = 10**9
    with pytest.raises(KeyboardInterrupt):
        run(algo)
    assert same(kept("best").state, kept("last").state)
    assert kept("best").reward == kept("last").reward == NEVER
    algo.close()


def test_the_evaluation_of_another_policy_is_not_that_of_the_last():
    algo = learner()
    algo.register_evaluation(torch.tensor([1.0]))
    algo.register_evaluation(torch.tensor([5.0]), policy=Linear())
    algo.close()
    assert kept("last").reward == 1
    assert kept("best").reward == 5


def test_closing_keeps_what_was_learned():
    algo = learner()
    algo.evaluate(force=True)
    assert not Path("outputs/run/last").exists()
    algo.close()
    assert same(kept("last").state, weights(algo.eval_policy))


def test_a_look_at_a_few_rows_is_no_run(tmp_path):
    """A student's cell that collects and breaks off leaves nothing, nor does the last rollout."""
    for algo in (learner(max_epochs=2), students(max_epochs=2)):
        for _ in algo.iter_partial_episodes():
            break
        list(algo.iter_partial_episodes())
        assert algo.keep() == []
        algo.close()
    EpisodicAlgo(config("Chance")).close()  # that has no policy
    assert not list(tmp_path.iterdir())


def test_an_evaluation_that_is_not_due_makes_a_run():
    """Who asks for evaluations trains; the first one may be an hour away."""
    algo = students()
    for _ in algo.iter_partial_episodes():
        assert not algo.evaluate()
        break
    assert same(kept("last").state, weights(algo.train_policy))
    algo.close()


def test_a_run_without_a_policy_keeps_its_log():
    algo = EpisodicAlgo(config("Chance"))
    algo.logger.add_log("mine", 1.0, 1)
    assert algo.keep() == []
    assert read_metrics(Path("outputs/run"))["mine"].tolist() == [1]
    algo.close()


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_kept(poison):
    """But those before the update that broke them, with which the last rollout was collected."""

    class Diverging(PPOClip):
        def update(self, rollout):
            self.before = weights(self.eval_policy)
            report = super().update(rollout)
            if self.epoch == 2:
                with torch.no_grad():
                    next(self.train_policy.parameters())[0] = poison
                raise TrainingFailedError("the losses are not numbers")
            return report

    algo = Diverging(config("ActionAndObservationDecide", max_epochs=5))
    with pytest.raises(TrainingFailedError):
        run(algo)
    assert same(kept("last").state, algo.before)
    assert same(kept("best").state, algo.before)
    algo.close()


def test_infinities_of_a_mask_are_not_broken_weights():
    algo = students()
    algo.train_policy.register_buffer("mask", torch.tensor([0.0, NEVER]))
    algo.evaluate(force=True)
    algo.close()
    assert kept("last").state["mask"][1] == NEVER


def test_the_end_of_an_evaluation_that_fails(monkeypatch):
    def broken(*_, **__):
        raise EvaluationError("the rewards are not numbers")

    algo = learner(eval_interval=0)
    monkeypatch.setattr("ppo_bbrl.episodic.evaluate", broken)
    with pytest.raises(EvaluationError):
        run(algo)
    assert same(kept("last").state, weights(algo.eval_policy))
    algo.close()


SCRIPT = """
    import os, signal, sys
    from ppo_bbrl import PPOClip, run
    from probe_envs import config

    class Signalled(PPOClip):
        def update(self, rollout):
            if self.epoch == 2:
                os.kill(os.getpid(), getattr(signal, sys.argv[1]))
            return super().update(rollout)

    run(Signalled(config("Chance", max_epochs=4)))
    print("went on")
"""


def signalled(name, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), name],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_a_loop_that_is_open_when_python_ends_is_kept():
    """Somebody holds it, so that nobody closes it before most modules are gone."""
    script = """
        import sys
        from ppo_bbrl import PPOClip
        from probe_envs import config

        algo = PPOClip(config("Chance"))
        loop = algo.iter_partial_episodes()
        for _ in loop:
            algo.evaluate()
            algo.logger.add_log("mine", 1.0, algo.nb_steps)
            sys.exit("the end")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "support")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == "the end\n"
    assert kept("last").steps > 0
    assert read_metrics(Path("outputs/run"))["mine"].tolist() == [1]


@pytest.mark.wide(1)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGXCPU"])
def test_a_signal_that_ends_a_program_lets_it_keep_what_it_learned(name):
    """From `kill`, a terminal that is closed, a batch system whose time is up."""
    done = signalled(name)
    number = getattr(signal, name)
    assert done.returncode == 128 + number
    assert "went on" not in done.stdout
    assert kept("last").steps > 0
    assert kept("best").reward == NEVER


@pytest.mark.slow
def test_a_hangup_that_is_ignored_stays_so():
    """As under `nohup`."""
    done = signalled("SIGHUP", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.returncode == 0, done.stderr
    assert "went on" in done.stdout


def test_handlers_of_signals_are_as_before_after_a_run():
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)]
    algo = learner()
    run(algo)
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)] == before
    algo.close()


# ------------------------------------------------------------------------------ a full disk


@pytest.fixture
def disk():
    """`outputs/`, a disk of 128 kB."""
    outputs = Path("outputs").absolute()
    outputs.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "none", outputs],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield outputs
    subprocess.run(["umount", "-l", outputs], check=True)


def fill(disk):
    with (disk / "rubbish").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017


@pytest.mark.filterwarnings("ignore:no metrics in")
@pytest.mark.filterwarnings("ignore:no checkpoint")
def test_on_a_full_disk_training_goes_on_and_the_last_good_policy_stays(disk):
    """One line that names the folder; when there is room again the next save succeeds."""
    algo = learner()
    algo.evaluate(force=True)
    good = kept("best")
    fill(disk)
    algo.best_reward = -10.0
    with pytest.warns(UserWarning, match=r"outputs/run/best: the policy is not saved: .*space"):
        assert algo.register_evaluation(torch.tensor([-9.0]))
    assert same(kept("best").state, good.state)
    assert kept("best").reward == good.reward
    with pytest.warns(UserWarning, match="not saved"):
        run(algo)
    (disk / "rubbish").unlink()
    assert algo.keep() == [algo.folder.best, algo.folder.last]
    assert same(kept("last").state, weights(algo.eval_policy))
    assert kept("best").reward == algo.best_reward
    assert not [path.name for path in disk.rglob("*.tmp*")]
    algo.close()


@pytest.mark.filterwarnings("ignore:no metrics in")
@pytest.mark.filterwarnings("ignore:no checkpoint")
def test_a_disk_that_is_full_from_the_start_is_no_loss_once_there_is_room(disk):
    """No empty config.yaml stays, in which the policy could never be read again."""
    algo = learner()
    fill(disk)
    with pytest.warns(UserWarning, match="not saved"):
        run(algo)
    assert not [path for path in disk.rglob("*.yaml") if not path.stat().st_size]
    (disk / "rubbish").unlink()
    algo.close()
    assert (disk / "run/config.yaml").read_text() == (disk / "run/last/config.yaml").read_text()
    assert same(kept("last").state, weights(algo.eval_policy))


@pytest.mark.filterwarnings("ignore:no checkpoint")
@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError])
def test_what_torch_cannot_save_is_one_line_and_training_goes_on(monkeypatch, error):
    """Its own writer raises a RuntimeError; a state of one's own may raise anything."""

    def fail(*_, **__):
        raise error("[enforce fail at inline_container.cc:672] .\n unexpected pos 1216 vs 1110")

    algo = learner(eval_interval=0)
    with monkeypatch.context() as patch:
        patch.setattr("torch.save", fail)
        with pytest.warns(UserWarning, match="the policy is not saved") as seen:
            run(algo)
    assert all("\n" not in str(warning.message) for warning in seen)
    assert len(algo.eval_rewards) == 3
    algo.close()
    assert same(kept("last").state, weights(algo.eval_policy))


# ------------------------------------------------------------------------------------ links


@pytest.mark.parametrize("name", ["best", "last"])
def test_policies_are_not_written_through_links(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "policy.pt").write_text("mine")
    algo = learner()
    algo.folder.path.joinpath(name).symlink_to(outside)
    with pytest.warns(UserWarning, match=f"{name}: the policy is not saved: .*symbolic link"):
        run(algo)
    assert (outside / "policy.pt").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["policy.pt"]
    algo.folder.path.joinpath(name).unlink()
    algo.close()
    assert same(kept(name).state, weights(algo.eval_policy))


def test_videos_are_not_written_through_links(tmp_path):
    algo = PPOClip(config("Logged"))
    (tmp_path / "outside").mkdir()
    algo.folder.video.symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="video is a symbolic link"):
        algo.record_best()
    assert not list((tmp_path / "outside").iterdir())
    algo.close()


# --------------------------------------------------------------------- where things are kept


def test_a_run_stays_in_its_folder(tmp_path, monkeypatch):
    """An environment or its user may change the current folder or the mode."""
    cfg = config("ActionAndObservationDecide", eval_interval=0)
    algo = PPOClip(cfg | {"logger": {"log_dir": "tb"}})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    monkeypatch.setenv("TESTING_MODE", "on")
    for workspace in algo.iter_partial_episodes(17):
        algo.update(algo.record(workspace))
        algo.evaluate()
        monkeypatch.chdir(tmp_path)
        monkeypatch.chdir("elsewhere")
    algo.close()
    assert not list((tmp_path / "elsewhere").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere", "outputs", "tb"}
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"run"}
    assert {path.name for path in (tmp_path / "tb").iterdir()} == {"run"}
    assert same(kept("last", tmp_path / "outputs/run").state, weights(algo.eval_policy))


def test_a_current_folder_that_is_gone_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir("gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match="current folder"):
        learner()


def test_runs_with_one_log_dir_have_events_of_their_own():
    """One after the other or at the same time, with names of their own or the same one."""
    algos = [
        PPOClip(config("Chance", seed=seed) | {"logger": {"log_dir": "tb"}, "base_dir": name})
        for seed, name in ((1, "a"), (2, "b"), (3, "a"))
    ]
    for algo in algos:
        run(algo)
    for algo in algos:
        algo.close()
    files = sorted(str(path.parent) for path in Path("tb").rglob("*tfevents*"))
    assert files == ["tb/a", "tb/a_2", "tb/b"]
