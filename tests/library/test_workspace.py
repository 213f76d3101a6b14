"""The workspace: what was read stays, what was written with a gradient can be backpropagated."""

import bbrl.workspace
import gymnasium as gym
import numpy as np
import pytest
import torch
from bbrl.agents import Agents, CopyTAgent, EpisodesDone, PrintAgent, TemporalAgent
from bbrl.agents.gymnasium import ParallelGymAgent, make_env
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from torch import nn

from ppo_bbrl.agents.base import Agent
from ppo_bbrl.agents.critics import VAgent
from ppo_bbrl.agents.policies import DiscretePolicy
from ppo_bbrl.envs.agent import EnvAgent
from ppo_bbrl.rollout import collect, evaluate_rollout
from ppo_bbrl.workspace.storage import RowsGone
from ppo_bbrl.workspace.table import VARIABLES, TemporalTensor, Workspace, one_row


def rows(n, *shape, start=0.0):
    """n rows of different numbers, `[n, *shape]`."""
    size = int(np.prod(shape))
    return (torch.arange(n * size, dtype=torch.float32) + start).reshape(n, *shape)


def filled(n=4, batch=3):
    """A workspace with the rows 0..n-1 of two variables, written row by row."""
    workspace = Workspace(capacity=2)
    for t, row in enumerate(rows(n, batch, 2)):
        workspace.set("x", t, row)
        workspace.set("env/done", t, torch.zeros(batch, dtype=torch.bool))
    return workspace


# ---------------------------------------------------------------------- reading and writing


def test_what_was_written_is_read():
    """Rows, whole variables, several names at once."""
    workspace, expected = filled(), rows(4, 3, 2)
    assert torch.equal(workspace.get("x", 2), expected[2])
    assert torch.equal(workspace.get_full("x"), expected)
    assert torch.equal(workspace["x"], expected)
    assert torch.equal(workspace["x"], expected)
    x, done = workspace["x", "env/done"]
    assert torch.equal(x, expected)
    assert done.dtype == torch.bool
    assert torch.equal(workspace.get_time_truncated("x", 1, 3), expected[1:3])
    assert torch.equal(workspace.get_time_truncated("x", 1, 99), expected[1:])
    assert workspace.time_size() == 4
    assert workspace.batch_size() == 3
    assert list(workspace.keys()) == ["x", "env/done"]


@pytest.mark.parametrize("capacity", [1, 2, 16])
def test_storage_grows(capacity):
    """`iter_episodes` and evaluations do not know how long they take."""
    workspace, expected = Workspace(capacity=capacity), rows(67, 3)
    for t in range(67):
        workspace.set("x", t, expected[t])
        assert workspace.time_size() == t + 1
        assert torch.equal(workspace["x"], expected[: t + 1])


def test_rows_never_written_are_zero():
    """As in bbrl: writing row 5 makes rows 0 to 4."""
    workspace = Workspace(capacity=2)
    workspace.set("x", 5, torch.ones(3))
    assert workspace["x"].sum(-1).tolist() == [0, 0, 0, 0, 0, 3]
    workspace.set("y", 3, torch.ones(3, requires_grad=True))
    assert workspace["y"].sum(-1).tolist() == [0, 0, 0, 3]


def test_storage_that_was_longer_leaves_nothing_behind():
    """A shorter `set_full` into longer storage, then a gap: the old numbers must not show."""
    workspace = Workspace()
    workspace.set_full("x", torch.ones(5, 2))
    workspace.set_full("x", torch.full((2, 2), 7.0))
    assert workspace["x"].tolist() == [[7, 7], [7, 7]]
    workspace.set("x", 4, torch.full((2,), 9.0))
    assert workspace["x"][:, 0].tolist() == [7, 7, 0, 0, 9]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
)
def test_types_are_kept(dtype):
    """uint8 images stay bytes: a quarter of the memory."""
    workspace, value = Workspace(), torch.ones(2, 3, dtype=dtype)
    for t in range(20):
        workspace.set("x", t, value)
    assert workspace["x"].dtype == dtype
    assert torch.equal(workspace.get("x", 19), value)


def test_clear_and_remove():
    workspace = filled()
    workspace.clear("x")
    assert list(workspace.keys()) == ["env/done"]
    workspace.remove_variable("env/done")
    workspace.set("x", 0, torch.zeros(8))  # of another shape than before
    workspace.clear()
    assert list(workspace.keys()) == []
    assert workspace.time_size() is None


def test_no_transition_is_an_empty_workspace():
    """Every step of a short rollout may be an autoreset step."""
    workspace = filled(2)
    workspace.set_full("env/done", torch.ones(2, 3, dtype=torch.bool))
    transitions = workspace.get_transitions()
    assert transitions["x"].shape == (2, 0, 2)
    assert transitions.batch_size() == 0


# -------------------------------------------------------------------------- what was read stays

READERS = {
    "get": lambda w: w.get("x", 0),
    "get of the last row": lambda w: w.get("x", 3),
    "get_full": lambda w: w.get_full("x"),
    "[name]": lambda w: w["x"],
    "[names]": lambda w: next(w["x", "env/done"]),
    "get_time_truncated": lambda w: w.get_time_truncated("x", 0, 3),
    "select_batch": lambda w: w.select_batch(torch.tensor([2, 0]))["x"],
    "select_batch_n": lambda w: w.select_batch_n(2)["x"],
    "subtime": lambda w: w.subtime(1, 3)["x"],
    "get_time_truncated_workspace": lambda w: w.get_time_truncated_workspace(0, 2)["x"],
    "get_transitions": lambda w: w.get_transitions()["x"],
    "copy": lambda w: Workspace(w)["x"],
    "contiguous": lambda w: w.contiguous()["x"],
    "to": lambda w: w.to(torch.device("cpu"))["x"],
    "select_subtime": lambda w: w.select_subtime(torch.tensor([0, 1, 2]), 2)["x"],
    "cat_batch": lambda w: w.cat_batch([w, w])["x"],
}

WRITERS = {
    "set": lambda w: [w.set("x", t, torch.full((3, 2), -1.0)) for t in range(4)],
    "set with gradient": lambda w: w.set("x", 0, torch.full((3, 2), -1.0, requires_grad=True)),
    "set of a late row": lambda w: w.set("x", 40, torch.full((3, 2), -1.0)),
    "set_full": lambda w: w.set_full("x", torch.full((4, 3, 2), -1.0)),
    "shorter set_full": lambda w: w.set_full("x", torch.full((2, 3, 2), -1.0)),
    "set_full with gradient": lambda w: w.set_full("x", torch.zeros(4, 3, 2, requires_grad=True)),
    "copy_time": lambda w: w.copy_time(2, 0, 2),
    "copy_n_last_steps": lambda w: w.copy_n_last_steps(1),
    "zero_grad": lambda w: w.zero_grad(),
    "clear": lambda w: w.clear(),
    "in place": lambda w: w.view("x").fill_(-1.0),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_tensor_that_was_read_never_changes(read, write):
    """Whatever is written later; upstream hands out the rows themselves."""
    workspace = filled()
    got = read(workspace)
    before = got.clone()
    write(workspace)
    assert torch.equal(got, before)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_changing_what_was_read_changes_nothing(read):
    """A student may work in place on what she got."""
    workspace = filled()
    read(workspace).fill_(-1.0)
    assert torch.equal(workspace["x"], rows(4, 3, 2))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_changing_what_was_read_with_a_gradient_changes_nothing(read):
    workspace = filled()
    workspace.set_full("x", rows(4, 3, 2).requires_grad_())
    with torch.no_grad():
        read(workspace).fill_(-1.0)
    assert torch.equal(workspace["x"], rows(4, 3, 2))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_changing_what_was_written_changes_nothing(requires_grad):
    """An agent may reuse its buffer for the next row."""
    workspace, buffer = Workspace(), torch.zeros(3, requires_grad=requires_grad)
    for t in range(3):
        with torch.no_grad():
            buffer.fill_(t)
        workspace.set("x", t, buffer)
    assert workspace["x"][:, 0].tolist() == [0, 1, 2]
    whole = torch.ones(3, 3)
    workspace.set_full("y", whole)
    whole.fill_(9.0)
    assert (workspace["y"] == 1).all()


def test_a_workspace_made_from_another_is_independent():
    for workspace in (filled(), Workspace(filled())):
        derived = workspace.select_batch(torch.tensor([0, 1]))
        derived.set("x", 0, torch.full((2, 2), -1.0))
        derived.set("new", 0, torch.zeros(2))
        assert torch.equal(workspace["x"], rows(4, 3, 2))
        assert "new" not in workspace.keys()  # noqa: SIM118


def test_what_was_read_survives_the_next_rollout():
    """The loop yields one workspace again and again; last iteration's tensors stay."""
    env, policy, critic = EnvAgent("CartPole-v1", 3), DiscretePolicy(4, [8], 2), VAgent(4, [8])
    env.seed(1)
    workspace = Workspace(capacity=8)
    kept = []
    for _ in range(3):
        collect(env, policy, workspace, 8)
        evaluate_rollout(workspace, policy, critic)
        for name in workspace.keys():  # noqa: SIM118
            got = (workspace[name], workspace.get(name, 7), workspace.get_transitions()[name])
            kept += [(tensor, tensor.clone()) for tensor in got]
    assert all(torch.equal(tensor, before) for tensor, before in kept)
    env.close()


def test_view_is_the_storage():
    """For the package's own rollout: no copy, and its name says so."""
    workspace = filled()
    view = workspace.view("x")
    workspace.set("x", 1, torch.full((3, 2), -1.0))
    assert (view[1] == -1).all()


# ---------------------------------------------------------------------------------- gradients


class Recurrent(Agent):
    """h[t] from h[t-1] and the observation, both read from the workspace."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(2, 4)

    def forward(self, t, **kwargs):
        x = self.get(("x", t))
        h = torch.zeros(len(x), 4) if t == 0 else self.get(("h", t - 1))
        self.set(("h", t), self.cell(x, h))


class Reader(Agent):
    """A non-linear function of one row, which its backward pass needs as it was."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))

    def forward(self, t, **kwargs):
        h = self.get(("h", t))
        self.set(("out", t), self.model(h.square()).squeeze(-1))


def gradients(workspace, agents):
    """Of a loss on all that the agents wrote, after running them on the whole workspace."""
    for agent in agents:
        agent.zero_grad()
    TemporalAgent(Agents(*agents))(workspace, t=0, n_steps=4)
    workspace["out"].square().sum().backward()
    return [p.grad.clone() for agent in agents for p in agent.parameters()]


def test_gradients_through_a_recurrent_agent_and_a_non_linear_reader():
    """Exactly those of bbrl's own workspace, and not zero."""
    torch.manual_seed(0)
    agents = Recurrent(), Reader()
    upstream = bbrl.workspace.Workspace()
    upstream.set_full("x", rows(4, 3, 2) / 10)
    ours = Workspace(upstream)
    for one, other in zip(gradients(ours, agents), gradients(upstream, agents), strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().sum() > 0


def test_gradients_reach_the_first_row():
    """h[3] depends on x[0] through three rows of the workspace."""
    workspace = Workspace()
    x = (rows(4, 3, 2) / 10).requires_grad_()
    workspace.set_full("x", x)
    TemporalAgent(Recurrent())(workspace, t=0, n_steps=4)
    workspace.get("h", 3).sum().backward()
    assert (x.grad.abs().sum((1, 2)) > 0).all()


def test_backpropagation_after_later_writes():
    """The loop goes on before the loss is formed: autograd's saved tensors must not change."""
    workspace, agents = filled(), (Recurrent(), Reader())
    TemporalAgent(Agents(*agents))(workspace, t=0, n_steps=4)
    loss = workspace["out"].square().sum()
    workspace.set("x", 0, torch.full((3, 2), -1.0))
    workspace.set("h", 0, torch.zeros(3, 4))
    workspace.set_full("out", torch.zeros(4, 3))
    workspace.copy_time(2, 0, 1)
    loss.backward()
    assert all(p.grad is not None for agent in agents for p in agent.parameters())


@pytest.mark.parametrize(
    "read",
    [
        lambda w: w.get("x", 1),
        lambda w: w["x"],
        lambda w: w.get_time_truncated("x", 0, 2),
        lambda w: w.select_batch(torch.tensor([1, 0]))["x"],
        lambda w: w.subtime(0, 2)["x"],
        lambda w: w.get_transitions()["x"],
        lambda w: Workspace(w)["x"],
        lambda w: w.to(torch.device("cpu"))["x"],
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_every_reader_carries_the_gradient(read, whole):
    workspace = Workspace()
    leaf = rows(4, 3).requires_grad_()
    if whole:
        workspace.set_full("x", leaf)
    else:
        for t in range(4):
            workspace.set("x", t, leaf[t])
    workspace.set_full("env/done", torch.zeros(4, 3, dtype=torch.bool))
    read(workspace).sum().backward()
    assert leaf.grad.sum() > 0


def test_some_rows_with_a_gradient_and_some_without():
    """A detached row among others stays one; rows written before keep their numbers."""
    workspace, leaf = Workspace(capacity=1), torch.ones(2, requires_grad=True)
    workspace.set("x", 0, torch.full((2,), 5.0))
    workspace.set("x", 1, leaf * 2)
    workspace.set("x", 2, torch.full((2,), 7.0))
    assert workspace["x"][:, 0].tolist() == [5, 2, 7]
    workspace["x"].sum().backward()
    assert leaf.grad.tolist() == [2, 2]


def test_zero_grad_forgets_gradients_and_keeps_numbers():
    """Then the variable is preallocated again, and grows."""
    workspace = Workspace(capacity=1)
    for t in range(3):
        workspace.set("x", t, torch.full((2,), float(t), requires_grad=True))
    workspace.zero_grad()
    assert not workspace["x"].requires_grad
    assert workspace.view("x")[:, 0].tolist() == [0, 1, 2]
    workspace.set("x", 3, torch.full((2,), 3.0))
    assert workspace["x"][:, 0].tolist() == [0, 1, 2, 3]


def test_set_full_without_gradient_after_rows_with_one():
    workspace = Workspace()
    workspace.set("x", 0, torch.ones(2, requires_grad=True))
    workspace.set_full("x", torch.zeros(3, 2))
    assert not workspace["x"].requires_grad
    assert workspace["x"].shape == (3, 2)


def test_nothing_is_recorded_without_need():
    """A value without gradient lies in one tensor, even while autograd is on."""
    workspace = Workspace()
    workspace.set("x", 0, torch.zeros(3))
    assert not workspace["x"].requires_grad
    assert workspace.view("x").shape == (1, 3)


# ------------------------------------------------------------------------------------- errors


def test_an_unknown_variable_is_named():
    with pytest.raises(KeyError, match=r"no variable 'y' in the workspace; it has x, env/done"):
        filled().get("y", 0)
    with pytest.raises(KeyError, match="it has nothing"):
        Workspace()["y"]


@pytest.mark.parametrize("t", [4, 99, -1])
def test_a_missing_row_is_named(t):
    """A negative time is none: at t = 0 it would read the end of the rollout."""
    with pytest.raises(IndexError, match=rf"x has rows 0 to 3, not {t}"):
        filled().get("x", t)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(3),
        torch.zeros(4, 2),
        torch.zeros(3, 2, 1),
        torch.zeros(3, 2, dtype=torch.float64),
        torch.zeros(3, 1, requires_grad=True),  # would broadcast
    ],
    ids=["dimensions", "batch", "more dimensions", "type", "with gradient"],
)
def test_another_shape_or_type_is_named(wrong):
    """Name, time, and both shapes."""
    with pytest.raises(ValueError, match=r"^x at t=1: rows are \[3, 2\] torch.float32") as error:
        filled().set("x", 1, wrong)
    assert f"this one is {list(wrong.shape)} {wrong.dtype}" in str(error.value)


def test_rows_with_gradient_are_checked_too():
    workspace = Workspace()
    workspace.set("x", 0, torch.zeros(3, requires_grad=True))
    with pytest.raises(ValueError, match="x at t=1"):
        workspace.set("x", 1, torch.zeros(4, requires_grad=True))
    with pytest.raises(ValueError, match="x has rows with gradient"):
        workspace.view("x")


def test_an_environment_of_another_size_is_named():
    """Three environments into the workspace of one would broadcast, or the other way round."""
    workspace = Workspace()
    many, one = EnvAgent("CartPole-v1", 3), EnvAgent("CartPole-v1", 1)
    many(workspace, t=0)
    with pytest.raises(ValueError, match=r"env/env_obs at t=0: rows are \[3, 4\]"):
        one(workspace, t=0)
    many.close()
    one.close()


def test_an_agent_that_writes_gradients_where_the_environment_writes():
    """The environment's next row would be lost among them; the message says what to do."""
    workspace, env = Workspace(), EnvAgent("CartPole-v1", 3)
    env(workspace, t=0)
    workspace.set("action", 0, torch.zeros(3, dtype=torch.int64))
    workspace.set("env/env_obs", 0, torch.zeros(3, 4, requires_grad=True))
    with pytest.raises(ValueError, match="env/env_obs has rows with gradients: write to another"):
        env(workspace, t=1)
    env.close()


def test_no_rows_between():
    with pytest.raises(ValueError, match="x: no rows between 3 and 3"):
        filled().get_time_truncated("x", 3, 3)


def test_batch_dimensions_belong_to_shared_workspaces():
    with pytest.raises(ValueError, match="x: batch dimensions"):
        filled().set("x", 0, torch.zeros(1, 2), batch_dims=(0, 1))


def test_variables_of_different_length_do_not_go_together():
    workspace = filled()
    workspace.set("late", 7, torch.zeros(3))
    with pytest.raises(AssertionError, match="same time size"):
        workspace.subtime(0, 2)


# ---------------------------------------------------------------------------- plain bbrl agents


class Counter(bbrl.agents.Agent):
    """A plain agent of bbrl that writes t and ends after three rows."""

    def forward(self, t, **kwargs):
        self.set(("count", t), torch.full((2,), t))
        self.set(("env/done", t), torch.tensor([t >= 1, t >= 3]))


def test_agents_and_temporal_agent_of_bbrl(capsys):
    """They run on our workspace until the stop variable is true everywhere."""
    workspace = Workspace(capacity=1)
    agent = TemporalAgent(
        Agents(
            Counter(),
            CopyTAgent("count", "copy"),
            CopyTAgent("count", "detached", detach=True),
            EpisodesDone(out_var="over"),
            PrintAgent("copy"),
        )
    )
    agent(workspace, t=0, stop_variable="env/done")
    for name in ("count", "copy", "detached"):
        assert workspace[name].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert workspace["over"].tolist() == [[0, 0], [1, 0], [1, 0], [1, 1]]
    assert capsys.readouterr().out.count("copy  =  tensor([") == 4
    CopyTAgent("count", "whole")(workspace)
    assert torch.equal(workspace["whole"], workspace["count"])
    PrintAgent()(workspace, t=0)
    assert "whole" in capsys.readouterr().out


def test_bbrls_environment_on_our_workspace():
    """ParallelGymAgent and our policy, as in a notebook that makes its own environments."""
    env = ParallelGymAgent(lambda: make_env("CartPole-v1", autoreset=True), 3).seed(7)
    policy = DiscretePolicy(4, [8], 2)
    workspace = Workspace()
    TemporalAgent(Agents(env, policy))(workspace, t=0, n_steps=30)
    upstream = bbrl.workspace.Workspace()
    again = ParallelGymAgent(lambda: make_env("CartPole-v1", autoreset=True), 3).seed(7)

    class Replay(bbrl.agents.Agent):
        def forward(self, t, **kwargs):
            self.set(("action", t), workspace.get("action", t))

    TemporalAgent(Agents(again, Replay()))(upstream, t=0, n_steps=30)
    assert set(workspace.keys()) == set(upstream.keys())
    for name in upstream.keys():  # noqa: SIM118
        assert torch.equal(workspace[name], upstream[name]), name
    assert workspace["env/done"].any()


def test_our_environment_on_bbrls_workspace():
    """A plain `Workspace()` of bbrl gets the same rows."""
    policy = DiscretePolicy(4, [8], 2)
    results = []
    for workspace in (Workspace(), bbrl.workspace.Workspace()):
        env = EnvAgent("CartPole-v1", 3).seed(7)
        torch.manual_seed(0)
        TemporalAgent(Agents(env, policy))(workspace, t=0, n_steps=40)
        results.append({name: workspace[name] for name in workspace.keys()})  # noqa: SIM118
        env.close()
    ours, plain = results
    assert ours.keys() == plain.keys()
    assert all(torch.equal(ours[name], plain[name]) for name in ours)
    assert ours["env/done"].any()


def test_the_table_of_variables():
    """What the environment agent writes is in the table, with its type."""
    name = next(name for name in ("Taxi-v4", "Taxi-v3") if name in gym.registry)  # has masks
    env, workspace = EnvAgent(name, 2), Workspace()
    env(workspace, t=0)
    written = {name for name, (writer, _, _) in VARIABLES.items() if writer == "environment"}
    assert set(workspace.keys()) == written
    for name in written:
        assert str(workspace[name].dtype).removeprefix("torch.") in VARIABLES[name][1]
    env.close()


def test_one_row():
    """A rollout of N transitions, shown to an agent as a single row."""
    workspace = one_row({"x": rows(5, 2), "y": torch.zeros(5)})
    assert workspace.time_size() == 1
    assert torch.equal(workspace.get("x", 0), rows(5, 2))


def test_a_printed_workspace_names_its_variables():
    assert "x: time_size = 4, batch_size = 3" in str(filled())


def test_an_empty_variable_says_so():
    variable = TemporalTensor("x")
    for read in (variable.view, variable.batch_size):
        with pytest.raises(ValueError, match="x is empty"):
            read()


# ------------------------------------------------------------------------ bbrl's as the model


class AgainstUpstream(RuleBasedStateMachine):
    """The same sequence of writes on bbrl's workspace and on ours gives the same values."""

    BATCH = 2
    NAMES = st.sampled_from(["a", "b"])
    TIMES = st.integers(0, 6)

    @initialize(capacity=st.integers(1, 4))
    def start(self, capacity):
        self.model, self.ours = bbrl.workspace.Workspace(), Workspace(capacity=capacity)
        self.number = 0.0

    def fresh(self, *leading, requires_grad=False):
        self.number += 1.0
        value = torch.full((*leading, self.BATCH), self.number, requires_grad=requires_grad)
        return value * 1  # no leaf: bbrl writes into it

    def length(self, name):
        return self.ours.variables[name].time_size() if name in self.ours.variables else 0

    def both(self, method, *args):
        getattr(self.model, method)(*args)
        getattr(self.ours, method)(*args)

    @rule(name=NAMES, t=TIMES, requires_grad=st.booleans())
    def set_row(self, name, t, requires_grad):
        self.both("set", name, t, self.fresh(requires_grad=requires_grad))

    @rule(name=NAMES, more=st.integers(0, 3), requires_grad=st.booleans())
    def set_whole(self, name, more, requires_grad):
        # A shorter one leaves bbrl's old rows behind it, or not, depending on what was before.
        length = self.length(name) + more
        if length:
            self.both("set_full", name, self.fresh(length, requires_grad=requires_grad))

    @precondition(lambda self: self.ours.variables)
    @rule(data=st.data())
    def copy_time(self, data):
        length = min(self.length(name) for name in self.ours.variables)
        n = data.draw(st.integers(1, length))
        source = data.draw(st.integers(0, length - n))
        target = data.draw(st.sampled_from([0, source]))
        if target == source or target + n <= source:
            self.both("copy_time", source, target, n)

    @precondition(lambda self: self.ours.variables)
    @rule()
    def copy_last(self):
        lengths = {self.length(name) for name in self.ours.variables}
        if len(lengths) == 1 and lengths != {1}:
            self.both("copy_n_last_steps", 1)

    @rule()
    def zero_grad(self):
        self.both("zero_grad")

    @precondition(lambda self: self.ours.variables)
    @rule(name=NAMES)
    def clear_one(self, name):
        if name in self.ours.variables:
            self.both("clear", name)

    @invariant()
    def same_values(self):
        if not hasattr(self, "ours"):
            return
        assert list(self.ours.keys()) == list(self.model.keys())
        for name in self.ours.keys():  # noqa: SIM118
            expected = self.model[name]
            assert torch.equal(self.ours[name], expected)
            assert self.ours[name].requires_grad == expected.requires_grad
            last = len(expected) - 1
            assert torch.equal(self.ours.get(name, last), self.model.get(name, last))
            assert torch.equal(
                self.ours.get_time_truncated(name, 0, last + 1),
                self.model.get_time_truncated(name, 0, last + 1),
            )


TestAgainstUpstream = AgainstUpstream.TestCase
TestAgainstUpstream.settings = settings(max_examples=60, stateful_step_count=20)


# ------------------------------------------------------------------------- the newest rows only


def newest(*rows, name="x"):
    workspace = Workspace(newest_only=True)
    for t, row in enumerate(rows):
        workspace.set(name, t, torch.tensor(row))
    return workspace


def test_of_the_newest_rows_times_are_those_of_all_rows():
    workspace = newest(*([t] for t in range(5)))
    assert workspace.time_size() == 5
    assert workspace.get("x", 4).tolist() == [4]
    assert workspace.get("x", 3).tolist() == [3]
    assert workspace.row_array("x", 4).tolist() == [4]
    with pytest.raises(IndexError):
        workspace.get("x", 5)


@pytest.mark.parametrize(
    "use",
    [
        lambda workspace: workspace.get("x", 2),
        lambda workspace: workspace.set("x", 2, torch.tensor([7])),
        lambda workspace: workspace.row_array("x", 0),
        lambda workspace: workspace["x"],
        lambda workspace: workspace.view("x"),
        lambda workspace: workspace.set_full("x", torch.zeros(5, 1)),
        lambda workspace: workspace.get_time_truncated("x", 0, 5),
        lambda workspace: workspace.subtime(0, 5),
        lambda workspace: workspace.copy_time(0, 4, 1),
        Workspace,
    ],
)
def test_earlier_rows_are_missed_aloud(use):
    """No `Exception`: an agent that takes any failure for a missing row must not hide it."""
    with pytest.raises(RowsGone) as caught:
        use(newest(*([t] for t in range(5))))
    assert not isinstance(caught.value, Exception)


def test_the_newest_rows_as_long_as_none_is_gone():
    workspace = newest([1], [2])
    assert workspace["x"].tolist() == [[1], [2]]


def test_among_the_newest_rows_those_never_written_are_zero():
    workspace = newest([1], [2], [3])
    workspace.set("x", 4, torch.tensor([5]))
    assert workspace.get("x", 3).tolist() == [0]
    workspace.put("x", 9, np.array([7]), torch.tensor([7]))
    assert [workspace.get("x", t).tolist() for t in (8, 9)] == [[0], [7]]


def test_a_newest_row_may_be_written_again():
    workspace = newest([1], [2], [3])
    workspace.set("x", 1, torch.tensor([8]))
    workspace.put("x", 2, np.array([9]), torch.tensor([9]))
    assert [workspace.get("x", t).tolist() for t in (1, 2)] == [[8], [9]]
    with pytest.raises(ValueError, match="rows are"):
        workspace.set("x", 3, torch.tensor([1.5]))


def test_what_was_read_of_the_newest_rows_never_changes():
    workspace = newest([1], [2])
    read = workspace.get("x", 0)
    workspace.set("x", 2, torch.tensor([3]))
    assert read.tolist() == [1]


@pytest.mark.parametrize("how", ["set", "with a gradient", "put"])
def test_each_row_of_several_is_copied_to_a_row_of_its_own(how):
    workspace = Workspace()
    for t in range(6):
        row = torch.full((2,), float(t), requires_grad=how == "with a gradient")
        if how == "put":
            workspace.put("x", t, row.numpy(), row)
        else:
            workspace.set("x", t, row)
    workspace.copy_time(3, 0, 3)
    assert workspace["x"][:, 0].tolist() == [3, 4, 5, 3, 4, 5]
