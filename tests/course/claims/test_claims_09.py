"""What notebook 09 says about its own results; at full length in the slow tests."""

import re

import pytest
from notebook_run import NotebookRun, full_length

pytest.importorskip("lightning", reason="the extra `lightning` is not installed")

NAME = "09_lightning"

# What the cells only draw, asked in the notebook's own kernel.
MORE = """
for name, loader in (("without", WithoutLength), ("with", WithLength)):
    events = watch(loader)
    print("rollouts", name, "a length =", [steps for kind, _, steps in events if kind == "collect"])
    print("steps", name, "a length =", [rollout for kind, rollout, _ in events if kind == "step"])
for name in ("eval_return", "episode_return", "explained_variance", "stopped_early", "loss"):
    for seed, row in zip(SEEDS, curves(name), strict=True):
        print(f"{name} of seed {seed} =", row.tolist())
from ppo_bbrl.plots.states import CARTPOLE
plane = CARTPOLE.plane("angle", "angular velocity", {}, 41)
with torch.no_grad():
    dist, values = loaded(plane.flatten(0, 1))
# Rows follow the angular velocity, columns the angle.
probs, values = dist.probs[:, 1].reshape(41, 41), values.reshape(41, 41)
print("pushed to the right =", [probs[30, 30].item(), probs[10, 10].item()])
print("values =", [values[20, 20].item(), values[0].max().item(), values[-1].max().item()])
print("highest value =", values.max().item())
saved = torch.load(best.best_model_path, weights_only=True)
kept = [name for name in saved["hyper_parameters"] if name in ("env", "eval_env")]
print("environments in the checkpoint =", len(kept))
"""


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / "jupyter"))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        patch.setenv("TESTING_MODE", "on")
        return NotebookRun("solution", NAME, folder, more=MORE).run()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return full_length(NAME, tmp_path_factory.mktemp("full"), more=MORE).text()


def numbers(text, line):
    found = re.search(rf"^{re.escape(line)} = (.*)$", text, re.MULTILINE)
    assert found, f"no line {line!r}"
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-\d+)?", found[1])]


def test_the_short_run_goes_from_top_to_bottom(short):
    counts = [cell.execution_count for cell in short.cells]
    assert counts == list(range(1, len(counts) + 1))
    assert short.cells[0].outputs == []  # nothing was installed


def test_the_short_run_shows_its_pictures_and_a_video_and_warns_of_nothing(short):
    assert len(short.outputs("image/png")) == 5
    assert "data:video/mp4;base64," in short.outputs("text/html")[-1]
    assert short.text().count("Well done!") == 4
    assert "Warning" not in short.text("stderr")


def test_lightning_reads_ahead_without_a_length_and_not_with_one(short):
    text = short.text()
    assert numbers(text, "rollouts without a length") == [0, 3, 7]
    assert numbers(text, "steps without a length") == [1] * 4 + [2] * 4 + [3] * 4
    assert numbers(text, "rollouts with a length") == [0, 4, 7]
    assert numbers(text, "steps with a length") == [1] * 4 + [2] * 3 + [3] * 4


def test_no_environment_is_in_the_checkpoint(short):
    assert numbers(short.text(), "environments in the checkpoint") == [0]


def of_seeds(text, name):
    return [numbers(text, f"{name} of seed {seed}") for seed in (1, 2, 3)]


@pytest.mark.slow
def test_all_seeds_learn_and_the_best_model_is_kept(text):
    evaluations = of_seeds(text, "eval_return")
    assert all(max(row) >= 490 for row in evaluations)
    assert max(row[2] for row in evaluations) - min(row[2] for row in evaluations) > 50
    best = re.findall(
        r"^seed \d: \d+ optimiser steps, best evaluation = ([\d.]+)$", text, re.MULTILINE
    )
    assert [float(number) for number in best] == pytest.approx(list(map(max, evaluations)), abs=0.1)
    others = re.search(r"^mean return of 20 other episodes = ([\d.]+)$", text, re.MULTILINE)
    assert float(others[1]) >= 400


@pytest.mark.slow
def test_the_policy_that_draws_its_actions_is_behind_the_greedy_one(text):
    greedy, drawing = (
        [sum(column) / 3 for column in zip(*of_seeds(text, name), strict=True)]
        for name in ("eval_return", "episode_return")
    )
    assert drawing[0] < 60
    assert drawing[-1] > 400
    assert all(d < g for d, g in zip(drawing, greedy, strict=True))


@pytest.mark.slow
def test_the_explained_variance_rises_and_falls_again_in_some_runs(text):
    explained = of_seeds(text, "explained_variance")
    assert all(row[0] < 0.2 for row in explained)
    assert all(max(row) > 0.6 for row in explained)
    assert any(row[-1] < max(row) - 0.2 for row in explained)
    assert all(row[-1] < row[0] / 2 for row in of_seeds(text, "loss"))
    assert 0 < max(map(max, of_seeds(text, "stopped_early"))) <= 1


@pytest.mark.slow
def test_the_maps_show_what_the_text_says(text):
    right, left = numbers(text, "pushed to the right")
    assert right > 0.9
    assert left < 0.1
    upright, falls_left, falls_right = numbers(text, "values")
    assert upright > max(falls_left, falls_right)
    assert numbers(text, "highest value")[0] < 90
