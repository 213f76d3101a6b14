"""Tuning: a study that goes on after a kill, prunes, and gives a configuration that trains."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ppo_bbrl.cli.commands import main
from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.experiments import tune as tuning
from ppo_bbrl.experiments.best_config import best_config
from ppo_bbrl.experiments.pool import Event, Pool
from ppo_bbrl.experiments.space import Choices, Range, overrides_for, read_space
from ppo_bbrl.experiments.tune import Tuning, completed, score

pytest.importorskip("optuna")
ROOT = Path(__file__).parents[2]
TINY = {
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {"n_envs": 2, "n_steps": 16, "max_epochs": 3, "eval_interval": 10, "nb_evals": 2},
}
SPACE = {
    "optimizer.lr": Range(1e-4, 1e-2, log=True),
    "algorithm.opt_epochs": Range(1, 3),
    "algorithm.normalize_advantage": Choices((True, False)),
}


def test_a_study_makes_its_trials_and_its_best_configuration_trains():
    OmegaConf.save(OmegaConf.create(TINY), "tiny.yaml")
    Path("space.yaml").write_text(
        "optimizer.lr: {low: 1e-4, high: 1e-2, log: true}\nalgorithm.gae: [0.8, 0.9]\n"
    )
    words = ["tune", "tiny.yaml", "space.yaml", "--trials", "2", "--seeds", "2", "--jobs", "2"]
    command = [sys.executable, "-m", "ppo_bbrl", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path("outputs/tune/tiny-space")
    assert (folder / "study.png").stat().st_size > 5_000
    for trial in (0, 1):
        seeds = [load_seed(folder / f"trial_{trial}" / f"seed_{seed}") for seed in (1000, 1001)]
        assert seeds == [1000, 1001]
    lines = (folder / "best.yaml").read_text().splitlines()
    assert all("#" in line for line in lines if line and not line.endswith(":"))
    best = load_config(folder / "best.yaml")
    assert 1e-4 <= best.optimizer.lr <= 1e-2
    assert best.algorithm.n_steps == 16


def quiet(_):
    pass


def load_seed(folder):
    return OmegaConf.load(folder / "config.yaml").algorithm.seed


def study_of(name="study", **how):
    return Tuning(TINY, SPACE, Path(name).absolute(), **how)


class Script:
    """Stands for a pool: its runs say what a test wants, and nothing trains."""

    def __init__(self, said):
        self.said, self.waiting, self.stopped = said, [], []

    def __call__(self, *_):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def add(self, number, config):
        self.waiting.append((number, config))

    def stop(self, number):
        self.stopped.append(number)

    def events(self):
        while self.waiting:
            number, config = self.waiting.pop(0)
            for kind, facts in self.said(number, config):
                if number in self.stopped:
                    break
                yield Event(number, kind, facts)


def learning(returns, steps=100):
    evaluations = [
        ("evaluated", {"steps": steps * (n + 1), "reward": value})
        for n, value in enumerate(returns)
    ]
    return [*evaluations, ("done", {})]


def test_a_trial_scores_the_mean_return_over_its_steps(monkeypatch):
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: learning([10.0, 30.0, 20.0])))
    study = study_of()
    study.run(2, quiet)
    assert [trial.value for trial in completed(study.study)] == [20.0, 20.0]
    assert score([(100, 10.0), (400, 50.0)]) == (100 * 10 + 300 * 50) / 400


def test_all_trials_have_as_many_steps():
    """A longer run would score higher for its length alone."""
    config = {"gym_env": {"env_name": "CartPole-v1"}, "algorithm": {"n_envs": 4, "n_steps": 100}}
    given = ["algorithm.max_epochs=30"]
    values = {"algorithm.n_steps": 40, "algorithm.n_envs": 6, "optimizer.lr": 0.1}
    cfg = load_config(config, [*given, *overrides_for(values, config, given)])
    assert (cfg.algorithm.n_envs, cfg.algorithm.n_steps, cfg.optimizer.lr) == (6, 40, 0.1)
    assert cfg.algorithm.max_epochs == 50
    assert overrides_for({"optimizer.lr": 0.1}, config, given) == ["optimizer.lr=0.1"]


def test_a_trial_far_below_the_others_is_pruned(monkeypatch):
    pool = Script(lambda number, _: learning([100.0] * 6 if number < 8 else [1.0] * 6))
    monkeypatch.setattr(tuning, "Pool", pool)
    study, lines = study_of(), []
    study.run(9, lines.append)
    assert pool.stopped == [8]
    assert "pruned" in lines[-1]
    assert len(completed(study.study)) == 8


def test_a_trial_waits_for_the_evaluations_of_all_its_seeds(monkeypatch):
    """One bad seed alone prunes nothing, when the other is good."""
    pool = Script(lambda number, _: learning([100.0] * 6 if number % 2 else [98.0] * 6))
    monkeypatch.setattr(tuning, "Pool", pool)
    study = study_of(seeds=2)
    study.run(3, quiet)
    assert [trial.value for trial in completed(study.study)] == [99.0] * 3
    assert not pool.stopped


def test_a_trial_that_fails_is_told_and_the_others_go_on(monkeypatch):
    def said(number, _):
        return [("failed", {"why": "out of memory"})] if number == 1 else learning([1.0])

    monkeypatch.setattr(tuning, "Pool", Script(said))
    study, lines = study_of(), []
    study.run(3, lines.append)
    assert "trial 1 failed: seed 1000: out of memory" in lines[1]
    assert len(completed(study.study)) == 2


def test_if_the_first_trials_all_fail_it_is_one_error(monkeypatch):
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: [("failed", {"why": "no display"})]))
    with pytest.raises(UserError, match=r"all failed.*no display"):
        study_of().run(20, quiet)


def test_a_trial_that_was_left_is_begun_again_with_its_values(monkeypatch):
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: learning([1.0])))
    killed = study_of()
    trial = killed.study.ask()
    for key, one in SPACE.items():
        one.suggest(trial, key)
    trial.set_user_attr("alive", time.time() - 1000)
    alive = killed.study.ask()
    alive.set_user_attr("alive", time.time())

    later = study_of()
    later.run(1, quiet)
    (again,) = completed(later.study)
    assert again.params == trial.params
    states = [one.state.name for one in later.study.trials]
    assert states[trial.number] == "FAIL"
    assert states[alive.number] == "RUNNING"  # of another process


def test_an_interrupted_trial_is_given_back(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(tuning, "Pool", Script(interrupted))
    study = study_of()
    with pytest.raises(KeyboardInterrupt):
        study.run(1, quiet)
    given_back = study.study.trials[0].params
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: learning([1.0])))
    later = study_of()
    later.run(1, quiet)
    assert completed(later.study)[0].params == given_back


def test_the_best_configuration_says_why_in_each_line(monkeypatch):
    monkeypatch.setattr(tuning, "Pool", Script(lambda number, _: learning([float(number)])))
    study = study_of()
    study.run(3, quiet)
    text = best_config(study.study, SPACE, TINY)
    best = study.study.best_trial
    Path("best.yaml").write_text(text)
    cfg = load_config("best.yaml")
    assert cfg.optimizer.lr == SPACE["optimizer.lr"].value(best.params["optimizer.lr"])
    assert (
        str(cfg.algorithm.normalize_advantage).lower()
        == best.params["algorithm.normalize_advantage"]
    )
    assert cfg.algorithm.n_envs == 2


def test_the_best_configuration_tells_overrides_from_the_file(monkeypatch):
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: learning([1.0])))
    study = study_of(overrides=["algorithm.gae=0.7"])
    study.run(1, quiet)
    text = best_config(study.study, SPACE, TINY, ["algorithm.gae=0.7"])
    assert "gae: 0.7 # an override of the study" in text
    assert "n_envs: 2 # as in the given configuration" in text


def test_a_study_with_other_choices_is_another_study(monkeypatch):
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: learning([1.0])))
    study_of().run(1, quiet)
    other = Tuning(
        TINY, {"algorithm.normalize_advantage": Choices((1, 2))}, Path("study").absolute()
    )
    with pytest.raises(UserError, match="another --study"):
        other.run(1, quiet)


@pytest.mark.parametrize(
    ("changes", "more", "named"),
    [
        (["algorithm.gae=0.5"], {}, "algorithm.gae"),
        ([], {"algorithm.gae": Choices((0.8, 0.9))}, "algorithm.gae"),
    ],
)
def test_trials_that_cannot_be_compared_are_not_in_one_study(changes, more, named, monkeypatch):
    """The best of them would be written with a configuration that no trial had."""
    monkeypatch.setattr(tuning, "Pool", Script(lambda *_: learning([1.0])))
    study_of().run(1, quiet)
    other = Tuning(TINY, {**SPACE, **more}, Path("study").absolute(), overrides=changes)
    with pytest.raises(UserError, match=rf"{named}.*another --study"):
        other.run(1, quiet)
    study_of(overrides=["save_every=3"]).run(1, quiet)


def test_steps_add_up_as_they_are_written():
    """What trains, and stands in best.yaml, is 0.3 and not 0.30000000000000004."""
    steps = Range(0.0, 1.0, step=0.1)
    assert [steps.value(0.1 * n) for n in range(11)] == [n / 10 for n in range(11)]


def test_steps_written_as_yaml_reads_a_text():
    Path("space.yaml").write_text("algorithm.gae: {low: 0.5, high: 1e0, step: 1e-1}")
    assert read_space(Path("space.yaml"), TINY)["algorithm.gae"].step == 0.1


def test_what_waits_is_not_trained_once_it_was_stopped():
    """As the other seeds of a trial of which one failed."""
    pool = Pool([{}, {}, {}], jobs=1)
    pool.stop(1)
    assert [number for number, _ in pool._waiting] == [0, 2]
    pool.stop()
    assert not list(pool.events())


def test_the_command_that_goes_on_names_the_storage_and_the_seeds(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    OmegaConf.save(OmegaConf.create(TINY), "tiny.yaml")
    Path("space.yaml").write_text("algorithm.gae: [0.8, 0.9]\n")
    words = ["tiny.yaml", "space.yaml", "--seeds", "3", "--storage", "sqlite:///own.db"]
    monkeypatch.setattr(sys, "argv", ["ppo-bbrl", "tune", *words])
    monkeypatch.setattr(Tuning, "run", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert "--seeds 3" in said
    assert "--storage sqlite:///own.db" in said


def test_without_a_finished_trial_there_is_no_best():
    with pytest.raises(UserError, match="no trial"):
        best_config(study_of().study, SPACE, TINY)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("optimizer.rl: [0.1, 0.2]", "optimizer.rl"),
        ("optimizer.lr: [0.1]", "optimizer.lr"),
        ("optimizer.lr: [0.1, 0.1]", "each once"),
        ("optimizer.lr: 0.1", "low and high"),
        ("optimizer.lr: {low: 0.1}", "low and high"),
        ("optimizer.lr: {low: 0.2, high: 0.1}", "below"),
        ("optimizer.lr: {low: 0, high: 0.1, log: true}", "above 0"),
        ("optimizer.lr: {low: a, high: 0.1}", "low"),
        ("optimizer.lr: {low: 0.1, high: .inf}", "high"),
        ("optimizer.lr: {low: 0.1, high: 0.2, logarithmic: true}", "logarithmic"),
        ("optimizer.lr: {low: 0.1, high: 0.2, log: 3}", "log"),
        ("optimizer.lr: {low: 0.1, high: 0.2, step: 0}", "step"),
        ("optimizer.lr: {low: 0.1, high: 0.2, step: a}", "step"),
        ("algorithm.opt_epochs: {low: 1, high: 3, step: 0.5}", "step"),
        ("gym_env.env_name: [CartPole-v1, Acrobot-v1]", "gym_env.env_name"),
        ("algorithm.seed: [1, 2]", "algorithm.seed"),
        ("algorithm.max_epochs: [100, 200]", "algorithm.max_epochs"),
        ("algorithm.gae: {low: 0.5, high: 1.5}", "algorithm.gae"),
        ("algorithm.n_steps: {low: 0, high: 8}", "algorithm.n_steps"),
        ("- 1", "key"),
        ("", "key"),
    ],
)
def test_a_space_that_does_not_fit_is_one_error_that_names_the_key(line, named):
    Path("space.yaml").write_text(line)
    with pytest.raises(ConfigError, match=named) as error:
        read_space(Path("space.yaml"), TINY)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "spaces").glob("*.yaml")))
def test_the_spaces_that_are_shipped_fit(path):
    task = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1", "lunarlander": "LunarLander-v3"}
    assert len(read_space(path, {"gym_env": {"env_name": task[path.stem]}})) >= 5


@pytest.mark.slow
def test_a_study_survives_a_kill_and_two_processes_share_it():
    long = OmegaConf.merge(TINY, {"algorithm": {"max_epochs": 30}})
    OmegaConf.save(long, "tiny.yaml")
    Path("space.yaml").write_text("optimizer.lr: {low: 1e-4, high: 1e-2, log: true}\n")
    words = ["tune", "tiny.yaml", "space.yaml", "--trials", "4", "--jobs", "1"]
    command = [sys.executable, "-m", "ppo_bbrl", *words]
    first = subprocess.Popen(command, start_new_session=True)
    journal = Path("outputs/tune/tiny-space/study.journal")
    while not journal.exists() or len(journal.read_text().splitlines()) < 8:
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    study = tuning.open_study(journal.parent, None, seed_of="tiny-space")
    assert len(completed(study)) >= 7  # of 8; some may have been pruned


@pytest.mark.parametrize(
    ("attribute", "value"), [("config", "x"), ("config", [1]), ("alive", "x"), ("alive", {})]
)
def test_what_a_stranger_wrote_into_a_study_is_one_error(attribute, value):
    study = study_of().study
    if attribute == "config":
        study.set_user_attr("config", value)
    else:
        study.ask().set_user_attr("alive", value)
    with pytest.raises(UserError, match="study: what is stored of this study does not fit"):
        study_of().run(1, quiet)
