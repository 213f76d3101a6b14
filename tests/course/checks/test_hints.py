"""What is said about the commonest exceptions, in whatever exercise they are raised."""

import numpy as np
import pytest
import torch
from torch import nn

from ppo_bbrl import Agent, Workspace
from ppo_course import ExerciseError
from ppo_course.mistakes import Exercise

EXERCISE = Exercise("anything", ("x",), {})
X = torch.arange(6.0).reshape(3, 2)


class Reads(Agent):
    """Reads another row than the one it is called for, or writes what is no tensor."""

    def __init__(self, row=1, name="a", value=None):
        super().__init__()
        self.row, self.name, self.value = row, name, value

    def forward(self, t):
        if self.value is not None:
            self.set(("b", t), self.value)
        self.get((self.name, t + self.row))


def run(agent):
    workspace = Workspace()
    workspace.set("a", 0, torch.zeros(2))
    agent(workspace, t=0)


class NoInit(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(1, 1)


def unbound(_):
    for found in ():
        value = found
    return value


def twice(_):
    loss = (torch.ones(2, requires_grad=True) ** 2).sum()
    loss.backward()
    loss.backward()


def written_into(_):
    x = torch.ones(2, requires_grad=True)
    x += 1


def overwritten(_):
    mean = 3
    return mean([1])


def unpacked(_):
    a, b, c = map(int, "12")
    return a + b + c


def endless(x):
    return endless(x)


RAISED = {
    "row-not-there": lambda _: run(Reads(row=1)),
    "no-such-variable": lambda _: run(Reads(row=0, name="c")),
    "array-for-tensor": lambda _: run(Reads(value=np.zeros(2))),
    "array-for-tensor~exp": lambda _: torch.exp(np.zeros(2)),
    "tensor-for-array": lambda _: torch.ones(2, requires_grad=True).numpy(),
    "call-missing": lambda _: torch.optim.Adam(nn.Linear(1, 1).parameters),
    "call-missing~mean": lambda x: x.mean + 1,
    "clamp-of": lambda _: torch.clamp(1.5, 0, 1),
    "combination": lambda x: torch.min(x, 0.5, 2),
    "not-callable": overwritten,
    "not-callable~number": lambda x: (n := 2)(x) or n,
    "unbound": unbound,
    "other-name": lambda _: gain,  # noqa: F821
    "init-of-parent": lambda _: NoInit(),
    "nothing-returned": lambda _: [2, 1].sort()[0],
    "nothing-returned~attribute": lambda _: [1].append(2).mean(),
    "minus-of-mask": lambda x: 1 - (x > 1),
    "mask-as-number": lambda x: (x > 1).mean(),
    "float-for-long": lambda x: nn.Linear(2, 1)(x.double()),
    "index-type": lambda x: x[torch.tensor([0.5])],
    "index-type~gather": lambda x: x.gather(-1, x),
    "index-too-large": lambda x: x[3],
    "index-too-large~list": lambda _: list("ab")[2],
    "one-number-wanted": float,
    "one-number-wanted~backward": lambda x: (x.requires_grad_() * 2).backward(),
    "no-graph": lambda x: x.detach().sum().backward(),
    "backward-twice": twice,
    "in-place": written_into,
    "sizes-of-layers": nn.Linear(3, 1),
    "shapes-differ": lambda x: x + x[:2],
    "number-of-values": unpacked,
    "number-for-tensor": lambda _: (0.5).exp(),
    "number-for-tensor~log": lambda _: torch.log(0.5),
    "no-attribute": lambda x: x.nothing,
    "operands": lambda _: [1.0] - [2.0],
    "has-no-length": lambda _: len(0.5),
    "whole-number": lambda _: list(range(2.0)),
    "nothing-to-stack": lambda _: torch.stack([]),
    "divided-by-0": lambda _: 1 / len([]),
    "endless-calls": endless,
    "one-truth-value": lambda x: 1 if x > 0 else 0,
}


@pytest.mark.parametrize("key", RAISED)
def test_a_common_exception_is_hinted(key):
    with pytest.raises(ExerciseError) as caught:
        EXERCISE.call(RAISED[key], X.clone())
    assert caught.value.keys == ("raises", key.partition("~")[0])
    assert "Where to look:" in str(caught.value)
