"""check_pole_agent: right answers pass, each mistake has its own message."""

# ruff: noqa: ARG001, ARG005 - a student's code has the notebook's arguments, used or not

import pytest
import torch
from seeds import SEEDS
from torch import nn

from ppo_bbrl import Agent
from ppo_bbrl.workspace.table import Workspace
from ppo_course import ExerciseError, check_pole_agent
from ppo_course.formulas import combinations
from ppo_course.nb01_workspace.pole_agent import ORDER, RULES, actions, cases


def agent(forward):
    """The class of the notebook, with a student's `forward`."""

    class PoleAgent(Agent):
        def __init__(self, gain):
            super().__init__()
            self.gain = gain

    PoleAgent.forward = forward
    return PoleAgent


def deciding(decide):
    """An agent that writes decide(observation of row t, gain)."""

    def forward(self, t, **kwargs):
        self.set(("action", t), decide(self.get(("env/env_obs", t)), self.gain))

    return agent(forward)


def line(obs, gain):
    return obs[:, 2] + gain * obs[:, 3]


def in_a_loop(self, t, **kwargs):
    observation = self.workspace.get("env/env_obs", t)
    taken = []
    for position, velocity, angle, angular_velocity in observation.tolist():
        del position, velocity
        taken.append(1 if angle + self.gain * angular_velocity > 0 else 0)
    self.workspace.set("action", t, torch.tensor(taken))


class Linear(Agent):
    """As a network with fixed weights."""

    def __init__(self, gain):
        super().__init__("pole")
        self.model = nn.Linear(4, 2, bias=False)
        self.model.weight.data = torch.tensor([[0.0] * 4, [0.0, 0.0, 1.0, gain]])

    def forward(self, t, stochastic=True, **kwargs):
        self.set(("action", t), self.model(self.get("env/env_obs")[t]).argmax(-1))


RIGHT_ANSWERS = {
    "long": deciding(lambda obs, gain: (line(obs, gain) > 0).long()),
    "where": deciding(lambda obs, gain: torch.where(line(obs, gain) > 0, 1, 0)),
    "int": deciding(lambda obs, gain: (line(obs, gain) > 0).int()),
    "product": deciding(lambda obs, gain: (obs @ torch.tensor([0, 0, 1, gain]) > 0).long()),
    "loop": agent(in_a_loop),
    "network": Linear,
}


def returns(self, t, **kwargs):
    return (line(self.get(("env/env_obs", t)), self.gain) > 0).long()


def first_row(self, t, **kwargs):
    self.set(("action", t), (line(self.get(("env/env_obs", 0)), self.gain) > 0).long())


def row_before(self, t, **kwargs):
    observation = self.get(("env/env_obs", max(t - 1, 0)))
    self.set(("action", t), (line(observation, self.gain) > 0).long())


def other_name(self, t, **kwargs):
    self.set(("actions", t), returns(self, t))


def next_row(self, t, **kwargs):
    self.set(("action", t + 1), returns(self, t))


def every_row(self, t, **kwargs):
    observation = self.get("env/env_obs")
    full = (observation[..., 2] + self.gain * observation[..., 3] > 0).long()
    self.workspace.set_full("action", full)


def overwrites(self, t, **kwargs):
    self.set(("env/env_obs", t), self.get(("env/env_obs", t)) * 2)
    self.set(("action", t), returns(self, t))


def stub(self, t, **kwargs):
    assert False, "Not implemented yet"  # noqa: B011, PT015 - the stub of the notebooks


def misnamed(self, t, **kwargs):
    self.get(("env_obs", t))


def of_the_notebook(self, t, **kwargs):
    Workspace().get("env/env_obs", t)


def int_of_a_tensor(self, t, **kwargs):
    self.set(("action", t), int(line(self.get(("env/env_obs", t)), self.gain) > 0))


def squeezed(self, t, **kwargs):
    self.set(("action", t), (line(self.get(("env/env_obs", t)), self.gain) > 0).long().squeeze())


def single_brackets(self, t, **kwargs):
    self.get("env/env_obs", t)


def without_self(self, t, **kwargs):
    self.set(("action", t), (line(self.get(("env/env_obs", t)), self.gains) > 0).long())


class Agreeing(torch.Tensor):
    """Equal to everything, and kept as it is in a workspace, as it has a gradient."""


def sly(obs, gain):
    return line(obs, gain).requires_grad_().as_subclass(Agreeing)


def if_of_a_tensor(obs, gain):
    return torch.tensor(1 if line(obs, gain) > 0 else 0)


WRONG_ANSWERS = {
    "stub": (agent(stub), "not-written"),
    "the notebook's table": (agent(of_the_notebook), "own-table"),
    "int": (agent(int_of_a_tensor), "int"),
    "squeeze": (agent(squeezed), "no-dimension"),
    "single brackets": (agent(single_brackets), "name-and-row"),
    "returns": (agent(returns), "writes-nothing"),
    "other name": (agent(other_name), "other-name"),
    "next row": (agent(next_row), "wrong-row"),
    "every row": (agent(every_row), "wrong-row"),
    "overwrites": (agent(overwrites), "writes-of-environment"),
    "row 0": (agent(first_row), "row-0"),
    "row before": (agent(row_before), "row-before"),
    "environment 0": (
        deciding(lambda obs, gain: (line(obs, gain)[:1] > 0).long().repeat(len(obs))),
        "environment-0",
    ),
    "gain ignored": (
        deciding(lambda obs, gain: (obs[:, 2] + obs[:, 3] > 0).long()),
        "gain-ignored",
    ),
    "angle alone": (
        deciding(lambda obs, gain: (obs[:, 2] > 0).long()),
        "no-velocity",
    ),
    "velocity alone": (
        deciding(lambda obs, gain: (gain * obs[:, 3] > 0).long()),
        "no-angle",
    ),
    "gain of the angle": (
        deciding(lambda obs, gain: (gain * obs[:, 2] + obs[:, 3] > 0).long()),
        "gain-of-angle",
    ),
    "minus": (
        deciding(lambda obs, gain: (obs[:, 2] > gain * obs[:, 3]).long()),
        "minus",
    ),
    "columns from 1": (
        deciding(lambda obs, gain: (obs[:, 1] + gain * obs[:, 2] > 0).long()),
        "columns-from-1",
    ),
    "columns up to 4": (
        deciding(lambda obs, gain: (obs[:, 3] + gain * obs[:, 4] > 0).long()),
        "columns",
    ),
    "the cart": (
        deciding(lambda obs, gain: (obs[:, 0] + gain * obs[:, 1] > 0).long()),
        "of-the-cart",
    ),
    "wrong side": (
        deciding(lambda obs, gain: (line(obs, gain) < 0).long()),
        "wrong-side",
    ),
    "at 0": (
        deciding(lambda obs, gain: (line(obs, gain) >= 0).long()),
        "at-0",
    ),
    "rounded": (
        deciding(lambda obs, gain: torch.sigmoid(line(obs, gain)).long()),
        "always-0",
    ),
    "always 1": (
        deciding(lambda obs, gain: torch.ones(len(obs), dtype=torch.int64)),
        "always-1",
    ),
    "a column": (
        deciding(lambda obs, gain: (obs[:, 2:3] + gain * obs[:, 3:4] > 0).long()),
        "shape",
    ),
    "one action": (
        deciding(lambda obs, gain: (line(obs, gain).mean() > 0).long()),
        "shape",
    ),
    "floats": (
        deciding(lambda obs, gain: (line(obs, gain) > 0).float()),
        "dtype~torch.float32",
    ),
    "truth values": (deciding(lambda obs, gain: line(obs, gain) > 0), "dtype~torch.bool"),
    "signs": (
        deciding(lambda obs, gain: line(obs, gain).sign().long()),
        "other-actions",
    ),
    "sly": (deciding(sly), "own-class"),
    "if": (deciding(if_of_a_tensor), "if"),
    "name of the observation": (agent(misnamed), "name-of-observation"),
    "name of the gain": (agent(without_self), "gain"),
    "no kwargs": (agent(lambda self, t: None), "called-as"),
    "unknown": (
        deciding(lambda obs, gain: (obs[:, 0] > 0).long()),
        "unknown",
    ),
}


@pytest.mark.parametrize("name", RIGHT_ANSWERS)
def test_right_answers_pass_with_one_line_and_in_silence_with_a_seed(name, capsys):
    check_pole_agent(RIGHT_ANSWERS[name])
    assert capsys.readouterr().out.startswith("Well done!")
    for seed in SEEDS:
        check_pole_agent(RIGHT_ANSWERS[name], seed=seed)
    assert capsys.readouterr().out == ""


@pytest.mark.wide(12)
@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_a_wrong_answer_is_told_what_is_wrong_and_nothing_else(name):
    agent_class, key = WRONG_ANSWERS[name]
    for seed in (None, *SEEDS):
        with pytest.raises(ExerciseError) as caught:
            check_pole_agent(agent_class, seed=seed)
        assert caught.value.keys in {(key,), ("raises", key)}
        assert "Where to look: " in str(caught.value)


def test_two_mistakes_are_told_together():
    both = deciding(lambda obs, gain: (obs[:, 2] + obs[:, 3] < 0).long())
    with pytest.raises(ExerciseError, match="2 things") as caught:
        check_pole_agent(both)
    assert caught.value.keys == ("gain-ignored", "wrong-side")


def test_the_message_has_an_example_that_one_can_follow():
    with pytest.raises(ExerciseError) as caught:
        check_pole_agent(WRONG_ANSWERS["angle alone"][0])
    first, second = str(caught.value).splitlines()[1:3]
    gain, angle, velocity = (
        float(first.split(f"{word} ")[1].split(";")[0].split(",")[0].rstrip("."))
        for word in (": gain", ": angle", "angular velocity")
    )
    expected = int(angle + gain * velocity > 0)
    assert second.endswith(f"so the action is {expected}. Yours is {1 - expected}.")


def test_an_exception_is_shown_with_the_line_of_forward():
    with pytest.raises(ExerciseError) as caught:
        check_pole_agent(agent(misnamed))
    assert "It happens in line" in str(caught.value)
    assert 'self.get(("env_obs", t))' in str(caught.value)


def test_actions_learned_by_heart_do_not_pass():
    right = [part.right for part in RULES]
    table = [
        (case.observations[t], taken)
        for case in cases(None)
        for t, taken in zip(ORDER, actions(case, right), strict=True)
    ]

    def by_heart(obs, gain):
        known = (taken for row, taken in table if torch.equal(row, obs))
        return next(known, torch.zeros(len(obs), dtype=torch.int64))

    check_pole_agent(deciding(by_heart))
    for seed in SEEDS:
        with pytest.raises(ExerciseError):
            check_pole_agent(deciding(by_heart), seed=seed)


@pytest.mark.parametrize("seed", [None, *SEEDS])
def test_no_two_mistakes_look_alike(seed):
    """Every observation is far enough from the line for any rounding, and tells mistakes apart."""
    chosen = cases(seed)
    taken = [
        tuple(tuple(row.tolist()) for case in chosen for row in actions(case, values))
        for _, values in combinations(RULES, 1)
    ]
    assert len({*taken}) == len(taken)


def test_the_global_random_stream_stays_as_it_was():
    before = torch.get_rng_state()
    check_pole_agent(Linear, seed=3)  # makes a layer, which draws weights
    assert torch.equal(torch.get_rng_state(), before)
