"""One configuration with many seeds: the same as single runs, whatever happens to one of them."""

import csv
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from omegaconf import OmegaConf
from typer import BadParameter

from ppo_bbrl import PPOClip, run, train_seeds
from ppo_bbrl.cli.seeds import chosen_seeds
from ppo_bbrl.errors import ConfigError, UserError
from ppo_bbrl.plots.statistics import interquartile_mean
from ppo_bbrl.runs.best_policy import load_policy
from ppo_bbrl.runs.trained_policy import TrainedPolicy

SHORT = {
    "base_dir": "short",
    "gym_env": {"env_name": "CartPole-v1"},
    "algorithm": {"n_envs": 2, "n_steps": 16, "max_epochs": 4, "eval_interval": 20, "nb_evals": 2},
}
# An environment that fails for some seeds, after its first reset.
FAILING = """
import os, signal
import gymnasium as gym
from gymnasium.envs.classic_control import CartPoleEnv

class Failing(CartPoleEnv):
    def step(self, action):
        if HOW: HOW.pop()()
        return super().step(action)

HOW = []
def fails(): raise RuntimeError("the motor is hot")
def dies(): os.kill(os.getpid(), signal.SIGKILL)

class Some(Failing):
    def reset(self, *, seed=None, options=None):
        marks = open("kinds.txt").read().split() if os.path.exists("kinds.txt") else []
        if marks:
            with open("kinds.txt", "w") as file:
                file.write(" ".join(marks[1:]))
            HOW[:] = [{"fails": fails, "dies": dies}[marks[0]]] if marks[0] != "fine" else []
        return super().reset(seed=seed, options=options)

gym.register("Some-v0", entry_point=Some, max_episode_steps=50)
"""


def weights(folder):
    return TrainedPolicy(load_policy(folder / "last")).agent.state_dict()


def test_each_seed_ends_with_the_weights_of_its_own_single_run():
    report = train_seeds(SHORT, [3, 5], jobs=2)
    assert list(report.runs) == [3, 5]
    assert not report.failed
    for seed in (3, 5):
        config = OmegaConf.merge(SHORT, {"base_dir": f"alone_{seed}", "algorithm": {"seed": seed}})
        alone = PPOClip(config)
        run(alone)
        alone.close()
        together, own = weights(report.runs[seed].folder), weights(alone.base_dir)
        assert together.keys() == own.keys()
        assert all(torch.equal(together[name], own[name]) for name in own)
    with (report.folder / "seeds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["3", "5"]
    assert float(rows[0]["last"]) == report.runs[3].last
    assert (report.folder / "seeds.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("kind", "said"),
    [("fails", "motor is hot"), pytest.param("dies", "status -9", marks=pytest.mark.slow)],
)
def test_a_seed_that_fails_is_named_and_the_others_go_on(kind, said):
    Path("some_env.py").write_text(FAILING)
    Path("kinds.txt").write_text(f"fine {kind} fine fine fine fine")
    cfg = OmegaConf.merge(
        SHORT, {"gym_env": {"env_name": "some_env:Some-v0"}, "algorithm": {"n_envs": 1}}
    )
    cfg.algorithm.nb_evals = 1
    # One process, so that it is known whose reset reads which word of the file.
    report = train_seeds(cfg, 3, jobs=1, import_from=[Path.cwd()])
    assert len(report.failed) == 1
    assert len(report.runs) == 2
    assert said in next(iter(report.failed.values()))
    assert not report.runs.keys() & report.failed.keys()


@pytest.mark.slow
def test_if_all_fail_it_is_one_error_with_the_reason(monkeypatch):
    """Its module is found where this process finds it, such as beside a script."""
    monkeypatch.syspath_prepend(Path.cwd())
    Path("some_env.py").write_text(FAILING)
    Path("kinds.txt").write_text("fails " * 20)
    cfg = OmegaConf.merge(SHORT, {"gym_env": {"env_name": "some_env:Some-v0"}})
    with pytest.raises(UserError, match=r"all 2 seeds failed.*motor is hot"):
        train_seeds(cfg, 2, jobs=1)


@pytest.mark.parametrize("seeds", [[], [1, 1], 0, "10", True, 2.0, None, [1.5], [1, "2"]])
def test_no_seed_or_the_same_one_twice_is_refused_before_any_file_is_made(seeds):
    with pytest.raises(UserError, match="seeds"):
        train_seeds(SHORT, seeds)
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("n_steps", {"algorithm": {"n_steps": 0}}),
        ("CartPool", {"gym_env": {"env_name": "CartPool-v1"}}),
    ],
)
def test_an_invalid_configuration_is_refused_before_any_file_is_made(key, changes):
    with pytest.raises(ConfigError, match=key):
        train_seeds(OmegaConf.merge(SHORT, changes), 2)
    assert not Path("outputs").exists()


@contextmanager
def two_long_runs(code):
    """A program that trains two seeds without an end, once both have a checkpoint; its children."""
    changes = {"algorithm": {"max_epochs": 100_000}, "save_every": 1}
    OmegaConf.save(OmegaConf.merge(SHORT, changes), "long.yaml")
    command = [sys.executable, "-c", f"from ppo_bbrl import train_seeds\n{code}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    children = []
    try:
        while not all(list(run.glob("checkpoints/*")) for run in RUNS):
            assert process.poll() is None
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        yield process, children
    finally:
        for each in (process, *children):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()


RUNS = [Path("outputs/short") / f"seed_{seed}" for seed in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_processes_and_each_run_can_go_on(number):
    code = """
import sys
from ppo_bbrl.__main__ import main
sys.argv[1:] = "train long.yaml --seeds 2 --jobs 2".split()
main()
"""
    with two_long_runs(code) as (process, children):
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 128 + number
        assert "--resume" in errors
        assert not any(child.is_running() for child in children)
    for folder in RUNS:
        algo = PPOClip.resume(folder)
        assert algo.next_iteration > 0
        algo.close()


@pytest.mark.slow
def test_processes_end_when_the_one_that_started_them_is_killed():
    with two_long_runs("train_seeds('long.yaml', 2, jobs=2)") as (process, children):
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("3", [0, 1, 2]), ("3,7", [3, 7]), ("100-102", [100, 101, 102]), ("1,4-5", [1, 4, 5])],
)
def test_seeds_are_a_number_a_list_or_a_range(text, seeds):
    assert chosen_seeds(text) == seeds


@pytest.mark.parametrize(
    "text", ["0", "", "a", "-1", "5-3", "1,1", "1-3,2", "3,", "1e3", "99999999"]
)
def test_other_words_for_seeds_are_wrong_usage(text):
    with pytest.raises(BadParameter, match="--seeds"):
        chosen_seeds(text)


def test_the_interquartile_mean_is_that_of_rliable_and_its_interval_contains_it():
    scores = np.array([1.0, 2.0, 3.0, 10.0, 4.0, 5.0, 6.0, 7.0])
    found = interquartile_mean(scores)
    assert found.value == pytest.approx(np.mean([3.0, 4.0, 5.0, 6.0]))
    assert found.low < found.value < found.high
    rows = np.stack([scores, scores + 1], axis=1)
    assert interquartile_mean(rows).value == pytest.approx([4.5, 5.5])
    assert interquartile_mean(rows).low[0] == pytest.approx(found.low)


def test_one_seed_has_no_width():
    assert interquartile_mean([3.0]) == (3.0, 3.0, 3.0)


@pytest.mark.slow
def test_the_picture_is_possible_without_evaluations():
    cfg = OmegaConf.merge(SHORT, {"algorithm": {"eval_interval": 10_000}})
    assert (train_seeds(cfg, 1).folder / "seeds.png").exists()
