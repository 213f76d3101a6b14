"""The check of notebook 01's first exercise: an agent that pushes the cart where the pole falls."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ppo_course.drawing import integer, source_of
from ppo_course.feedback import Named
from ppo_course.formulas import Part, combinations
from ppo_course.mistakes import Exercise, StudentCode, read_words
from ppo_course.workspaces import RecordingWorkspace

POSITION, VELOCITY, ANGLE, ANGULAR_VELOCITY = range(4)
ORDER = (1, 2, 0)  # of the rows: who reads another row than t is noticed
LEAST = 0.001  # of |angle + gain × angular velocity|: rounding must not decide


class Case(NamedTuple):
    """A workspace's observations, `[T, B, 4]`, and the gain of the agent."""

    observations: Tensor
    gain: float


ROWS = Part(
    lambda obs, t: obs[t],
    {
        "row-0": lambda obs, _t: obs[0].expand_as(obs[0]),
        "row-before": lambda obs, t: obs[max(t - 1, 0)],
        "environment-0": lambda obs, t: obs[t, :1].expand_as(obs[t]),
    },
)


def _of_another(gain: float) -> float:
    """The gain of the agent that is made next."""
    return gain + 1


LINES = Part(
    lambda o, gain: o[:, ANGLE] + gain * o[:, ANGULAR_VELOCITY],
    {
        "gain-ignored": lambda o, _gain: o[:, ANGLE] + o[:, ANGULAR_VELOCITY],
        "gain-shared": lambda o, gain: o[:, ANGLE] + _of_another(gain) * o[:, ANGULAR_VELOCITY],
        "gain-positive": lambda o, gain: o[:, ANGLE] + abs(gain) * o[:, ANGULAR_VELOCITY],
        "no-velocity": lambda o, _gain: o[:, ANGLE],
        "no-angle": lambda o, gain: gain * o[:, ANGULAR_VELOCITY],
        "no-angle~nor-gain": lambda o, _gain: o[:, ANGULAR_VELOCITY],
        "gain-of-angle": lambda o, gain: gain * o[:, ANGLE] + o[:, ANGULAR_VELOCITY],
        "gain-of-both": lambda o, gain: gain * (o[:, ANGLE] + o[:, ANGULAR_VELOCITY]),
        "cart-velocity": lambda o, gain: o[:, ANGLE] + gain * o[:, VELOCITY],
        "cart-position": lambda o, gain: o[:, POSITION] + gain * o[:, ANGULAR_VELOCITY],
        "minus": lambda o, gain: o[:, ANGLE] - gain * o[:, ANGULAR_VELOCITY],
        "columns-from-1": lambda o, gain: o[:, VELOCITY] + gain * o[:, ANGLE],
        "of-the-cart": lambda o, gain: o[:, POSITION] + gain * o[:, VELOCITY],
    },
)

DIRECTIONS = Part(
    lambda line: line > 0,
    {
        "wrong-side": lambda line: line < 0,
        "always-1": torch.ones_like,
        "always-0": torch.zeros_like,
    },
)

RULES = (ROWS, LINES, DIRECTIONS)


def actions(case: Case, values: Sequence[Any]) -> list[Tensor]:
    """What an agent with a value of each part does in the rows of `ORDER`, `[B]` int64 each."""
    row, line, direction = values
    return [direction(line(row(case.observations, t), case.gain)).long() for t in ORDER]


def cases(seed: int | None) -> list[Case]:
    """Two workspaces, and one with B = 1; every single mistake leads to other actions."""
    generator = source_of(seed)
    while True:
        drawn: list[Case] = []
        for _ in range(2):
            n_envs = 5 if seed is None else integer(generator, 6, 12)
            observations = torch.randn(len(ORDER), n_envs, 4, generator=generator)
            gain = float(torch.rand((), generator=generator)) + (0.25 if drawn else 1.5)
            drawn.append(Case((100 * observations).round() / 100, round(gain, 2)))
        drawn.append(Case(drawn[0].observations[:, :1], -drawn[0].gain))
        lines = [
            line(row, case.gain)
            for line in (LINES.right, *LINES.wrong.values())
            for case in drawn
            for row in case.observations
        ]
        taken = [
            tuple(torch.cat([row for case in drawn for row in actions(case, values)]).tolist())
            for _, values in combinations(RULES, 1)
        ]
        if min(line.abs().min() for line in lines) > LEAST and len({*taken}) == len(taken):
            return drawn


EXERCISE = Exercise("PoleAgent", ("gain",), read_words(__file__))


@EXERCISE.check
def check_pole_agent(agent_class: StudentCode, *, seed: int | None = None) -> None:
    """Try a student's `PoleAgent` on workspaces with made-up observations.

    `agent_class(gain)` makes an agent.
    """
    chosen = cases(seed)
    EXERCISE.compare(
        chosen,
        [_act(agent_class, case) for case in chosen],
        RULES,
        formula=actions,
        agree=lambda _case, one, other: all(map(torch.equal, one, other)),
        facts=_example,
        most=len(RULES),
    )
    still = Case(torch.zeros(len(ORDER), 2, 4), 0.5)
    EXERCISE.refuse(any(row.any() for row in _act(agent_class, still)), "at-0")


def _act(agent_class: StudentCode, case: Case) -> list[Tensor]:
    """The actions of the rows of `ORDER`, as the student's agent takes them, `[B]` each."""
    workspace = RecordingWorkspace({"env/env_obs": case.observations})
    forward = getattr(agent_class, "forward", None)
    agent = EXERCISE.call(Named(EXERCISE.name, lambda: agent_class(case.gain), forward))
    EXERCISE.call(Named(EXERCISE.name, lambda: agent_class(_of_another(case.gain)), forward))
    # As the package's loop does, whose agents get arguments that they may ignore.
    run = Named(EXERCISE.name, lambda t: agent(workspace, t=t, stochastic=True), forward)
    taken = []
    for t in ORDER:
        workspace.written = []
        EXERCISE.call(run, t)
        taken.append(_written(workspace, t, case))
    return taken


def _written(workspace: RecordingWorkspace, t: int, case: Case) -> Tensor:
    """The action in row t, if it has the right place, shape and type."""
    names = dict.fromkeys(name for name, _ in workspace.written)
    EXERCISE.refuse(not names, "writes-nothing")
    foreign = [name for name in names if name.startswith("env/")]
    if foreign:
        raise EXERCISE.error("writes-of-environment", variable=foreign[0])
    if "action" not in names:
        raise EXERCISE.error("other-name", names=", ".join(f"`{name}`" for name in names))
    places = [place for name, place in workspace.written if name == "action"]
    if places != [t]:
        seen = ", ".join("all rows at once" if place is None else str(place) for place in places)
        raise EXERCISE.error(
            "wrong-row", seen=f"t = {t}, written into row {seen}", expected=f"row {t}"
        )
    action = workspace.get("action", t)
    if type(action) is not Tensor:  # one of a class of its own could agree with everything
        raise EXERCISE.error("own-class", kind=type(action).__name__)
    n_envs, shape = case.observations.shape[1], list(action.shape)
    if shape != [n_envs]:
        key = "no-dimension" if n_envs == 1 and not shape else "shape"
        raise EXERCISE.error(key, seen=shape, expected=f"[{n_envs}], which is [B]")
    if action.is_floating_point() or action.dtype == torch.bool:
        raise EXERCISE.error(f"dtype~{action.dtype}")
    if not bool(((action == 0) | (action == 1)).all()):
        raise EXERCISE.error("other-actions", seen=action.tolist(), expected="0 or 1 for each")
    return action.long()


def _example(case: Case, expected: list[Tensor], seen: list[Tensor]) -> list[str]:
    """The first wrong decision, in numbers to follow by hand."""
    t, right, wrong = next(
        row for row in zip(ORDER, expected, seen, strict=True) if not torch.equal(*row[1:])
    )
    b = int((wrong != right).nonzero()[0])
    angle, velocity = case.observations[t, b, 2:].tolist()
    line = angle + case.gain * velocity
    case_told = f"gain {case.gain:g}; row {t}, environment {b}"
    sum_told = f"{angle:.2f} + {case.gain:g} × {velocity:.2f} = {line:.2f}"
    return [
        f"  Example: {case_told}: angle {angle:.2f}, angular velocity {velocity:.2f}.",
        f"  {sum_told}, so the action is {int(right[b])}. Yours is {int(wrong[b])}.",
    ]
