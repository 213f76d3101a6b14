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
print("best in the table =", metrics["eval_return"].max())
print("explained =", metrics["explained_variance"].dropna().tolist())
print("stopped =", metrics["stopped_early"].max())
print("training return at first =", metrics["episode_return"].dropna().iloc[0])
print("training return at best =", metrics["episode_return"].max())
saved = torch.load(best.best_model_path, weights_only=True)
kept = [name for name in saved["hyper_parameters"] if name in ("env", "eval_env")]
print("environments in the checkpoint =", len(kept))
"""


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("TESTING_MODE", "on")
        return NotebookRun("solution", NAME, folder, more=MORE).run()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return full_length(NAME, tmp_path_factory.mktemp("full"), more=MORE).text()


def numbers(text, line):
    found = re.search(rf"^{re.escape(line)} = (.*)$", text, re.MULTILINE)
    assert found, f"no line {line!r}"
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-\d+)?", found[1])]


def test_the_short_run_shows_three_pictures_and_a_video_and_warns_of_nothing(short):
    assert len(short.outputs("image/png")) == 3
    assert "data:video/mp4;base64," in short.outputs("text/html")[-1]
    assert short.text().count("Well done!") == 3
    assert "Warning" not in short.text("stderr")


def test_lightning_reads_ahead_without_a_length_and_not_with_one(short):
    text = short.text()
    assert numbers(text, "rollouts without a length") == [0, 3, 7]
    assert numbers(text, "steps without a length") == [1] * 4 + [2] * 4 + [3] * 4
    assert numbers(text, "rollouts with a length") == [0, 4, 7]
    assert numbers(text, "steps with a length") == [1] * 4 + [2] * 3 + [3] * 4


def test_no_environment_is_in_the_checkpoint(short):
    assert numbers(short.text(), "environments in the checkpoint") == [0]


@pytest.mark.slow
def test_it_learns_and_the_best_model_is_kept(text):
    (best,) = numbers(text, "best evaluation")
    assert best >= 475
    assert numbers(text, "best in the table") == [pytest.approx(best, abs=0.1)]
    others = re.search(r"^mean return of 20 other episodes = ([\d.]+)$", text, re.MULTILINE)
    assert float(others[1]) >= 400
    (first,), (most,) = (numbers(text, f"training return at {when}") for when in ("first", "best"))
    assert first < 60
    assert most > 400


@pytest.mark.slow
def test_the_explained_variance_rises_and_falls_and_target_kl_stops_some_rollouts(text):
    explained = numbers(text, "explained")
    assert explained[0] < 0.2
    assert max(explained) > 0.6
    assert explained[-1] < max(explained) - 0.2
    assert 0 < numbers(text, "stopped")[0] <= 1
