"""The workspace as a picture: what is drawn is what is in it."""

import io
import re
from types import SimpleNamespace

import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ppo_bbrl import Workspace
from ppo_bbrl.errors import UserError
from ppo_bbrl.plots import workspace_grid

TERMINATED, TRUNCATED = "#d55e00", "#56b4e9"
EPISODES = ["#e8e8e8", "#ffffff"]


def make(terminated, truncated, **variables):
    """A workspace of the given rows, one list per row."""
    workspace = Workspace()
    workspace.set_full("env/terminated", torch.tensor(terminated).bool())
    workspace.set_full("env/truncated", torch.tensor(truncated).bool())
    for name, value in variables.items():
        workspace.set_full(f"env/{name}", torch.tensor(value))
    return workspace


@pytest.fixture
def two_ends():
    """Environment 0 terminates in row 1, environment 1 is truncated in row 2."""
    return make(
        [[0, 0], [1, 0], [0, 0], [0, 0]],
        [[0, 0], [0, 0], [0, 1], [0, 0]],
        reward=[[0.0, 0.0], [1.0, 0.5], [0.0, 0.25], [1.0, 0.0]],
    )


def patches(figure, pattern):
    """Drawn rectangles by (row, environment)."""
    found = {}
    for patch in figure.axes[0].patches:
        match = re.fullmatch(pattern, patch.get_gid())
        if match:
            found[int(match[1]), int(match[2])] = patch
    return found


def cells(figure):
    return patches(figure, r"row (\d+), environment (\d+)")


def hatched(figure):
    return patches(figure, r"no transition from row (\d+), environment (\d+)")


def arrows(figure):
    """(row, environment) of the transitions."""
    ((drawn),) = figure.axes[0].collections
    return {(t - 0.5, b) for b, t in drawn.get_offsets().tolist()}


def written(figure):
    return {
        (round(text.get_position()[1]), round(text.get_position()[0])): text.get_text()
        for text in figure.axes[0].texts
    }


def legend(figure):
    box = figure.axes[0].get_legend()
    return [] if box is None else [text.get_text() for text in box.get_texts()]


def test_terminated_and_truncated_are_told_apart_by_colour_and_by_line(two_ends):
    figure = workspace_grid(two_ends)
    drawn = cells(figure)
    assert len(drawn) == 8
    edges = {where: to_hex(patch.get_edgecolor()) for where, patch in drawn.items()}
    ends = {where: edge for where, edge in edges.items() if edge in (TERMINATED, TRUNCATED)}
    assert ends == {(1, 0): TERMINATED, (2, 1): TRUNCATED}
    assert drawn[1, 0].get_linestyle() != drawn[2, 1].get_linestyle()
    assert legend(figure) == ["terminated", "truncated", "no transition"]


def test_what_is_both_terminated_and_truncated_is_drawn_as_terminated():
    figure = workspace_grid(make([[0], [1]], [[0], [1]]))
    assert to_hex(cells(figure)[1, 0].get_edgecolor()) == TERMINATED
    assert legend(figure) == ["terminated"]  # no step follows that could be none


def test_the_step_after_an_end_is_hatched_and_all_others_are_arrows(two_ends):
    figure = workspace_grid(two_ends)
    drawn = hatched(figure)
    assert set(drawn) == {(1, 0), (2, 1)}
    assert all(patch.get_hatch() for patch in drawn.values())
    # Between the two rows, where neither of their cells is.
    cell, step, following = (
        patch.get_bbox() for patch in (cells(figure)[1, 0], drawn[1, 0], cells(figure)[2, 0])
    )
    assert cell.ymax <= step.ymin + 1e-9
    assert step.ymax <= following.ymin + 1e-9
    assert arrows(figure) == {(0, 0), (2, 0), (0, 1), (1, 1)}


def test_an_end_in_the_last_row_has_no_step_behind_it():
    figure = workspace_grid(make([[0, 0], [1, 0]], [[0, 0], [0, 1]]))
    assert hatched(figure) == {}
    assert arrows(figure) == {(0, 0), (0, 1)}
    assert legend(figure) == ["terminated", "truncated"]


def test_episodes_alternate_and_begin_in_the_row_after_the_end(two_ends):
    drawn = cells(workspace_grid(two_ends))
    colours = {where: to_hex(patch.get_facecolor()) for where, patch in drawn.items()}
    assert colours[0, 0] == colours[0, 1] == colours[1, 1] == EPISODES[0]
    assert colours[2, 0] == colours[3, 0] == colours[3, 1] == EPISODES[1]


def test_time_runs_downwards_and_environments_to_the_right(two_ends):
    (axes,) = workspace_grid(two_ends).axes
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert axes.get_xlim()[0] < axes.get_xlim()[1]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("row t", "environment")


def test_numbers_stand_in_their_cells(two_ends):
    figure = workspace_grid(two_ends, "env/reward", form="{:.2f}")
    assert figure.axes[0].get_title() == "env/reward"
    texts = written(figure)
    assert (texts[1, 0], texts[1, 1], texts[2, 1], texts[3, 0]) == ("1.00", "0.50", "0.25", "1.00")
    assert len(texts) == 8


def test_what_belongs_to_steps_leaves_the_last_row_empty(two_ends):
    mask = torch.tensor([[1, 1], [0, 1], [1, 0]]).bool()
    figure = workspace_grid(two_ends, mask, title="a transition?")
    assert figure.axes[0].get_title() == "a transition?"
    texts = written(figure)
    assert {where for where, text in texts.items() if text == "0"} == {(1, 0), (2, 1)}
    assert len(texts) == 6


def test_values_with_gradient_can_be_drawn(two_ends):
    two_ends.set_full("critic/v_values", torch.full((4, 2), 2.0, requires_grad=True))
    assert set(written(workspace_grid(two_ends, "critic/v_values")).values()) == {"2"}


def test_two_grids_stand_side_by_side(two_ends):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert workspace_grid(two_ends, "env/reward", axes=left) is figure
    workspace_grid(two_ends, "env/terminated", axes=right)
    assert [axes.get_title() for axes in figure.axes] == ["env/reward", "env/terminated"]


@pytest.mark.slow
def test_every_size_that_is_allowed_can_be_painted(two_ends):
    long = torch.zeros(512, 8).bool()
    long[::50] = True
    for workspace in (two_ends, two_ends.subtime(0, 1), make(long.tolist(), long.tolist())):
        figure = workspace_grid(workspace)
        figure.savefig(io.BytesIO(), format="png")
        assert max(figure.get_size_inches()) < 16


def test_drawing_changes_nothing_in_the_workspace(two_ends):
    before = {name: two_ends.get_full(name) for name in two_ends.variables}
    workspace_grid(two_ends, "env/reward")
    assert all(torch.equal(two_ends.get_full(name), value) for name, value in before.items())


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ("env/rewards", "no variable 'env/rewards'; it has env/terminated"),
        (torch.zeros(2, 4), r"the numbers have shape \[2, 4\].*\[4, 2\].*\[3, 2\]"),
        (torch.zeros(4), r"shape \[4\]"),
    ],
)
def test_numbers_that_do_not_fit(two_ends, numbers, words):
    with pytest.raises(UserError, match=words):
        workspace_grid(two_ends, numbers)


def test_a_workspace_without_ends():
    with pytest.raises(UserError, match="no variable 'env/terminated'; it has nothing"):
        workspace_grid(Workspace())


@pytest.mark.slow
def test_a_grid_that_nobody_could_read():
    flags = torch.zeros(200, 8).bool().tolist()
    workspace = make(flags, flags, reward=torch.zeros(200, 8).tolist())
    workspace_grid(workspace)
    with pytest.raises(UserError, match=r"200 × 8 cells; at most 1024 cells with numbers.*subtime"):
        workspace_grid(workspace, "env/reward")
    large = SimpleNamespace(
        variables={"env/terminated": 0, "env/truncated": 0},
        get_full=lambda _: torch.zeros(5000, 1).bool(),
    )
    with pytest.raises(UserError, match="5000 × 1 cells; at most 4096 cells"):
        workspace_grid(large)
