"""What the package's objects say of themselves, in a console and in a notebook."""

import re
from html.parser import HTMLParser

import pytest
import torch
from probe_envs import config, fresh_log

from ppo_bbrl import PPOClip, Workspace, load_config
from ppo_bbrl.rollout import as_rollout, evaluate_rollout
from ppo_bbrl.runs.metrics import METRICS
from ppo_bbrl.update import UpdateReport


class Table(HTMLParser):
    """The cells of all tables, row by row; fails for markup that is not closed."""

    def __init__(self, html):
        super().__init__()
        self.rows, self._open = [], []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def shown():
    fresh_log()
    algo = PPOClip(config("Chance", n_envs=3, n_steps=5, max_epochs=1))
    workspace = next(algo.iter_partial_episodes(6))
    transitions = algo.record(workspace)
    rollout = evaluate_rollout(workspace, algo.train_policy, algo.critic_agent)
    report = algo.update(transitions)
    evaluation = algo.evaluate_policy(algo.eval_policy, 30)
    algo.close()
    return {
        "workspace": workspace, "rollout": rollout, "transitions": transitions,
        "report": report, "evaluation": evaluation, "config": algo.cfg,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["workspace", "rollout", "transitions", "report", "evaluation", "config"]
)
def test_each_shows_tables_that_a_browser_can_read(shown, name):
    rows = Table(shown[name]._repr_html_()).rows
    assert len(rows) > 3
    assert len(repr(shown[name])) < 2500 or name == "config"


def test_a_workspace_shows_its_grid_and_who_writes_what(shown):
    rows = Table(shown["workspace"]._repr_html_()).rows
    rewards = [[float(cell) for cell in row[1:]] for row in rows if row[0].startswith("t = ")]
    expected = shown["workspace"]["env/reward"]
    assert torch.allclose(torch.tensor(rewards), expected, rtol=1e-3)
    writers = {row[0]: row[3] for row in rows if len(row) == 4}
    assert writers["env/env_obs"] == "environment"
    assert writers["action"] == writers["current_policy/logprob"] == "policy"
    assert (writers["critic/v_values"], writers["return"]) == ("critic", "algorithm")


def test_a_workspace_without_rows_or_of_ones_own_shows_itself():
    workspace = Workspace()
    assert "nothing" not in repr(workspace)
    assert "empty" in workspace._repr_html_()
    workspace.set("mine/<b>", 0, torch.zeros(2, dtype=torch.int64))
    assert "<b>" not in workspace._repr_html_()
    assert "mine/<b> [1, 2] int64" in repr(workspace)
    newest = Workspace(newest_only=True)
    for t in range(4):
        newest.set("x", t, torch.full((2,), float(t)))
    assert "x [1, 2] float32" in repr(newest)


@pytest.mark.parametrize("n_rows", [3, 4])
def test_a_rollout_tells_its_ends_apart(n_rows):
    """A terminal state, two time limits, and steps of autoreset, which are no transitions.

    Log-probabilities may be there for the last row as well, where no transition begins.
    """
    done = torch.tensor([[0, 0], [1, 1], [0, 0], [0, 1]]).bool()
    terminated = torch.tensor([[0, 0], [1, 0], [0, 0], [0, 0]]).bool()
    rows = {"env/done": done, "env/terminated": terminated, "env/reward": torch.ones(4, 2)}
    rollout = as_rollout(rows, log_prob=torch.zeros(n_rows, 2), value=torch.zeros(4, 2))
    assert rollout.log_prob.shape == rollout.value.shape == rollout.mask.shape == (3, 2)
    html = rollout._repr_html_()
    assert re.search(r"\b1 \D*terminated", html)
    assert re.search(r"\b2 truncated", html)


def test_a_report_says_what_each_metric_means(shown):
    rows = {row[0]: row for row in Table(shown["report"]._repr_html_()).rows}
    for name, value in shown["report"].metrics.items():
        assert rows[name][2] == METRICS[name].description
        assert float(rows[name][1]) == pytest.approx(float(value), rel=1e-3, abs=1e-12)


def test_a_report_says_whether_it_was_stopped_and_knows_metrics_of_ones_own():
    for stopped in (False, True):
        report = UpdateReport({"mine": torch.tensor(2.0)}, 3, stopped)
        assert ("stopped early" in repr(report)) == stopped
        assert ("stopped early" in report._repr_html_()) == stopped
        assert ["mine", "2", ""] in Table(report._repr_html_()).rows


def test_an_evaluation_lists_its_first_episodes(shown):
    rows = Table(shown["evaluation"]._repr_html_()).rows
    assert [row[0] for row in rows[1:4]] == ["0", "1", "2"]
    assert rows[-1][0] == "…"
    assert re.search("30 episodes", repr(shown["evaluation"]))


def test_a_configuration_shows_its_keys_and_marks_what_is_not_the_default():
    cfg = load_config({"gym_env": {"env_name": "<i>"}, "algorithm": {"clip_range": 0.1}})
    html = cfg._repr_html_()
    rows = {row[0]: row for row in Table(html).rows}
    assert rows["algorithm.clip_range"][1] == "0.1"
    assert rows["algorithm.clip_range"][3]
    assert "<b>algorithm.clip_range</b>" in html
    assert "<b>algorithm.gae</b>" not in html
    assert "<i>" not in html
