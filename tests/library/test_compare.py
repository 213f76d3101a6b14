"""Comparisons: only runs that differ in what is asked, and the statistics of the field."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from ppo_bbrl.config.loading import load_config
from ppo_bbrl.errors import UserError
from ppo_bbrl.experiments.compare import compare
from ppo_bbrl.plots.figures import save_figure
from ppo_bbrl.plots.statistics import improvement, interquartile_mean, performance_profile


def make_run(name, scores, seed=0, steps=1000, **changes):
    folder = Path(name)
    folder.mkdir(parents=True)
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
    cfg = load_config(
        {"gym_env": {"env_name": "CartPole-v1"}, "algorithm": {"seed": seed}, "base_dir": name},
        overrides,
    )
    OmegaConf.save(cfg, folder / "config.yaml")
    points = np.linspace(0, steps, len(scores) + 1)[1:]
    lines = [f"{int(step)},{score}" for step, score in zip(points, scores, strict=True)]
    (folder / "metrics.csv").write_text("\n".join(["steps,reward/mean", *lines, ""]))
    return folder


@pytest.fixture
def sides():
    ours = [make_run(f"new/seed_{s}", [1, 9, 5 + s], seed=s, optimizer__lr=0.01) for s in range(4)]
    theirs = [make_run(f"old/seed_{s}", [1, 2, 3 + s], seed=s) for s in range(4)]
    return ours, theirs


def test_the_last_and_the_best_evaluation_of_each_run_count(sides):
    result = compare(*sides)
    assert result.group.last.tolist() == [5, 6, 7, 8]
    assert result.group.peak.tolist() == [9, 9, 9, 9]
    assert result.against.last.tolist() == [3, 4, 5, 6]
    assert result.differences == {"optimizer.lr": ("0.01", "0.001")}
    assert not result.warnings
    # 5 beats 3, 4 and half of 5; 6 beats 3, 4, 5 and half of 6; 7 and 8 beat all.
    assert result.probability_of_improvement.value == (2.5 + 3.5 + 4 + 4) / 16


def test_a_folder_of_seeds_stands_for_its_runs(sides):
    assert compare([Path("new")], [Path("old")]).table() == compare(*sides).table()


def test_a_picture_is_drawn(sides):
    save_figure(compare(*sides).figure(), Path("comparison.png"))
    assert Path("comparison.png").stat().st_size > 10_000


def test_each_side_has_a_name_of_its_own():
    """The picture has a curve for each name: two sides of one name would be one curve."""
    runs = [
        [make_run(f"{place}/usual/seed_{s}", [1, s], seed=s) for s in range(2)]
        for place in ("here/outputs", "there/outputs")
    ]
    result = compare(*runs)
    names = result.group.name, result.against.name
    assert names == ("here/outputs/usual", "there/outputs/usual")
    assert len(result.figure().axes[0].get_lines()) == 2
    long = f"{{a: {'x' * 40}%s{'x' * 40}}}"  # what is cut out of a name is in the middle
    ours, theirs = (make_run(f"long/{n}", [1, 2], gym_env__env_args=long % n) for n in "ab")
    result = compare([ours], [theirs])
    assert (result.group.name, result.against.name) == ("long/a", "long/b")


def test_two_keys_are_more_than_was_asked_unless_it_is_said():
    ours = [make_run("a", [1, 2], optimizer__lr=0.01, algorithm__gae=0.9)]
    theirs = [make_run("b", [1, 2])]
    with pytest.raises(UserError, match=r"optimizer\.lr.*--by"):
        compare(ours, theirs)
    with pytest.raises(UserError, match=r"algorithm\.gae"):
        compare(ours, theirs, by=["optimizer.lr"])
    assert len(compare(ours, theirs, by=["optimizer.lr", "algorithm.gae"]).differences) == 2
    assert any(
        "algorithm.gae" in warning for warning in compare(ours, theirs, anyway=True).warnings
    )
    with pytest.raises(UserError, match=r"optimizer\.rl"):
        compare(ours, theirs, by=["optimizer.rl"])


def test_other_tasks_are_compared_only_if_that_is_said():
    """One key may differ, but returns of different tasks say nothing about each other."""
    ours, theirs = [make_run("a", [1, 2])], [make_run("b", [1, 2], gym_env__env_name="Acrobot-v1")]
    for by in ([], ["optimizer.lr"]):
        with pytest.raises(UserError, match=r"CartPole-v1 and Acrobot-v1.*--by gym_env\.env_name"):
            compare(ours, theirs, by=by)
    task = "gym_env.env_name"
    assert compare(ours, theirs, by=[task]).differences == {task: ("CartPole-v1", "Acrobot-v1")}
    assert "tasks" in compare(ours, theirs, anyway=True).warnings[0]


def test_the_same_seed_twice_on_a_side_is_refused_unless_it_is_said(sides):
    """It would count as two runs, and make the interval too narrow."""
    twice = [*sides[0], make_run("again", [1, 9, 6], seed=1, optimizer__lr=0.01)]
    for pair in ((twice, sides[1]), (sides[1], twice)):
        with pytest.raises(UserError, match=r"seed_1 and again both have algorithm\.seed = 1"):
            compare(*pair)
    assert "again" in compare(twice, sides[1], anyway=True).warnings[0]


def test_keys_that_an_older_version_did_not_have_are_no_difference():
    new, old = make_run("a", [1, 2], optimizer__lr=0.01), make_run("b", [1, 2])
    cfg = OmegaConf.load(old / "config.yaml")
    del cfg.algorithm.normalize_value, cfg.algorithm.architecture.memory, cfg.gym_env.on_failure
    OmegaConf.save(cfg, old / "config.yaml")
    assert list(compare([new], [old]).differences) == ["optimizer.lr"]
    recurrent = make_run("c", [1, 2], algorithm__architecture__memory="lstm")
    differences = compare([recurrent], [old]).differences
    assert list(differences) == ["algorithm.architecture.memory"]


def test_runs_of_one_side_differ_in_their_seed_alone():
    ours = [make_run("a", [1, 2]), make_run("b", [1, 2], seed=1, optimizer__lr=0.1)]
    with pytest.raises(UserError, match=r"optimizer\.lr.*not only in seeds"):
        compare(ours, [make_run("c", [1, 2])])


def test_what_only_concerns_speed_and_files_is_no_difference():
    ours = [make_run("a", [1, 2], compute__threads=2, save_every=5, logger__verbose=True)]
    assert compare(ours, [make_run("b", [1, 2])]).differences == {}


def test_a_run_on_both_sides_or_without_evaluation_is_refused(sides):
    with pytest.raises(UserError, match="both sides"):
        compare(sides[0], [*sides[1], Path("new/seed_1")])
    empty = make_run("empty", [])
    (empty / "metrics.csv").write_text("steps,entropy\n10,0.5\n")
    with pytest.raises(UserError, match="no evaluation"):
        compare([empty], sides[1])
    with pytest.raises(UserError, match="nowhere"):
        compare([Path("nowhere")], sides[1])


def test_a_run_that_ended_early_and_few_seeds_are_told():
    ours, theirs = [make_run("a", [1, 2])], [make_run("b", [1, 2], steps=500)]
    early, few = compare(ours, theirs).warnings
    assert "b: ended after 500 of 1,000" in early
    assert "1 run" in few


@pytest.mark.slow
def test_on_the_command_line_against_takes_all_that_follow(sides):
    words = ["compare", *sides[0], "--against", *sides[1], "--out", "c.svg"]
    done = subprocess.run(
        [sys.executable, "-m", "ppo_bbrl", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0.88" in done.stdout
    assert Path("c.svg").is_file()


def test_the_probability_of_improvement_has_an_interval_around_it():
    found = improvement([1.0, 2.0, 3.0, 4.0], [2.5, 0.5, 1.5, 3.5])
    assert found.value == (1 + 2 + 3 + 4) / 16
    assert found.low < found.value < found.high
    assert improvement([1.0], [1.0]) == (0.5, 0.5, 0.5)
    assert improvement([2.0, 3.0], [0.0, 1.0]).low == 1.0


def test_statistics_computed_by_hand():
    """rliable's definitions: the middle half, percentile intervals, ties that count half."""
    assert interquartile_mean([8.0, 1, 7, 2, 6, 3, 5, 100]).value == (3 + 5 + 6 + 7) / 4
    # Of 5 scores, one of each end is left out (a quarter, rounded down).
    assert interquartile_mean([0.0, 10, 20, 30, 100]).value == 20
    # Four scores of which one is 1: in resamples the middle two are both 1 if three are ones or
    # more, which has a probability of 0.051, above the 0.025 of the interval's end.
    assert interquartile_mean([0.0, 0, 0, 1]) == (0, 0, 1)
    # Of two scores and two that are between them, a resample has both above with probability 1/4.
    assert improvement([0.0, 1.0], [0.5, 0.5]) == (0.5, 0.0, 1.0)
    assert improvement([1.0, 1.0], [1.0, 2.0]).value == 0.25


def test_a_performance_profile_counts_the_runs_at_or_above():
    assert performance_profile([1.0, 2.0, 2.0, 5.0], [0, 1, 2, 3, 6]).tolist() == [
        1.0,
        1.0,
        0.75,
        0.25,
        0.0,
    ]


def test_the_interval_of_the_interquartile_mean_covers_as_often_as_it_says():
    """Of 200 samples of ten normal scores, about 95 % of the intervals contain the centre."""
    random = np.random.default_rng(1)
    found = [interquartile_mean(random.normal(size=10), resamples=400) for _ in range(200)]
    share = np.mean([each.low <= 0 <= each.high for each in found])
    assert 0.85 <= share <= 1.0
