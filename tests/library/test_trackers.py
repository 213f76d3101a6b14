"""Trackers get what a run logs, and cannot end it."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from probe_envs import config

from ppo_bbrl import PPOClip, run
from ppo_bbrl.errors import UserError
from ppo_bbrl.plots import read_metrics

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


class Notebook:
    def __init__(self):
        self.calls = []

    def begin(self, name, config):
        self.calls.append(("begin", name, config))

    def log(self, metrics, step):
        self.calls.append(("log", metrics, step))

    def end(self, status):
        self.calls.append(("end", status))

    def named(self, name):
        return [call for call in self.calls if call[0] == name]


def small(**settings):
    return config("Logged", max_epochs=2, **settings) | {"save_every": 1}


def test_every_row_of_training_and_evaluation_arrives():
    tracker = Notebook()
    algo = PPOClip(small(), trackers=[tracker])
    run(algo)
    algo.close()
    (_, name, cfg), *rows, end = tracker.calls
    assert name == algo.folder.name
    assert cfg["algorithm"]["max_epochs"] == 2
    assert "resumed_at_steps" not in cfg
    table = read_metrics(algo.base_dir).set_index("steps")
    assert [step for _, _, step in rows] == table.index.tolist()
    seen = set().union(*(metrics for _, metrics, _ in rows))
    assert {"reward/mean", "actor_loss", "critic_loss"} <= seen
    for _, metrics, step in rows:
        assert metrics["actor_loss"] == table["actor_loss"][step]
    assert end == ("end", "finished")


def test_a_resumed_run_says_so():
    earlier = Notebook()
    first = PPOClip(small(), trackers=[earlier])
    run(first)
    first.close()
    tracker = Notebook()
    algo = PPOClip.resume(first.base_dir, ["algorithm.max_epochs=3"], trackers=[tracker])
    run(algo)
    algo.close()
    ((_, name, cfg),) = tracker.named("begin")
    assert (name, cfg["resumed_at_steps"]) == (first.folder.name, first.nb_steps)
    given = [step for each in (earlier, tracker) for _, _, step in each.named("log")]
    assert given == read_metrics(algo.base_dir)["steps"].tolist()  # each row once


@pytest.mark.parametrize("method", ["begin", "log", "end"])
def test_a_tracker_that_fails_is_one_warning(method):
    def fail(*_):
        raise ConnectionError("no such\nhost")

    broken, whole = Notebook(), Notebook()
    setattr(broken, method, fail)
    algo = PPOClip(small(), trackers=[broken, whole])

    def train():
        run(algo)
        algo.close()

    with pytest.warns(RuntimeWarning) as warned:
        train()
    (message,) = [str(one.message) for one in warned]
    assert method in message
    assert "no such host" in message
    assert len(whole.named("log")) == 2
    assert len(read_metrics(algo.base_dir)) == 2


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("own"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_the_end_says_how_it_came(error, status):
    tracker = Notebook()
    algo = PPOClip(small(), trackers=[tracker])

    def broken():
        try:
            for workspace in algo.iter_partial_episodes(17):
                algo.log(workspace, algo.update(algo.record(workspace)), 1.0, 1)
                raise error
        finally:
            algo.close()

    with pytest.raises(type(error)):
        broken()
    assert tracker.calls[-1] == ("end", status)


@pytest.mark.parametrize("wrong", [Notebook, object(), "mlflow"])
def test_what_is_no_tracker_is_refused_before_any_file(wrong):
    with pytest.raises(UserError, match="trackers: "):
        PPOClip(small(), trackers=[wrong])
    with pytest.raises(UserError, match="trackers = None: must be a list"):
        PPOClip(small(), trackers=None)
    assert not Path("outputs").exists()


@pytest.mark.skipif(
    find_spec("mlflow") is None, reason="mlflow-skinny is not installed: ppo-bbrl[mlflow]"
)
@pytest.mark.filterwarnings("ignore")  # of mlflow and what it imports
def test_the_page_s_tracker_with_mlflow_itself(tmp_path):
    names = {}
    (block,) = (
        one
        for one in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        if "class MLflow" in one
    )
    exec(block, names)
    tracker = names["MLflow"](f"sqlite:///{tmp_path}/mlflow.db")
    algo = PPOClip(small(), trackers=[tracker])
    run(algo)
    algo.close()
    found = tracker.client.get_run(tracker.run)
    assert (found.info.run_name, found.info.status) == (algo.folder.name, "FINISHED")
    assert found.data.params["algorithm.max_epochs"] == "2"
    table = read_metrics(algo.base_dir).set_index("steps")
    history = tracker.client.get_metric_history(tracker.run, "actor_loss")
    assert {one.step: one.value for one in history} == table["actor_loss"].to_dict()
    assert "reward/mean" in found.data.metrics
