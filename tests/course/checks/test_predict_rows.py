"""check_predict_rows: right answers pass, each misunderstanding has its own message."""

# ruff: noqa: ARG001, ARG005 - a student's function has the notebook's arguments, used or not

from itertools import combinations

import gymnasium as gym
import jupytext
import numpy as np
import pytest
import torch
from course import NOTEBOOKS
from seeds import SEEDS

from ppo_bbrl import Agent, Agents, TemporalAgent, Workspace
from ppo_bbrl.envs.agent import EnvAgent
from ppo_course import ExerciseError, check_predict_rows
from ppo_course.nb01_workspace.predict_rows import MISTAKES, Case, cases, rows


def like_the_notebook(actions, height, time_limit):
    level, reward, terminated, truncated, timestep = 0, 0.0, False, False, 0
    predicted = []
    for t in range(len(actions)):
        if t > 0 and (terminated or truncated):
            level, reward, terminated, truncated, timestep = 0, 0.0, False, False, 0
        elif t > 0:
            level += actions[t - 1]
            reward = float(level) if actions[t - 1] == 1 else 0.0
            timestep += 1
            terminated = level == height
            truncated = timestep == time_limit
        predicted.append((level, reward, terminated, truncated, timestep))
    return predicted


def by_row_before(actions, height, time_limit):
    """Lists, integers for flags and rewards, and the row before instead of variables."""
    predicted = [[0, 0, 0, 0, 0]]
    for action in actions[:-1]:
        level, _, terminated, truncated, timestep = predicted[-1]
        if terminated + truncated:
            predicted += [[0] * 5]
            continue
        level += action
        flags = [int(level >= height), int(timestep + 1 >= time_limit)]
        predicted.append([level, action * level, *flags, timestep + 1])
    return predicted


class Simulated:
    """By an environment of its own; numbers of torch."""

    def __call__(self, actions, height, time_limit):
        self.height, self.limit = height, time_limit
        self.level = self.steps = torch.tensor(0)
        self.over = False
        return self.row(torch.tensor(0.0)), *map(self.following, actions[:-1])

    def following(self, action):
        if self.over:
            self.level = self.steps = torch.tensor(0)
            return self.row(torch.tensor(0.0))
        self.level, self.steps = self.level + action, self.steps + 1
        return self.row(self.level.float() * action)

    def row(self, reward):
        top, late = self.level == self.height, self.steps == self.limit
        self.over = bool(top | late)
        return self.level.item(), reward.item(), top.item(), late.item(), self.steps.item()


def as_an_array(actions, height, time_limit):
    return np.array(like_the_notebook(actions, height, time_limit), dtype=float)


RIGHT_ANSWERS = {
    "notebook": like_the_notebook,
    "before": by_row_before,
    "simulated": Simulated(),
    "array": as_an_array,
}


def with_mistakes(*names):
    return lambda actions, height, time_limit: rows(Case(actions, height, time_limit), names)


def stub(actions, height, time_limit):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def one_too_many(actions, height, time_limit):
    return [*like_the_notebook(actions, height, time_limit), (0, 0.0, False, False, 0)]


def without_timestep(actions, height, time_limit):
    return [row[:4] for row in like_the_notebook(actions, height, time_limit)]


def next_action(actions, height, time_limit):
    return [(actions[t + 1], 0.0, False, False, t) for t in range(len(actions))]


def forgets_to_begin(actions, height, time_limit):
    for action in actions:
        level += action  # noqa: F821, F841 - what the student forgot
    return []


def empties(actions, height, time_limit):
    predicted = like_the_notebook(actions, height, time_limit)
    actions.clear()
    return predicted


def odd(actions, height, time_limit):
    return [(row[0], -row[1], *row[2:]) for row in like_the_notebook(actions, height, time_limit)]


class Agreeing:
    """Equal to everything."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    __hash__ = None


def sly(actions, height, time_limit):
    return [(Agreeing(),) * 5 for _ in actions]


FORMS = {
    "stub": (stub, "not-written"),
    "nothing": (lambda actions, height, time_limit: None, "returns-nothing"),
    "a number": (lambda actions, height, time_limit: 3, "no-list"),
    "a row too many": (one_too_many, "number-of-rows"),
    "four fields": (without_timestep, "not-five-fields"),
    "next action": (next_action, "too-far"),
    "no value": (forgets_to_begin, "no-value"),
    "empties": (empties, "changes-argument"),
    "sly": (sly, "own-class"),
    "odd": (odd, "unknown"),
    "signature": (lambda actions: [], "called-as"),
}


def complaint(function, seed=None):
    with pytest.raises(ExerciseError) as caught:
        check_predict_rows(function, seed=seed)
    return caught.value


@pytest.mark.parametrize("name", RIGHT_ANSWERS)
def test_right_answers_pass_with_one_line_and_in_silence_with_a_seed(name, capsys):
    check_predict_rows(RIGHT_ANSWERS[name])
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in SEEDS:
        check_predict_rows(RIGHT_ANSWERS[name], seed=seed)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_misunderstanding_is_told_and_no_other(mistake):
    for seed in (None, *SEEDS):
        assert complaint(with_mistakes(mistake), seed).keys == (mistake,)


def test_two_misunderstandings_are_told_together():
    error = complaint(with_mistakes("reward-of-one", "never-truncated"))
    assert {*error.keys} == {"reward-of-one", "never-truncated"}
    assert "2 things" in str(error)


def same_row(actions, height, time_limit):
    """A reset as in Gymnasium's same-step mode, as a student would write it."""
    level = timestep = 0
    predicted = [(0, 0.0, False, False, 0)]
    for action in actions[:-1]:
        level, timestep = level + action, timestep + 1
        reward = float(level * action)
        terminated, truncated = level == height, timestep == time_limit
        if terminated or truncated:
            level = timestep = 0
        predicted.append((level, reward, terminated, truncated, timestep))
    return predicted


def reward_beside_its_action(actions, height, time_limit):
    """The reward in the row of the action that earns it: not how a workspace has it."""
    right = like_the_notebook([*actions, 0], height, time_limit)
    return [
        (level, right[t + 1][1], *flags)
        for t, (level, _, *flags) in enumerate(right[: len(actions)])
    ]


def test_mistakes_as_students_write_them():
    assert complaint(same_row).keys == ("reset-in-the-same-row",)
    assert complaint(reward_beside_its_action).keys == ("reward-beside-its-action",)


@pytest.mark.parametrize("name", FORMS)
def test_what_is_no_prediction(name):
    function, key = FORMS[name]
    assert complaint(function).keys in {(key,), ("raises", key)}
    complaint(function, seed=1)


def test_the_message_shows_the_first_wrong_row_and_the_one_before():
    lines = str(complaint(with_mistakes("reward-stays"))).splitlines()
    assert lines[1] == "  Example: height 3, time_limit 5."
    assert lines[2] == ("  row 4     level 3, reward 3, terminated, timestep 4; action 1 (right)")
    assert lines[3] == "  row 5     level 0, reward 3, timestep 0 (seen)"
    assert lines[4] == "  row 5     level 0, reward 0, timestep 0 (expected)"


def test_a_table_of_the_visible_cases_does_not_pass_the_hidden_ones():
    table = {(tuple(case.actions), case.height): rows(case) for case in cases(None)}

    def by_heart(actions, height, time_limit):
        return table.get((tuple(actions), height), [(0, 0.0, False, False, 0)] * len(actions))

    check_predict_rows(by_heart)
    for seed in SEEDS:
        complaint(by_heart, seed)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_every_misunderstanding_shows_and_looks_like_no_other(seed):
    chosen = cases(seed)
    seen = {name: [rows(case, [name]) for case in chosen] for name in ["", *MISTAKES]}
    alike = [(one, other) for one, other in combinations(seen, 2) if seen[one] == seen[other]]
    assert alike == []
    ends = [(row.terminated, row.truncated) for case in chosen for row in rows(case)]
    assert {(True, False), (False, True), (True, True)} <= set(ends)


class Plan(Agent):
    def __init__(self, actions):
        super().__init__()
        self.actions = torch.tensor(actions)

    def forward(self, t, **kwargs):
        self.set(("action", t), self.actions[t].reshape(1))


@pytest.fixture
def stairs():
    """Name of the notebook's own staircase, registered as the notebook does it."""
    cells = jupytext.read(NOTEBOOKS / "source" / "01_workspace.py", fmt="py:percent").cells
    (cell,) = [cell for cell in cells if "class Stairs" in cell.source]
    assert "definitions" in cell.metadata["tags"]
    before = set(gym.registry)
    exec(cell.source, {"__name__": __name__, **_imports(cells)})
    (name,) = set(gym.registry) - before
    yield name
    del gym.registry[name]


def _imports(cells):
    """What the notebook's cell of imports binds."""
    (cell,) = [cell for cell in cells if "from ppo_bbrl import" in cell.source]
    scope = {}
    exec(cell.source.replace("%matplotlib", "# %matplotlib"), scope)
    return scope


@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_the_expected_rows_are_those_of_a_real_workspace(stairs, seed):
    for case in cases(seed):
        arguments = {"height": case.height, "time_limit": case.time_limit}
        env = EnvAgent(stairs, 1, env_args=arguments)
        workspace = Workspace()
        agent = TemporalAgent(Agents(env, Plan(case.actions)))
        agent(workspace, t=0, n_steps=len(case.actions))
        columns = [
            workspace[f"env/{name}"].flatten().tolist()
            for name in ("env_obs", "reward", "terminated", "truncated", "timestep")
        ]
        assert list(zip(*columns, strict=True)) == rows(case)
