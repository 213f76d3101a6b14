"""What notebook 01 says about its own results, at full length."""

import re

import pytest
from notebook_run import full_length

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The solution, run, with a last cell that tells more of the experiment's results."""
    return full_length("01_workspace", tmp_path_factory.mktemp("run"), more=MORE)


MORE = """
means = {gain: float(episodes.mean()) for gain, episodes in zip(gains, returns, strict=True)}
print("means", *(f"{gain:g}={mean}" for gain, mean in means.items()))
far = EnvAgent("CartPole-v1", 30, autoreset=False).seed(5)
workspace = Workspace()
TemporalAgent(Agents(far, PoleAgent(gain=4.0)))(workspace, t=0, n_steps=501)
last = workspace["env/env_obs"][-1][workspace["env/terminated"][-1]]
print("out of the track", int((last[:, 0].abs() > 2.4).sum()), "of", len(last))
print("moved", float(moved[mask].abs().max()), float(moved[~mask].abs().min()))
"""


@pytest.fixture(scope="module")
def text(notebook):
    return notebook.text()


def numbers(text, line):
    found = re.search(rf"^{re.escape(line)}(.*)$", text, re.MULTILINE)
    assert found, f"no line {line!r}"
    return [float(number) for number in re.findall(r"\d+\.?\d*", found[1])]


def test_half_a_gain_keeps_the_pole_up_and_no_gain_does_not(text):
    assert numbers(text, "episodes that ended:") == [0]
    assert numbers(text, "largest angle:")[0] < 0.209
    means = dict(
        map(float, pair.split("="))
        for pair in re.search(r"^means (.*)$", text, re.MULTILINE)[1].split()
    )
    assert means[0.0] < 60
    assert means[0.1] == means[0.5] == 500
    assert means[0.01] < 200
    assert means[4.0] < 400
    assert numbers(text, "Mean return:") == [500]


def test_with_too_large_a_gain_the_cart_drifts_out_of_the_track(text):
    out, ended = numbers(text, "out of the track")
    assert out == ended > 20


def test_steps_that_are_no_transition_change_the_mean_reward_and_move_further(text):
    assert numbers(text, "Mean reward, transitions:") == [1]
    assert 0.9 < numbers(text, "Mean reward, all steps:")[0] < 0.99
    transitions, by_mask = numbers(text, "transitions: ")
    assert transitions == by_mask
    within, beyond = numbers(text, "moved")
    assert within < 0.1 < beyond


def test_the_rows_of_the_table_are_those_of_the_pencil(notebook):
    """The actions of the exercise's table are those of the picture after it."""
    cells = [cell.source for cell in notebook.content.cells]
    (table,) = [cell for cell in cells if "| action | 1 | 0" in cell]
    told = [int(x) for x in re.findall(r"\d", re.search(r"\| action \|(.*)\|", table)[1])]
    (code,) = [cell for cell in cells if cell.startswith("actions = [")]
    assert f"actions = {told}" in code
