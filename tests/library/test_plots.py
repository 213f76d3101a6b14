import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from scipy import stats

from ppo_bbrl.errors import UserError
from ppo_bbrl.plots import (
    bootstrap_interval,
    learning_curve,
    read_metrics,
    save_figure,
    workspace_grid,
)
from ppo_bbrl.plots.run_files import common_folder
from ppo_bbrl.runs.metrics import Logger
from ppo_bbrl.workspace.table import Workspace


@pytest.fixture
def make_run(tmp_path):
    """Makes a run folder with evaluations `values` at `steps`."""

    def make(name, *, seed=1, steps=(0, 100, 200), values=(0.0, 10.0, 20.0), training=(), **keys):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config = {
            "base_dir": f"CartPole-v1/{name}",
            "gym_env": {"env_name": "CartPole-v1"},
            "algorithm": {"seed": seed, "clip_range": 0.2, **keys},
            "logger": {"log_dir": f"outputs/tblogs/{name}"},
        }
        (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML.
        with Logger(None, folder / "metrics.csv") as logger:
            for step, value in zip(steps, values, strict=True):
                logger.log_reward_losses([value - 1, value + 1], step)
            for step, value in training:
                logger.add_log("episode/return", value, step)
        return folder

    return make


def lines(figure):
    """Label → (x, y) of the labelled lines."""
    (axes,) = figure.axes
    return {
        line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def unlabelled(figure):
    return [line for line in figure.axes[0].get_lines() if line.get_label().startswith("_")]


def band(figure, index=0):
    """Lower and upper end of a filled area, by step."""
    path = figure.axes[0].collections[index].get_paths()[0].vertices
    steps = sorted(set(path[:, 0]))
    return {
        step: (path[path[:, 0] == step, 1].min(), path[path[:, 0] == step, 1].max())
        for step in steps
    }


# ------------------------------------------------------------------------------------- one run


def test_one_run_shows_evaluations_their_range_and_training_episodes(make_run):
    figure = learning_curve([make_run("a", training=[(50, 3.0), (150, 9.0)])])
    assert lines(figure) == {
        "evaluation episodes, mean": ([0, 100, 200], [0, 10, 20]),
        "training episodes, mean": ([50, 150], [3, 9]),
    }
    assert band(figure) == {0: (-1, 1), 100: (9, 11), 200: (19, 21)}
    (axes,) = figure.axes
    assert axes.get_title() == "CartPole-v1"
    assert axes.get_xlabel() == "Environment steps"
    assert axes.get_ylabel() == "Return of evaluation episodes"


def test_a_run_without_evaluation_falls_back_to_training_episodes_and_says_so(make_run):
    figure = learning_curve([make_run("a", steps=(), values=(), training=[(50, 3.0), (150, 9.0)])])
    (line,) = figure.axes[0].get_lines()
    assert line.get_ydata().tolist() == [3, 9]
    label = figure.axes[0].get_ylabel()
    assert label == "Return of training episodes\n(no evaluation yet)"


def test_runs_are_compared_by_training_episodes_if_one_lacks_evaluations(make_run):
    training = [(50, 3.0), (150, 9.0)]
    runs = [make_run("a", training=training)]
    runs.append(make_run("b", seed=2, steps=(), values=(), training=training))
    figure = learning_curve(runs)
    assert figure.axes[0].get_ylabel().endswith("(no evaluation of all runs yet)")
    assert lines(figure) == {"2 seeds": ([50, 150], [3, 9])}


def test_any_metric_can_be_drawn(make_run):
    run = make_run("a")
    with Logger(None, run / "metrics.csv") as logger:
        logger.add_log("approx_kl", 0.01, 300)
        logger.add_log("mine", 0.5, 300)
    assert learning_curve([run], metric="approx_kl").axes[0].get_ylabel() == "approx_kl (nats)"
    assert learning_curve([run], metric="mine").axes[0].get_ylabel() == "mine"


# -------------------------------------------------------------------------------- several runs


def test_runs_that_differ_in_seed_and_folder_are_one_group(make_run):
    runs = [make_run(f"s{seed}", seed=seed, values=(0, 10 * seed, 20 * seed)) for seed in (1, 2, 3)]
    figure = learning_curve(runs)
    assert lines(figure) == {"3 seeds": ([0, 100, 200], [0, 20, 40])}
    assert len(unlabelled(figure)) == 3
    assert figure.axes[0].get_legend().get_title().get_text() == "mean, 95 % interval of the mean"


def test_groups_are_named_by_the_keys_that_differ(make_run):
    runs = [
        make_run(f"{clip}-{seed}", seed=seed, clip_range=clip, values=(0, clip, seed))
        for clip in (0.1, 0.3)
        for seed in (1, 2)
    ]
    figure = learning_curve(runs)
    assert lines(figure) == {
        "algorithm.clip_range=0.1 (2 seeds)": ([0, 100, 200], [0, pytest.approx(0.1), 1.5]),
        "algorithm.clip_range=0.3 (2 seeds)": ([0, 100, 200], [0, pytest.approx(0.3), 1.5]),
    }
    colours = {to_hex(line.get_color()) for line in figure.axes[0].get_lines()}
    assert len(colours) == 2


def test_a_key_that_some_configs_lack_tells_them_apart(make_run):
    figure = learning_curve([make_run("a"), make_run("b", target_kl=None), make_run("c", gae=0.9)])
    assert set(lines(figure)) == {
        "algorithm.target_kl=(unset)\nalgorithm.gae=(unset) (1 seed)",
        "algorithm.target_kl=null\nalgorithm.gae=(unset) (1 seed)",
        "algorithm.target_kl=(unset)\nalgorithm.gae=0.9 (1 seed)",
    }
    assert not unlabelled(figure)
    assert figure.axes[0].get_legend().get_title().get_text() == ""


def test_by_groups_by_one_key_alone(make_run):
    runs = [make_run(f"{clip}", clip_range=clip, gae=clip) for clip in (0.1, 0.3)]
    assert set(lines(learning_curve(runs, by="gym_env.env_name"))) == {
        "gym_env.env_name=CartPole-v1 (2 runs)"  # Their seeds are the same.
    }
    with pytest.raises(ValueError, match=r"0\.1: its config has no key algorithm\.lambda"):
        learning_curve(runs, by="algorithm.lambda")


def test_means_are_taken_over_the_steps_that_all_seeds_cover(make_run):
    runs = [
        make_run("a", seed=1, steps=(0, 100, 200), values=(0, 10, 20)),
        make_run("b", seed=2, steps=(50, 150, 400), values=(5, 15, 40)),
    ]
    figure = learning_curve(runs)
    assert lines(figure) == {"2 seeds": ([50, 100, 150, 200], [5, 10, 15, 20])}
    assert [line.get_xdata()[-1] for line in unlabelled(figure)] == [200, 400]


def test_seeds_without_common_steps_are_drawn_one_by_one(make_run):
    runs = [make_run("a", seed=1), make_run("b", seed=2, steps=(900, 950, 990))]
    figure = learning_curve(runs)
    assert set(lines(figure)) == {"2 seeds"}
    assert len(figure.axes[0].get_lines()) == 2
    assert not figure.axes[0].collections


def test_long_runs_are_drawn_on_a_grid_that_a_picture_can_show(make_run):
    steps = tuple(range(0, 30_000, 32))
    runs = [make_run(f"{s}", seed=s, steps=steps, values=np.array(steps) * s) for s in (1, 3)]
    ((grid, mean),) = lines(learning_curve(runs)).values()
    assert len(grid) == 400
    np.testing.assert_allclose(mean, 2 * np.array(grid))


def test_the_same_folder_counts_once(make_run):
    run = make_run("a")
    assert "evaluation episodes, mean" in lines(learning_curve([run, run.parent / "." / "a"]))


def test_the_legend_of_many_groups_stands_below_the_picture(make_run):
    runs = [make_run(f"{n}", n_envs=n) for n in range(1, 10)]
    figure = learning_curve(runs)
    assert figure.axes[0].get_legend() is None
    assert len(figure.legends[0].get_texts()) == 9
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].get_lines()}
    assert len(looks) == 9


# ------------------------------------------------------------------------------------ intervals


def test_the_interval_is_that_of_a_bootstrap_of_the_mean():
    scale = np.array([1, 10, 100])
    rows = np.random.default_rng(0).normal(size=(10, 3)) * scale
    expected = stats.bootstrap(
        (rows,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    low, high = bootstrap_interval(rows)
    np.testing.assert_allclose(low / scale, expected.low / scale, atol=0.03)
    np.testing.assert_allclose(high / scale, expected.high / scale, atol=0.03)


def test_the_interval_is_the_same_at_each_call_and_nothing_for_equal_seeds():
    rows = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_array_equal(bootstrap_interval(rows), bootstrap_interval(rows))
    low, high = bootstrap_interval(np.full((5, 1), 3.0))
    assert low[0] == pytest.approx(3.0)
    assert high[0] == pytest.approx(3.0)


# ----------------------------------------------------------------------------------- bad input


def test_no_run():
    with pytest.raises(ValueError, match="no run to draw"):
        learning_curve([])


def one_line(folder, *runs, **options):
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        learning_curve(runs or [folder], **options)
    (line,) = str(caught.value).splitlines()
    return line


def test_a_folder_that_is_not_a_run(tmp_path, make_run):
    assert "does not exist" in one_line(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no config.yaml" in one_line(empty)
    assert "does not exist" in one_line(tmp_path / "nowhere", make_run("a"), tmp_path / "nowhere")
    (empty / "config.yaml").write_text("algorithm: {seed: 1}")
    assert "no metrics.csv" in one_line(empty)
    (empty / "metrics.csv").write_text("")
    assert "metrics.csv has no rows" in one_line(empty)
    (empty / "metrics.csv").write_text("steps,reward/mean\n")
    assert "metrics.csv has no rows" in one_line(empty)


def test_broken_files(make_run):
    run = make_run("a")
    table = (run / "metrics.csv").read_text()
    for rows in ("hello,1\n", "3,1\n4\n" + "5," * 40 + "\n"):
        (run / "metrics.csv").write_text(table + rows)
        assert "metrics.csv is not a table of numbers" in one_line(run)
    (run / "metrics.csv").write_text(table)
    for name in ("steps,reward/mean,reward/mean", "steps", "x\0y"):
        (run / "metrics.csv").write_text(f"{name}\n1,2,3\n")
        assert "metrics.csv" in one_line(run)
    for rows in (b"\xff\xfe\n1,2\n", b"steps,a\n1,\xe9\n"):
        (run / "metrics.csv").write_bytes(rows)
        assert "metrics.csv is not UTF-8" in one_line(run)
    for steps in ("nan", "", "inf", "1e300"):
        (run / "metrics.csv").write_text(f"steps,reward/mean\n{steps},2\n")
        assert "metrics.csv is not a table of numbers" in one_line(run)
    (run / "metrics.csv").write_text(table)
    for config in ("a: [1", "a: ${b", "- 3\n- {", "\0", "a: &a [*a]"):
        (run / "config.yaml").write_text(config)
        assert "config.yaml cannot be read" in one_line(run)


def test_a_metric_that_was_not_measured(make_run):
    run = make_run("a")
    message = one_line(run, metric="rewards")
    assert message.endswith(
        "this run has no metric rewards; it has reward/mean, reward/max, reward/min, reward/median"
    )
    empty = make_run("b", steps=(), values=(), training=[(3, float("nan"))])
    assert one_line(empty).endswith("this run has no metric reward/mean; it has no metrics yet")


# ------------------------------------------------------------------------- what is left out


def test_of_several_runs_those_are_drawn_that_can_be(make_run, tmp_path):
    """The shell's * gives earlier pictures and runs that have just begun, too."""
    good = [make_run("a"), make_run("b", seed=2, values=(0, 20, 40))]
    others = {
        "curve.png": tmp_path / "curve.png",
        "no config.yaml": tmp_path / "empty",
        "no metrics.csv": make_run("begun"),
        "no rows": make_run("header"),
        "UTF-8": make_run("binary"),
    }
    others["curve.png"].write_bytes(b"\x89PNG")
    others["no config.yaml"].mkdir()
    (others["no metrics.csv"] / "metrics.csv").unlink()
    (others["no rows"] / "metrics.csv").write_text("steps,reward/mean\n12,3")  # half a line
    (others["UTF-8"] / "metrics.csv").write_bytes(b"steps,\xff\n")
    with pytest.warns(UserWarning, match="not drawn: ") as warned:
        figure = learning_curve([*good, *others.values()])
    assert lines(figure)["2 seeds"] == ([0, 100, 200], [0, 15, 30])
    told = sorted(str(warning.message) for warning in warned)
    for (what, path), line in zip(
        sorted(others.items(), key=lambda item: str(item[1])), told, strict=True
    ):
        assert str(path) in line
        assert what in line
        assert "\n" not in line


def test_many_that_are_left_out_are_counted(make_run, tmp_path):
    empty = [tmp_path / f"empty{index}" for index in range(20)]
    for folder in empty:
        folder.mkdir()
    with pytest.warns(UserWarning, match="not drawn") as warned:
        learning_curve([make_run("a"), *empty])
    assert len(warned) < 10
    assert "15 more" in str(warned[-1].message)


def test_a_run_that_lacks_the_metric_is_left_out(make_run):
    runs = [make_run("a"), make_run("b", seed=2)]
    with Logger(None, runs[0] / "metrics.csv") as logger:
        logger.add_log("mine", 0.5, 300)
    with pytest.warns(UserWarning, match="this run has no metric mine"):
        figure = learning_curve(runs, metric="mine")
    assert len(figure.axes[0].get_lines()) == 1


def test_what_is_no_number_is_not_drawn(make_run, tmp_path):
    run = make_run("a", steps=(0, 100, 200, 300), values=(0, float("nan"), float("inf"), 3))
    figure = learning_curve([run])
    assert lines(figure)["evaluation episodes, mean"] == ([0, 300], [0, 3])
    save_figure(figure, tmp_path / "curve.png")
    assert "it has reward/mean" in one_line(run, metric="approx_kl")
    assert "no metric steps" in one_line(run, metric="steps")


def test_either_name_of_a_metric(make_run):
    run = make_run("a")
    with Logger(None, run / "metrics.csv") as logger:
        logger.add_log("approx_kl", 0.01, 300)
    for name in ("approx_kl", "train/approx_kl"):
        assert learning_curve([run], metric=name).axes[0].get_ylabel() == "approx_kl (nats)"


def test_a_metric_is_drawn_by_its_name_in_other_libraries(make_run):
    run = make_run("run")
    with Logger(None, run / "metrics.csv") as logger:
        logger.add_log("critic_loss", 3.0, 300)
        logger.add_log("entropy_loss", 0.5, 300)
        logger.add_log("entropy", 7.0, 300)  # the user's own comes first
    for name in ("value_loss", "losses/value_loss"):
        axes = learning_curve([run], metric=name).axes[0]
        assert axes.get_ylabel() == "critic_loss (return²)"
    assert learning_curve([run], metric="entropy").axes[0].get_ylabel() == "entropy"


# ---------------------------------------------------------------------------------------- names

ODD = ["$\\frac{$", "$x$", "a_b^c", "\\alpha", "%", "_hidden", "{", "\x1b[31m", "x" * 5000, "$" * 3]


@pytest.mark.wide(3)
@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_names_are_shown_literally(name, make_run, tmp_path):
    """A dollar sign in a stranger's name is no formula, and a long name does not fill the page."""
    runs = [make_run("a", mine=name), make_run("b", mine=f"{name}2")]
    for run in runs:
        config = json.loads((run / "config.yaml").read_text())
        config["gym_env"]["env_name"] = name
        (run / "config.yaml").write_text(json.dumps(config))
        with Logger(None, run / "metrics.csv") as logger:
            logger.add_log(name, 0.5, 300)
    for figure in (learning_curve(runs, metric=name), learning_curve(runs[:1], metric=name)):
        save_figure(figure, tmp_path / "curve.svg")
        (axes,) = figure.axes
        for text in (axes.get_title(), axes.get_ylabel()):
            assert text.isprintable()
            assert len(text) < 200
            assert text.startswith(name[:30]) or not name.isprintable()
    texts = [text.get_text() for text in learning_curve(runs).axes[0].get_legend().get_texts()]
    assert len(texts) == 2


def test_a_variable_of_the_grid_is_shown_literally(tmp_path):
    workspace = Workspace()
    for name in ("env/terminated", "env/truncated"):
        workspace.set_full(name, torch.zeros(2, 2, dtype=torch.bool))
    workspace.set_full("$\\frac{$", torch.zeros(2, 2))
    save_figure(workspace_grid(workspace, "$\\frac{$"), tmp_path / "grid.png")


# ---------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG"), ("a.svg", b"<?xml"), ("new/a.pdf", b"%PDF")],
)
def test_a_picture_has_the_format_of_its_name(name, begins, make_run, tmp_path):
    save_figure(learning_curve([make_run("a")]), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["a", "a.jpg", "a.tmp", ".png", "png"])
def test_another_ending_is_refused(name, make_run, tmp_path):
    with pytest.raises(UserError, match=r"\.png, \.svg, \.pdf"):
        save_figure(learning_curve([make_run("run")]), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_the_common_folder(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [make_run("x/a"), make_run("x/b"), make_run("y/c")]
    assert common_folder([Path("x/a"), runs[1]]) == Path("x")
    assert common_folder(runs) == Path()
    assert common_folder(runs[:1]) == Path("x/a")
    assert common_folder([*runs[:2], Path("/somewhere/else.png"), tmp_path / "none"]) == Path("x")
    monkeypatch.chdir(tmp_path / "y")
    assert common_folder(runs[:2]) == tmp_path / "x"


def test_folders_that_have_only_the_root_in_common(monkeypatch, tmp_path):
    """A picture in / would be found by nobody, or refused."""
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.chdir(tmp_path)
    assert common_folder([Path("/a/b"), Path("/c/d")]) == Path()


def test_reading_sorts_by_step(make_run):
    run = make_run("a", training=[(50, 3.0)])
    table = read_metrics(run)
    assert table["steps"].tolist() == [0, 50, 100, 200]
    assert table["steps"].dtype == np.int64
    assert table["reward/max"].dropna().tolist() == [1, 11, 21]


def test_a_figure_is_saved_whole(make_run, tmp_path):
    path = tmp_path / "new" / "curve.png"
    save_figure(learning_curve([make_run("a")]), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    assert list(path.parent.iterdir()) == [path]


def test_importing_and_drawing_leave_matplotlib_as_it_was(make_run):
    script = """
import sys
import ppo_bbrl.plots
assert not {"matplotlib", "pandas"} & set(sys.modules)
ppo_bbrl.plots.learning_curve(sys.argv[1:])
assert "matplotlib.pyplot" not in sys.modules
import matplotlib
assert matplotlib.rcParams._get_backend_or_none() is None
"""
    subprocess.run([sys.executable, "-c", script, make_run("a")], check=True)
