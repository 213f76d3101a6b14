"""The check of notebook 01's first exercise: an agent that pushes the cart where the pole falls."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ppo_course.feedback import (
    all_not_right,
    call,
    not_right,
    untouched_randomness,
)
from ppo_course.nb01_workspace.pole_agent_rules import ORDER, RIGHT, Case, actions, cases, rules
from ppo_course.student_code import Named
from ppo_course.workspaces import RecordingWorkspace

NAME = "PoleAgent"


def check_pole_agent(agent_class: Callable[..., Any], *, seed: int | None = None) -> None:
    """Try a student's `PoleAgent` on workspaces with made-up observations.

    Args:
        agent_class: the student's class; `agent_class(gain)` makes an agent.
        seed: draws the observations; without it they are fixed, and success is printed.

    Raises:
        ExerciseError: if it is not right; the message says what to look at.
    """
    with untouched_randomness():
        chosen = cases(seed)
        taken = [_act(agent_class, case) for case in chosen]
        for case, seen in zip(chosen, taken, strict=True):
            if any(not torch.equal(seen[t], actions(RIGHT, case, t)) for t in ORDER):
                raise all_not_right(NAME, _mistakes(chosen, taken), *_example(case, seen))
    if seed is None:
        print("Well done! It reads row t, decides for each environment, and writes row t.")


def _act(agent_class: Callable[..., Any], case: Case) -> dict[int, Tensor]:
    """The actions of each row, as the student's agent takes them, `[B]` each."""
    workspace = RecordingWorkspace({"env/env_obs": case.observations})
    forward = getattr(agent_class, "forward", None)
    agent = call(Named(NAME, lambda: agent_class(case.gain), forward), hint=_hint)
    # As the package's loop does, whose agents get arguments that they may ignore.
    run = Named(NAME, lambda t: agent(workspace, t=t, stochastic=True), forward)
    taken = {}
    for t in ORDER:
        workspace.written = []
        call(run, t, hint=_hint)
        taken[t] = _written(workspace, t, case)
    return taken


def _written(workspace: RecordingWorkspace, t: int, case: Case) -> Tensor:
    """The action in row t, if it has the right place, shape and type."""
    names = dict.fromkeys(name for name, _ in workspace.written)
    if not names:
        raise not_right(
            NAME,
            "it writes nothing into the workspace",
            'what forward returns is ignored: self.set(("action", t), …) writes',
        )
    foreign = [name for name in names if name.startswith("env/")]
    if foreign:
        raise not_right(
            NAME,
            f"it writes `{foreign[0]}`, which belongs to the environment",
            "each variable has one writer; yours is `action`",
        )
    if "action" not in names:
        told = ", ".join(f"`{name}`" for name in names)
        look = 'self.set(("action", t), …): this is the name that the environment reads'
        raise not_right(NAME, f"it writes {told}, not `action`", look)
    places = [place for name, place in workspace.written if name == "action"]
    if places != [t]:
        seen = ", ".join("all rows at once" if place is None else str(place) for place in places)
        raise not_right(
            NAME,
            "the action is written into the wrong row",
            'forward(t) writes row t alone: self.set(("action", t), …)',
            f"  seen      t = {t}, written into row {seen}",
            f"  expected  row {t}",
        )
    action = workspace.get("action", t)
    if type(action) is not Tensor:  # one of a class of its own could agree with everything
        look = "torch's own functions make plain tensors"
        raise not_right(
            NAME, f"the action is a tensor of its own class: {type(action).__name__}", look
        )
    n_envs = case.observations.shape[1]
    if n_envs == 1 and not action.dim():
        raise not_right(
            NAME,
            "with a single environment its action has lost the dimension B",
            "squeeze() takes out every dimension of size 1, B = 1 as well; squeeze(-1) the last",
            "  seen      []",
            "  expected  [1], which is [B]",
        )
    if list(action.shape) != [n_envs]:
        raise not_right(
            NAME,
            "the action has the wrong shape",
            "one number for each environment: obs[:, 2] is [B], obs[:, 2:3] is [B, 1]",
            f"  seen      {list(action.shape)}",
            f"  expected  [{n_envs}], which is [B]",
        )
    if action.is_floating_point() or action.dtype == torch.bool:
        raise not_right(
            NAME,
            f"the action is {action.dtype}",
            "discrete actions are integers, 0 and 1: .long() makes them from truth values",
        )
    if not bool(((action == 0) | (action == 1)).all()):
        raise not_right(
            NAME,
            "there are actions besides 0 and 1",
            "CartPole pushes to the left with 0 and to the right with 1",
            f"  seen      {action.tolist()}",
        )
    return action.long()


def _mistakes(chosen: list[Case], taken: list[dict[int, Tensor]]) -> list[tuple[str, str]]:
    """What would lead to these actions, in words."""
    for rule in rules():
        fits = all(
            torch.equal(actions(rule, case, t), seen[t])
            for case, seen in zip(chosen, taken, strict=True)
            for t in ORDER
        )
        if fits:
            return [(choice.wrong, choice.look) for choice in rule if choice.wrong]
    return [("some actions are wrong", "follow the example through your forward, line by line")]


def _example(case: Case, seen: dict[int, Tensor]) -> list[str]:
    """The first wrong decision, in numbers to follow by hand."""
    t, b = next(
        (t, int((seen[t] != actions(RIGHT, case, t)).nonzero()[0]))
        for t in ORDER
        if not torch.equal(seen[t], actions(RIGHT, case, t))
    )
    angle, velocity = case.observations[t, b, 2:].tolist()
    line = angle + case.gain * velocity
    expected = int(line > 0)
    case_told = f"gain {case.gain:g}; row {t}, environment {b}"
    sum_told = f"{angle:.2f} + {case.gain:g} × {velocity:.2f} = {line:.2f}"
    return [
        f"  Example: {case_told}: angle {angle:.2f}, angular velocity {velocity:.2f}.",
        f"  {sum_told}, so the action is {expected}. Yours is {int(seen[t][b])}.",
    ]


def _hint(error: Exception) -> str:
    text = str(error)
    if "ambiguous" in text:
        return (
            "`if` wants one truth value, but there are B environments: "
            "(… > 0).long() decides for all of them at once"
        )
    if "only one element" in text or "converted to Python scalars" in text:
        return "int() makes one number, (… > 0).long() one for each of the B environments"
    if isinstance(error, IndexError) and "out of bounds" in text:
        return "the columns are 0 to 3: the angle is obs[:, 2], the angular velocity obs[:, 3]"
    if "no variable 'env/env_obs'" in text or "rows are [" in text:
        return (
            "forward uses the variable `workspace` of the notebook, another table than its own: an "
            'agent says self.get(("name", t)) and self.set(("name", t), value)'
        )
    if isinstance(error, KeyError) and "no variable" in text:
        return 'the observation is called "env/env_obs"'
    if isinstance(error, TypeError) and "keyword argument" in text:
        return "keep the first lines: __init__(self, gain) and forward(self, t, **kwargs)"
    if isinstance(error, AttributeError) and "gain" in text:
        return "the gain is self.gain"
    return ""
